"""Rows of a (V, D) matrix by a flat int64 index: picked, set, added, multiplied, reduced.

The primitives GATHER and SCATTER_*, each the gradient of another. What the rows of a tensor are,
the operations say: gathering.py and scattering.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from facula._tensor.handle import Tensor, new
from facula._tensor.reading import read
from facula._tensor.tape import attach
from facula.autograd.graph import Rule, mode
from facula.dtypes import BOOL, FLOAT, bool_, dtype, int64
from facula.engine.graph.expr import function, operand, scalar, where
from facula.engine.graph.node import (
    ARGSORT,
    GATHER,
    INDEX,
    SCATTER_ADD,
    SCATTER_MAX,
    SCATTER_MIN,
    SCATTER_MUL,
    SCATTER_SET,
    Formula,
    Node,
    Primitive,
    size_of,
)
from facula.engine.recorder import record
from facula.ops.casting import cast_node, constant, to_dtype
from facula.ops.elementwise.pointwise import apply
from facula.ops.promotion import scalar_value
from facula.ops.view.value_views import reshape_value, reshaped

# ---- picking rows --------------------------------------------------------------------------------

def node_rows(node: Node, index: Node, v: int, d: int, shape: tuple[int, ...]) -> Node:
    """Rows `index` of `node` seen as (v, d), in `shape`."""
    if size_of(shape) == 0:
        return constant(0, shape, node.dtype)
    out = record(GATHER, (reshaped(node, (v, d)), index), None, None, (*index.shape, d), node.dtype)
    return reshaped(out, shape)


def _rows_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    index, v, d = ctx.saved
    zero = new(constant(0, ctx.shapes[0], g.dtype))
    return (add_rows(zero, index, g, v, d),)


def picking(name: str) -> Rule:
    return Rule(name, _rows_backward)


INDEX_RULE = picking("IndexBackward0")


def rows(src: Tensor, index: Node, v: int, d: int, shape: tuple[int, ...],
         rule: Rule = INDEX_RULE) -> Tensor:
    """Rows `index` of `src` seen as (v, d); the result has `shape`."""
    return attach(new(node_rows(read(src), index, v, d, shape)), rule, (src,), (index, v, d))


# ---- writing rows --------------------------------------------------------------------------------

def _write(kind: Primitive, base: Tensor, index: Node, src: Tensor, v: int, d: int) -> Tensor:
    if size_of(index.shape) * d == 0:
        return new(read(base))
    of = base.dtype
    nodes = read(base), read(src)
    if of.compute is not of and kind in _SUMMING:  # a sum in 16 bits sticks where what is added is half an ulp
        nodes = cast_node(nodes[0], of.compute), cast_node(nodes[1], of.compute)
    inputs = nodes[0], index, reshaped(nodes[1], (*index.shape, d))
    return new(cast_node(record(kind, inputs, None, None, base.shape, nodes[0].dtype), of))


_SUMMING = (SCATTER_ADD, SCATTER_MUL)


def _add_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    index, v, d, alpha = ctx.saved
    src = None
    if ctx.needs[1]:
        src = rows(g, index, v, d, ctx.shapes[1])
        if alpha != 1:
            src = src * alpha
    return g if ctx.needs[0] else None, src


def _set_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    index, v, d = ctx.saved
    base = src = None
    if ctx.needs[0]:
        base = set_rows(g, index, new(constant(0, ctx.shapes[1], g.dtype)), v, d)
    if ctx.needs[1]:
        src = rows(g, index, v, d, ctx.shapes[1])
    return base, src


def adding(name: str) -> Rule:
    return Rule(name, _add_backward)


def setting(name: str) -> Rule:
    return Rule(name, _set_backward)


SET_RULE = setting("ScatterBackward0")
ADD_RULE = adding("ScatterAddBackward0")


def add_rows(base: Tensor, index: Node, src: Tensor, v: int, d: int, rule: Rule = ADD_RULE,
             alpha: Any = 1) -> Tensor:
    """`base` (v, d) with `alpha * src` added to the rows `index`."""
    alpha = scalar_value(alpha, base.dtype)
    value = src if alpha == 1 else src & alpha if base.dtype is bool_ else src * alpha
    # with grad mode on, `value` may be on the tape; only its node is used
    out = _write(SCATTER_ADD, base, index, value, v, d)
    return attach(out, rule, (base, src), (index, v, d, alpha))


def set_rows(base: Tensor, index: Node, src: Tensor, v: int, d: int,
             rule: Rule = SET_RULE) -> Tensor:
    """`base` (v, d) with `src` in the rows `index`; the last of equal ones wins."""
    return attach(_write(SCATTER_SET, base, index, src, v, d), rule, (base, src), (index, v, d))


# ---- reducing into rows --------------------------------------------------------------------------

def _product_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    base, src, result, index, v, d = ctx.saved
    no_zero = base.masked_fill(base == 0, 1)
    grad_base = grad_src = None
    if ctx.needs[0]:
        grad_base = g * multiply_rows(no_zero, index, src, v, d) / no_zero
    if ctx.needs[1] and mode.grad and src._rg:
        grad_src = rows(g, index, v, d, ctx.shapes[1]) * _other_factors(base, src, index, v, d)
    elif ctx.needs[1]:
        zero = src == 0
        count = add_rows(new(constant(0, base.shape, int64)), index, to_dtype(zero, int64), v, d)
        alone = zero & (rows(count, index, v, d, src.shape) == 1)
        others = multiply_rows(base, index, src.masked_fill(alone, 1), v, d)
        grad_src = apply(_EITHER, (alone, rows(g * others, index, v, d, src.shape),
                                   rows(g * result, index, v, d, src.shape) / src.masked_fill(zero, 1)), None, g.dtype)
    return grad_base, grad_src


_a, _b, _c = operand(0), operand(1), operand(2)
_eq, _ne = function("eq"), function("ne")
_EITHER = Formula("where", where(_a, _b, _c))
_TAKE_IN = Formula("mul", where(_a, _b * _c, _b))
_MOVED = Formula("moved", _a + scalar(0))
_INSIDE = Formula("inside", where((_a >= 0) & (_a < scalar(0)), _a, _b))
_SAME_ROW = Formula("same", _eq(_a, _b) & _ne(_c, operand(3)))


def _other_factors(base: Tensor, src: Tensor, index: Node, v: int, d: int) -> Tensor:
    """For each element of `src` the product of all others that come into its place, without quotients: so it is exact
    where elements are zero, and so are its derivatives. The rows in order, it is the product of what stands before an
    element and of what stands behind it; these grow by taking in what is 1, 2, 4, ... places away, in the same row."""
    n = size_of(index.shape)
    if not n * d:
        return src
    flat = reshaped(index, (n,))
    order = record(ARGSORT, (flat,), (0, False, 0), None, flat.shape, int64)
    at = record(GATHER, (reshaped(flat, (n, 1)), order), None, None, (n, 1), int64)
    places = record(INDEX, (), (0,), None, flat.shape, int64)
    x = rows(src, order, n, d, (n, d))
    product = rows(base, reshaped(at, (n,)), v, d, (n, d))
    one = new(constant(1, (n, d), src.dtype))
    for side in (-1, 1):
        def away(step: int, side: int = side) -> tuple[Node, Tensor]:
            """The places so far away (where there is none: itself), and whether they are of the same row."""
            moved = record(_MOVED, (places,), None, (side * step,), flat.shape, int64)
            there = record(_INSIDE, (moved, places), None, (n,), flat.shape, int64)
            columns = tuple([reshaped(node, (n, 1)) for node in (places, there)])
            theirs = record(GATHER, (at, there), None, None, (n, 1), int64)
            return there, new(record(_SAME_ROW, (at, theirs, *columns), None, None, (n, 1), bool_))

        there, same = away(1)
        part = apply(_EITHER, (same, rows(x, there, n, d, (n, d)), one), None, x.dtype)
        step = 1
        while step < n:
            there, same = away(step)
            part = apply(_TAKE_IN, (same, part, rows(part, there, n, d, (n, d))), None, x.dtype)
            step *= 2
        product = product * part
    back = record(ARGSORT, (order,), (0, False, 0), None, flat.shape, int64)
    return reshape_value(rows(product, back, n, d, (n, d)), tuple(src.shape))


def _extremum_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    base, src, result, index, v, d, include_self = ctx.saved
    at_base = to_dtype(base == result, g.dtype)
    if not include_self:  # what stands in `base` there is no element
        at_base = set_rows(at_base, index, new(constant(0, src.shape, g.dtype)), v, d)
    at_src = to_dtype(src == rows(result, index, v, d, src.shape), g.dtype)
    count = add_rows(at_base, index, at_src, v, d)
    share = g / count.masked_fill(count == 0, 1)
    return at_base * share, at_src * rows(share, index, v, d, src.shape)


_PRODUCT = Rule("ScatterReduceBackward0", _product_backward)
_EXTREMUM = Rule("ScatterReduceBackward0", _extremum_backward)
_SUM = adding("ScatterReduceBackward0")


def multiply_rows(base: Tensor, index: Node, src: Tensor, v: int, d: int) -> Tensor:
    """`base` (v, d) with the rows `index` multiplied by `src`."""
    out = _write(SCATTER_MUL, base, index, src, v, d)
    return attach(out, _PRODUCT, (base, src), (base, src, out, index, v, d))


def reduce_rows(base: Tensor, index: Node, src: Tensor, v: int, d: int, reduce: str,
                include_self: bool) -> Tensor:
    """The rows of `src` reduced into `base`: sum, prod, mean, amax, amin."""
    of = base.dtype
    if not include_self:
        identity: Any = {"sum": 0, "mean": 0, "prod": 1}.get(reduce)
        if identity is None:
            identity = _lowest(of) if reduce == "amax" else _highest(of)
        base = set_rows(base, index, new(constant(identity, src.shape, of)), v, d)
    if reduce == "sum":
        return add_rows(base, index, src, v, d, _SUM)
    if reduce == "prod":
        return multiply_rows(base, index, src, v, d)
    if reduce == "mean":
        total = add_rows(base, index, src, v, d)
        ones = new(constant(1, src.shape, of))
        start = new(constant(1 if include_self else 0, base.shape, of))
        count = add_rows(start, index, ones, v, d)
        if not include_self:
            count = count.masked_fill(count == 0, 1)
        if of.category >= FLOAT:
            return total / count
        return total // count
    if reduce not in ("amax", "amin"):
        raise RuntimeError("reduce argument must be either sum, prod, mean, amax or amin, got "
                           + str(reduce))
    out = _write(SCATTER_MAX if reduce == "amax" else SCATTER_MIN, base, index, src, v, d)
    return attach(out, _EXTREMUM, (base, src), (base, src, out, index, v, d, include_self))


def _lowest(of: dtype) -> Any:
    if of.category >= FLOAT:
        return -math.inf
    return False if of.category == BOOL else int(np.iinfo(of.numpy).min)


def _highest(of: dtype) -> Any:
    if of.category >= FLOAT:
        return math.inf
    return True if of.category == BOOL else int(np.iinfo(of.numpy).max)
