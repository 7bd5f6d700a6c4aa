"""Arithmetic, comparison, logic, powers and elementary functions, with Python's operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula import defaults
from facula.autograd.graph import Rule
from facula.dtypes import FLOAT, bool_, int64
from facula.engine.graph.expr import Expr, function, operand, scalar, where
from facula.engine.graph.node import CONST, META, Formula
from facula.engine.realize import value_of
from facula.ops.pointwise import Binary, apply, apply1, apply2, number_for, result_dtype, to_dtype, unary
from facula.ops.registry import alias_of, op, write_back
from facula.tensor import Tensor, attach, is_meta, read

X = {n: function(n) for n in (
    "add", "sub", "mul", "div", "neg", "abs", "sign", "floordiv", "truncdiv", "remainder", "fmod", "maximum", "minimum",
    "floor", "ceil", "trunc", "round", "sqrt", "rsqrt", "pow", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p",
    "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf",
    "erfc", "erfinv", "lgamma", "digamma", "eq", "ne", "lt", "le", "gt", "ge", "isnan", "isinf", "signbit", "copysign",
    "nextafter", "hypot", "and", "or", "xor", "not", "lshift", "rshift")}

# ---- dtypes that an operation refuses -------------------------------------------------------------------


def _type_word(x: Any) -> str:
    from facula.ops.registry import DTYPE_NAMES
    return DTYPE_NAMES[x.dtype.name] if isinstance(x, Tensor) else type(x).__name__


def _result_word(*operands: Any) -> str:
    from facula.ops.registry import DTYPE_NAMES
    return DTYPE_NAMES[result_dtype(operands).name]


def refuse_complex(kernel: str, *operands: Any) -> None:
    """Raise what torch raises where its `kernel` has no complex numbers, and there is no order among them."""
    for x in operands:
        if isinstance(x, complex) or isinstance(x, Tensor) and x.dtype.is_complex:
            raise NotImplementedError(f"\"{kernel}\" not implemented for '{_result_word(*operands)}'")


def _no_order(name: str, *operands: Any) -> None:
    for x in operands:
        if isinstance(x, complex) or isinstance(x, Tensor) and x.dtype.is_complex:
            raise RuntimeError(f"{name} not implemented for complex tensors.")


# ---- one tensor -----------------------------------------------------------------------------------------

_FLOAT_UNARY = ("sqrt", "rsqrt", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin",
                "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh")
for _name in _FLOAT_UNARY:
    op(unary(_name, X[_name]), inplace=True, out=True)
for _name in ("erf", "erfc", "erfinv", "lgamma", "digamma"):
    def _make_real(name: str, body: Callable[..., Tensor]) -> None:
        def real(input: Tensor) -> Tensor:
            if isinstance(input, Tensor) and input.dtype.is_complex:
                refuse_complex(name if name == "digamma" else f"{name}_vml_cpu", input)
            return body(input)
        real.__name__ = name
        op(real, inplace=True, out=True)
    _make_real(_name, unary(_name, X[_name]))

op(unary("sigmoid", lambda x: 1.0 / (1.0 + X["exp"](-x))), inplace=True, out=True)
op(unary("sinc", lambda x: where(X["eq"](x, 0.0), 1.0, X["sin"](x * 3.141592653589793) / where(
    X["eq"](x, 0.0), 1.0, x * 3.141592653589793))), inplace=True, out=True)
op(unary("deg2rad", lambda x: x * 0.017453292519943295), inplace=True, out=True)
op(unary("rad2deg", lambda x: x * 57.29577951308232), inplace=True, out=True)
op(unary("isnan", X["isnan"], "any", "bool"))
op(unary("isinf", X["isinf"], "any", "bool"))
op(unary("isfinite", lambda x: ~(X["isnan"](x) | X["isinf"](x)), "any", "bool"))
op(unary("isposinf", lambda x: X["isinf"](x) & (x > 0), "any", "bool"), out=True)
op(unary("isneginf", lambda x: X["isinf"](x) & (x < 0), "any", "bool"), out=True)
op(unary("signbit", X["signbit"], "any", "bool"), out=True)
op(unary("logical_not", lambda x: X["eq"](x, 0), "any", "bool"), inplace=True, out=True)
_neg = unary("neg", X["neg"], "any")
_reciprocal = op(unary("reciprocal", lambda x: 1.0 / x), inplace=True, out=True)
_square = unary("pow", lambda x: x * x, "any")
_cube = unary("pow", lambda x: x * x * x, "any")
_abs = unary("abs", X["abs"], "any")
_sign = unary("sign", X["sign"], "any")


@op(inplace=True, out=True)
def neg(input: Tensor) -> Tensor:
    """Negative of each element. bool tensors are refused, as in torch."""
    if input.dtype is bool_:
        raise RuntimeError("Negation, the `-` operator, on a bool tensor is not supported. If you are trying to "
                           "invert a mask, use the `~` or `logical_not()` operator instead.")
    return _neg(input)


@op(inplace=True, out=True)
def square(input: Tensor) -> Tensor:
    """x * x."""
    return to_dtype(input, int64).mul(input) if input.dtype is bool_ else _square(input)


@op(inplace=True, out=True)
def abs(input: Tensor) -> Tensor:
    """Absolute value; of complex elements the modulus, as a real tensor."""
    if input.dtype.is_complex:
        modulus = apply(_COMPLEX_ABS, (input.detach(),), None, input.dtype.to_real())
        return attach(modulus, _COMPLEX_ABS_RULE, (input,), (input, modulus))
    if input.dtype is bool_:
        raise NotImplementedError("\"abs_cpu\" not implemented for 'Bool'")
    return _abs(input)


_COMPLEX_ABS = Formula("abs", X["abs"](operand(0)))


def _unit(x: Tensor, modulus: Tensor) -> Tensor:
    """x / |x|, and 0 at 0."""
    return x / to_dtype(modulus.masked_fill(modulus == 0, 1), x.dtype)


_COMPLEX_ABS_RULE = Rule("AbsBackward0", lambda ctx, g: (to_dtype(g, ctx.dtypes[0]) * _unit(*ctx.saved),))


@op(inplace=True, out=True)
def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1. NaN gives 0, as in torch."""
    if input.dtype is bool_:
        return input.clone()
    if input.dtype.is_complex:
        raise NotImplementedError("Unlike NumPy, torch.sign is not intended to support complex numbers. Please "
                                  "use torch.sgn instead.")
    return _sign(input)


@op(inplace=True, out=True)
def sgn(input: Tensor) -> Tensor:
    """sign; of complex elements x / |x|, and 0 at 0."""
    return _unit(input, abs(input)) if input.dtype.is_complex else sign(input)


for _name in ("floor", "ceil", "trunc"):
    def _make(name: str, body: Callable[..., Tensor]) -> None:
        def rounded(input: Tensor) -> Tensor:
            if input.dtype.is_complex:
                raise NotImplementedError(f"{name} is not supported for complex inputs")
            if input.dtype is bool_:
                raise NotImplementedError(f"\"{name}_vml_cpu\" not implemented for 'Bool'")
            return input.clone() if input.dtype.category < FLOAT else body(input)
        rounded.__name__ = name
        op(rounded, inplace=True, out=True)
    _make(_name, unary(_name, X[_name], "any"))
_round = unary("round", X["round"], "any")


@op(inplace=True, out=True)
def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """Nearest integer, half to even; with `decimals` to that decimal place."""
    if input.dtype.is_complex or input.dtype is bool_:
        raise NotImplementedError(f"\"round_vml_cpu\" not implemented for '{_type_word(input)}'")
    if input.dtype.category < FLOAT:
        return input.clone()
    if decimals == 0:
        return _round(input)
    scale = 10.0 ** _magnitude(decimals)
    return _round(input * scale) / scale if decimals > 0 else _round(input / scale) * scale


def _magnitude(n: int) -> int:
    return n if n >= 0 else -n


@op(inplace=True, out=True)
def frac(input: Tensor) -> Tensor:
    """The fractional part, with the sign of the element."""
    if input.dtype.category < FLOAT:
        raise NotImplementedError(f"\"frac_cpu\" not implemented for '{_type_word(input)}'")
    return input - input.trunc()


@op(inplace=True, out=True)
def bitwise_not(input: Tensor) -> Tensor:
    """~x: bitwise for integers, logical for bool."""
    if input.dtype.category >= FLOAT:
        raise NotImplementedError(f"\"bitwise_not_cpu\" not implemented for '{_type_word(input)}'")
    return _not(input)


_not = unary("bitwise_not", X["not"], "any")

# ---- two tensors ----------------------------------------------------------------------------------------

_add = Binary("add", X["add"])
_sub = Binary("sub", X["sub"])
_mul = Binary("mul", X["mul"])
_div = Binary("div", X["div"], "float")
_ADD_SCALED = Formula("add", operand(0) + scalar(0) * operand(1))
_or = Binary("bitwise_or", X["or"])
_and = Binary("bitwise_and", X["and"])
_xor = Binary("bitwise_xor", X["xor"])
_pow = Binary("pow", X["pow"])


def _is_bool(x: Any) -> bool:
    return x.dtype is bool_ if isinstance(x, Tensor) else isinstance(x, bool)


def _check(what: str, *operands: Any) -> None:
    for k, x in enumerate(operands):
        if not isinstance(x, (Tensor, int, float, complex)) and not hasattr(x, "__float__"):
            raise TypeError(f"{what}(): argument '{('input', 'other')[k]}' (position {k + 1}) must be Tensor, not "
                            f"{type(x).__name__}")


def _scaled(other: Any, alpha: Any, *operands: Any) -> Any:
    """alpha * other, where alpha's type must fit the result's."""
    if isinstance(alpha, bool) and not all(_is_bool(x) for x in operands):
        raise RuntimeError("Boolean alpha only supported for Boolean results.")
    if isinstance(alpha, float) and result_dtype(operands).category < FLOAT:
        raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")
    if all(_is_bool(x) for x in operands):
        alpha = bool(alpha)  # a number would make it an integer
    return other * alpha


@op(inplace=True, out=True)
def add(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """input + alpha * other."""
    if isinstance(other, Tensor) and isinstance(input, Tensor) and input.dtype is other.dtype \
            and input.dtype.category == FLOAT and type(alpha) is not bool:
        if alpha == 1:
            return apply2(_add.tt, input, other, input.dtype)
        if type(alpha) is float or type(alpha) is int:
            return apply(_ADD_SCALED, (input, other), (float(alpha),), input.dtype)
    _check("add", input, other)
    if alpha != 1 or isinstance(alpha, bool):
        other = _scaled(other, alpha, input, other)
    if _is_bool(input) and _is_bool(other):
        return _or(input, other)
    return _add(input, other)


@op(inplace=True, out=True)
def sub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """input - alpha * other."""
    if isinstance(other, Tensor) and isinstance(input, Tensor) and input.dtype is other.dtype \
            and input.dtype.category == FLOAT and type(alpha) is not bool:
        if alpha == 1:
            return apply2(_sub.tt, input, other, input.dtype)
        if type(alpha) is float or type(alpha) is int:
            return apply(_ADD_SCALED, (input, other), (-float(alpha),), input.dtype)
    _check("sub", input, other)
    if _is_bool(input) or _is_bool(other):
        if _is_bool(input) and _is_bool(other):
            raise RuntimeError("Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or "
                               "`logical_xor()` operator instead.")
        raise RuntimeError("Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to "
                           "invert a mask, use the `~` or `logical_not()` operator instead.")
    if alpha != 1:
        other = _scaled(other, alpha, input, other)
    return _sub(input, other)


@op
def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """other - alpha * input."""
    return sub(other, input, alpha=alpha)


@op(inplace=True, out=True)
def mul(input: Any, other: Any) -> Tensor:
    """input * other."""
    _check("mul", input, other)
    if _is_bool(input) and _is_bool(other):
        return _and(input, other)
    return _mul(input, other)


_floordiv = Binary("floor_divide", X["floordiv"])
_truncdiv = Binary("div", X["truncdiv"])


@op(inplace=True, out=True)
def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """input / other: true division, or rounded to zero ('trunc') or down ('floor')."""
    _check("div", input, other)
    if rounding_mode is None:
        return _div(input, other)
    if rounding_mode not in ("trunc", "floor"):
        raise RuntimeError(f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found "
                           f"'{rounding_mode}'")
    _check_divisor(f"div_{rounding_mode}_cpu", input, other)
    return (_truncdiv if rounding_mode == "trunc" else _floordiv)(input, other)


@op(inplace=True, out=True)
def floor_divide(input: Any, other: Any) -> Tensor:
    """Division rounded down, as Python's //."""
    _check_divisor("div_floor_cpu", input, other)
    return _floordiv(input, other)


def _check_divisor(kernel: str, input: Any, other: Any) -> None:
    """Integers are not divided by zero. Kernels have no way to raise, so a divisor that is still pending is
    computed here: dividing integers by a tensor is rare enough."""
    refuse_complex(kernel, input, other)
    if isinstance(other, Tensor):
        if other.dtype.category >= FLOAT or isinstance(input, float) or isinstance(input, Tensor) and (
                input.dtype.category >= FLOAT or not input.numel()):
            return
        node = read(other)
        if node.op is META:
            zero = False
        elif node.op is not CONST:
            zero = not value_of(node).all()
        else:
            zero = node.scalars[0] == 0  # type: ignore[index]
    else:
        zero = other == 0 and not isinstance(other, float) and input.dtype.category < FLOAT
    if zero:
        raise RuntimeError("ZeroDivisionError")


_remainder = Binary("remainder", X["remainder"])
_fmod = Binary("fmod", X["fmod"])


@op(inplace=True, out=True)
def remainder(input: Any, other: Any) -> Tensor:
    """Python's %: the sign of the divisor."""
    _check_divisor("remainder_cpu", input, other)
    return _remainder(input, other)


@op(inplace=True, out=True)
def fmod(input: Any, other: Any) -> Tensor:
    """C's fmod: the sign of the dividend."""
    _check_divisor("fmod_cpu", input, other)
    return _fmod(input, other)


@op(inplace=True, out=True)
def pow(input: Any, exponent: Any) -> Tensor:
    """input ** exponent."""
    _check("pow", input, exponent)
    if isinstance(input, Tensor) and type(exponent) in (int, float):
        of = input.dtype
        if type(exponent) is float and of.category < FLOAT:
            input = to_dtype(input, defaults.get_default_dtype())
            of = input.dtype
        if of is not bool_:
            if exponent == 2:
                return _square(input)
            if exponent == 1:
                return input.clone()  # type: ignore[no-any-return]
            if exponent == 3:
                return _cube(input)
            if exponent == 0.5 and of.category == FLOAT:
                return input.sqrt()  # type: ignore[no-any-return]
            if exponent == -1 and of.category == FLOAT:
                return _reciprocal(input)
        if of.category < FLOAT and exponent < 0:
            raise RuntimeError("Integers to negative integer powers are not allowed.")
    return _pow(input, exponent)


for _name in ("atan2", "hypot", "copysign", "nextafter"):
    def _make2(name: str, body: Callable[..., Tensor]) -> None:
        def two(input: Any, other: Any) -> Tensor:
            refuse_complex(f"{name}_cpu", input, other)
            return body(input, other)
        two.__name__ = name
        op(two, inplace=True, out=True)
    _make2(_name, Binary(_name, X[_name], "float"))
for _name in ("maximum", "minimum"):
    def _make3(name: str, body: Callable[..., Tensor]) -> None:
        def two(input: Tensor, other: Tensor) -> Tensor:
            if not isinstance(other, Tensor):
                raise TypeError(f"{name}(): argument 'other' (position 2) must be Tensor, not {type(other).__name__}")
            if input.dtype.is_complex or other.dtype.is_complex:
                _no_order(name, input, other)
            return body(input, other)
        two.__name__ = name
        op(two, out=True)
    _make3(_name, Binary(_name, X[_name]))
for _name, _other in (("fmax", "maximum"), ("fmin", "minimum")):
    def _make_skipping(name: str, body: Callable[..., Tensor]) -> None:
        def skipping(input: Tensor, other: Tensor) -> Tensor:
            _no_order(name, input, other)
            return body(input, other)
        skipping.__name__ = name
        op(skipping, out=True)
    _make_skipping(_name, Binary(_name, lambda a, b, of=X[_other]: where(  # type: ignore[misc]
        X["isnan"](b), a, where(X["isnan"](a), b, of(a, b)))))
_xlogy = Binary("xlogy", lambda a, b: where(
    X["isnan"](b), b, where(X["eq"](a, 0.0), 0.0, a * X["log"](b))), "float")


@op(inplace=True, out=True)
def xlogy(input: Any, other: Any) -> Tensor:
    """input * log(other), 0 where input is 0."""
    refuse_complex("xlogy_cpu", input, other)
    return _xlogy(input, other)


_logaddexp = Binary("logaddexp", lambda a, b: where(
    X["eq"](a, b), a + 0.6931471805599453,
    X["maximum"](a, b) + X["log1p"](X["exp"](-X["abs"](a - b)))), "float")


@op(out=True)
def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """log(exp(input) + exp(other)), without overflow."""
    if not (input.dtype.is_complex or other.dtype.is_complex):
        return _logaddexp(input, other)
    from facula.ops.registry import FUNCTIONS
    of = result_dtype((input, other))
    input, other = to_dtype(input, of), to_dtype(other, of)
    a, b = input.detach(), other.detach()
    top = FUNCTIONS["where"](a.real >= b.real, a, b)  # its angle stays in the result, as in torch
    top = FUNCTIONS["where"](FUNCTIONS["isinf"](top.real), 0, top)
    return (input - top).exp().add((other - top).exp()).log() + top  # type: ignore[no-any-return]


op(Binary("logaddexp2", lambda a, b: where(
    X["eq"](a, b), a + 1.0,
    X["maximum"](a, b) + X["log1p"](X["exp2"](-X["abs"](a - b))) * 1.4426950408889634), "float").__call__,
   name="logaddexp2", out=True)
_heaviside = Binary("heaviside", lambda a, b: where(
    X["isnan"](a), a, where(X["eq"](a, 0), b, where(a > 0, 1, 0))))


@op(inplace=True, out=True)
def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """0 below zero, 1 above, and `values` at zero."""
    for k, x in enumerate((input, values)):
        if not isinstance(x, Tensor):
            raise TypeError(f"heaviside(): argument '{('input', 'values')[k]}' (position {k + 1}) must be Tensor, "
                            f"not {type(x).__name__}")
    if input.dtype.is_complex or values.dtype.is_complex:
        raise RuntimeError("heaviside is not yet implemented for complex tensors.")
    if input.dtype is not values.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")
    return _heaviside(input, values)


for _name, _public in (("eq", "eq"), ("ne", "ne"), ("lt", "lt"), ("le", "le"), ("gt", "gt"), ("ge", "ge")):
    def _make4(name: str, body: Callable[..., Tensor], ordered: bool) -> None:
        def compare(input: Any, other: Any) -> Tensor:
            if ordered:
                refuse_complex(f"{name}_cpu", input, other)
            return body(input, other)
        compare.__name__ = name
        op(compare, inplace=True, out=True)
    _make4(_public, Binary(_public, X[_name], "any", "bool"), _name not in ("eq", "ne"))


def _truth(x: Expr) -> Expr:
    return X["ne"](x, 0)


for _name, _expr in (("logical_and", lambda a, b: _truth(a) & _truth(b)),
                     ("logical_or", lambda a, b: _truth(a) | _truth(b)),
                     ("logical_xor", lambda a, b: X["xor"](_truth(a), _truth(b)))):
    def _make5(name: str, body: Callable[..., Tensor]) -> None:
        def logical(input: Any, other: Any) -> Tensor:
            return body(input, other)
        logical.__name__ = name
        op(logical, inplace=True, out=True)
    _make5(_name, Binary(_name, _expr, "any", "bool"))
for _name, _body in (("bitwise_and", _and), ("bitwise_or", _or), ("bitwise_xor", _xor)):
    def _make6(name: str, body: Callable[..., Tensor]) -> None:
        def bitwise(input: Any, other: Any) -> Tensor:
            if result_dtype((input, other)).category >= FLOAT:
                raise NotImplementedError(f"\"{name}_cpu\" not implemented for '{_result_word(input, other)}'")
            return body(input, other)
        bitwise.__name__ = name
        op(bitwise, inplace=True, out=True)
    _make6(_name, _body)
for _name, _fn in (("bitwise_left_shift", "lshift"), ("bitwise_right_shift", "rshift")):
    def _make7(name: str, body: Callable[..., Tensor]) -> None:
        def shift(input: Any, other: Any) -> Tensor:
            if result_dtype((input, other)).category >= FLOAT:
                raise NotImplementedError(f"\"{name}_cpu\" not implemented for '{_type_word(input)}'")
            return body(input, other)
        shift.__name__ = name
        op(shift, inplace=True, out=True)
    _make7(_name, Binary(_name, X[_fn]))


# ---- three --------------------------------------------------------------------------------------------

def _clamp_expr(x: Expr, low: Expr | None, high: Expr | None) -> Expr:
    """The bounds themselves pass the gradient, as in torch: written as selections."""
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


@op(inplace=True, out=True)
def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Elements below `min` become `min`, above `max` become `max`; bounds are numbers or tensors."""
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
    if not any(isinstance(b, Tensor) for b in bounds):
        formula = _CLAMPS[min is not None, max is not None]
        if max is not None and max != max or min is not None and min != min:
            return apply(Formula("clamp", operand(0) * 0 + float("nan")), (x,), None, of)
        return apply(formula, (x,), tuple(number_for(b, of) for b in bounds), of)
    if min is not None:
        x = x.maximum(to_dtype(min, of)) if isinstance(min, Tensor) else clamp(x, min)
    if max is not None:
        x = x.minimum(to_dtype(max, of)) if isinstance(max, Tensor) else clamp(x, None, max)
    return x


@op(inplace=True, out=True)
def clamp_min(input: Tensor, min: Any) -> Tensor:
    return clamp(input, min)


@op(inplace=True, out=True)
def clamp_max(input: Tensor, max: Any) -> Tensor:
    return clamp(input, None, max)


@op(inplace=True, out=True)
def nan_to_num(input: Tensor, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
    """NaN and infinities replaced by numbers (default: 0 and the dtype's largest and smallest)."""
    if input.dtype.category < FLOAT:
        return input.clone()
    from facula.numeric_limits import finfo
    limits = finfo(input.dtype)
    values = (float(nan or 0.0), limits.max if posinf is None else float(posinf),
              limits.min if neginf is None else float(neginf))
    return apply(_NAN_TO_NUM, (input,), values, input.dtype)


_NAN_TO_NUM = Formula("nanToNum", where(
    X["isnan"](operand(0)), scalar(0), where(X["isinf"](operand(0)), where(
        operand(0) > 0.0, scalar(1), scalar(2)), operand(0))))


@op(inplace=True, out=True)
def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """input + weight * (end - input), in the form that is exact at both ends."""
    if input.dtype is not end.dtype:
        raise RuntimeError(f"expected dtype {_c_name(input)} for `end` but got dtype {_c_name(end)}")
    if isinstance(weight, Tensor):
        if weight.dtype is not input.dtype and weight.shape:
            raise RuntimeError(f"expected dtype {_c_name(input)} for `weight` but got dtype {_c_name(weight)}")
        return apply(_LERP_T, (input, end, to_dtype(weight, input.dtype)), None, input.dtype)
    return apply(_LERP_S, (input, end), (number_for(weight, input.dtype),), input.dtype)


def _c_name(t: Tensor) -> str:
    return {"float32": "float", "float64": "double", "int64": "long int"}.get(t.dtype.name, t.dtype.name)


def _lerp(a: Expr, b: Expr, w: Expr) -> Expr:
    return where(X["abs"](w) < 0.5, a + w * (b - a), b - (b - a) * (1.0 - w))


_LERP_S = Formula("lerp", _lerp(operand(0), operand(1), scalar(0)))
_LERP_T = Formula("lerp", _lerp(operand(0), operand(1), operand(2)))
_ADDCMUL = Formula("addcmul", operand(0) + scalar(0) * operand(1) * operand(2))
_ADDCDIV = Formula("addcdiv", operand(0) + scalar(0) * (operand(1) / operand(2)))


@op(inplace=True, out=True)
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 * tensor2."""
    of = input.dtype
    if tensor1.dtype is not of or tensor2.dtype is not of:
        of = result_dtype((input, tensor1, tensor2))
    return apply(_ADDCMUL, [to_dtype(t, of) for t in (input, tensor1, tensor2)], (number_for(value, of),), of)


@op(inplace=True, out=True)
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 / tensor2."""
    of = input.dtype
    if tensor1.dtype is not of or tensor2.dtype is not of:
        of = result_dtype((input, tensor1, tensor2))
    if of.category < FLOAT:
        raise RuntimeError("Integer division with addcdiv is no longer supported, and in a future  release addcdiv "
                           "will perform a true division of tensor1 and tensor2.")
    return apply(_ADDCDIV, [to_dtype(t, of) for t in (input, tensor1, tensor2)], (number_for(value, of),), of)


@op(inplace=True, out=True)
def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """log(x / (1 - x)); with `eps` the input is clamped to [eps, 1 - eps] first."""
    if input.dtype.category < FLOAT:
        input = to_dtype(input, defaults.get_default_dtype())
    if eps is not None:
        input = clamp(input, eps, 1 - eps)
    if input.dtype.category < FLOAT:
        input = to_dtype(input, defaults.get_default_dtype())
    return (input / (1 - input)).log()


@op(method=True)
def isclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """|input - other| <= atol + rtol * |other|, element by element."""
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{_type_word(input)} did not match {_type_word(other)}")
    with_nan = input.eq(other)
    if equal_nan and input.dtype.category >= FLOAT:
        with_nan = with_nan | (input.isnan() & other.isnan())
    if input.dtype is bool_:
        return with_nan
    near = (input - other).abs() <= other.abs() * rtol + atol
    if input.dtype.category >= FLOAT:
        near = near & other.isfinite()
    return with_nan | near


@op
def allclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Are all elements close?"""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


@op
def equal(input: Tensor, other: Tensor) -> bool:
    """Same shape and same elements?"""
    if is_meta(input) or is_meta(other):
        raise NotImplementedError("equal: a meta tensor has no elements")
    if input.shape != other.shape:
        return False
    return bool(input.eq(other).all())


alias_of("sub", "subtract")
alias_of("mul", "multiply")
alias_of("div", "divide", "true_divide")
alias_of("neg", "negative")
alias_of("abs", "absolute")
alias_of("clamp", "clip")
alias_of("ne", "not_equal")
alias_of("lt", "less")
alias_of("le", "less_equal")
alias_of("gt", "greater")
alias_of("ge", "greater_equal")
alias_of("trunc", "fix")
alias_of("atan2", "arctan2")
for _h in ("sin", "cos", "tan"):
    alias_of("a" + _h, "arc" + _h)
    alias_of("a" + _h + "h", "arc" + _h + "h")

# ---- Python's operators -------------------------------------------------------------------------------


def _operator(fn: Any, swap: bool = False, plain: Binary | None = None) -> Any:
    """The dunder of `fn`. `plain`: what `fn` comes to for floats of one dtype and Python numbers, which is
    recorded straight away: most operators that a program runs are of this kind."""
    tensors = plain.tt if plain else None
    number: Any = (plain.st if swap else plain.ts) if plain else None
    powers = {2: _square, 3: _cube} if fn is pow and not swap else {}

    def forward(self: Tensor, other: Any) -> Any:
        of = self.dtype
        if tensors is not None and of.is_floating_point:
            if isinstance(other, Tensor):
                if other.dtype is of and not swap:
                    return apply2(tensors, self, other, of)
            elif type(other) is float or type(other) is int:
                return apply1(number, self, (float(other),), of)
        elif powers and of.is_floating_point and type(other) is int and other in powers:
            return powers[other](self)
        if not isinstance(other, Tensor) and type(other) not in (int, float, bool, complex):
            other = _coerce(other)
            if other is NotImplemented:
                return NotImplemented
        return fn(other, self) if swap else fn(self, other)
    return forward


def _coerce(other: Any) -> Any:
    import numpy as np
    if isinstance(other, np.generic):
        return other.item()
    if isinstance(other, np.ndarray):
        from facula.ops.conversion import tensor
        return tensor(other, device="cpu")
    return NotImplemented


def _invert(self: Tensor) -> Tensor:
    if self.dtype.category >= FLOAT:
        raise TypeError("~ (operator.invert) is only implemented on integer and Boolean-type tensors")
    return bitwise_not(self)


_OPERATORS = {"add": add, "sub": sub, "mul": mul, "truediv": div, "floordiv": floor_divide, "mod": remainder,
              "pow": pow}
for _name, _public_fn in _OPERATORS.items():
    _binary = {"add": _add, "sub": _sub, "mul": _mul, "truediv": _div}.get(_name)
    setattr(Tensor, f"__{_name}__", _operator(_public_fn, plain=_binary))
    setattr(Tensor, f"__r{_name}__", _operator(_public_fn, swap=True, plain=_binary))
_METHODS = {"and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor", "lshift": "bitwise_left_shift",
            "rshift": "bitwise_right_shift"}
for _name, _method in _METHODS.items():
    _fn = getattr(Tensor, _method)
    setattr(Tensor, f"__{_name}__", _operator(_fn))
    setattr(Tensor, f"__r{_name}__", _operator(_fn, swap=True))
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(Tensor, f"__{_name}__", _operator(getattr(Tensor, _name)))
Tensor.__hash__ = object.__hash__  # type: ignore[assignment,method-assign]


def _in_place_operator(fn: Any, name: str, plain: Binary | None) -> Any:
    """`_operator` for `x += y`."""
    def forward(self: Tensor, other: Any) -> Any:
        of = self.dtype
        if plain is not None and of.is_floating_point:
            if isinstance(other, Tensor):
                if other.dtype is of:
                    return write_back(self, apply2(plain.tt, self, other, of), name)
            elif type(other) is float or type(other) is int:
                return write_back(self, apply1(plain.ts, self, (float(other),), of), name)
        if not isinstance(other, Tensor) and type(other) not in (int, float, bool, complex):
            other = _coerce(other)
            if other is NotImplemented:
                return NotImplemented
        return fn(self, other)
    return forward


for _name, _method in {"iadd": "add_", "isub": "sub_", "imul": "mul_", "itruediv": "div_",
                       "ifloordiv": "floor_divide_", "imod": "remainder_", "ipow": "pow_", "iand": "bitwise_and_",
                       "ior": "bitwise_or_", "ixor": "bitwise_xor_", "ilshift": "bitwise_left_shift_",
                       "irshift": "bitwise_right_shift_"}.items():
    _binary = {"iadd": _add, "isub": _sub, "imul": _mul, "itruediv": _div}.get(_name)
    setattr(Tensor, f"__{_name}__", _in_place_operator(getattr(Tensor, _method), _method, _binary))
Tensor.__neg__ = neg  # type: ignore[method-assign]
Tensor.__pos__ = lambda self: self  # type: ignore[assignment,method-assign,return-value]
Tensor.__abs__ = abs  # type: ignore[method-assign]
Tensor.__invert__ = _invert  # type: ignore[assignment,method-assign]
