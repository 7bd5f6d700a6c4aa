"""Layer normalization as one operation: two reductions and one formula forward, five reductions backward."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from facula._tensor.handle import Tensor, new
from facula._tensor.tape import attach
from facula.autograd.graph import Rule, mode
from facula.engine.graph.expr import function, operand, scalar
from facula.engine.graph.node import SUM, Formula
from facula.engine.recorder import record
from facula.ops.casting import to_dtype
from facula.ops.reduce.reduction_nodes import count_of, narrowed, reduce_kept, widened
from facula.ops.reduce.reductions import summed

_x, _total, _squares, _w, _b = (operand(k) for k in range(5))
_rsqrt = function("rsqrt")
_n, _eps = scalar(0), scalar(1)
_centred = _x - _total / _n
_SQUARES = Formula("layer_norm", _centred * _centred)
_unit = _centred * _rsqrt(_squares / _n + _eps)
_FORMS = {
    (False, False): Formula("layer_norm", _unit),
    (True, False): Formula("layer_norm", _unit * operand(3)),
    (False, True): Formula("layer_norm", _unit + operand(3)),
    (True, True): Formula("layer_norm", _unit * _w + _b),
}


def _backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    x, total, squares, weight, count, eps, dims = ctx.saved
    n = float(count)
    given = g.dtype
    if x.dtype.compute is not x.dtype:
        x, g = to_dtype(x, x.dtype.compute), to_dtype(g, x.dtype.compute)
        weight = None if weight is None else to_dtype(weight, x.dtype)
    if mode.grad:  # differentiated once more: the two sums depend on x
        total = summed(x, dims, True, None)
        centred = x - total / n
        squares = summed(centred * centred, dims, True, None)
    else:
        centred = x - total / n
    inverse = (squares / n + eps).rsqrt()
    unit = centred * inverse
    lead = tuple(range(dims[0]))
    to_x = to_weight = to_bias = None
    if ctx.needs[0]:
        h = g if weight is None else g * weight
        along = summed(h * unit, dims, True, None) / n
        to_x = to_dtype((h - summed(h, dims, True, None) / n - unit * along) * inverse, given)
    if ctx.needs[1]:
        to_weight = to_dtype(summed(g * unit, lead, False, None) if lead else g * unit, given)
    if ctx.needs[2]:
        to_bias = to_dtype(summed(g, lead, False, None) if lead else g, given)
    return to_x, to_weight, to_bias


_RULE = Rule("NativeLayerNormBackward0", _backward)


def layer_norm(x: Tensor, rank: int, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Mean 0 and variance 1 over the last `rank` dimensions, then scaled and shifted. Shapes have been checked."""
    node = widened(x)
    of, shape = node.dtype, x.shape
    dims, count = _last(shape, rank)
    n = float(count)
    total = reduce_kept(SUM, node, dims, of)
    squares = reduce_kept(SUM, record(_SQUARES, (node, total), None, (n,), shape, of), dims, of)
    operands = [node, total, squares]
    graded = x._rg or x._base is not None
    for t in (weight, bias):
        if t is not None:
            operands.append(widened(t))
            graded = graded or t._rg or t._base is not None
    form = _FORMS[weight is not None, bias is not None]
    out = new(narrowed(record(form, tuple(operands), None, (n, eps), shape, of), x.dtype))
    if graded:
        attach(out, _RULE, (x, weight, bias), (x, new(total), new(squares), weight, count, eps, dims))
    return out


@lru_cache(4096)
def _last(shape: tuple[int, ...], rank: int) -> tuple[tuple[int, ...], int]:
    """The last `rank` dimensions, and how many elements they have."""
    dims = tuple(range(len(shape) - rank, len(shape)))
    return dims, count_of(shape, dims)
