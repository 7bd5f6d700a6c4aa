"""Signs, magnitudes and rounding: what a number is made of."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import c_float
from typing import Any

from facula._tensor.handle import Tensor
from facula._tensor.tape import attach
from facula.autograd.graph import Rule
from facula.dtypes import FLOAT, bfloat16, bool_, float16, float32, float64, int32
from facula.engine.graph.expr import function, operand, scalar, where, wrap
from facula.engine.graph.node import Formula
from facula.ops.casting import to_dtype
from facula.ops.elementwise.kinds import Binary, unary
from facula.ops.elementwise.pointwise import apply
from facula.ops.elementwise.refusals import dtype_word, of_reals, real_only, refuse_complex, want_operands
from facula.ops.promotion import result_dtype
from facula.ops.registry import alias_of, op
from facula.ops.requirements import require
from facula.ops.type_rules import MODULUS, PROMOTED, SAME

_abs = unary("abs", function("abs"), "any")


_COMPLEX_ABS = Formula("abs", function("abs")(operand(0)))


def _direction(x: Tensor, modulus: Tensor) -> Tensor:
    """x / |x|, and 0 at 0."""
    return x / to_dtype(modulus.masked_fill(modulus == 0, 1), x.dtype)


_COMPLEX_ABS_RULE = Rule("AbsBackward0", lambda ctx, g: (
    to_dtype(g, ctx.dtypes[0]) * _direction(*ctx.saved),))


@op(inplace=True, out=True, types=MODULUS, rules=(_abs, _COMPLEX_ABS_RULE))
def abs(input: Tensor) -> Tensor:
    """Absolute value; of complex elements the modulus, as a real tensor."""
    if input.dtype.is_complex:
        modulus = apply(_COMPLEX_ABS, (input.detach(),), None, input.dtype.to_real())
        return attach(modulus, _COMPLEX_ABS_RULE, (input,), (input, modulus))
    if input.dtype is bool_:
        raise NotImplementedError("\"abs_cpu\" not implemented for 'Bool'")
    return _abs(input)


# Of integers: the result lies as that of a formula, not as that of clone().
_unchanged = unary("unchanged", lambda x: x, "any")

_sign = unary("sign", function("sign"), "any")


@op(inplace=True, out=True, types=SAME, rules=(_sign,))
def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1. NaN gives 0, as in torch."""
    if input.dtype is bool_:
        return _unchanged(input)
    if input.dtype.is_complex:
        raise NotImplementedError("Unlike NumPy, torch.sign is not intended to support complex "
                                  "numbers. Please use torch.sgn instead.")
    return _sign(input)


@op(inplace=True, out=True, types=SAME)
def sgn(input: Tensor) -> Tensor:
    """sign; of complex elements x / |x|, and 0 at 0."""
    return _direction(input, abs(input)) if input.dtype.is_complex else sign(input)


op(real_only("copysign", Binary("copysign", function("copysign"), "float"), 1), inplace=True, out=True)


def _neighbour(digits: int, smallest: float, least_normal: float, largest: float) -> Any:
    """The formula for `nextafter` of a type that is computed in single precision and rounded to its own: somewhere
    past the middle between neighbours. (In powers of 2 they are half as far apart downwards.)"""
    past = 2.0 ** -digits * (1.0 + 2.0 ** (2 - digits))

    def formula(x: Any, y: Any) -> Any:
        up = y > x
        size = _size(x)
        away = _eq(up, x > 0.0)
        step = where(size <= least_normal, x + where(up, smallest, -smallest),
                     where(_isinf(x), _copysign(largest, x), x * where(away, 1.0 + past, 1.0 - past)))
        return where(_isnan(x) | _isnan(y), x + y, where(_eq(x, y), y, where(_eq(x, 0.0), step, _copysign(step, x))))
    return formula


_isnan, _eq, _isinf, _size, _copysign = map(function, ("isnan", "eq", "isinf", "abs", "copysign"))
_nextafter = Binary("nextafter", function("nextafter"), "float")
_NARROW = {of: Binary("nextafter", _neighbour(*facts), "float", "same", lambda a, b: (
    where(_eq(a, b), 0.0, 1.0), wrap(0.0))) for of, facts in (
        (float16, (11, 2.0 ** -24, 2.0 ** -14, 65504.0)),
        (bfloat16, (8, 2.0 ** -133, 2.0 ** -126, (2.0 - 2.0 ** -7) * 2.0 ** 127)))}


@op(inplace=True, out=True, types=_nextafter.types, rules=(_nextafter, *_NARROW.values()))
def nextafter(input: Tensor, other: Tensor) -> Tensor:
    """The next number of its type from `input` towards `other`."""
    want_operands("nextafter", input, other)
    refuse_complex("nextafter_cpu", input, other)
    return _NARROW.get(result_dtype((input, other)), _nextafter)(input, other)


op(of_reals(unary("signbit", function("signbit"), "any", "bool"),
            NotImplementedError("signbit is not implemented for complex tensors.")), out=True)
_heaviside = Binary("heaviside", lambda a, b: where(_eq(a, 0), b, where(a > 0, 1, 0)))


@op(inplace=True, out=True, types=PROMOTED, rules=(_heaviside,))
def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """0 below zero, 1 above, and `values` at zero."""
    want_operands("heaviside", input, values, names=("input", "values"))
    if input.dtype.is_complex or values.dtype.is_complex:
        raise RuntimeError("heaviside is not yet implemented for complex tensors.")
    if input.dtype is not values.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")
    return _heaviside(input, values)


# ---- rounding ------------------------------------------------------------------------------------

def _rounding(name: str) -> Callable[..., Tensor]:
    body = unary(name, function(name), "any")

    def rounded(input: Tensor) -> Tensor:
        if input.dtype.is_complex:
            raise NotImplementedError(f"{name} is not supported for complex inputs")
        if input.dtype is bool_:
            raise NotImplementedError(f"\"{name}_vml_cpu\" not implemented for 'Bool'")
        return _unchanged(input) if input.dtype.category < FLOAT else body(input)
    rounded.__name__ = name
    return op(rounded, inplace=True, out=True, types=SAME, rules=(body,))


floor, ceil, trunc = map(_rounding, ("floor", "ceil", "trunc"))
_round = unary("round", function("round"), "any")


@op(inplace=True, out=True, types=SAME)
def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """Nearest integer, half to even; with `decimals` to that decimal place."""
    if input.dtype.is_complex or input.dtype is bool_:
        raise NotImplementedError(f"\"round_vml_cpu\" not implemented for '{dtype_word(input)}'")
    if input.dtype.category < FLOAT:
        return _unchanged(input)
    if decimals == 0:
        return _round(input)
    scale = 10.0 ** _magnitude(decimals)
    return _round(input * scale) / scale if decimals > 0 else _round(input / scale) * scale


def _magnitude(n: int) -> int:
    return n if n >= 0 else -n


@op(inplace=True, out=True, types=SAME)
def frac(input: Tensor) -> Tensor:
    """The fractional part, with the sign of the element."""
    if input.dtype.category < FLOAT:
        raise NotImplementedError(f"\"frac_cpu\" not implemented for '{dtype_word(input)}'")
    return input - input.trunc()


_level = function("round")(operand(0) * scalar(0)) + scalar(1)
_lowest, _highest = scalar(2), scalar(3)
_FAKE = Formula("fake_quantize", (where(_level >= _lowest, where(_level <= _highest, _level, _highest), _lowest)
                                  - scalar(1)) * scalar(4))
_THROUGH = Formula("mul", where((_level >= _lowest) & (_level <= _highest), operand(1), 0.0))
_FAKE_RULE = Rule("FakeQuantizePerTensorAffineCachemaskBackward0", lambda ctx, g: (
    apply(_THROUGH, (ctx.saved[0].detach(), g), ctx.saved[1][:4], g.dtype),))


@op(method=False, types=SAME, rules=(_FAKE_RULE,))
def fake_quantize_per_tensor_affine(input: Tensor, scale: float, zero_point: int, quant_min: int,
                                    quant_max: int) -> Tensor:
    """What is left of each element after quantization to `quant_min` .. `quant_max` and back.

    The gradient passes where the element is within the range, and is 0 elsewhere. NaN becomes the lowest level. Raises
    RuntimeError for an empty range or a `zero_point` outside it, NotImplementedError for integers, and for a scale or
    zero point that is a tensor.

    >>> import facula
    >>> facula.fake_quantize_per_tensor_affine(facula.tensor([0.26, 9.0]), 0.5, 0, -4, 3)
    tensor([0.5000, 1.5000])
    """
    if isinstance(scale, Tensor) or isinstance(zero_point, Tensor):
        raise NotImplementedError("fake_quantize_per_tensor_affine: scale and zero_point as tensors")
    if input.dtype.category != FLOAT:
        raise NotImplementedError("\"fake_quantize_tensor_cachemask_kernel_type_handling\" not implemented for "
                                  f"'{dtype_word(input)}'")
    if quant_min > quant_max:
        raise RuntimeError("`quant_min` should be less than or equal to `quant_max`.")
    if not quant_min <= zero_point <= quant_max:
        raise RuntimeError("`zero_point` must be between `quant_min` and `quant_max`.")
    size = c_float(scale).value  # PyTorch's scales, and its products with them, are float32 whatever the input is
    numbers = (c_float(1.0 / size).value, float(zero_point), float(quant_min), float(quant_max), size)
    out = to_dtype(to_dtype(apply(_FAKE, (input.detach(),), numbers, input.dtype), float32), input.dtype)
    return attach(out, _FAKE_RULE, (input,), (input, numbers))


_inverse, _zero = operand(1), operand(2)
_LEVELS = (function("round")(operand(0) * _inverse) + _zero,  # of whole zero points
           function("round")(operand(0) * _inverse + _zero))
_least, _most = scalar(0), scalar(1)
_INSIDE = [Formula("inside", (level >= _least) & (level <= _most)) for level in _LEVELS]
_FAKE_CHANNELS = [Formula("fake_quantize", (where(level >= _least, where(level <= _most, level, _most), _least) - _zero)
                          * operand(3)) for level in _LEVELS]
_KEPT = Formula("where", where(operand(0), operand(1), 0.0))
_CHANNELS_RULE = Rule("FakeQuantizePerChannelAffineCachemaskBackward0", lambda ctx, g: (
    apply(_KEPT, (ctx.saved[0], g), None, g.dtype),))


@op(method=False, types=SAME, rules=(_CHANNELS_RULE,))
def fake_quantize_per_channel_affine(input: Tensor, scale: Tensor, zero_point: Tensor, axis: int, quant_min: int,
                                     quant_max: int) -> Tensor:
    """`fake_quantize_per_tensor_affine` with a scale and a zero point for each place along `axis`.

    `scale` (C,) float32 or bfloat16, `zero_point` (C,) int32, float32 or float16, of an `input` with C places there. A
    zero point that is no int32 may be a fraction: it is added before rounding. The gradient passes where the element is
    within the range, and is 0 elsewhere. NaN becomes the lowest level. Raises RuntimeError for sizes or dtypes that do
    not fit, an empty range, an int32 zero point outside it and a scale that requires a gradient, NotImplementedError
    for integers.

    >>> import facula
    >>> x = facula.tensor([[0.26, 9.0], [0.26, 9.0]])
    >>> zero = facula.tensor([0, 0], dtype=facula.int32)
    >>> facula.fake_quantize_per_channel_affine(x, facula.tensor([0.5, 1.0]), zero, 0, -4, 3)
    tensor([[0.5000, 1.5000],
            [0.0000, 3.0000]])
    """
    if scale.dtype not in (float32, bfloat16):
        raise RuntimeError(f"Scale must be Float or BFloat16, found {dtype_word(scale)}")
    if zero_point.dtype not in (int32, float32, float16):
        raise RuntimeError(f"Zero-point must be Int32, Float or Half, found {dtype_word(zero_point)}")
    if len(scale.shape) != 1 or len(zero_point.shape) != 1:
        raise RuntimeError(f"{'scale' if len(scale.shape) != 1 else 'zero point'} should be a 1-D tensor")
    if scale.shape != zero_point.shape:
        raise RuntimeError("scale and zero-point need to have the same dimensions")
    if not -len(input.shape) <= axis < len(input.shape):
        raise IndexError(f"Dimension specified as {axis} but tensor has no dimensions" if not input.shape else
                         f"Dimension out of range (expected to be in range of [{-len(input.shape)}, "
                         f"{len(input.shape) - 1}], but got {axis})")
    if scale.shape[0] != input.shape[axis]:
        raise RuntimeError("dimensions of scale and zero-point are not consistent with input tensor")
    if quant_min > quant_max:
        raise RuntimeError("`quant_min` should be less than or         equal to `quant_max`.")
    if axis < 0:
        raise RuntimeError("`axis` must be between 0 and number of dimensions of input")
    if input.dtype.category != FLOAT:
        raise NotImplementedError("\"fake_quantize_channel_cachemask_cpu_type_handling\" not implemented for "
                                  f"'{dtype_word(input)}'")
    if scale._rg:
        raise RuntimeError("The function 'fake_quantize_per_channel_affine_cachemask' is not differentiable with "
                           "respect to argument 'scale'. This input cannot have requires_grad True.")
    fraction = zero_point.dtype is not int32
    if not fraction:
        if not scale.shape[0]:
            raise RuntimeError("min(): Expected reduction dim to be specified for input.numel() == 0. Specify the "
                               "reduction dim with the 'dim' argument.")
        require(zero_point, lambda z: (z >= quant_min) & (z <= quant_max), RuntimeError,
                "`zero_point` must be between `quant_min` and `quant_max`.")
    of = float64 if input.dtype is float64 else float32
    size = to_dtype(scale, float32)
    along = [-1 if k == axis else 1 for k in range(len(input.shape))]
    each = [to_dtype(t, of).reshape(along) for t in (1.0 / size, zero_point, size)]
    x, limits = to_dtype(input.detach(), of), (float(quant_min), float(quant_max))
    out = to_dtype(apply(_FAKE_CHANNELS[fraction], (x, *each), limits, of), input.dtype)
    inside = apply(_INSIDE[fraction], (x, *each[:2]), limits, bool_)
    return attach(out, _CHANNELS_RULE, (input,), (inside,))


alias_of("abs", "absolute")
alias_of("trunc", "fix")
