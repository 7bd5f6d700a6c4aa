"""Norms of vectors."""

from __future__ import annotations

import math
from typing import Any

from facula._tensor.handle import Tensor, new
from facula._tensor.reading import read
from facula._tensor.tape import attach
from facula.autograd.graph import Rule, by_rule
from facula.dtypes import FLOAT, bool_, dtype
from facula.engine.graph.expr import function, operand, scalar, where
from facula.engine.graph.node import MAX, MIN, SUM, Formula, size_of
from facula.ops.arguments import check_tensor, dims_of, numpy_names
from facula.ops.casting import to_dtype
from facula.ops.elementwise.pointwise import apply
from facula.ops.elementwise.refusals import want_operands
from facula.ops.reduce.extrema import shared_evenly
from facula.ops.reduce.reduction_nodes import (
    NONZERO,
    count_of,
    dropped,
    formula_node,
    mask,
    mask_zero,
    narrowed,
    reduce_node,
    spread,
    widened,
)
from facula.ops.registry import DTYPE_NAMES, op
from facula.ops.type_rules import MAGNITUDE

_a, _b, _c = operand(0), operand(1), operand(2)
_abs, _eq, _pow, _sqrt = [function(n) for n in ("abs", "eq", "pow", "sqrt")]
_SQ = Formula("mul", _a * _a)
_SQRT = Formula("sqrt", _sqrt(_a))
_ABS = Formula("abs", _abs(_a))
_ABS_POW = Formula("pow", _pow(_abs(_a), scalar(0)))
_POW_S = Formula("pow", _pow(_a, scalar(0)))
_NORM2_G = Formula("mul", where(_eq(_c, 0.0), 0.0, _b * (_a / _c)))


def _norm_back(ctx: Any, g: Tensor) -> tuple[Tensor | None]:
    x, out, p, dims = ctx.saved
    shape = x.shape
    g, r = spread(g, shape, dims), spread(out, shape, dims)
    if p == 0:
        return (None,)
    if x.dtype.is_complex:
        size = x.abs()
        unit = x / to_dtype(mask_zero(size), x.dtype)
    else:
        size, unit = x.abs(), x.sign()
    if p == 1:
        return (g * unit,)
    if p == 2:
        return (apply(_NORM2_G, (x, g, r), None, x.dtype) if not x.dtype.is_complex
                else x * (g / mask_zero(r)),)
    if math.isinf(p):
        return (unit * shared_evenly(g, size, r, dims),)
    share = size / mask_zero(r)  # at most 1 for p > 0: its powers are in range where those of either are not
    power = share.pow(p - 1) if p >= 2 else mask(size != 0, mask_zero(share).pow(p - 1))
    return (unit * power * mask(r != 0, g),)


_NORM = Rule("LinalgVectorNormBackward0", _norm_back)
by_rule.add(_NORM)  # which has a slope at 0


@op(namespace="linalg", method=False, out=True, types=MAGNITUDE, rules=(_NORM,))
@numpy_names
def vector_norm(x: Tensor, ord: float = 2, dim: Any = None, keepdim: bool = False, *,
                dtype: dtype | None = None) -> Tensor:
    check_tensor(x, "linalg.vector_norm")
    if x.dtype.category < FLOAT:
        raise RuntimeError("linalg.vector_norm: Expected a floating point or complex tensor as "
                           f"input. Got {DTYPE_NAMES[x.dtype.name]}")
    p = float(ord)
    if dtype is not None:
        x = to_dtype(x, dtype)
    dims = dims_of(dim, len(x.shape))
    if count_of(x.shape, dims) == 0 and (p < 0 or math.isinf(p)) \
            and size_of(dropped(x.shape, dims)):
        raise RuntimeError(f"linalg.vector_norm cannot compute the {p:g} norm on an empty tensor "
                           "because the operation does not have an identity")
    if x.dtype.is_complex:
        node = read(x.detach().abs())
    else:
        node = widened(x)
    of = node.dtype
    out_dtype = x.dtype.to_real()
    if not dims:
        node = formula_node(_ABS, (node,), None, node.shape, of)
        if p == 0:
            node = narrowed(formula_node(NONZERO, (node,), None, node.shape, bool_), of)
        result = node
    elif p == 0:
        there = narrowed(formula_node(NONZERO, (node,), None, node.shape, bool_), of)
        result = reduce_node(SUM, there, dims, keepdim, of)
    elif p == 1:
        result = reduce_node(SUM, formula_node(_ABS, (node,), None, node.shape, of), dims, keepdim,
                             of)
    elif p == 2:
        result = reduce_node(SUM, formula_node(_SQ, (node,), None, node.shape, of), dims, keepdim,
                             of)
        result = formula_node(_SQRT, (result,), None, result.shape, of)
    elif math.isinf(p):
        size = formula_node(_ABS, (node,), None, node.shape, of)
        result = reduce_node(MAX if p > 0 else MIN, size, dims, keepdim, of)
    else:
        size = formula_node(_ABS_POW, (node,), (p,), node.shape, of)
        result = reduce_node(SUM, size, dims, keepdim, of)
        result = formula_node(_POW_S, (result,), (1.0 / p,), result.shape, of)
    out = new(narrowed(result, out_dtype))
    return attach(out, _NORM, (x,), (x, out, p, dims))


@op(types=MAGNITUDE, rules=(_NORM,))
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    want_operands("dist", input, other)
    return vector_norm(input - other, p)
