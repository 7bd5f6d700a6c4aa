"""Exponentials, logarithms, trigonometry and their kin, of real and complex numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from facula import defaults
from facula._tensor.handle import Tensor
from facula.dtypes import FLOAT
from facula.engine.graph.expr import Expr, function, operand, scalar, where, wrap
from facula.engine.graph.node import Formula
from facula.ops.casting import to_dtype
from facula.ops.elementwise.comparison import isinf
from facula.ops.elementwise.derivatives import slopes
from facula.ops.elementwise.kinds import Binary, unary
from facula.ops.elementwise.pointwise import apply1
from facula.ops.elementwise.refusals import of_reals, real_only, refuse_complex
from facula.ops.index.masking import where as choose
from facula.ops.promotion import result_dtype
from facula.ops.registry import alias_of, op
from facula.ops.type_rules import FLOATING, PROMOTED_FLOATING

_abs, _eq, _exp, _exp2, _isinf, _isnan, _log, _log1p, _sin = map(function, (
    "abs", "eq", "exp", "exp2", "isinf", "isnan", "log", "log1p", "sin"))

for _name in ("sqrt", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "atan",
              "sinh", "cosh", "tanh", "asinh", "acosh", "atanh"):
    op(unary(_name, function(_name)), inplace=True, out=True)
exp = op(unary("exp", function("exp")), inplace=True, out=True)
rsqrt = op(unary("rsqrt", function("rsqrt")), inplace=True, out=True)


def _real(name: str, kernel: str) -> Callable[..., Tensor]:
    body = unary(name, function(name))

    def real(input: Tensor) -> Tensor:
        if isinstance(input, Tensor) and input.dtype.is_complex:
            refuse_complex(kernel, input)
        return body(input)
    real.__name__ = name
    return op(real, inplace=True, out=True, types=body.types,  # type: ignore[attr-defined]
              rules=(body,))


for _name in ("erf", "erfc", "erfinv"):
    _real(_name, f"{_name}_vml_cpu")
# Their slopes are no formulas: special/functions.py has them on the tape.
plain_lgamma, plain_digamma = _real("lgamma", "lgamma_vml_cpu"), _real("digamma", "digamma")

op(unary("sigmoid", lambda x: 1.0 / (1.0 + _exp(-x))), inplace=True, out=True)


def _sinc(x: Expr) -> Expr:
    """sin(pi x) / (pi x). Near 0 a series: the quotient, differentiated, is a difference of what is almost alike."""
    angle = x * math.pi
    square = angle * angle
    series = wrap(1.0 / math.factorial(15))
    for k in range(6, -1, -1):
        series = 1.0 / math.factorial(2 * k + 1) - series * square
    near = _abs(x) < 0.25
    return where(near, series, _sin(angle) / where(near, 1.0, angle))


op(unary("sinc", _sinc), inplace=True, out=True)
for _body in (unary("deg2rad", lambda x: x * 0.017453292519943295), unary("rad2deg", lambda x: x * 57.29577951308232)):
    op(of_reals(_body, RuntimeError(f"{_body.__name__} is not supported for complex tensors.")), inplace=True, out=True)


@op(inplace=True, out=True, types=FLOATING)
def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """log(x / (1 - x)); with `eps` the input is clamped to [eps, 1 - eps] first."""
    if input.dtype.category < FLOAT:
        input = to_dtype(input, defaults.get_default_dtype())
    refuse_complex("logit_cpu", input)
    if eps is None:
        return _logit(input)
    return apply1(_LOGIT_WITHIN, input, (float(eps), 1.0 - float(eps)), input.dtype)


_logit = unary("logit", lambda x: _log(x / (1.0 - x)))
slopes[_logit.formula] = (where((operand(0) >= 0.0) & (operand(0) <= 1.0),  # type: ignore[attr-defined]
                                      1.0 / (function("abs")(operand(0)) * (1.0 - operand(0))), math.nan),)
_x, _low, _high = operand(0), scalar(0), scalar(1)
_within = where(_x < _low, _low, where(_x > _high, _high, _x))
_LOGIT_WITHIN = Formula("logit", _log(_within / (1.0 - _within)))
slopes[_LOGIT_WITHIN] = (where((_x < _low) | (_x > _high), 0.0, 1.0 / (_x * (1.0 - _x))),)  # NaN where x is


# ---- two arguments -------------------------------------------------------------------------------

atan2, hypot = [op(real_only(_name, Binary(_name, function(_name), "float"), 2), inplace=True, out=True)
                for _name in ("atan2", "hypot")]
_xlogy = Binary("xlogy", lambda a, b: where(
    _isnan(b), b, where(_eq(a, 0.0), 0.0, a * _log(b))), "float", "same",
    lambda a, b: (where(_eq(a, 0.0) & (b <= 0.0), 0.0, _log(b)), a / b))


@op(inplace=True, out=True, types=PROMOTED_FLOATING, rules=(_xlogy,))
def xlogy(input: Any, other: Any) -> Tensor:
    """input * log(other), 0 where input is 0."""
    refuse_complex("xlogy_cpu", input, other)
    return _xlogy(input, other)


def _log_of_sum(exp: Callable[..., Expr], unit: float) -> Callable[[Expr, Expr], Expr]:
    def formula(a: Expr, b: Expr) -> Expr:
        # Selections, not maximum and abs: these have no slope where a == b.
        high, low = where(a >= b, a, b), where(a >= b, b, a)
        return where(_isinf(a) & _eq(a, b), a, high + _log1p(exp(low - high)) * unit)
    return formula


_logaddexp = Binary("logaddexp", _log_of_sum(_exp, 1.0), "float")


@op(out=True, types=PROMOTED_FLOATING, rules=(_logaddexp,))
def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """log(exp(input) + exp(other)), without overflow."""
    if not (input.dtype.is_complex or other.dtype.is_complex):
        return _logaddexp(input, other)
    of = result_dtype((input, other))
    input, other = to_dtype(input, of), to_dtype(other, of)
    a, b = input.detach(), other.detach()
    top = choose(a.real >= b.real, a, b)  # its angle stays in the result, as in torch
    top = choose(isinf(top.real), 0, top)
    return (input - top).exp().add((other - top).exp()).log() + top  # type: ignore[no-any-return]


_logaddexp2 = Binary("logaddexp2", _log_of_sum(_exp2, 1.4426950408889634), "float")
op(real_only("logaddexp2", _logaddexp2, 2), out=True, types=PROMOTED_FLOATING)
alias_of("atan2", "arctan2")
for _h in ("sin", "cos", "tan"):
    alias_of("a" + _h, "arc" + _h)
    alias_of("a" + _h + "h", "arc" + _h + "h")
