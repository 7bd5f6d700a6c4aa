"""Starting values for parameters. Every function fills its tensor in place, unrecorded, and returns it.

For the same seed the numbers are PyTorch 2.13's: bit for bit, but for `orthogonal_` (a decomposition).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import facula
from facula._tensor.handle import Tensor
from facula.errors import warn

__all__ = [
    "calculate_gain", "uniform_", "normal_", "trunc_normal_", "constant_", "ones_", "zeros_", "eye_",
    "dirac_", "xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_", "orthogonal_",
    "sparse_",
    "uniform", "normal", "constant", "eye", "dirac", "xavier_uniform", "xavier_normal", "kaiming_uniform",
    "kaiming_normal", "orthogonal", "sparse",
]

_GAINS = {
    **dict.fromkeys(("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
                     "conv_transpose3d", "sigmoid"), 1),
    "tanh": 5.0 / 3,
    "relu": math.sqrt(2.0),
    "selu": 3.0 / 4,  # found by experiment: https://github.com/pytorch/pytorch/pull/50664
}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which weights before `nonlinearity` should be scaled to keep the signal's variance.

    `param` is the negative slope of "leaky_relu" (0.01 if left out). ValueError for an unknown name.

    Example:
        >>> import facula
        >>> facula.nn.init.calculate_gain("tanh")
        1.6666666666666667
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity not in _GAINS:
        raise ValueError(f"Unsupported nonlinearity {nonlinearity}")
    return _GAINS[nonlinearity]


# ---- plain distributions and constants --------------------------------------------------------------------


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """Fill `tensor` with numbers uniform in [a, b).

    Example:
        >>> import facula
        >>> w = facula.nn.init.uniform_(facula.empty(3, 5), -1.0, 1.0)
    """
    with facula.no_grad():
        return tensor.uniform_(a, b, generator=generator)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """Fill `tensor` with normal numbers of the given mean and standard deviation.

    Example:
        >>> import facula
        >>> w = facula.nn.init.normal_(facula.empty(3, 5), std=0.02)
    """
    with facula.no_grad():
        return tensor.normal_(mean, std, generator=generator)


def trunc_normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0,
                  generator: Any = None) -> Tensor:
    """Fill `tensor` with normal numbers, those outside [a, b] drawn again.

    Where [a, b] holds less than 30% of the normal distribution, uniform numbers are accepted in proportion to
    its density instead. Numbers follow PyTorch 2.13; older versions inverted the distribution function.

    Example:
        >>> import facula
        >>> float(facula.nn.init.trunc_normal_(facula.empty(1000)).abs().max()) <= 2.0
        True
    """
    if tensor.is_meta:
        return tensor
    if mean < a - 2 * std or mean > b + 2 * std:
        warn("mean is more than 2 std from [a, b] in nn.init.trunc_normal_. "
             "The distribution of values may be incorrect.")
    share = (math.erf((b - mean) / std / math.sqrt(2.0)) - math.erf((a - mean) / std / math.sqrt(2.0))) / 2
    with facula.no_grad():
        return (_redraw_normal if share > 0.3 else _accept_uniform)(tensor, mean, std, a, b, generator)


def _redraw_normal(tensor: Tensor, mean: float, std: float, a: float, b: float, generator: Any) -> Tensor:
    low, high = tensor.new_tensor(a).item(), tensor.new_tensor(b).item()  # as the dtype rounds them
    result = tensor.normal_(mean, std, generator=generator)
    outside = (result < low) | (result > high)
    while outside.any():
        again = facula.empty_like(result).normal_(mean, std, generator=generator)
        result = facula.where(outside, again, result)
        outside = (result < low) | (result > high)
    return tensor if result is tensor else tensor.copy_(result)


def _accept_uniform(tensor: Tensor, mean: float, std: float, a: float, b: float, generator: Any) -> Tensor:
    peak = -0.5 * ((max(a, min(mean, b)) - mean) / std) ** 2

    def rejected(candidates: Tensor) -> Tensor:
        log_density = ((candidates - mean) / std).pow(2) * -0.5 - peak
        return facula.empty_like(tensor).uniform_(generator=generator).log() > log_density  # type: ignore[no-any-return]

    result = tensor.uniform_(a, b, generator=generator)
    pending = rejected(result)
    while pending.any():
        candidates = facula.empty_like(tensor).uniform_(a, b, generator=generator)
        result = facula.where(pending, candidates, result)
        pending = pending & rejected(candidates)
    return tensor if result is tensor else tensor.copy_(result)


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill `tensor` with `val`.

    Example:
        >>> import facula
        >>> facula.nn.init.constant_(facula.empty(2), 0.5)
        tensor([0.5000, 0.5000])
    """
    with facula.no_grad():
        return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """Fill `tensor` with 1.

    Example:
        >>> import facula
        >>> facula.nn.init.ones_(facula.empty(2))
        tensor([1., 1.])
    """
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Fill `tensor` with 0.

    Example:
        >>> import facula
        >>> facula.nn.init.zeros_(facula.empty(2))
        tensor([0., 0.])
    """
    with facula.no_grad():
        return tensor.zero_()


def eye_(tensor: Tensor) -> Tensor:
    """Fill a matrix with the identity: a `Linear` layer then passes its inputs on. ValueError if not 2-d.

    Example:
        >>> import facula
        >>> facula.nn.init.eye_(facula.empty(2, 3))
        tensor([[1., 0., 0.],
                [0., 1., 0.]])
    """
    if tensor.dim() != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    with facula.no_grad():
        return tensor.copy_(facula.eye(*tensor.shape, dtype=tensor.dtype, device=tensor.device))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Fill convolution weights (C_out, C_in / groups, ...) with 1 at the kernel's centre: inputs pass on.

    ValueError if `tensor` is not 3-, 4- or 5-dimensional, or `groups` does not divide its first dimension.

    Example:
        >>> import facula
        >>> facula.nn.init.dirac_(facula.empty(1, 1, 3))
        tensor([[[0., 1., 0.]]])
    """
    if tensor.dim() not in (3, 4, 5):
        raise ValueError("Only tensors with 3, 4, or 5 dimensions are supported")
    if tensor.shape[0] % groups != 0:
        raise ValueError("dim 0 must be divisible by groups")
    if tensor.is_meta:
        return tensor
    out_channels, in_channels, *kernel = tensor.shape
    per_group = out_channels // groups
    passed = min(per_group, in_channels)
    outputs = [g * per_group + d for g in range(groups) for d in range(passed)]
    inputs = list(range(passed)) * groups
    with facula.no_grad():
        tensor.zero_()
        if outputs:
            tensor[(outputs, inputs, *(size // 2 for size in kernel))] = 1
    return tensor


# ---- scaled to a layer's width ----------------------------------------------------------------------------


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    if tensor.dim() < 2:
        raise ValueError("Fan in and fan out can not be computed for tensor with fewer than 2 dimensions")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _calculate_correct_fan(tensor: Tensor, mode: str) -> int:
    mode = mode.lower()
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"Mode {mode} not supported, please use one of ['fan_in', 'fan_out']")
    return _calculate_fan_in_and_fan_out(tensor)[mode == "fan_out"]


def _xavier_std(tensor: Tensor, gain: float) -> float:
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    return gain * math.sqrt(2.0 / float(fan_in + fan_out))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Uniform in +-gain * sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010). ValueError below 2-d.

    Example:
        >>> import facula
        >>> w = facula.nn.init.xavier_uniform_(facula.empty(3, 5), gain=2**0.5)
    """
    bound = math.sqrt(3.0) * _xavier_std(tensor, gain)
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Normal with std = gain * sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio 2010). ValueError below 2-d.

    Example:
        >>> import facula
        >>> w = facula.nn.init.xavier_normal_(facula.empty(3, 5))
    """
    return normal_(tensor, 0.0, _xavier_std(tensor, gain), generator)


def kaiming_uniform_(tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
                     generator: Any = None) -> Tensor:
    """Uniform in +-gain * sqrt(3 / fan) (He et al. 2015): keeps the variance before a rectifier.

    Args:
        tensor: (fan_out, fan_in, ...), as `Linear` and `Conv2d` keep their weights.
        a: negative slope of a leaky rectifier.
        mode: "fan_in" keeps the variance of activations, "fan_out" that of gradients.
        nonlinearity: what follows; see `calculate_gain`.

    Example:
        >>> import facula
        >>> w = facula.nn.init.kaiming_uniform_(facula.empty(3, 5), nonlinearity="relu")
    """
    if 0 in tensor.shape:
        warn("Initializing zero-element tensors is a no-op")
        return tensor
    std = calculate_gain(nonlinearity, a) / math.sqrt(_calculate_correct_fan(tensor, mode))
    bound = math.sqrt(3.0) * std
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
                    generator: Any = None) -> Tensor:
    """Normal with std = gain / sqrt(fan) (He et al. 2015); arguments as for `kaiming_uniform_`.

    Example:
        >>> import facula
        >>> w = facula.nn.init.kaiming_normal_(facula.empty(3, 5), mode="fan_out", nonlinearity="relu")
    """
    if 0 in tensor.shape:
        warn("Initializing zero-element tensors is a no-op")
        return tensor
    std = calculate_gain(nonlinearity, a) / math.sqrt(_calculate_correct_fan(tensor, mode))
    return normal_(tensor, 0, std, generator)


# ---- structured matrices ----------------------------------------------------------------------------------


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Any = None) -> Tensor:
    """Fill `tensor` with an orthogonal matrix, uniform among them (Saxe et al. 2013, Mezzadri 2006).

    (rows, ...) counts as (rows, rest). ValueError below 2 dimensions. Within 1e-6 of PyTorch's numbers.

    Example:
        >>> import facula
        >>> w = facula.nn.init.orthogonal_(facula.empty(3, 3))
        >>> facula.allclose(w @ w.T, facula.eye(3), atol=1e-6)
        True
    """
    if tensor.dim() < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    if tensor.numel() == 0 or tensor.is_meta:
        return tensor
    rows, columns = tensor.shape[0], tensor.numel() // tensor.shape[0]
    with facula.no_grad():
        random = tensor.new_empty((rows, columns)).normal_(0, 1, generator=generator).numpy()
        q, r = np.linalg.qr(random.T if rows < columns else random)
        q = q * np.sign(np.diagonal(r))  # makes the distribution uniform (Mezzadri 2006, math-ph/0609050)
        matrix = np.ascontiguousarray(q.T if rows < columns else q)
        tensor.copy_(facula.from_numpy(matrix).reshape(tensor.shape))
        return tensor.mul_(gain)


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Any = None) -> Tensor:
    """Fill a matrix with normal numbers, a share `sparsity` of each column zero (Martens 2010).

    As in PyTorch, which rows are zero is drawn from the default generator, whatever `generator` is.
    ValueError if not 2-d.

    Example:
        >>> import facula
        >>> w = facula.nn.init.sparse_(facula.empty(10, 2), sparsity=0.3)
        >>> int((w == 0).sum())
        6
    """
    if tensor.dim() != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    if tensor.is_meta:
        return tensor
    rows, columns = tensor.shape
    zeros = math.ceil(sparsity * rows)
    with facula.no_grad():
        tensor.normal_(0, std, generator=generator)
        for column in range(columns):
            tensor[facula.randperm(rows)[:zeros], column] = 0
    return tensor


# ---- the names of PyTorch 0.3, without underscore ---------------------------------------------------------


def _old_name(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    new = function.__name__
    old = new[:-1]

    def deprecated(*args: Any, **kwargs: Any) -> Tensor:
        warn(f"`nn.init.{old}` is now deprecated in favor of `nn.init.{new}`.", FutureWarning)
        return function(*args, **kwargs)

    deprecated.__name__ = deprecated.__qualname__ = old
    deprecated.__doc__ = f"The old name of `{new}`."
    return deprecated


uniform = _old_name(uniform_)
normal = _old_name(normal_)
constant = _old_name(constant_)
eye = _old_name(eye_)
dirac = _old_name(dirac_)
xavier_uniform = _old_name(xavier_uniform_)
xavier_normal = _old_name(xavier_normal_)
kaiming_uniform = _old_name(kaiming_uniform_)
kaiming_normal = _old_name(kaiming_normal_)
orthogonal = _old_name(orthogonal_)
sparse = _old_name(sparse_)
