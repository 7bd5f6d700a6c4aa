"""Exceptions of accelerators: PyTorch's names, for programs that catch them."""

from __future__ import annotations

from facula.errors import OutOfMemoryError as OutOfMemoryError


class AcceleratorError(RuntimeError):
    """A device reported an error."""

