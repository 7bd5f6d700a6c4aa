"""Activation functions: each is its formula."""

from __future__ import annotations

import math
from typing import Any

from facula._tensor.handle import Tensor
from facula.dtypes import FLOAT, bool_
from facula.engine.graph.expr import Expr, function, operand, scalar, where
from facula.engine.graph.node import Formula
from facula.ops.elementwise.pointwise import apply
from facula.ops.promotion import number_for
from facula.ops.registry import DTYPE_NAMES, FUNCTIONS, METHODS, in_place, op
from facula.ops.type_rules import SAME

F = {n: function(n) for n in ("exp", "expm1", "log1p", "tanh", "erf", "abs", "minimum", "maximum", "sign")}
x = operand(0)


def _floating(name: str, input: Tensor) -> None:
    if not isinstance(input, Tensor):
        raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
    if input.dtype.category != FLOAT:
        raise NotImplementedError(f"\"{name}\" not implemented for '{input.dtype.name}'")


def _sigmoid(v: Expr) -> Expr:
    return 1.0 / (1.0 + F["exp"](-v))


# relu's slope at 0 is 0, and NaN passes: "x <= 0 gives 0", not maximum(x, 0)
_RELU = Formula("relu", where(x <= 0, 0, x))
_LEAKY = Formula("leakyRelu", where(x > 0.0, x, x * scalar(0)))
# At 0 the slope is the curve's, whose own slope there is 0, as torch's: so 0 is a line by itself
_ELU = Formula("elu", where(x > 0.0, x * scalar(1), where(
    x < 0.0, scalar(0) * scalar(1) * F["expm1"](x * scalar(2)), x * (scalar(0) * scalar(1) * scalar(2)))))
_GELU = Formula("gelu", 0.5 * x * (1.0 + F["erf"](x * (1.0 / math.sqrt(2.0)))))
_GELU_TANH = Formula("gelu", 0.5 * x * (1.0 + F["tanh"](math.sqrt(2.0 / math.pi) * (x + 0.044715 * (x * x * x)))))
_SILU = Formula("silu", x * _sigmoid(x))
# softplus without overflow, max(x, 0) + log1p(exp(-|x|)): as one selection, which has the right slopes at 0 too
_MISH = Formula("mish", x * F["tanh"](where(x < 0.0, 0.0, x) + F["log1p"](F["exp"](where(x < 0.0, x, -x)))))
_SOFTPLUS = Formula("softplus", where(x * scalar(0) > scalar(1), x, F["log1p"](F["exp"](x * scalar(0))) / scalar(0)))
_LOGSIGMOID = Formula("logSigmoid", where(x < 0.0, x, 0.0) - F["log1p"](F["exp"](where(x < 0.0, x, -x))))
_HARDTANH = Formula("hardtanh", where(x <= scalar(0), scalar(0), where(x >= scalar(1), scalar(1), x)))
_HARDSIGMOID = Formula("hardsigmoid", where((x > -3.0) & (x < 3.0), x / 6.0 + 0.5,
                                            where(x <= -3.0, 0.0, where(x >= 3.0, 1.0, math.nan))))
_HARDSWISH = Formula("hardswish", where(x <= -3.0, x * 0.0, where(x >= 3.0, x, x * (x + 3.0) / 6.0)))
_HARDSHRINK = Formula("hardshrink", where((x <= scalar(0)) & (x >= -scalar(0)), 0.0, x))
_SOFTSHRINK = Formula("softshrink", where(x > scalar(0), x - scalar(0), where(x < -scalar(0), x + scalar(0), x * 0.0)))
_THRESHOLD = Formula("threshold", where(x <= scalar(0), scalar(1), x))
_PRELU = Formula("preluKernel", where(x > 0.0, x, x * operand(1)))


@op(inplace=True, types=SAME, rules=(_RELU,))
def relu(input: Tensor) -> Tensor:
    """max(x, 0); the gradient at 0 is 0."""
    if input.dtype.name == "bool":
        raise RuntimeError("Boolean inputs not supported for relu")
    if input.dtype.is_complex:
        raise NotImplementedError("clamp is not supported for complex types")
    return apply(_RELU, (input,), None, input.dtype)


def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x where positive, else negative_slope * x."""
    _floating("leaky_relu_cpu", input)
    return apply(_LEAKY, (input,), (float(negative_slope),), input.dtype)


def elu(input: Tensor, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Tensor:
    """x where positive, else alpha * (exp(x) - 1)."""
    _floating("elu_cpu", input)
    return apply(_ELU, (input,), (float(alpha), float(scale), float(input_scale)), input.dtype)


@op(method=False, inplace=True, types=SAME, rules=(_ELU,))
def selu(input: Tensor) -> Tensor:
    """Scaled ELU with the constants of Klambauer et al., 2017."""
    return elu(input, 1.6732632423543772848170429916717, 1.0507009873554804934193349852946)


@op(method=False, inplace=True, types=SAME, rules=(_ELU,))
def celu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1))."""
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return elu(input, alpha, 1.0, 1.0 / alpha)


def gelu(input: Tensor, *, approximate: str = "none") -> Tensor:
    """x * Phi(x) (Hendrycks and Gimpel, 2016); approximate='tanh' uses their tanh form."""
    _floating("GeluKernelImpl", input)
    if approximate not in ("none", "tanh"):
        raise RuntimeError("approximate argument must be either none or tanh.")
    return apply(_GELU if approximate == "none" else _GELU_TANH, (input,), None, input.dtype)


def silu(input: Tensor) -> Tensor:
    """x * sigmoid(x)."""
    _floating("silu_cpu", input)
    return apply(_SILU, (input,), None, input.dtype)


def mish(input: Tensor) -> Tensor:
    """x * tanh(softplus(x))."""
    _floating("mish_cpu", input)
    return apply(_MISH, (input,), None, input.dtype)


def softplus(input: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    """log(1 + exp(beta * x)) / beta; x itself where beta * x > threshold."""
    _floating("softplus_cpu", input)
    return apply(_SOFTPLUS, (input,), (float(beta), float(threshold)), input.dtype)


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x))."""
    _floating("log_sigmoid_cpu", input)
    return apply(_LOGSIGMOID, (input,), None, input.dtype)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """Clamp to [min_val, max_val]; the gradient at the bounds is 0."""
    if input.dtype.is_complex:
        raise NotImplementedError("clamp is not supported for complex types")
    if input.dtype is bool_:
        raise RuntimeError("Bool inputs not supported for hardtanh")
    return apply(_HARDTANH, (input,), (number_for(min_val, input.dtype), number_for(max_val, input.dtype)),
                 input.dtype)


def hardsigmoid(input: Tensor) -> Tensor:
    """0 below -3, 1 above 3, x / 6 + 1/2 between."""
    _floating("hardsigmoid_cpu", input)
    return apply(_HARDSIGMOID, (input,), None, input.dtype)


def hardswish(input: Tensor) -> Tensor:
    """x * hardsigmoid(x)."""
    _floating("hardswish_cpu", input)
    return apply(_HARDSWISH, (input,), None, input.dtype)


@op(types=SAME, rules=(_HARDSHRINK,))
def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """0 inside [-lambd, lambd], x outside."""
    _floating("hardshrink_cpu", input)
    return apply(_HARDSHRINK, (input,), (float(lambd),), input.dtype)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by lambd."""
    _floating("softshrink_cpu", input)
    if lambd < 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd:g}.")
    return apply(_SOFTSHRINK, (input,), (float(lambd),), input.dtype)


@op(method=False, inplace=True, types=SAME, rules=(_THRESHOLD,))
def threshold(input: Tensor, threshold: float, value: float) -> Tensor:
    """`value` where x <= threshold, else x."""
    return apply(_THRESHOLD, (input,), (number_for(threshold, input.dtype), number_for(value, input.dtype)),
                 input.dtype)


@op(types=SAME, rules=(_PRELU,))
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x where positive, else weight * x; weight of one element, or one for each channel (dimension 1)."""
    if input.dtype is not weight.dtype:
        raise RuntimeError("prelu: Type promoting not supported. Got "
                           f"{DTYPE_NAMES[input.dtype.name]} and {DTYPE_NAMES[weight.dtype.name]}")
    if weight.dim() > 1:
        raise RuntimeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.dim()}")
    if weight.numel() != 1:
        channels = input.shape[1] if input.dim() > 1 else 1
        if weight.numel() != channels:
            raise RuntimeError(f"Mismatch of parameter numbers and input channel size. Found parameter numbers = "
                               f"{weight.numel()} and channel size = {channels}.")
        weight = weight.reshape([1, -1] + [1] * (input.dim() - 2))
    else:
        weight = weight.reshape([1] * input.dim())
    return apply(_PRELU, (input, weight), None, input.dtype)


# Offered in nn.functional, as they stand.
for _body, _rules in ((gelu, (_GELU, _GELU_TANH)), (logsigmoid, (_LOGSIGMOID,)), (softplus, (_SOFTPLUS,)),
                      (softshrink, (_SOFTSHRINK,))):
    _body.types, _body.formulas = SAME, _rules  # type: ignore[attr-defined]
elu_ = in_place(elu, "elu")
hardtanh_ = in_place(hardtanh, "hardtanh")
leaky_relu_ = in_place(leaky_relu, "leaky_relu")
silu_ = in_place(silu, "silu")
mish_ = in_place(mish, "mish")
hardswish_ = in_place(hardswish, "hardswish")
hardsigmoid_ = in_place(hardsigmoid, "hardsigmoid")
relu_, celu_, selu_, threshold_ = METHODS["relu_"], FUNCTIONS["celu_"], FUNCTIONS["selu_"], FUNCTIONS["threshold_"]
__all__: list[Any] = []
