"""The values of a loop program in NumPy: a formula at all points at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from facula.dtypes import FLOAT, float32, float64, int64
from facula.engine.compiler.program.formulas import (
    Apply,
    Axis,
    Coordinate,
    Gather,
    Index,
    Kept,
    Literal,
    Load,
    Number,
    Total,
    Value,
)
from facula.engine.graph.primitives.elements import convert, load, number
from facula.engine.runtime.interpreter_scalar import FUNCTIONS

Array = np.ndarray[Any, Any]


class Values:
    """Values at the current points: `points` says where each axis stands, in arrays that broadcast against each other.

    What is computed is remembered until the scope that asked for it ends.
    """

    def __init__(self, buffers: Sequence[Array], numbers: Sequence[Any]) -> None:
        self.buffers = buffers
        self.numbers = numbers
        self.points: dict[Axis, Array] = {}
        self.memo: dict[object, Array] = {}
        self.scopes: list[list[object]] = [[]]

    def open(self) -> None:
        self.scopes.append([])

    def close(self) -> None:
        for key in self.scopes.pop():
            self.memo.pop(key, None)

    def remember(self, key: object, x: Array) -> None:
        self.memo[key] = x
        self.scopes[-1].append(key)

    def value(self, v: Value) -> Array:
        """In the type that `v.dtype` computes with."""
        key = v.of if isinstance(v, Total) else v
        found = self.memo.get(key)
        if found is None:
            found = self._make(v)
            self.remember(key, found)
        return found

    def position(self, index: Index) -> Array:
        at = np.asarray(index.const, np.int64)
        for k, factor in index.nums:
            at = at + np.int64(int(self.numbers[k])) * factor
        return sum((self.points[axis] * stride for axis, stride in index.terms), at)

    def _make(self, v: Value) -> Array:
        match v:
            case Apply():
                return self._apply(v)
            case Load():  # points beyond a mask read something, which nobody looks at
                return load(np.take(self.buffers[v.buffer.number], self.position(v.index), mode="clip"), v.dtype)
            case Gather():
                row, top = self.value(v.row), v.rows - 1
                at = self.position(v.index) + np.where((row < 0) | (row > top), top, row) * v.step
                return load(np.take(self.buffers[v.buffer.number], at, mode="clip"), v.dtype)
            case Coordinate():
                return self.position(v.index)
            case Kept():  # scratch saves time and changes nothing
                return self.value(v.of)
            case Number():
                if v.dtype.category == FLOAT:
                    return convert(np.asarray(float(self.numbers[v.at])), float64, v.dtype.compute)
                return convert(np.asarray(int(self.numbers[v.at]), np.int64), int64, v.dtype)
            case Literal():
                return number(v.value, v.dtype)
        raise AssertionError(f"{v!r} is asked for before it is known")

    def _apply(self, v: Apply) -> Array:
        args = [self.value(a) for a in v.args]
        if v.fn == "cast":
            return convert(args[0], v.args[0].dtype, v.dtype)
        if v.fn == "round16":
            return convert(args[0], float32, v.dtype)
        return np.asarray(FUNCTIONS[v.fn](*args)).astype(v.dtype.compute.numpy, copy=False)

