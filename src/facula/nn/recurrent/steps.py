"""Where the steps of a recurrent layer find what they read and write, for all steps at once.

Rows of one step lie together. In the order of time fewer and fewer sequences run, against it more and more.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from facula.engine.graph.node import Node
from facula.engine.runtime.routines import Array


class Operand:
    """Arrays of which each step has some rows. The first of them has these `step` bytes apart from row to row, where
    each step has its own; else they are 0 apart."""

    __slots__ = ("arrays", "address", "step")

    def __init__(self, step: int, *arrays: Array) -> None:
        self.arrays = arrays
        self.address = _address(arrays[0])
        self.step = step

    def placed(self, steps: Steps, addresses: Array) -> None:
        """Say in `addresses` (steps,), which are the address and the starts times `step`, where else rows lie."""

    def at(self, address: int, node: Node) -> Array:
        """What stands there, as `node` says."""
        for array in self.arrays:
            offset = address - _address(array)
            if 0 <= offset < array.nbytes:
                return np.ndarray(node.shape, array.dtype, array, offset)
        raise AssertionError("an address outside all arrays")


def shared(array: Array) -> Operand:
    """All steps have its first rows, or all of it."""
    return Operand(0, array)


def own(array: Array) -> Operand:
    """Each step has rows of its own."""
    return Operand(array.strides[0], array)


class Before(Operand):
    """Each step has the rows of the step before it. The first has `first`, and so has one with more rows."""

    __slots__ = ()

    def __init__(self, first: Array, array: Array) -> None:
        super().__init__(array.strides[0], array, first)

    def placed(self, steps: Steps, addresses: Array) -> None:
        addresses[1:] = addresses[:-1].copy()
        addresses[[a for a, _ in steps.runs] if steps.reverse else 0] = _address(self.arrays[1])


class InTurn(Operand):
    """Every other step has the first rows of one."""

    __slots__ = ()

    def __init__(self, one: Array, other: Array) -> None:
        super().__init__(0, one, other)

    def placed(self, steps: Steps, addresses: Array) -> None:
        addresses[1::2] = _address(self.arrays[1])


class Steps:
    """The steps in the order in which they run: how many `rows` each has, and their `starts` among all rows."""

    def __init__(self, sizes: Array, reverse: bool) -> None:
        """`sizes` in the order of time, with zeros after the last."""
        sizes = sizes[:np.count_nonzero(sizes)]
        self.most = int(sizes[0])
        self.sizes = sizes
        starts = np.cumsum(sizes) - sizes
        self.rows, self.starts = (sizes[::-1], starts[::-1]) if reverse else (sizes, starts)
        self.reverse = reverse
        # where others begin to run, or end: (first step, the one after the last) of those with equally many rows
        changes = (np.flatnonzero(self.rows[1:] != self.rows[:-1]) + 1).tolist()
        self.runs = list(pairwise([0, *changes, len(sizes)]))

    def run(self, program: Callable[[int], Any], operands: list[Operand],
            changed: Callable[[int, int], None] | None = None) -> None:
        """`program` (of a number of rows) for each step, one after the other. `changed`, before a step with other rows
        than the one before it, is told where that one's start and how many they were."""
        addresses = np.multiply.outer(self.starts, np.array([o.step for o in operands]))
        addresses += np.array([o.address for o in operands])
        for k, operand in enumerate(operands):
            operand.placed(self, addresses[:, k])
        for first, end in self.runs:
            rows = int(self.rows[first])
            if first and changed is not None:
                changed(int(self.starts[first - 1]), int(self.rows[first - 1]))
            program(rows).run(operands, addresses[first:end])

    def last(self, array: Array) -> Array:
        """Of each sequence the row of its last step."""
        return array[:self.most].copy() if self.reverse else array[self._ends()]

    def latest(self, one: Array, other: Array) -> Array:
        """Of each sequence what its last step wrote, where steps write `other`, `one`, `other` ... in turn."""
        if self.reverse:
            return other if len(self.starts) % 2 else one
        found: Array = np.where((self._lengths() % 2 == 1)[:, None], other, one)
        return found

    def shifted(self, first: Array, array: Array) -> Array:
        """For the rows of each step those of the step before it; `first`'s for those whose sequence begins."""
        found = np.empty_like(array)
        earlier = np.arange(self.most, len(array)) - np.repeat(self.sizes[:-1], self.sizes[1:])
        if self.reverse:
            found[earlier] = array[self.most:]
            found[self._ends()] = first
        else:
            found[self.most:] = array[earlier]
            found[:self.most] = first
        return found

    def _lengths(self) -> Array:
        """Of the sequences: how many steps they have."""
        found: Array = len(self.sizes) - np.searchsorted(self.sizes[::-1], np.arange(self.most), "right")
        return found

    def _ends(self) -> Array:
        """Of the sequences: the row that is the last in time."""
        last = self._lengths() - 1
        found: Array = np.cumsum(self.sizes)[last] - self.sizes[last] + np.arange(self.most)
        return found


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])
