"""Activations as functions: the formulas are in `facula.ops`; here are PyTorch's signatures."""

from __future__ import annotations

from typing import Any

import facula
from facula.errors import warn
from facula.ops.elementwise import activations as _ops
from facula.ops.elementwise.refusals import refuse_unless_floating
from facula.ops.registry import functional, op
from facula.ops.severing import leaned
from facula.ops.type_rules import SAME

functional(_ops.gelu)
for _same in (_ops.logsigmoid, _ops.softplus, _ops.softshrink):
    op(_same, namespace="nn.functional", out=True)
for _same in (_ops.elu_, _ops.hardtanh_, _ops.leaky_relu_):
    functional(types=SAME)(_same)


@functional
def relu(input: Any, inplace: bool = False) -> Any:
    """`max(0, x)`; the gradient at 0 is 0."""
    return input.relu_() if inplace else input.relu()


@functional
def relu_(input: Any) -> Any:
    """`relu`, overwriting the input."""
    return input.relu_()


@functional
def relu6(input: Any, inplace: bool = False) -> Any:
    """`min(max(0, x), 6)`."""
    return hardtanh(input, 0.0, 6.0, inplace)


@functional
def sigmoid(input: Any) -> Any:
    """`1 / (1 + exp(-x))`."""
    return input.sigmoid()


@functional
def tanh(input: Any) -> Any:
    """The hyperbolic tangent."""
    return input.tanh()


@functional
def silu(input: Any, inplace: bool = False) -> Any:
    """`x * sigmoid(x)`."""
    if input.dtype.is_complex:
        result = input * input.sigmoid()
        return input.copy_(result) if inplace else result
    return _ops.silu_(input) if inplace else _ops.silu(input)


@functional
def mish(input: Any, inplace: bool = False) -> Any:
    """`x * tanh(softplus(x))`."""
    return _ops.mish_(input) if inplace else _ops.mish(input)


@functional
def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """x above 0, `alpha * (exp(x) - 1)` below."""
    return _ops.elu_(input, alpha) if inplace else _ops.elu(input, alpha)


@functional
def celu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """`max(0, x) + min(0, alpha * (exp(x / alpha) - 1))`."""
    return facula.celu_(input, alpha) if inplace else facula.celu(input, alpha)


@functional
def celu_(input: Any, alpha: float = 1.0) -> Any:
    """`celu`, overwriting the input."""
    return facula.celu_(input, alpha)


@functional
def selu(input: Any, inplace: bool = False) -> Any:
    """ELU with the constants of self-normalizing networks."""
    return facula.selu_(input) if inplace else facula.selu(input)


@functional
def selu_(input: Any) -> Any:
    """`selu`, overwriting the input."""
    return facula.selu_(input)


@functional
def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    """x above 0, `negative_slope * x` below."""
    return _ops.leaky_relu_(input, negative_slope) if inplace else _ops.leaky_relu(input, negative_slope)


@functional
def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Any:
    """x limited to [min_val, max_val]. ValueError if min_val is above max_val."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    return _ops.hardtanh_(input, min_val, max_val) if inplace else _ops.hardtanh(input, min_val, max_val)


@functional
def hardswish(input: Any, inplace: bool = False) -> Any:
    """`x * min(max(x + 3, 0), 6) / 6`."""
    return _ops.hardswish_(input) if inplace else _ops.hardswish(input)


@functional
def hardsigmoid(input: Any, inplace: bool = False) -> Any:
    """`min(max(x + 3, 0), 6) / 6`."""
    return _ops.hardsigmoid_(input) if inplace else _ops.hardsigmoid(input)


@op(namespace="nn.functional", out=True)
def hardshrink(input: Any, lambd: float = 0.5) -> Any:
    """0 where `|x| <= lambd`, else x."""
    return facula.hardshrink(input, lambd)


@functional
def threshold(input: Any, threshold: float, value: float, inplace: bool = False) -> Any:
    """x where it is above `threshold`, else `value`."""
    if inplace:
        return facula.threshold_(input, threshold, value)
    return facula.threshold(input, threshold, value)


@functional
def threshold_(input: Any, threshold: float, value: float) -> Any:
    """`threshold`, overwriting the input."""
    return facula.threshold_(input, threshold, value)


@functional
def softsign(input: Any) -> Any:
    """`x / (1 + |x|)`."""
    return input / (input.abs() + 1)


@functional
def tanhshrink(input: Any) -> Any:
    """`x - tanh(x)`."""
    return input - input.tanh()


@functional
def prelu(input: Any, weight: Any) -> Any:
    """x above 0, `weight * x` below, with one weight or one a channel (dimension 1).

    Raises:
        RuntimeError: the number of weights is neither 1 nor the number of channels.
    """
    return facula.prelu(input, weight)


@functional(also=("rrelu",))
def rrelu(input: Any, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False,
          inplace: bool = False) -> Any:
    """Leaky ReLU, its slope drawn from [lower, upper] for each negative element while training."""
    if not lower <= upper:
        raise RuntimeError("rrelu: Lower bound should be less than or equal to the upper bound, but got "
                           f"lower={lower} and upper={upper}")
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    # A number for each negative element only, in double precision: as PyTorch draws them.
    noise = facula.ones_like(input)
    if not input.is_meta:
        negative = input <= 0
        count = int(negative.sum())
        noise[negative] = facula.empty(
            count, dtype=facula.float64, device=input.device).uniform_(lower, upper).to(input.dtype)
    return input.mul_(noise) if inplace else leaned(input) * noise


@functional(also=("rrelu_",))
def rrelu_(input: Any, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False) -> Any:
    """`rrelu`, overwriting the input."""
    return rrelu(input, lower, upper, training, True)


@functional
def glu(input: Any, dim: int = -1) -> Any:
    """`a * sigmoid(b)` of the two halves along `dim`.

    Raises:
        RuntimeError: 0-d input, or an odd size.
    """
    if input.dim() == 0:
        raise RuntimeError("glu does not support 0-dimensional tensors")
    size = input.size(dim)
    if size % 2 != 0:
        raise RuntimeError(f"Halving dimension must be even, but dimension {dim % input.dim()} is size "
                           f"{size}")
    refuse_unless_floating("glu_cpu", input)
    first, second = input.chunk(2, dim)
    return first * second.sigmoid()


def _get_softmax_dim(name: str, ndim: int) -> int:
    warn(f"Implicit dimension choice for {name} has been deprecated. Change the call to include "
         "dim=X as an argument.")
    return 0 if ndim in (0, 1, 3) else 1


@functional
def softmax(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """`exp(x) / sum(exp(x))` along `dim`, without overflow.

    Args:
        dtype: convert the input to this type first.

    Example:
        >>> import facula
        >>> facula.nn.functional.softmax(facula.zeros(4), dim=0)
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    if dim is None:
        dim = _get_softmax_dim("softmax", input.dim())
    return input.softmax(dim) if dtype is None else input.softmax(dim, dtype=dtype)


@functional
def softmin(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """`softmax(-x)` along `dim`."""
    if dim is None:
        dim = _get_softmax_dim("softmin", input.dim())
    return (-input).softmax(dim) if dtype is None else (-input).softmax(dim, dtype=dtype)


@functional
def log_softmax(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """`log(softmax(x))` along `dim`, computed without overflow."""
    if dim is None:
        dim = _get_softmax_dim("log_softmax", input.dim())
    return input.log_softmax(dim) if dtype is None else input.log_softmax(dim, dtype=dtype)


@functional
def gumbel_softmax(logits: Any, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Any:
    """A sample of the Gumbel-softmax distribution.

    Args:
        tau: the temperature.
        hard: return one-hot vectors whose gradient is that of the soft sample.

    Source: Jang et al., "Categorical reparameterization with Gumbel-softmax", 2016.
    """
    gumbels = -facula.empty_like(logits, memory_format=facula.contiguous_format).exponential_().log()
    soft = ((logits + gumbels) / tau).softmax(dim)
    if not hard:
        return soft
    index = soft.max(dim, keepdim=True)[1]
    one_hot = facula.zeros_like(logits, memory_format=facula.contiguous_format).scatter_(dim, index, 1.0)
    return one_hot - soft.detach() + soft
