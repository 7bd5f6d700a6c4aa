"""Nodes and formulas that reductions are recorded with, and what their gradients share.

A reduction node drops its dimensions; `keepdim` is a VIEW of it.
"""

from __future__ import annotations

import functools
from typing import Any

from facula._tensor.handle import Tensor, new
from facula._tensor.reading import read
from facula.dtypes import dtype, float32, int64
from facula.engine.graph.expr import function, operand, scalar, where
from facula.engine.graph.node import INDEX, VIEW, Formula, Node, Primitive, contiguous_strides
from facula.engine.recorder import record
from facula.ops.casting import constant
from facula.ops.elementwise.pointwise import apply
from facula.ops.view.value_views import reshaped
from facula.size import Size


@functools.lru_cache(4096)
def kept(shape: tuple[int, ...], dims: tuple[int, ...]) -> tuple[int, ...]:
    """`shape` with 1 in the reduced places."""
    return tuple([1 if k in dims else s for k, s in enumerate(shape)])


@functools.lru_cache(4096)
def dropped(shape: tuple[int, ...], dims: tuple[int, ...]) -> Size:
    return Size([s for k, s in enumerate(shape) if k not in dims])


def count_of(shape: tuple[int, ...], dims: tuple[int, ...]) -> int:
    n = 1
    for k in dims:
        n *= shape[k]
    return n


def reduce_node(primitive: Primitive, node: Node, dims: tuple[int, ...], keepdim: bool,
                of: dtype) -> Node:
    if not dims:
        return node
    out = record(primitive, (node,), (dims,), None, dropped(node.shape, dims), of)
    return reshaped(out, kept(node.shape, dims)) if keepdim else out


def reduce_kept(primitive: Primitive, node: Node, dims: tuple[int, ...], of: dtype) -> Node:
    """`reduce_node` with the dimensions kept; the node has elements, and `dims` is not empty."""
    small, wide, strides = _kept_geometry(node.shape, dims)
    # view_node(), written out: every softmax and every normalization comes here, and this is no view of a constant
    return record(VIEW, (record(primitive, (node,), (dims,), None, small, of),), (strides,), (0,), wide, of)


@functools.lru_cache(4096)
def _kept_geometry(shape: tuple[int, ...],
                   dims: tuple[int, ...]) -> tuple[Size, Size, tuple[int, ...]]:
    wide = Size(kept(shape, dims))
    return dropped(shape, dims), wide, contiguous_strides(wide)


def index_node(primitive: Primitive, node: Node, dims: tuple[int, ...], keepdim: bool) -> Node:
    if not dims:
        return constant(0, node.shape, int64)
    return reduce_node(primitive, node, dims, keepdim, int64)


def formula_node(formula: Formula, nodes: tuple[Node, ...], scalars: tuple[Any, ...] | None,
                 shape: tuple[int, ...], of: dtype) -> Node:
    return record(formula, nodes, None, scalars, shape, of)


def coordinate(shape: tuple[int, ...], dim: int) -> Tensor:
    """int64 positions along `dim`."""
    return new(record(INDEX, (), (dim,), None, tuple.__new__(Size, shape), int64))


_a, _b, _c = operand(0), operand(1), operand(2)
_and, _or, _eq, _ne = [function(n) for n in ("and", "or", "eq", "ne")]
_TO = Formula("toCopy", _a)
DIVIDED = Formula("div", _a / scalar(0))
PICK = Formula("where", where(_eq(_a, _b), _c, 0.0))
EQUAL = Formula("eq", _or(_eq(_a, _b), _and(_ne(_a, _a), _ne(_b, _b))))
_MASK = Formula("where", where(_a, _b, 0.0))
NONZERO = Formula("ne", _ne(_a, 0))
_ONE_FOR_ZERO = Formula("where", where(_eq(_a, 0.0), 1.0, _a))


def widened(t: Tensor) -> Node:
    """The value of `t`, 16-bit floats as float32."""
    node = t._node or read(t)
    of = node.dtype
    if of.compute is not of:
        return formula_node(_TO, (node,), None, node.shape, float32)
    return node


def narrowed(node: Node, of: dtype) -> Node:
    return node if node.dtype is of else formula_node(_TO, (node,), None, node.shape, of)


def mask(condition: Tensor, value: Tensor) -> Tensor:
    """`value` where the condition holds, else 0."""
    return apply(_MASK, (condition, value), None, value.dtype)


def mask_zero(x: Tensor) -> Tensor:
    """1 instead of 0, to divide by."""
    return apply(_ONE_FOR_ZERO, (x,), None, x.dtype)


def put_along(g: Tensor, indices: Tensor, dim: int, shape: tuple[int, ...]) -> Tensor:
    """`g` (kept dims) at its index along `dim`, 0 elsewhere."""
    if not shape:
        return g.reshape(())
    return apply(PICK, (coordinate(shape, dim), indices, g), None, g.dtype)


def spread(g: Tensor, shape: tuple[int, ...], dims: tuple[int, ...]) -> Tensor:
    """The gradient of a reduction with its dimensions back, ready to broadcast."""
    k = kept(shape, dims)
    return g if g.shape == k else g.reshape(k)
