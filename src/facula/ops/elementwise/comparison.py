"""Order and equality: eq to ge, closeness, NaN and infinity, larger and smaller, clamping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula._tensor.handle import Tensor, is_meta
from facula.defaults import get_default_dtype
from facula.dtypes import FLOAT, bool_, dtype
from facula.engine.graph.expr import Expr, function, operand, scalar, where
from facula.engine.graph.node import Formula
from facula.ops.casting import held, to_dtype
from facula.ops.elementwise.derivatives import slopes
from facula.ops.elementwise.kinds import Binary, unary
from facula.ops.elementwise.logic import truth_values
from facula.ops.elementwise.pointwise import apply, apply1
from facula.ops.elementwise.refusals import (
    dtype_word,
    of_reals,
    real_only,
    refuse_complex,
    refuse_unordered,
    want_operands,
)
from facula.ops.promotion import number_for, result_dtype
from facula.ops.registry import alias_of, op
from facula.ops.type_rules import PROMOTED, PROMOTED_OF_THREE, SAME, TRUTH

_isnan, _isinf = function("isnan"), function("isinf")

COMPARISONS: dict[str, Binary] = {}  # the formulas


def _compared(name: str) -> Callable[..., Tensor]:
    """The comparison `name`. A number is compared in the tensor's type: a half 0.1 equals 0.1."""
    body = COMPARISONS[name] = Binary(name, function(name), "any", "bool")

    def compare(input: Any, other: Any) -> Tensor:
        if (type(other) is float or type(other) is int) and isinstance(input, Tensor):
            of = input.dtype
            if of.itemsize == 2 and of.category == FLOAT:
                other = held(float(other), of)
        return body(input, other)
    return compare


for _name in ("eq", "ne"):
    truth_values(_name, _compared(_name), 1)
for _name in ("lt", "le", "gt", "ge"):
    op(real_only(_name, _compared(_name), 1), inplace=True, out=True, types=TRUTH)


@op(method=True, types=TRUTH)
def isclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8,
            equal_nan: bool = False) -> Tensor:
    """|input - other| <= atol + rtol * |other|, element by element."""
    want_operands("isclose", input, other)
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{dtype_word(input)} did not match {dtype_word(other)}")
    for name, tolerance in (("rtol", rtol), ("atol", atol)):
        if tolerance < 0:
            raise RuntimeError(f"{name} must be greater than or equal to zero, but got {tolerance}")
    with_nan = input.eq(other)
    if equal_nan and input.dtype.category >= FLOAT:
        with_nan = with_nan | (input.isnan() & other.isnan())
    if input.dtype is bool_ or not rtol and not atol:
        return with_nan
    if input.dtype.category < FLOAT:  # differences of integers would wrap around
        other = to_dtype(other, get_default_dtype())
    off = (input - other).abs()
    return with_nan | (off.isfinite() & (off <= other.abs() * rtol + atol))


@op
def allclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8,
             equal_nan: bool = False) -> bool:
    """Are all elements close?"""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


@op
def equal(input: Tensor, other: Tensor) -> bool:
    """Same shape and same elements?"""
    want_operands("equal", input, other)
    if is_meta(input) or is_meta(other):
        raise NotImplementedError("equal: a meta tensor has no elements")
    if input.shape != other.shape:
        return False
    return bool(input.eq(other).all())


alias_of("ne", "not_equal")
alias_of("lt", "less")
alias_of("le", "less_equal")
alias_of("gt", "greater")
alias_of("ge", "greater_equal")

# ---- NaN and infinity ----------------------------------------------------------------------------

isnan = op(unary("isnan", _isnan, "any", "bool"))
isinf = op(unary("isinf", _isinf, "any", "bool"))
op(unary("isfinite", lambda x: ~(_isnan(x) | _isinf(x)), "any", "bool"))
for _body in (unary("isposinf", lambda x: _isinf(x) & (x > 0), "any", "bool"),
              unary("isneginf", lambda x: _isinf(x) & (x < 0), "any", "bool")):
    op(of_reals(_body, RuntimeError(f"{_body.__name__} does not support complex inputs.")), out=True)


_NAN_TO_NUM = Formula("nanToNum", where(
    _isnan(operand(0)), scalar(0), where(_isinf(operand(0)), where(
        operand(0) > 0.0, scalar(1), scalar(2)), operand(0))))


@op(inplace=True, out=True, types=SAME, rules=(_NAN_TO_NUM,))
def nan_to_num(input: Tensor, nan: float = 0.0, posinf: float | None = None,
               neginf: float | None = None) -> Tensor:
    """NaN and infinities replaced by numbers (default: 0 and the dtype's largest and smallest)."""
    if input.dtype.category < FLOAT:
        return input.clone()
    if input.dtype.is_complex:  # its parts, each by itself
        from facula.ops.view.dtype_views import view_as_complex, view_as_real
        return view_as_complex(nan_to_num(view_as_real(input), nan, posinf, neginf))  # type: ignore[no-any-return]
    from facula.numeric_limits import finfo
    limits = finfo(input.dtype)
    values = (float(nan or 0.0), limits.max if posinf is None else float(posinf),
              limits.min if neginf is None else float(neginf))
    return apply(_NAN_TO_NUM, (input,), values, input.dtype)


# ---- larger and smaller --------------------------------------------------------------------------

def _extremum(name: str, body: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def two(input: Tensor, other: Tensor) -> Tensor:
        want_operands(name, input, other)
        if input.dtype.is_complex or other.dtype.is_complex:
            refuse_unordered(name, input, other)
        return body(input, other)
    two.__name__ = name
    return op(two, out=True, types=PROMOTED, rules=(body,))


def _extremum_skipping_nan(name: str, wins: Callable[..., Expr]) -> None:
    # Of equal operands the first has the whole gradient, as in torch.
    body = Binary(name, lambda a, b: where(wins(a, b) | _isnan(b), a, b))

    def skipping(input: Tensor, other: Tensor) -> Tensor:
        want_operands(name, input, other)
        refuse_unordered(name, input, other)
        return body(input, other)
    skipping.__name__ = name
    op(skipping, out=True, types=PROMOTED, rules=(body,))


maximum, minimum = [_extremum(_name, Binary(_name, function(_name))) for _name in ("maximum", "minimum")]
for _name, _wins in (("fmax", "ge"), ("fmin", "le")):
    _extremum_skipping_nan(_name, function(_wins))


def _clamp_expr(x: Expr, low: Expr | None, high: Expr | None) -> Expr:
    """Written as selections: a NaN stays what it is."""
    out = x
    if low is not None:
        out = where(x < low, low, x)
    if high is not None:
        out = where(out > high, high, out)
    return out


_CLAMPS = {
    (True, False): Formula("clamp", _clamp_expr(operand(0), scalar(0), None)),
    (False, True): Formula("clamp", _clamp_expr(operand(0), None, scalar(0))),
    (True, True): Formula("clamp", _clamp_expr(operand(0), scalar(0), scalar(1))),
}
# The bounds themselves pass the gradient, NaN does not: as in torch.
slopes[_CLAMPS[True, False]] = (where(operand(0) >= scalar(0), 1.0, 0.0),)
slopes[_CLAMPS[False, True]] = (where(operand(0) <= scalar(0), 1.0, 0.0),)
slopes[_CLAMPS[True, True]] = (where((operand(0) >= scalar(0)) & (operand(0) <= scalar(1)), 1.0, 0.0),)
_x, _low, _high = operand(0), operand(1), operand(2)
_BETWEEN = Formula("clamp", function("minimum")(function("maximum")(_x, _low), _high))
slopes[_BETWEEN] = (where((_x >= _low) & (_x <= _high), 1.0, 0.0), where((_x < _low) & (_low < _high), 1.0, 0.0),
                    where((_x > _high) | (_high < _low), 1.0, 0.0))
_AT_LEAST = Binary("clampMin", function("maximum"), partials=lambda x, low: (
    where(x >= low, 1.0, 0.0), where(x < low, 1.0, 0.0)))
_AT_MOST = Binary("clampMax", function("minimum"), partials=lambda x, high: (
    where(x <= high, 1.0, 0.0), where(x > high, 1.0, 0.0)))


def _bound_fits(bound: Any, of: dtype) -> None:
    from facula.ops.create.sequences import fits

    if of.category < FLOAT:
        fits(int(bound), of)


@op(inplace=True, out=True, types=PROMOTED_OF_THREE)
def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Elements below `min` become `min`, above `max` `max`; bounds are numbers or tensors."""
    if type(min) is float or type(min) is int:
        if min == min and max is None and input.dtype.is_floating_point:
            return apply1(_CLAMPS[True, False], input, (float(min),), input.dtype)
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if input.dtype.is_complex:
        raise NotImplementedError("clamp is not supported for complex types")
    bounds = [b for b in (min, max) if b is not None]
    refuse_complex("clamp_cpu", *bounds)
    of = result_dtype((input, *bounds))
    x = to_dtype(input, of)
    numbers = not any(isinstance(b, Tensor) for b in bounds)
    if of is bool_ and (numbers or len(bounds) == 2):
        kind = "" if not numbers else "max_scalar_" if min is None else "min_scalar_" if max is None else "scalar_"
        raise NotImplementedError(f"\"clamp_{kind}cpu\" not implemented for 'Bool'")
    if numbers:
        formula = _CLAMPS[min is not None, max is not None]
        if max is not None and max != max or min is not None and min != min:
            return apply(Formula("clamp", operand(0) * 0 + float("nan")), (x,), None, of)
        for b in bounds:
            _bound_fits(b, of)
        return apply(formula, (x,), tuple(number_for(b, of) for b in bounds), of)
    if isinstance(min, Tensor) and isinstance(max, Tensor):
        return apply(_BETWEEN, (x, to_dtype(min, of), to_dtype(max, of)), None, of)
    if min is not None:
        x = _AT_LEAST(x, to_dtype(min, of)) if isinstance(min, Tensor) else clamp(x, min)
    if max is not None:
        x = _AT_MOST(x, to_dtype(max, of)) if isinstance(max, Tensor) else clamp(x, None, max)
    return x


@op(inplace=True, out=True, types=PROMOTED)
def clamp_min(input: Tensor, min: Any) -> Tensor:
    return clamp(input, min)


@op(inplace=True, out=True, types=PROMOTED)
def clamp_max(input: Tensor, max: Any) -> Tensor:
    return clamp(input, None, max)


alias_of("clamp", "clip")
