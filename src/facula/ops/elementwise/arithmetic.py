"""Arithmetic: sums, products, quotients, remainders, powers, and their combinations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula import defaults
from facula._tensor.handle import Tensor
from facula._tensor.reading import lay, read
from facula.dtypes import COMPLEX, FLOAT, bool_, int64
from facula.engine.graph.expr import Expr, function, operand, scalar, where
from facula.engine.graph.node import CONST, Formula
from facula.ops.casting import to_dtype
from facula.ops.elementwise.kinds import Binary, unary
from facula.ops.elementwise.logic import both, either
from facula.ops.elementwise.pointwise import apply, apply2
from facula.ops.elementwise.refusals import check_operands, dtype_word, refuse_complex, want_operands
from facula.ops.promotion import plain_number, result_dtype, scalar_value
from facula.ops.registry import alias_of, op
from facula.ops.requirements import require
from facula.ops.type_rules import PROMOTED, PROMOTED_OF_THREE, QUOTIENT, SAME, SQUARE

_neg = unary("neg", function("neg"), "any")


@op(types=SAME)
def positive(input: Tensor) -> Tensor:
    """`+input`: the tensor itself."""
    if input.dtype is bool_:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


@op(inplace=True, out=True, types=SAME, rules=(_neg,))
def neg(input: Tensor) -> Tensor:
    """Negative of each element. bool tensors are refused, as in torch."""
    if input.dtype is bool_:
        raise RuntimeError("Negation, the `-` operator, on a bool tensor is not supported. If you "
                           "are trying to invert a mask, use the `~` or `logical_not()` operator "
                           "instead.")
    return _neg(input)


def is_bool(x: Any) -> bool:
    return x.dtype is bool_ if isinstance(x, Tensor) else isinstance(x, bool)


def scaled(other: Any, alpha: Any, *operands: Any) -> Any:
    """alpha * other, where alpha's type must fit the result's."""
    alpha, of = plain_number(alpha), result_dtype(operands)
    if isinstance(alpha, bool) and of is not bool_:
        raise RuntimeError("Boolean alpha only supported for Boolean results.")
    if isinstance(alpha, (float, complex)) and of.category < FLOAT:
        raise RuntimeError("For integral input tensors, argument alpha must not be a floating "
                           "point number.")
    if isinstance(alpha, complex) and of.category < COMPLEX:
        raise RuntimeError("For non-complex input tensors, argument alpha must not be a complex number.")
    alpha = scalar_value(alpha, of)
    if not isinstance(other, Tensor):
        other = plain_number(other)
        return other and alpha if of is bool_ else other * alpha  # the product of Python's bools is an integer
    return to_dtype(other, of) * alpha  # of its own dtype the product might not be


_ADD_SCALED = Formula("add", operand(0) + scalar(0) * operand(1))


def _additive(name: str, plain: Binary, sign: float, general: Callable[..., Tensor]) -> Any:
    """`add` or `sub`: floats of one dtype are recorded straight away, all else is `general`."""
    tensors = plain.tt

    def body(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
        if isinstance(other, Tensor) and isinstance(input, Tensor) and input.dtype is other.dtype \
                and input.dtype.category == FLOAT and type(alpha) is not bool:
            if alpha == 1:
                return apply2(tensors, input, other, input.dtype)
            if type(alpha) is float or type(alpha) is int:
                return apply(_ADD_SCALED, (input, other), (sign * float(alpha),), input.dtype)
        check_operands(name, input, other)
        return general(input, other, alpha)
    body.__name__ = body.__qualname__ = name
    body.__doc__ = f"input {'+' if sign > 0 else '-'} alpha * other."
    return op(body, inplace=True, out=True, types=PROMOTED, rules=(plain, _ADD_SCALED))


_add = Binary("add", function("add"))
_sub = Binary("sub", function("sub"))


def _general_add(input: Any, other: Any, alpha: Any) -> Tensor:
    if type(alpha) is not int or alpha != 1:
        other = scaled(other, alpha, input, other)
    if is_bool(input) and is_bool(other):
        return either(input, other)
    return _add(input, other)


def _general_sub(input: Any, other: Any, alpha: Any) -> Tensor:
    if is_bool(input) or is_bool(other):
        if is_bool(input) and is_bool(other):
            raise RuntimeError("Subtraction, the `-` operator, with two bool tensors is not "
                               "supported. Use the `^` or `logical_xor()` operator instead.")
        raise RuntimeError("Subtraction, the `-` operator, with a bool tensor is not supported. If "
                           "you are trying to invert a mask, use the `~` or `logical_not()` "
                           "operator instead.")
    if type(alpha) is not int or alpha != 1:
        other = scaled(other, alpha, input, other)
    return _sub(input, other)


add = _additive("add", _add, 1.0, _general_add)
sub = _additive("sub", _sub, -1.0, _general_sub)


@op(types=PROMOTED)
def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """other - alpha * input."""
    want_operands("rsub", input)
    return sub(other, input, alpha=alpha)  # type: ignore[no-any-return]


_mul = Binary("mul", function("mul"))


@op(inplace=True, out=True, types=PROMOTED, rules=(_mul,))
def mul(input: Any, other: Any) -> Tensor:
    """input * other."""
    check_operands("mul", input, other)
    if is_bool(input) and is_bool(other):
        return both(input, other)
    return _mul(input, other)


alias_of("sub", "subtract")
alias_of("mul", "multiply")
alias_of("neg", "negative")

# ---- division ------------------------------------------------------------------------------------

_div = Binary("div", function("div"), "float")
_floordiv = Binary("floor_divide", function("floordiv"))
_truncdiv = Binary("div", function("truncdiv"))


@op(inplace=True, out=True, types=QUOTIENT, rules=(_div, _truncdiv))
def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """input / other: true division, or rounded to zero ('trunc') or down ('floor')."""
    check_operands("div", input, other)
    if rounding_mode is None:
        return _div(input, other)
    if rounding_mode not in ("trunc", "floor"):
        raise RuntimeError("div expected rounding_mode to be one of None, 'trunc', or 'floor' but "
                           f"found '{rounding_mode}'")
    divide = _truncdiv if rounding_mode == "trunc" else _floordiv
    return _divided(f"div_{rounding_mode}_cpu", divide, input, other)


@op(inplace=True, out=True, types=PROMOTED, rules=(_floordiv,))
def floor_divide(input: Any, other: Any) -> Tensor:
    """Division rounded down, as Python's //."""
    return _divided("div_floor_cpu", _floordiv, input, other)


def _not_zero(x: Any) -> Any:
    return x != 0


def _divided(kernel: str, divide: Callable[..., Tensor], input: Any, other: Any) -> Tensor:
    refuse_complex(kernel, input, other)
    out = divide(input, other)
    _check_divisor(input, other)  # last: a check that is recorded is not taken back when shapes do not fit
    return out


def _check_divisor(input: Any, other: Any) -> None:
    """Integers are not divided by zero (where a divisor is still pending, kernels give 0 until somebody reads)."""
    if isinstance(other, Tensor):
        if other.dtype.category >= FLOAT or isinstance(input, float):
            return
        if isinstance(input, Tensor) and (input.dtype.category >= FLOAT or not input.numel()):
            return
        node = read(other)
        if node.op is not CONST:
            require(other, _not_zero, RuntimeError, "ZeroDivisionError")
            return
        zero = node.scalars[0] == 0  # type: ignore[index]
    else:
        zero = other == 0 and not isinstance(other, float) and input.dtype.category < FLOAT and input.numel()
    if zero:
        raise RuntimeError("ZeroDivisionError")


_remainder = Binary("remainder", function("remainder"))
_fmod = Binary("fmod", function("fmod"))


@op(inplace=True, out=True, types=PROMOTED, rules=(_remainder,))
def remainder(input: Any, other: Any) -> Tensor:
    """Python's %: the sign of the divisor."""
    return _divided("remainder_cpu", _remainder, input, other)


@op(inplace=True, out=True, types=PROMOTED, rules=(_fmod,))
def fmod(input: Any, other: Any) -> Tensor:
    """C's fmod: the sign of the dividend."""
    want_operands("fmod", input)
    return _divided("fmod_cpu", _fmod, input, other)


alias_of("div", "divide", "true_divide")

# What Python's operators come to for floats of one dtype.
FLOAT_FORMULAS = {"add": _add, "sub": _sub, "mul": _mul, "truediv": _div}

# ---- powers --------------------------------------------------------------------------------------

reciprocal = op(unary("reciprocal", lambda x: 1.0 / x), inplace=True, out=True)
_square = unary("pow", lambda x: x * x, "any")
_cube = unary("pow", lambda x: x * x * x, "any")
SMALL_POWERS = {2: _square, 3: _cube}
_pow = Binary("pow", function("pow"))


@op(inplace=True, out=True, types=SQUARE)
def square(input: Tensor) -> Tensor:
    """x * x."""
    return to_dtype(input, int64).mul(input) if input.dtype is bool_ else _square(input)


@op(inplace=True, out=True, types=PROMOTED)
def pow(input: Any, exponent: Any) -> Tensor:
    """input ** exponent."""
    if type(exponent) is int and exponent in SMALL_POWERS and isinstance(input, Tensor) and input.dtype is not bool_:
        return SMALL_POWERS[exponent](input)
    check_operands("pow", input, exponent)
    if isinstance(input, Tensor) and type(exponent) in (int, float):
        of = input.dtype
        if type(exponent) is float and of.category < FLOAT:
            input = to_dtype(input, defaults.get_default_dtype())
            of = input.dtype
        if of is not bool_:
            if exponent in SMALL_POWERS:  # a float
                return SMALL_POWERS[exponent](input)
            if exponent == 1 and not (input._rg or input._base is not None):  # its slope says that it has one, too
                return input.clone()  # type: ignore[no-any-return]
            if exponent == 0.5 and of.category == FLOAT:
                return input.sqrt()  # type: ignore[no-any-return]
            if exponent == -1 and of.category == FLOAT:
                return reciprocal(input)
        if of.category < FLOAT and exponent < 0:
            raise RuntimeError("Integers to negative integer powers are not allowed.")
    out = _pow(input, exponent)
    return out if isinstance(input, Tensor) else lay(out, None)


# ---- combinations --------------------------------------------------------------------------------

_ADDCMUL = Formula("addcmul", operand(0) + scalar(0) * operand(1) * operand(2))
_ADDCDIV = Formula("addcdiv", operand(0) + scalar(0) * (operand(1) / operand(2)))


@op(inplace=True, out=True, types=PROMOTED_OF_THREE, rules=(_ADDCMUL,))
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 * tensor2."""
    of = input.dtype
    if tensor1.dtype is not of or tensor2.dtype is not of:
        of = result_dtype((input, tensor1, tensor2))
    if of is bool_:
        raise NotImplementedError("\"addcmul_cpu_out\" not implemented for 'Bool'")
    tensors = [to_dtype(t, of) for t in (input, tensor1, tensor2)]
    return apply(_ADDCMUL, tensors, (scalar_value(value, of),), of)


@op(inplace=True, out=True, types=PROMOTED_OF_THREE, rules=(_ADDCDIV,))
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 / tensor2."""
    of = input.dtype
    if tensor1.dtype is not of or tensor2.dtype is not of:
        of = result_dtype((input, tensor1, tensor2))
    if of.category < FLOAT:
        raise RuntimeError("Integer division with addcdiv is no longer supported, and in a future  "
                           "release addcdiv will perform a true division of tensor1 and tensor2.")
    tensors = [to_dtype(t, of) for t in (input, tensor1, tensor2)]
    return apply(_ADDCDIV, tensors, (scalar_value(value, of),), of)


_abs = function("abs")


def lerp_formula(a: Expr, b: Expr, w: Expr) -> Expr:
    """a + w * (b - a), in the form that is exact at both ends."""
    return where(_abs(w) < 0.5, a + w * (b - a), b - (b - a) * (1.0 - w))


_LERP_NUMBER = Formula("lerp", lerp_formula(operand(0), operand(1), scalar(0)))
_LERP_TENSOR = Formula("lerp", lerp_formula(operand(0), operand(1), operand(2)))


@op(inplace=True, out=True, types=PROMOTED, rules=(_LERP_NUMBER, _LERP_TENSOR))
def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """input + weight * (end - input), in the form that is exact at both ends."""
    if input.dtype is not end.dtype:
        raise RuntimeError(f"expected dtype {_c_name(input)} for `end` but got dtype "
                           f"{_c_name(end)}")
    if isinstance(weight, Tensor):
        if weight.dtype is not input.dtype and weight.shape:
            raise RuntimeError(f"expected dtype {_c_name(input)} for `weight` but got dtype "
                               f"{_c_name(weight)}")
        if weight.shape:
            _refuse_integers("lerp_kernel_tensor", input)
        return apply(_LERP_TENSOR, (input, end, to_dtype(weight, input.dtype)), None, input.dtype)
    _refuse_integers("lerp_kernel_scalar", input)
    return apply(_LERP_NUMBER, (input, end), (scalar_value(weight, input.dtype),), input.dtype)


def _refuse_integers(kernel: str, input: Tensor) -> None:
    if input.dtype.category < FLOAT:
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{dtype_word(input)}'")


def _c_name(t: Tensor) -> str:
    name = t.dtype.name
    return {"float32": "float", "float64": "double", "int64": "long int"}.get(name, name)
