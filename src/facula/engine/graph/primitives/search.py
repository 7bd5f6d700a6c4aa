"""SEARCH: where elements belong in sorted rows, by halving. So what it gives where rows are not sorted, or have NaN
among them, is settled too, and torch's."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.dtypes import COMPLEX, dtype, int64
from facula.engine.graph.node import SEARCH, Node, Primitive, size_of
from facula.engine.graph.primitives.elements import attributes
from facula.engine.graph.primitives.kind import Array, Kind, Recording, sized


def _wrong(node: Node) -> str:
    edges, x = node.inputs
    (right,) = attributes(node.attrs)
    fits = len(edges.shape) == len(x.shape) == 2 and edges.shape[0] == x.shape[0] and node.shape == x.shape \
        and edges.dtype is x.dtype and x.dtype.category < COMPLEX and node.dtype is int64 and type(right) is bool
    return "" if fits else f"the places of {x!r} in {edges!r}"


def _meaning(node: Node, inputs: list[Array]) -> Array:
    edges, x = inputs
    low, left = np.zeros(x.shape, np.int64), np.full(x.shape, edges.shape[1])
    while left.any():
        half = left >> 1
        edge = np.take_along_axis(edges, np.minimum(low + half, edges.shape[1] - 1), 1)
        past = ~(edge > x if attributes(node.attrs)[0] else edge >= x) & (left > 0)
        low = np.where(past, low + half + 1, low)
        left = np.where(past, left - half - 1, half)
    return low


def _cost(node: Node) -> tuple[int, int]:
    size, halvings = size_of(node.shape), node.inputs[0].shape[-1].bit_length()
    return 64 * size, 20 * size * (1 + halvings)


def _batching(do: Recording, size: int, op: Primitive, nodes: tuple[Node, ...], mine: tuple[bool, ...], attrs: Any,
              scalars: Any, shape: tuple[int, ...], of: dtype) -> Node:
    (edges, x), (m, n) = nodes, shape
    if m == 1 and not mine[0]:  # all in the one row
        lines = 1
    else:
        lines = size * m
        edges, x = do.over(size, edges, mine[0]), do.over(size, x, mine[1])
    wide = sized((lines, size * m * n // lines if lines else n))
    inputs = do.reshaped(edges, (lines, edges.shape[-1])), do.reshaped(x, wide)
    return do.reshaped(do.record(op, inputs, attrs, scalars, wide, of), (size, m, n))


KIND = Kind(inputs=2, wrong=_wrong, meaning=_meaning, cost=_cost, tangents={SEARCH: None}, batching=_batching)
