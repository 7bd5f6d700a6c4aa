"""Fractional max pooling layers."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from .conv import several
from .module import Module

__all__ = ["FractionalMaxPool2d", "FractionalMaxPool3d"]


class _FractionalMaxPool(Module):
    __constants__ = ["kernel_size", "return_indices", "output_size", "output_ratio"]
    dimensions = 0

    def __init__(
        self,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Any = None,
    ) -> None:
        super().__init__()
        n = self.dimensions
        self.kernel_size = several(kernel_size, n)
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)
        self.output_size = several(output_size, n) if output_size is not None else None
        self.output_ratio = several(output_ratio, n) if output_ratio is not None else None
        name = type(self).__name__
        if output_size is None and output_ratio is None:
            raise ValueError(
                f"{name} requires specifying either an output size, or a pooling ratio"
            )
        if output_size is not None and output_ratio is not None:
            raise ValueError("only one of output_size and output_ratio may be specified")
        if self.output_ratio is not None and not all(0 < r < 1 for r in self.output_ratio):
            raise ValueError(f"output_ratio must be between 0 and 1 (got {output_ratio})")

    def forward(self, input: Any) -> Any:
        """The largest element of each window, and its index if the layer was asked for it."""
        pool = getattr(F, f"fractional_max_pool{self.dimensions}d")
        return pool(
            input,
            self.kernel_size,
            self.output_size,
            self.output_ratio,
            self.return_indices,
            _random_samples=self._random_samples,
        )


class FractionalMaxPool2d(_FractionalMaxPool):
    """The largest element of unevenly spaced windows (N, C, H, W): `fractional_max_pool2d`."""

    dimensions = 2


class FractionalMaxPool3d(_FractionalMaxPool):
    """The largest element of unevenly spaced windows (N, C, T, H, W): `fractional_max_pool3d`."""

    dimensions = 3


for _kind in (FractionalMaxPool2d, FractionalMaxPool3d):
    _kind.__module__ = "facula.nn.modules.pooling"  # where PyTorch's files look for it
