"""GATHER: rows of a matrix. An index that is no row reads the last one, as in the kernels: whoever recorded it has it
checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.dtypes import dtype, int64
from facula.engine.graph.expr import make, operand, scalar
from facula.engine.graph.node import GATHER, Formula, Node, Primitive
from facula.engine.graph.primitives.kind import Array, Kind, Recording, sized

_ROWS = Formula("rows", operand(0) + make("index", value=0) * scalar(0))


def _wrong(node: Node) -> str:
    table, index = node.inputs
    fits = node.shape == (*index.shape, *table.shape[1:]) and index.dtype is int64 and len(table.shape) == 2 \
        and node.dtype is table.dtype
    return "" if fits else f"rows of {table!r} at {index!r}"


def _meaning(node: Node, inputs: list[Array]) -> Array:
    rows, index = inputs[0].shape[0], inputs[1]
    return np.take(inputs[0], np.where(index < 0, rows - 1, index), axis=0, mode="clip")


def _tangent(do: Recording, op: Primitive, primals: list[Node], tangents: list[Node | None], attrs: Any, scalars: Any,
             out: Node) -> Node:
    t = tangents[0]
    assert t is not None  # an index has none
    return do.record(op, (t, primals[1]), attrs, scalars, out.shape, out.dtype)


def all_rows(do: Recording, size: int, index: Node, has: bool, v: int) -> Node:
    """An index into `size` matrices of `v` rows, laid under each other."""
    logical = index.shape[1:] if has else index.shape
    return do.record(_ROWS, (index,), None, (v,), sized((size, *logical)), index.dtype)


def _batching(do: Recording, size: int, op: Primitive, nodes: tuple[Node, ...], mine: tuple[bool, ...], attrs: Any,
              scalars: Any, shape: tuple[int, ...], of: dtype) -> Node:
    source, index = nodes
    if mine[0]:
        v, d = source.shape[-2:]
        source, index = do.reshaped(source, (size * v, d)), all_rows(do, size, index, mine[1], v)
    return do.record(op, (source, index), attrs, scalars, sized((size, *shape)), of)


KIND = Kind(inputs=2, wrong=_wrong, meaning=_meaning, tangents={GATHER: _tangent}, batching=_batching)
