"""Accumulators in NumPy, in the order that a loop program states.

A state is an array (or, of arg-reductions, a pair) whose last dimension is that of the partial sums: vectors times
lanes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from facula.dtypes import BOOL, FLOAT, dtype
from facula.engine.compiler.program.statements import Accumulator
from facula.engine.runtime.interpreter_scalar import FUNCTIONS

Array = np.ndarray[Any, Any]
Pair = tuple[Array, ...]  # (value, index), or just (value,)
_STEP = {"sum": "add", "prod": "mul", "max": "maximum", "min": "minimum", "any": "or", "all": "and"}


def _least(d: dtype, low: bool) -> Any:
    """The neutral element of max (low) or min."""
    if d.category == FLOAT:
        return -np.inf if low else np.inf
    if d.category == BOOL:
        return not low
    info = np.iinfo(d.name)
    return info.min if low else info.max


class State:
    """One accumulator's partial sums."""

    def __init__(self, a: Accumulator, partials: int, shape: tuple[int, ...]) -> None:
        self.a = a
        d = a.element.dtype
        if a.name in ("max", "argmax", "min", "argmin"):
            neutral = _least(d, a.name.endswith("max"))
        else:
            neutral = {"sum": 0, "prod": 1, "any": False, "all": True}[a.name]
        self.neutral = np.asarray(neutral).astype(d.compute.numpy)
        full = (*shape, partials)
        self.part = np.full(full, self.neutral)
        self.total = np.zeros(full, self.part.dtype) if a.levels == 2 else None
        self.at = np.full(full, -1, np.int64) if a.is_arg else None

    def add(self, element: Array, valid: Array | None, position: Array | None) -> None:
        """One element for every partial sum."""
        self.add_all(element[None], None if valid is None else valid[None],
                     None if position is None else position[None])

    def add_all(self, elements: Array, valid: Array | None, positions: Array | None) -> None:
        """Elements for every partial sum, one after the other. Whatever is not valid becomes the neutral element, which
        leaves every partial sum as it is (of a float sum none is ever -0.0)."""
        if valid is not None:
            elements = np.where(valid, elements, self.neutral)
        if self.at is not None:
            assert positions is not None
            if valid is not None:
                positions = np.where(valid, positions, -1)
            pair = self._in_pairs((elements, positions), self._better)
            self.part, self.at = self._better((self.part, self.at), pair)
        elif self.a.element.dtype.category == FLOAT and self.a.name in ("sum", "prod"):
            for x in elements:
                self.part = self._combine(x, self.part)
        else:  # exact in any grouping
            self.part = self._combine(self._in_pairs((elements,), self._later)[0], self.part)

    def _in_pairs(self, found: Pair, combine: Callable[[Pair, Pair], Pair]) -> Pair:
        """Along the first dimension, neighbours first, so that who comes first stays known."""
        while (count := len(found[0])) > 1:
            made = combine(tuple([x[:count - 1:2] for x in found]), tuple([x[1::2] for x in found]))
            found = tuple([np.concatenate((new, x[count - 1:])) if count % 2 else new
                           for new, x in zip(made, found, strict=True)])
        return tuple([x[0] for x in found])

    def _later(self, a: Pair, b: Pair) -> Pair:
        """`b` comes after `a`: the new one, which stands first where it is accumulated."""
        return self._combined(b, a)

    def flush(self) -> None:
        if self.total is not None:
            self.total = self.total + self.part
            self.part = np.full(self.part.shape, self.neutral)

    def finish(self, vectors: int) -> Array:
        """Partial sums combined, if they are of one sum."""
        pair: Pair
        if self.at is None:
            combine, pair = self._combined, (self.part if self.total is None else self.total,)
        else:
            combine, pair = self._better, (self.part, self.at)
        if self.a.across:
            pair = tuple([x.reshape(*x.shape[:-1], vectors, -1) for x in pair])
            for k in range(vectors.bit_length() - 1):
                neighbours, half = self.at is not None, vectors >> k + 1
                a, b = (slice(0, None, 2), slice(1, None, 2)) if neighbours else (slice(half), slice(half, None))
                pair = combine(tuple([x[..., a, :] for x in pair]), tuple([x[..., b, :] for x in pair]))
            pair = tuple([x[..., 0, :] for x in pair])
            while (half := pair[0].shape[-1] // 2):
                pair = combine(tuple([x[..., :half] for x in pair]), tuple([x[..., half:] for x in pair]))
        return pair[-1]

    def _combine(self, a: Array, b: Array) -> Array:
        return np.asarray(FUNCTIONS[_STEP[self.a.name]](a, b)).astype(self.part.dtype, copy=False)

    def _combined(self, a: Pair, b: Pair) -> Pair:
        return (self._combine(a[0], b[0]),)

    def _better(self, a: Pair, b: Pair) -> Pair:
        """NaN first, then the larger (smaller) value, then the smaller index (-1: saw nothing)."""
        over = b[0] > a[0] if self.a.name == "argmax" else b[0] < a[0]
        same = b[0] == a[0]
        nan_a, nan_b = a[0] != a[0], b[0] != b[0]
        earlier = np.asarray(b[1], np.int64).view(np.uint64) < np.asarray(a[1], np.int64).view(np.uint64)
        take = over | nan_b & ~nan_a | (same | nan_a & nan_b) & earlier
        return np.where(take, b[0], a[0]), np.where(take, b[1], a[1])
