"""State such as `step` is a 0-d tensor for the outside, and a Python number where the update is computed.

Asking a tensor for its value would wait for everything recorded so far. So an optimizer remembers which
number each of its 0-d tensors holds; one tensor serves all parameters with the same number.
"""

from __future__ import annotations

import struct
from typing import Any

import facula


class Scalars:
    """The 0-d tensors of one optimizer whose values are known."""

    def __init__(self) -> None:
        self._numbers: dict[int, tuple[Any, int, float]] = {}  # id -> the tensor, its version, its number
        self._tensors: dict[float, Any] = {}
        self._before: Any = None  # the last `step` that `advance` met, and what it became
        self._after: Any = None
        self._count = 0.0

    def number(self, tensor: Any) -> float:
        """The value of a 0-d tensor; from memory, unless somebody else made or changed it."""
        known = self._numbers.get(id(tensor))
        if known is not None and known[0] is tensor and known[1] == tensor._version:
            return known[2]
        return float(tensor)

    def tensor(self, number: float) -> Any:
        """A float32 tensor with this value (float64 where that is the default type)."""
        made = self._tensors.get(number)
        if made is not None:
            known = self._numbers.get(id(made))
            if known is not None and known[1] == made._version:
                return made
        if len(self._tensors) > 64:  # values of steps long past
            self._tensors.clear()
            self._numbers.clear()
        made = facula.full((), number, dtype=scalar_dtype())
        self._tensors[number] = made
        self._numbers[id(made)] = (made, made._version, number)
        return made

    @staticmethod
    def rounded(number: float) -> float:
        """The number as a float32 tensor holds it."""
        return number if scalar_dtype() is facula.float64 else struct.unpack("f", struct.pack("f", number))[0]

    def advance(self, state: Any) -> float:
        """Add one to `state["step"]` and return the new number."""
        before = state["step"]
        if before is not self._before:  # mostly the first parameter of a step: the others share its tensor
            self._before, self._count = before, self.number(before) + 1.0
            self._after = self.tensor(self._count)
        state["step"] = self._after
        return self._count


def scalar_dtype() -> Any:
    """The type of `step`: float64 where that is the default type, else float32."""
    return facula.float64 if facula.get_default_dtype() is facula.float64 else facula.float32
