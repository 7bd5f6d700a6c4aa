"""Convolution layers and their transposes."""

from __future__ import annotations

import math
from typing import Any

import facula

from .. import functional as F
from .. import init
from ..parameter import Parameter, UninitializedParameter
from ._printing import options_text
from .lazy import LazyModuleMixin
from .module import Module

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "LazyConv1d",
           "LazyConv2d", "LazyConv3d", "LazyConvTranspose1d", "LazyConvTranspose2d", "LazyConvTranspose3d"]


def several(x: Any, n: int) -> tuple[Any, ...]:
    """A value for each dimension."""
    return tuple(x) if hasattr(x, "__iter__") else (x,) * n


class _ConvNd(Module):
    __constants__ = ["stride", "padding", "dilation", "groups", "padding_mode", "output_padding", "in_channels",
                     "out_channels", "kernel_size"]
    dimensions = 0
    transposed = False
    bias: Any

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, padding: Any,
                 dilation: Any, output_padding: Any, groups: int, bias: bool, padding_mode: str,
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        n = self.dimensions
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups != 0:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups != 0:
            raise ValueError("out_channels must be divisible by groups")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = several(kernel_size, n)
        self.stride = several(stride, n)
        self.padding: Any = padding if isinstance(padding, str) else several(padding, n)
        self.dilation = several(dilation, n)
        self.output_padding = several(output_padding, n)
        self.groups = groups
        self.padding_mode = padding_mode
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f"Invalid padding string {padding!r}, should be one of {{'valid', 'same'}}")
            if padding == "same" and any(s != 1 for s in self.stride):
                raise ValueError("padding='same' is not supported for strided convolutions")
        modes = ("zeros", "reflect", "replicate", "circular")
        if padding_mode not in modes:
            raise ValueError(f"padding_mode must be one of {set(modes)}, but got padding_mode='{padding_mode}'")
        self._reversed_padding_repeated_twice = self._around()
        self._make_parameters(bias, device, dtype)

    def _around(self) -> list[int]:
        """The padding as `F.pad` takes it: last dimension first, before and after."""
        if self.padding == "valid":
            return [0] * (2 * self.dimensions)
        if self.padding == "same":
            total = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            return [side for t in reversed(total) for side in (t // 2, t - t // 2)]
        return [p for p in reversed(self.padding) for _ in range(2)]

    def _make_parameters(self, bias: bool, device: Any, dtype: Any) -> None:
        if self.transposed:
            shape = (self.in_channels, self.out_channels // self.groups, *self.kernel_size)
        else:
            shape = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        self.weight = Parameter(facula.empty(shape, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(facula.empty(self.out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights, then a new bias."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            if fan_in != 0:
                bound = 1 / math.sqrt(fan_in)
                init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        n = self.dimensions
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        text += options_text(self, padding=(0,) * n, dilation=(1,) * n, output_padding=(0,) * n, groups=1)
        if self.bias is None:
            text += ", bias=False"
        return text + options_text(self, padding_mode="zeros")


class _Conv(_ConvNd):
    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
                 dilation: Any = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros",
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias,
                         padding_mode, device, dtype)

    def _conv_forward(self, input: Any, weight: Any, bias: Any) -> Any:
        padding = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            padding = 0
        convolve = getattr(F, f"conv{self.dimensions}d")
        return convolve(input, weight, bias, self.stride, padding, self.dilation, self.groups)

    def forward(self, input: Any) -> Any:
        """(N, C, *size) or (C, *size) to as many channels as the layer has."""
        return self._conv_forward(input, self.weight, self.bias)


class Conv1d(_Conv):
    """A convolution over (N, C, L) or (C, L).

    Example:
        >>> import facula
        >>> facula.nn.Conv1d(16, 33, 3, stride=2)(facula.zeros(20, 16, 50)).shape
        torch.Size([20, 33, 24])
    """

    dimensions = 1


class Conv2d(_Conv):
    """A convolution over (N, C, H, W) or (C, H, W).

    Example:
        >>> import facula
        >>> facula.nn.Conv2d(16, 33, 3, padding="same")(facula.zeros(2, 16, 50, 10)).shape
        torch.Size([2, 33, 50, 10])
    """

    dimensions = 2


class Conv3d(_Conv):
    """A convolution over (N, C, D, H, W) or (C, D, H, W)."""

    dimensions = 3


class _ConvTransposeNd(_ConvNd):
    transposed = True

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
                 output_padding: Any = 0, groups: int = 1, bias: bool = True, dilation: Any = 1,
                 padding_mode: str = "zeros", device: Any = None, dtype: Any = None) -> None:
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, output_padding, groups,
                         bias, padding_mode, device, dtype)

    def _output_padding(self, input: Any, output_size: Any) -> tuple[int, ...]:
        """What to add on one side so that the result has `output_size`."""
        if output_size is None:
            return self.output_padding
        n = self.dimensions
        sizes = tuple(output_size)
        lead = input.dim() - n
        if len(sizes) == lead + n:
            sizes = sizes[lead:]
        if len(sizes) != n:
            raise ValueError(f"ConvTranspose{n}D: for {input.dim()}D input, output_size must have {n} or {lead + n} "
                             f"elements (got {len(sizes)})")
        least = [(input.size(lead + k) - 1) * self.stride[k] - 2 * self.padding[k]
                 + self.dilation[k] * (self.kernel_size[k] - 1) + 1 for k in range(n)]
        most = [a + s - 1 for a, s in zip(least, self.stride, strict=True)]
        if any(not a <= s <= b for a, s, b in zip(least, sizes, most, strict=True)):
            raise ValueError(f"requested an output size of {output_size}, but valid sizes range from {least} to "
                             f"{most} (for an input of {input.size()[2:]})")
        return tuple([s - a for a, s in zip(least, sizes, strict=True)])

    def forward(self, input: Any, output_size: Any = None) -> Any:
        """(N, C, *size) or (C, *size) to a larger size; `output_size` says which of those possible."""
        extra = self._output_padding(input, output_size)
        convolve = getattr(F, f"conv_transpose{self.dimensions}d")
        return convolve(input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation)


class ConvTranspose1d(_ConvTransposeNd):
    """The transpose of `Conv1d`."""

    dimensions = 1


class ConvTranspose2d(_ConvTransposeNd):
    """The transpose of `Conv2d`.

    Example:
        >>> import facula
        >>> facula.nn.ConvTranspose2d(16, 33, 3, stride=2)(facula.zeros(2, 16, 5, 6)).shape
        torch.Size([2, 33, 11, 13])
    """

    dimensions = 2


class ConvTranspose3d(_ConvTransposeNd):
    """The transpose of `Conv3d`."""

    dimensions = 3


class _LazyConv(LazyModuleMixin):
    """Makes the parameters when the first input says how many channels there are."""

    def _make_parameters(self, bias: bool, device: Any, dtype: Any) -> None:
        self.weight: Any = UninitializedParameter(device=device, dtype=dtype)
        if bias:
            self.bias: Any = UninitializedParameter(device=device, dtype=dtype)
        else:
            self.register_parameter("bias", None)  # type: ignore[attr-defined]

    def reset_parameters(self) -> None:
        if not self.has_uninitialized_params() and self.in_channels != 0:
            super().reset_parameters()  # type: ignore[misc]

    def initialize_parameters(self, input: Any, *args: Any, **kwargs: Any) -> None:
        if not self.has_uninitialized_params():
            return
        me: Any = self
        n = me.dimensions
        if input.dim() not in (n + 1, n + 2):
            raise RuntimeError(f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to "
                               f"{type(self).__name__}, but got input of size: {input.shape}")
        self.in_channels = input.shape[-n - 1]
        if self.in_channels % me.groups != 0:
            raise ValueError("in_channels must be divisible by groups")
        if me.transposed:
            shape = (self.in_channels, me.out_channels // me.groups, *me.kernel_size)
        else:
            shape = (me.out_channels, self.in_channels // me.groups, *me.kernel_size)
        self.weight.materialize(shape)
        if self.bias is not None:
            self.bias.materialize((me.out_channels,))
        self.reset_parameters()


class _LazyForward(_LazyConv):
    def __init__(self, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
                 groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__(0, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device,
                         dtype)


class _LazyTranspose(_LazyConv):
    def __init__(self, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
                 output_padding: Any = 0, groups: int = 1, bias: bool = True, dilation: Any = 1,
                 padding_mode: str = "zeros", device: Any = None, dtype: Any = None) -> None:
        super().__init__(0, out_channels, kernel_size, stride, padding, output_padding, groups, bias, dilation,
                         padding_mode, device, dtype)


class LazyConv1d(_LazyForward, Conv1d):
    """A `Conv1d` that learns `in_channels` from its first input."""

    cls_to_become = Conv1d


class LazyConv2d(_LazyForward, Conv2d):
    """A `Conv2d` that learns `in_channels` from its first input."""

    cls_to_become = Conv2d


class LazyConv3d(_LazyForward, Conv3d):
    """A `Conv3d` that learns `in_channels` from its first input."""

    cls_to_become = Conv3d


class LazyConvTranspose1d(_LazyTranspose, ConvTranspose1d):
    """A `ConvTranspose1d` that learns `in_channels` from its first input."""

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_LazyTranspose, ConvTranspose2d):
    """A `ConvTranspose2d` that learns `in_channels` from its first input."""

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_LazyTranspose, ConvTranspose3d):
    """A `ConvTranspose3d` that learns `in_channels` from its first input."""

    cls_to_become = ConvTranspose3d
