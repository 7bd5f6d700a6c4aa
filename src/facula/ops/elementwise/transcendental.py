"""Exponentials, logarithms, trigonometry and their kin, of real and complex numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from facula import defaults
from facula._tensor.handle import Tensor
from facula.dtypes import FLOAT
from facula.engine.graph.expr import Expr, function, operand, where
from facula.ops.casting import to_dtype
from facula.ops.elementwise.comparison import clamp, isinf
from facula.ops.elementwise.derivatives import slopes
from facula.ops.elementwise.kinds import Binary, unary
from facula.ops.elementwise.refusals import of_tensors, real_only, refuse_complex
from facula.ops.index.masking import where as choose
from facula.ops.promotion import result_dtype
from facula.ops.registry import alias_of, op
from facula.ops.type_rules import FLOATING, PROMOTED_FLOATING

_eq, _exp, _exp2, _isinf, _isnan, _log, _log1p, _sin = map(function, (
    "eq", "exp", "exp2", "isinf", "isnan", "log", "log1p", "sin"))

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
op(unary("sinc", lambda x: where(_eq(x, 0.0), 1.0, _sin(x * math.pi) / where(
    _eq(x, 0.0), 1.0, x * math.pi))), inplace=True, out=True)
op(unary("deg2rad", lambda x: x * 0.017453292519943295), inplace=True, out=True)
op(unary("rad2deg", lambda x: x * 57.29577951308232), inplace=True, out=True)


@op(inplace=True, out=True, types=FLOATING)
def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """log(x / (1 - x)); with `eps` the input is clamped to [eps, 1 - eps] first."""
    if input.dtype.category < FLOAT:
        input = to_dtype(input, defaults.get_default_dtype())
    if eps is not None:
        input = clamp(input, eps, 1 - eps)
    if input.dtype.category < FLOAT:
        input = to_dtype(input, defaults.get_default_dtype())
    return _logit(input)


_logit = unary("logit", lambda x: _log(x / (1.0 - x)))
slopes[_logit.formula] = (where((operand(0) >= 0.0) & (operand(0) <= 1.0),  # type: ignore[attr-defined]
                                      1.0 / (function("abs")(operand(0)) * (1.0 - operand(0))), math.nan),)


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
op(of_tensors("logaddexp2", _logaddexp2), out=True, types=PROMOTED_FLOATING)
alias_of("atan2", "arctan2")
for _h in ("sin", "cos", "tan"):
    alias_of("a" + _h, "arc" + _h)
    alias_of("a" + _h + "h", "arc" + _h + "h")
