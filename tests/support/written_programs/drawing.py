"""Draws of what lines are made of: numbers, shapes, keys. What is drawn follows from a seed alone."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

SHAPES = [(), (1,), (3,), (4,), (33,), (2, 3), (3, 4), (4, 1), (5, 17), (2, 3, 4), (1, 2, 2), (3, 1, 5), (0,), (2, 0),
          (2, 3, 2, 2), (2, 3, 4, 5), (1, 4, 3, 3), (2, 2, 1, 3, 2)]
DTYPES = ["float32"] * 5 + ["float64"] * 3 + ["int64"] * 2 + [
    "int32", "bool", "float16", "bfloat16", "uint8", "int8", "int16", "complex64", "complex128"]
NUMBERS = [0, 1, 2, -1, 3, 0.5, -1.5, 0.25, True]


class Drawn:
    def __init__(self, seed: object) -> None:
        self.random = random.Random(str(seed))

    def one_of(self, choices: Sequence[Any]) -> Any:
        return choices[self.random.randrange(len(choices))]

    def between(self, low: int, high: int) -> int:
        return self.random.randint(low, max(low, high))

    def chance(self, of: float) -> bool:
        return self.random.random() < of

    def order(self, n: int) -> tuple[int, ...]:
        return tuple(self.random.sample(range(n), n))

    def ramp(self, shape: Sequence[int] | None = None, dtype: str = "") -> str:
        """Elements that are exact in every dtype (running.ramp)."""
        shape = self.one_of(SHAPES) if shape is None else shape
        start, step = self.between(-3, 3), self.one_of([1, 2, 3, 5])
        return f"ramp({tuple(shape)}, {start}, {step}, {dtype or self.one_of(DTYPES)!r})"

    def integers(self, shape: Sequence[int], below: int) -> list[Any]:
        """Indices, with duplicates, some from the end."""
        if not shape:
            return self.between(-below, below - 1)  # type: ignore[return-value]
        return [self.integers(shape[1:], below) for _ in range(shape[0])]

    # ---- keys ---------------------------------------------------------------------------------------------------

    def basic_key(self, shape: Sequence[int]) -> str:
        """Integers, slices, None and Ellipsis: what gives a view."""
        key = []
        for n in shape[:self.between(0, len(shape))]:
            kind = self.one_of(["all", "int", "part", "step"])
            if kind == "int":
                key.append(str(self.between(-n, n - 1) if n else 0))
            elif kind == "all":
                key.append(":")
            else:
                start, stop = self.one_of(["", "0", "1", "-2"]), self.one_of(["", str(n), "-1", "2"])
                key.append(f"{start}:{stop}" + (f":{self.one_of([1, 2, 3])}" if kind == "step" else ""))
        if self.chance(0.3):
            key.insert(self.between(0, len(key)), "None")
        if not key or self.chance(0.3):
            key.insert(self.between(0, len(key)), "...")
        return ", ".join(key)

    def key(self, shape: Sequence[int]) -> str:
        """With masks and index tensors too."""
        if not shape or self.chance(0.25):
            return self.basic_key(shape)
        if self.chance(0.3):
            dims = self.between(1, len(shape))
            mask = f"ramp({tuple(shape[:dims])}, {self.between(0, 3)}, {self.one_of([1, 3])}, 'int64') % 2 == 0"
            rest = [self.one_of([":", "...", "::2"])] if dims < len(shape) and self.chance(0.3) else []
            return ", ".join([mask, *rest])
        parts = []
        broadcast = self.one_of([1, 2, 5])
        for n in shape[:self.between(1, len(shape))]:
            kind = self.one_of(["tensor", "tensor", "tensor", "slice", "int", "list", "none"])
            if kind in ("tensor", "list") and n:
                of = (broadcast,) if kind == "list" else self.one_of(
                    [(broadcast,), (broadcast,), (1,), (2, broadcast), ()])
                index = self.integers(of, n)
                parts.append(f"lib.tensor({index})" if kind == "tensor" else str(index))
            elif kind == "int" and n:
                parts.append(str(self.between(-n, n - 1)))
            elif kind == "none":
                parts += ["None", ":"]
            else:
                parts.append(self.one_of([":", "::2", "1:", ":-1"]))
        return ", ".join(parts) + ("," if len(parts) == 1 and parts[0][0] == "[" else "")

    # ---- geometry -----------------------------------------------------------------------------------------------

    def split(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Another shape for as many elements."""
        n = math.prod(shape)
        divisors = [k for k in range(1, min(n, 60) + 1) if n % k == 0] or [1]
        first = self.one_of(divisors)
        return self.one_of([(-1,), (1, *shape), (*shape, 1), tuple(shape[::-1]), (n,), (first, n // first if n else 0),
                            (first, 1, n // first if n else 0)])

    def strided(self, room: int) -> str:
        """`size, stride, offset` within so many elements."""
        if room <= 0:
            return "(0,), (1,), 0"
        rank = self.between(0, 3)
        size = [self.one_of([1, 2, 2, 3, 4]) for _ in range(rank)]
        stride = [self.one_of([0, 1, 1, 2, 3, 5, 6]) for _ in range(rank)]
        while room and sum((n - 1) * s for n, s in zip(size, stride, strict=True)) >= room:
            k = max(range(rank), key=lambda k: (size[k] - 1) * stride[k])
            stride[k] -= 1
        reach = sum((n - 1) * s for n, s in zip(size, stride, strict=True))
        return f"{tuple(size)}, {tuple(stride)}, {self.between(0, room - 1 - reach)}"
