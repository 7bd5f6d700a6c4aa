"""Modules that drop values at random while training."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from .module import Module

__all__ = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout"]


class _DropoutNd(Module):
    __constants__ = ["p", "inplace"]
    p: float
    inplace: bool

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if p < 0 or p > 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p = p
        self.inplace = inplace

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_DropoutNd):
    """While training, sets each element to 0 with probability `p` and divides the others by 1 - p.

    Raises:
        ValueError: `p` is not within [0, 1].

    Source: Hinton et al., "Improving neural networks by preventing co-adaptation of feature detectors", 2012.

    Example:
        >>> import facula
        >>> facula.nn.Dropout(0.2).eval()(facula.ones(2))
        tensor([1., 1.])
    """

    def forward(self, input: Any) -> Any:
        """Any shape; the same shape."""
        if not self.training:
            return input
        return F.dropout(input, self.p, True, self.inplace)


class Dropout1d(_DropoutNd):
    """While training, sets whole channels of (N, C, L) or (C, L) to 0 with probability `p`."""

    def forward(self, input: Any) -> Any:
        """(N, C, L) or (C, L); the same shape."""
        return F.dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(_DropoutNd):
    """While training, sets whole channels of (N, C, H, W) to 0 with probability `p`."""

    def forward(self, input: Any) -> Any:
        """(N, C, H, W); the same shape."""
        return F.dropout2d(input, self.p, self.training, self.inplace)


class Dropout3d(_DropoutNd):
    """While training, sets whole channels of (N, C, D, H, W) to 0 with probability `p`."""

    def forward(self, input: Any) -> Any:
        """(N, C, D, H, W); the same shape."""
        return F.dropout3d(input, self.p, self.training, self.inplace)


class AlphaDropout(_DropoutNd):
    """Dropout that keeps zero mean and unit variance of SELU's outputs.

    Source: Klambauer et al., "Self-normalizing neural networks", 2017.
    """

    def forward(self, input: Any) -> Any:
        """Any shape; the same shape."""
        return F.alpha_dropout(input, self.p, self.training)


class FeatureAlphaDropout(_DropoutNd):
    """`AlphaDropout` of whole channels."""

    def forward(self, input: Any) -> Any:
        """(N, C, *); the same shape."""
        return F.feature_alpha_dropout(input, self.p, self.training)
