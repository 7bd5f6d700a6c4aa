"""Updates as scalar formulas: each tensor of an optimizer's state is rewritten by one pointwise operation, and all of
them, over all parameters, end in few kernels."""

from __future__ import annotations

from typing import Any

from facula.engine.graph.expr import Expr, function, operand, scalar
from facula.engine.graph.node import Formula
from facula.engine.session import session
from facula.engine.threads import others as threads
from facula.ops.casting import to_dtype
from facula.ops.elementwise.arithmetic import lerp_formula
from facula.ops.elementwise.pointwise import apply
from facula.ops.promotion import number_for
from facula.ops.registry import write_back

_sqrt = function("sqrt")
_t, _x, _y = operand(0), operand(1), operand(2)  # the tensor that is rewritten, and what it is rewritten from
_a, _b, _c = scalar(0), scalar(1), scalar(2)


def _root(square: Expr, over: Expr, eps: Expr) -> Expr:
    return _sqrt(square) / over + eps


SCALED = Formula("mul_", _t * _a)
MEAN = Formula("lerp_", lerp_formula(_t, _x, _a))
SQUARES = Formula("addcmul_", _t * _a + _b * _x * _x)
MOMENTUM = Formula("add_", _t * _a + _b * _x)
SUM_OF_SQUARES = Formula("addcmul_", _t + _x * _x)
ADAM = Formula("addcdiv_", _t + _a * (_x / _root(_y, _b, _c)))  # x: mean, y: mean of squares
ROOT = Formula("addcdiv_", _t + _a * (_x / (_sqrt(_y) + _b)))
STEP = Formula("add_", _t + _a * _x)


def rewrite(t: Any, formula: Formula, others: tuple[Any, ...], numbers: tuple[float, ...]) -> None:
    """`t = formula(t, *others; numbers)`, in place. All tensors have the shape of `t`."""
    of = t.dtype
    numbers = tuple([number_for(number, of) for number in numbers])
    for other in others:
        if other.dtype is not of:
            others = tuple([to_dtype(other, of) for other in others])
            break
    if threads:  # read and write in one
        with session.lock:
            write_back(t, apply(formula, (t, *others), numbers, of), formula.name)
    else:
        write_back(t, apply(formula, (t, *others), numbers, of), formula.name)
