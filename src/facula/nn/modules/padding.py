"""Padding of the last one, two or three dimensions."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from .module import Module

__all__ = [f"{kind}Pad{n}d" for kind in ("Circular", "Constant", "Reflection", "Replication", "Zero")
           for n in (1, 2, 3)]


def _ntuple(padding: Any, n: int) -> tuple[int, ...]:
    from collections.abc import Iterable
    return tuple(padding) if isinstance(padding, Iterable) else (padding,) * n


class _PadNd(Module):
    """Pads by `padding`: (left, right, top, bottom, front, back), or one number for all sides."""

    __constants__ = ["padding"]
    sides: int
    mode: str

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = _ntuple(padding, self.sides)

    def forward(self, input: Any) -> Any:
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _CircularPadNd(_PadNd):
    mode = "circular"

    def _check_input_dim(self, input: Any) -> None:
        n = self.sides // 2
        if input.dim() not in (n + 1, n + 2):
            raise ValueError(f"expected {n + 1}D or {n + 2}D input (got {input.dim()}D input)")

    def forward(self, input: Any) -> Any:
        self._check_input_dim(input)
        return F.pad(input, self.padding, "circular")


class CircularPad1d(_CircularPadNd):
    """Continues (N, C, W) or (C, W) with what is at its other end."""

    sides = 2


class CircularPad2d(_CircularPadNd):
    """Continues (N, C, H, W) or (C, H, W) with what is at its other end."""

    sides = 4


class CircularPad3d(_CircularPadNd):
    """Continues (N, C, D, H, W) or (C, D, H, W) with what is at its other end."""

    sides = 6


class _ConstantPadNd(_PadNd):
    __constants__ = ["padding", "value"]
    mode = "constant"

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Any) -> Any:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPadNd):
    """Puts `value` at both ends of the last dimension."""

    sides = 2


class ConstantPad2d(_ConstantPadNd):
    """Puts `value` around the last two dimensions."""

    sides = 4


class ConstantPad3d(_ConstantPadNd):
    """Puts `value` around the last three dimensions."""

    sides = 6


class ReflectionPad1d(_PadNd):
    """Mirrors the last dimension at its ends, which are not repeated."""

    sides, mode = 2, "reflect"


class ReflectionPad2d(_PadNd):
    """Mirrors the last two dimensions at their ends, which are not repeated."""

    sides, mode = 4, "reflect"


class ReflectionPad3d(_PadNd):
    """Mirrors the last three dimensions at their ends, which are not repeated."""

    sides, mode = 6, "reflect"


class ReplicationPad1d(_PadNd):
    """Repeats the first and the last element of the last dimension."""

    sides, mode = 2, "replicate"


class ReplicationPad2d(_PadNd):
    """Repeats the outermost elements of the last two dimensions."""

    sides, mode = 4, "replicate"


class ReplicationPad3d(_PadNd):
    """Repeats the outermost elements of the last three dimensions."""

    sides, mode = 6, "replicate"


class ZeroPad1d(ConstantPad1d):
    """Puts zeros at both ends of the last dimension."""

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad2d(ConstantPad2d):
    """Puts zeros around the last two dimensions."""

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad3d(ConstantPad3d):
    """Puts zeros around the last three dimensions."""

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"
