"""Normalizations as functions: subtract a mean, divide by a deviation, scale and shift.

float16 and bfloat16 inputs are normalized in float32 and rounded once at the end.
"""

from __future__ import annotations

from typing import Any

import facula
from facula.engine.threads import turn
from facula.ops.arrange.padding import pad
from facula.ops.autocast_rules import SINGLED
from facula.ops.autocasting import autocast_operands
from facula.ops.elementwise.refusals import refuse_unless_floating
from facula.ops.images import closed, opened
from facula.ops.norm import normalization as ops
from facula.ops.registry import functional
from facula.ops.view.value_views import reshape_value


def _widened(input: Any) -> Any:
    half = input.dtype is facula.float16 or input.dtype is facula.bfloat16
    return input.to(facula.float32) if half else input


def _narrowed(result: Any, input: Any) -> Any:
    return result if result.dtype is input.dtype else result.to(input.dtype)


def _check_dtypes(input: Any, *parameters: Any) -> None:
    """One dtype, or half-precision input with parameters in float32."""
    for p in parameters:
        if p is not None and p.dtype is not input.dtype and (p.dtype is not facula.float32 or input.dtype not in (
                facula.float16, facula.bfloat16)):
            raise RuntimeError("mixed dtype (CPU): all inputs must share same datatype.")


def _normalized(x: Any, dims: Any, eps: float) -> Any:
    """x with mean 0 and variance 1 over `dims`."""
    centred = x - x.mean(dims, keepdim=True)
    variance = (centred * centred).mean(dims, keepdim=True)
    return centred * (variance + eps).rsqrt()


def _check_normalized_shape(input: Any, normalized_shape: Any, weight: Any, bias: Any) -> tuple[int, ...]:
    shape = tuple(int(n) for n in normalized_shape)
    if len(shape) < 1:
        raise RuntimeError("Expected normalized_shape to be at least 1-dimensional, i.e., containing at "
                           "least one element, but got normalized_shape = []")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tuple(tensor.shape) != shape:
            raise RuntimeError(f"Expected {name} to be of same shape as normalized_shape, but got {name} of "
                               f"shape {list(tensor.shape)} and normalized_shape = {list(shape)}")
    if tuple(input.shape[-len(shape):]) != shape or input.dim() < len(shape):
        wanted = "".join(f", {n}" for n in shape)
        raise RuntimeError(f"Given normalized_shape={list(shape)}, expected input with shape [*{wanted}], "
                           f"but got input of size{list(input.shape)}")
    return shape


@functional
def layer_norm(input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None,
               eps: float = 1e-5) -> Any:
    """Normalizes over the last dimensions, which must be `normalized_shape`, then scales and shifts.

    Raises:
        RuntimeError: the shapes do not fit.

    Example:
        >>> import facula
        >>> facula.nn.functional.layer_norm(facula.tensor([1.0, 3.0]), (2,))
        tensor([-1.0000,  1.0000])
    """
    refuse_unless_floating("LayerNormKernelImpl", input)
    kind, sizes = input.dtype, tuple(input.shape)
    last = tuple(normalized_shape)
    rank = len(last)
    if kind.is_floating_point and rank and sizes[-rank:] == last and 0 not in sizes:
        for t in (weight, bias):
            if t is not None and (t.dtype is not kind or t.shape != last):
                break
        else:
            return ops.layer_norm(input, rank, weight, bias, float(eps))
    shape = _check_normalized_shape(input, normalized_shape, weight, bias)
    _check_dtypes(input, weight, bias)
    result = _normalized(_widened(input), tuple(range(-len(shape), 0)), eps)
    if weight is not None:
        result = result * weight
    if bias is not None:
        result = result + bias
    return _narrowed(result, input)


@functional(also=("rms_norm",))
def rms_norm(input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    """Divides by the root of the mean square over the last dimensions, then scales.

    Args:
        eps: added to the mean square; the epsilon of the computing type if None.
    """
    shape = _check_normalized_shape(input, normalized_shape, weight, None)
    x = _widened(input)
    if eps is None:
        eps = facula.finfo(x.dtype).eps
    result = x * ((x * x).mean(tuple(range(-len(shape), 0)), keepdim=True) + eps).rsqrt()
    if weight is not None:
        result = result * weight
    return _narrowed(result, input)


def _verify_batch_size(size: Any) -> None:
    count = size[0]
    for n in size[2:]:
        count *= n
    if count == 1:
        raise ValueError("Expected more than 1 value per channel when training, got input size "
                         f"{facula.Size(size)}")


def _check_channels(input: Any, **tensors: Any) -> None:
    for name, tensor in tensors.items():
        if tensor is not None and tensor.numel() != input.size(1):
            raise RuntimeError(f"{name} should contain {input.size(1)} elements not {tensor.numel()}")


@functional
def batch_norm(input: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
               training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> Any:
    """Normalizes each channel of (N, C, *), by the batch's statistics while training, else by running ones.

    While training, running statistics that are given move towards the batch's by `momentum` (the variance
    without bias).

    Raises:
        ValueError: one value a channel only, while training.
        RuntimeError: the number of channels does not fit, or no statistics to use.
    """
    if training:
        _verify_batch_size(input.size())
        if eps <= 0.0:
            raise ValueError(f"batch_norm eps must be positive during training, but got {eps}")
    elif eps < 0.0:
        raise ValueError(f"batch_norm eps must be non-negative, but got {eps}")
    elif running_mean is None or running_var is None:
        raise RuntimeError("Expected running_mean and running_var to be defined when training=False")
    if input.numel() == 0:  # no statistics, but connected to the parameters
        result = input.clone()
        result = result if weight is None else result * weight[0]
        return result if bias is None else result + bias[0]
    _check_channels(input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"\"batch_norm\" not implemented for '{input.type()[6:-6]}'")
    _check_dtypes(input, running_mean, running_var, weight, bias)
    x, first = opened(input)
    x = _widened(x)
    channel = (1, -1) + (1,) * (input.dim() - 2) if first == 2 else (-1,)
    if training:
        dims = (0, *range(first, first + input.dim() - 2))
        mean = x.mean(dims, keepdim=True)
        centred = x - mean
        variance = (centred * centred).mean(dims, keepdim=True)
        if running_mean is not None or running_var is not None:
            _update_statistics(running_mean, running_var, mean, variance, momentum,
                               input.numel() // input.size(1))
    else:
        centred = x - running_mean.reshape(channel)
        variance = running_var.reshape(channel)
    result = centred * (variance + eps).rsqrt()
    if weight is not None:
        result = result * weight.reshape(channel)
    if bias is not None:
        result = result + bias.reshape(channel)
    return closed(_narrowed(result, input), first)


def _update_statistics(running_mean: Any, running_var: Any, mean: Any, variance: Any, momentum: float,
                       count: int) -> None:
    with facula.no_grad(), turn():
        if running_mean is not None:
            running_mean.mul_(1 - momentum).add_(mean.reshape(-1).to(running_mean.dtype), alpha=momentum)
        if running_var is not None:
            unbiased = variance.reshape(-1) * (count / (count - 1)) if count > 1 else variance.reshape(-1)
            running_var.mul_(1 - momentum).add_(unbiased.to(running_var.dtype), alpha=momentum)


@functional
def group_norm(input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Normalizes the channels of (N, C, *) in `num_groups` groups, then scales and shifts each channel.

    Raises:
        RuntimeError: fewer than 2 dimensions, or the sizes do not fit.
        ValueError: one value a group only.
    """
    refuse_unless_floating("GroupNormKernelImpl", input)
    if input.dim() < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {input.dim()}")
    batch, channels = input.size(0), input.size(1)
    if num_groups <= 0:
        raise RuntimeError("Expected num groups to be greater than 0, got " + str(num_groups))
    if channels % num_groups != 0:
        raise RuntimeError("Expected number of channels in input to be divisible by num_groups, but got "
                           f"input of shape {list(input.shape)} and num_groups={num_groups}")
    _verify_batch_size([batch * channels // num_groups, num_groups, *input.shape[2:]])
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and (tensor.dim() != 1 or tensor.numel() != channels):
            raise RuntimeError(f"Expected {name} to be a vector of size equal to the number of channels in "
                               f"input, but got {name} of shape {list(tensor.shape)} and input of shape "
                               f"{list(input.shape)}")
    _check_dtypes(input, weight, bias)
    size = 1
    for n in input.shape[2:]:
        size *= n
    grouped = _widened(input).reshape(batch, num_groups, channels // num_groups * size)
    result = reshape_value(_normalized(grouped, -1, eps), input.shape)
    channel = (1, -1) + (1,) * (input.dim() - 2)
    if weight is not None:
        result = result * weight.reshape(channel)
    if bias is not None:
        result = result + bias.reshape(channel)
    return _narrowed(result, input)


@functional
def instance_norm(input: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None,
                  bias: Any = None, use_input_stats: bool = True, momentum: float = 0.1,
                  eps: float = 1e-5) -> Any:
    """Normalizes each channel of each sample of (N, C, *) by itself.

    Args:
        use_input_stats: use the sample's own statistics (and move the running ones), else the running ones.

    Raises:
        ValueError: one value a channel only.
    """
    refuse_unless_floating("batch_norm", input)
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise RuntimeError("Expected running_mean and running_var to be defined when use_input_stats is "
                               "false")
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    size = 1
    for n in input.shape[2:]:
        size *= n
    if size == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {input.size()}")
    _check_channels(input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    x = _widened(input)
    dims = tuple(range(2, input.dim()))
    mean = x.mean(dims, keepdim=True)
    centred = x - mean
    variance = (centred * centred).mean(dims, keepdim=True)
    if size and (running_mean is not None or running_var is not None):
        _update_statistics(running_mean, running_var, mean.mean(0), variance.mean(0), momentum, size)
    result = centred * (variance + eps).rsqrt()
    channel = (1, -1) + (1,) * (input.dim() - 2)
    if weight is not None:
        result = result * weight.reshape(channel)
    if bias is not None:
        result = result + bias.reshape(channel)
    return _narrowed(result, input)


@functional
def local_response_norm(input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75,
                        k: float = 1.0) -> Any:
    """Divides (N, C, *) by `(k + alpha * mean of squares over size neighbouring channels) ** beta`.

    Raises:
        ValueError: fewer than 3 dimensions.
    """
    dim = input.dim()
    if dim < 3:
        raise ValueError(f"Expected 3D or higher dimensionality                          input (got {dim} "
                         "dimensions)")
    if input.numel() == 0:
        return input
    if input.dtype.is_complex or input.dtype is facula.bool:
        refuse_unless_floating("avg_pool3d_out_frame", input)
    squares = input * input
    mean_like, = autocast_operands(SINGLED, squares) if dim > 3 else (input,)  # the mean is an avg_pool3d then
    squares = _widened(squares)
    sides = [0, 0] * (dim - 2) + [size // 2, (size - 1) // 2]
    padded = pad(squares, sides)
    channels = input.size(1)
    total = padded.narrow(1, 0, channels)
    for i in range(1, size):
        total = total + padded.narrow(1, i, channels)
    if not (total.is_floating_point() or total.is_complex()):
        return input / (total.div(size, rounding_mode="trunc") * alpha + k).pow(beta)  # a mean of integers
    return input / (_narrowed(total / size, mean_like) * alpha + k).pow(beta)
