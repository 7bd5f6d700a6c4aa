"""Pooling layers."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from .conv import several
from .fractional_pooling import FractionalMaxPool2d, FractionalMaxPool3d  # noqa: F401  (theirs in PyTorch)
from .module import Module

__all__ = [f"{kind}{n}d" for kind in ("AdaptiveAvgPool", "AdaptiveMaxPool", "AvgPool", "LPPool", "MaxPool",
                                      "MaxUnpool") for n in (1, 2, 3)]


class _MaxPool(Module):
    __constants__ = ["kernel_size", "stride", "padding", "dilation", "return_indices", "ceil_mode"]
    dimensions = 0

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
                 return_indices: bool = False, ceil_mode: bool = False) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride if stride is not None else kernel_size
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def extra_repr(self) -> str:
        return (f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
                f"dilation={self.dilation}, ceil_mode={self.ceil_mode}")

    def forward(self, input: Any) -> Any:
        """The largest element of each window, and its index if the layer was asked for it."""
        pool = getattr(F, f"max_pool{self.dimensions}d")
        return pool(input, self.kernel_size, self.stride, self.padding, self.dilation, ceil_mode=self.ceil_mode,
                    return_indices=self.return_indices)


class _MaxUnpool(Module):
    dimensions = 0

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        n = self.dimensions
        self.kernel_size = several(kernel_size, n)
        self.stride = several(stride if stride is not None else kernel_size, n)
        self.padding = several(padding, n)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"

    def forward(self, input: Any, indices: Any, output_size: Any = None) -> Any:
        """Each element at its index, zeros elsewhere."""
        unpool = getattr(F, f"max_unpool{self.dimensions}d")
        return unpool(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class _AvgPool(Module):
    __constants__ = ["kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"]
    dimensions = 0

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
                 count_include_pad: bool = True, divisor_override: int | None = None) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride if stride is not None else kernel_size
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"

    def forward(self, input: Any) -> Any:
        """The mean of each window."""
        pool = getattr(F, f"avg_pool{self.dimensions}d")
        return pool(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad,
                    self.divisor_override)


class _LPPool(Module):
    __constants__ = ["norm_type", "kernel_size", "stride", "ceil_mode"]
    dimensions = 0

    def __init__(self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> None:
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode

    def extra_repr(self) -> str:
        return (f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
                f"ceil_mode={self.ceil_mode}")

    def forward(self, input: Any) -> Any:
        """The p-norm of each window."""
        pool = getattr(F, f"lp_pool{self.dimensions}d")
        return pool(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)


class _Adaptive(Module):
    __constants__ = ["output_size", "return_indices"]
    dimensions = 0

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class _AdaptiveAvgPool(_Adaptive):
    def forward(self, input: Any) -> Any:
        """The mean of nearly equal parts."""
        return getattr(F, f"adaptive_avg_pool{self.dimensions}d")(input, self.output_size)


class _AdaptiveMaxPool(_Adaptive):
    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, input: Any) -> Any:
        """The largest element of nearly equal parts, and its index if the layer was asked for it."""
        pool = getattr(F, f"adaptive_max_pool{self.dimensions}d")
        return pool(input, self.output_size, self.return_indices)


class MaxPool1d(_MaxPool):
    """The largest element of each window of (N, C, L) or (C, L)."""

    dimensions = 1


class MaxPool2d(_MaxPool):
    """The largest element of each window of (N, C, H, W) or (C, H, W).

    Example:
        >>> import facula
        >>> facula.nn.MaxPool2d(2)(facula.arange(16.0).reshape(1, 4, 4))
        tensor([[[ 5.,  7.],
                 [13., 15.]]])
    """

    dimensions = 2


class MaxPool3d(_MaxPool):
    """The largest element of each window of (N, C, D, H, W) or (C, D, H, W)."""

    dimensions = 3


class MaxUnpool1d(_MaxUnpool):
    """Undoes `MaxPool1d`, zeros where an element was not the largest."""

    dimensions = 1


class MaxUnpool2d(_MaxUnpool):
    """Undoes `MaxPool2d`, zeros where an element was not the largest."""

    dimensions = 2


class MaxUnpool3d(_MaxUnpool):
    """Undoes `MaxPool3d`, zeros where an element was not the largest."""

    dimensions = 3


class AvgPool1d(Module):
    """The mean of each window of (N, C, L) or (C, L)."""

    __constants__ = ["kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"]

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
                 count_include_pad: bool = True) -> None:
        super().__init__()
        self.kernel_size = several(kernel_size, 1)
        self.stride = several(stride if stride is not None else kernel_size, 1)
        self.padding = several(padding, 1)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    extra_repr = _AvgPool.extra_repr

    def forward(self, input: Any) -> Any:
        """The mean of each window."""
        return F.avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
                            self.count_include_pad)


class AvgPool2d(_AvgPool):
    """The mean of each window of (N, C, H, W) or (C, H, W).

    Example:
        >>> import facula
        >>> facula.nn.AvgPool2d(2)(facula.arange(16.0).reshape(1, 4, 4))
        tensor([[[ 2.5000,  4.5000],
                 [10.5000, 12.5000]]])
    """

    dimensions = 2


class AvgPool3d(_AvgPool):
    """The mean of each window of (N, C, D, H, W) or (C, D, H, W)."""

    dimensions = 3


class LPPool1d(_LPPool):
    """The p-norm of each window of (N, C, L) or (C, L)."""

    dimensions = 1


class LPPool2d(_LPPool):
    """The p-norm of each window of (N, C, H, W) or (C, H, W)."""

    dimensions = 2


class LPPool3d(_LPPool):
    """The p-norm of each window of (N, C, D, H, W) or (C, D, H, W)."""

    dimensions = 3


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """As many means over (N, C, L) as `output_size` says."""

    dimensions = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """As many means over (N, C, H, W) as `output_size` says; None keeps a size.

    Example:
        >>> import facula
        >>> facula.nn.AdaptiveAvgPool2d(1)(facula.ones(1, 3, 5, 7)).shape
        torch.Size([1, 3, 1, 1])
    """

    dimensions = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """As many means over (N, C, D, H, W) as `output_size` says."""

    dimensions = 3


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """As many largest elements over (N, C, L) as `output_size` says."""

    dimensions = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """As many largest elements over (N, C, H, W) as `output_size` says."""

    dimensions = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """As many largest elements over (N, C, D, H, W) as `output_size` says."""

    dimensions = 3
