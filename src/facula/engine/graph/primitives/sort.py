"""ARGSORT: where the elements of a stable sort were."""

from __future__ import annotations

import numpy as np

from facula.dtypes import int64
from facula.engine.graph.node import ARGSORT, Node, size_of
from facula.engine.graph.primitives.elements import attributes
from facula.engine.graph.primitives.kind import Array, Kind, dims_move_up


def _wrong(node: Node) -> str:
    dim, _ = attributes(node.attrs)
    fits = node.shape == node.inputs[0].shape and node.dtype is int64 and 0 <= dim < max(len(node.shape), 1)
    return "" if fits else f"the order of {node.inputs[0]!r}"


def _meaning(node: Node, inputs: list[Array]) -> Array:
    dim, descending = attributes(node.attrs)
    x = inputs[0]
    if x.ndim == 0:
        return np.zeros((), np.int64)
    if not descending:
        return np.argsort(x, axis=dim, kind="stable")
    # sorted backwards and turned round: equal elements keep their order, NaN comes first
    order = np.argsort(np.flip(x, dim), axis=dim, kind="stable")
    return np.flip(x.shape[dim] - 1 - order, dim)


def _cost(node: Node) -> tuple[int, int]:
    size = size_of(node.shape)
    return 48 * size, 20 * size * (1 + size.bit_length())


KIND = Kind(inputs=1, wrong=_wrong, meaning=_meaning, cost=_cost, tangents={ARGSORT: None}, batching=dims_move_up)
