"""Exceptions of accelerators: PyTorch's names, for programs that catch them."""

from __future__ import annotations


class OutOfMemoryError(RuntimeError):
    """A device has no memory left for a tensor."""


class AcceleratorError(RuntimeError):
    """A device reported an error."""

