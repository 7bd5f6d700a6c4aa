"""A loop program evaluated by NumPy: what every kernel means, without a compiler.

The last dimension of every array is that of the lanes. Loops whose iterations do not meet are done at once: each puts
a new first dimension before those of the loops around it, so that what was computed outside broadcasts by itself. Loops
that sums are added up in are done in the program's order: the innermost one's elements are computed at once and added
one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from facula.engine.compiler.program.formulas import Axis
from facula.engine.compiler.program.statements import (
    Accumulate,
    Accumulator,
    Finish,
    Flush,
    Keep,
    Let,
    Lines,
    Loop,
    LoopProgram,
    Part,
    Start,
    Statement,
    Store,
    Vectors,
)
from facula.engine.evaluator.formulas import Values
from facula.engine.evaluator.sums import State
from facula.engine.graph.primitives.elements import store

Array = np.ndarray[Any, Any]


def evaluate(program: LoopProgram, buffers: Sequence[Array], numbers: Sequence[Any]) -> None:
    """Do what the kernel does. `buffers` are flat arrays of the elements as memory holds them, one for each of the
    program's; `numbers` the run's."""
    with np.errstate(all="ignore"):
        run = _Run(program, buffers, numbers)
        for value in program.prelude:
            run.values.value(value)
        run.statements(program.body)


class _Run:
    def __init__(self, program: LoopProgram, buffers: Sequence[Array], numbers: Sequence[Any]) -> None:
        self.program = program
        self.values = Values(buffers, numbers)
        self.intervals: dict[Axis, tuple[Array, Array]] = {}
        self.shape: tuple[int, ...] = ()  # of all points of the loops around, the innermost's first; without lanes
        self.valid: Array | None = None  # which of them there are: the last tile may be smaller
        self.limit: Array | None = None  # where the lanes of a masked loop end
        self.states: dict[Accumulator, State] = {}
        self.ordered = False  # is the first dimension that of a loop whose elements are added up?

    def statements(self, body: Sequence[Statement]) -> None:
        for s in body:
            match s:
                case Loop():
                    self._loop(s)
                case Lines():
                    self._lines(s)
                case Vectors():
                    self._vectors(s)
                case Let():
                    self.values.value(s.value)
                case Start():
                    for a in s.accumulators:
                        self.states[a] = State(a, s.vectors * self.program.lanes, self.shape)
                case Flush():
                    for a in s.accumulators:
                        self.states[a].flush()
                case Finish():
                    for a in s.accumulators:
                        self.values.remember(a, self.states.pop(a).finish(s.vectors))
                case _:
                    raise AssertionError(f"{s!r} stands outside of Vectors")

    # ---- loops

    def _loop(self, loop: Loop) -> None:
        root, size = loop.axis.root, loop.axis.size
        before = self.intervals.get(root)
        start, end = self._interval(root)
        middle = start + (end - start) // loop.unit * loop.unit
        if loop.part is not Part.REST:
            self._pieces(loop, start, end if loop.part is Part.ALL else middle, size)
        if loop.part is Part.REST or loop.part is Part.BOTH:
            self._pieces(loop, middle, end, size if loop.part is Part.REST else loop.unit)
        if before is None:
            self.intervals.pop(root, None)
        else:
            self.intervals[root] = before

    def _pieces(self, loop: Loop, start: Array, end: Array, size: int) -> None:
        count = max(0, int(np.max(-(-(end - start) // size))))
        if self.states and any(isinstance(s, Flush) or isinstance(s, Loop | Lines) and _adds(s) for s in loop.body):
            for k in range(count):
                first = start + k * size
                self._piece(loop, first, np.minimum(first + size, end), first < end)
        elif count:
            before = self.shape
            first = start + np.arange(count).reshape(-1, *[1] * len(before), 1) * size
            self.shape, self.ordered = (count, *before), bool(self.states) and _adds(loop)
            self._piece(loop, first, np.minimum(first + size, end), first < end)
            self.shape, self.ordered = before, False

    def _piece(self, loop: Loop, first: Array, end: Array, there: Array) -> None:
        """The loop's body with the axis at `first`, and [first, end) left for the loops inside."""
        root, valid, limit = loop.axis.root, self.valid, self.limit
        if not np.all(there):
            self.valid = there if valid is None else valid & there
        if loop.masked:
            self.limit = end
        self.intervals[root] = first, end
        self.values.open()
        if loop.axis is root:
            self._stand(root, first)
        self.statements(loop.body)
        self.values.close()
        self.valid, self.limit = valid, limit

    def _lines(self, lines: Lines) -> None:
        *parts, last = lines.axis.parts
        if not _does_more_than_keep(lines):
            return
        start, end = self._interval(lines.axis)
        first, after = start // last.extent, -(-end // last.extent)
        valid, before = self.valid, self.intervals.get(last)
        for k in range(max(0, int(np.max(after - first)))):
            line = first + k
            there = line < after
            if not np.all(there):
                self.valid = there if valid is None else valid & there
            self._decode(parts, line)
            self.intervals[last] = (np.maximum(start - line * last.extent, 0),
                                    np.minimum(end - line * last.extent, last.extent))
            self.values.open()
            self.statements(lines.body)
            self.values.close()
            self.valid = valid
        if before is None:
            self.intervals.pop(last, None)
        else:
            self.intervals[last] = before

    def _stand(self, axis: Axis, at: Array) -> None:
        self.values.points[axis] = at
        self._decode(axis.parts, at)

    def _decode(self, parts: Sequence[Axis], number: Array) -> None:
        for k in range(len(parts) - 1, -1, -1):
            self.values.points[parts[k]] = number % parts[k].extent if k else number
            number = number // parts[k].extent

    def _interval(self, root: Axis) -> tuple[Array, Array]:
        if root in self.intervals:
            return self.intervals[root]
        for axis, number in self.values.points.items():
            if axis.of is root:
                first = number * axis.size
                return first, np.minimum(first + axis.size, root.extent)
        return np.asarray(0), np.asarray(root.extent)

    # ---- lanes

    def _vectors(self, s: Vectors) -> None:
        axis, values = s.axis, self.values
        lanes = np.arange(s.count * self.program.lanes)
        first = self.intervals[axis][0] if axis in self.intervals else np.asarray(0)
        self._stand(axis, first + lanes)
        mask = None if self.limit is None else values.points[axis] < self.limit
        for one in s.body:
            match one:
                case Let():
                    values.value(one.value)
                case Store():
                    self._store(one, mask)
                case Accumulate():
                    self._accumulate(one.accumulator, mask, len(lanes))
                case Keep():  # scratch saves time and changes nothing
                    pass
                case _:
                    raise AssertionError(f"{one!r} in Vectors")

    def _store(self, s: Store, mask: Array | None) -> None:
        valid = _both(self.valid, mask if s.vector else None)
        x = store(self.values.value(s.value), s.dtype)
        at = self.values.position(s.index)
        memory = self.values.buffers[s.buffer.number]
        if valid is None:
            at, x = np.broadcast_arrays(at, x)
            memory[at] = x
        else:
            at, x, valid = np.broadcast_arrays(at, x, valid)
            memory[at[valid]] = x[valid]

    def _accumulate(self, a: Accumulator, mask: Array | None, lanes: int) -> None:
        state, values = self.states[a], self.values
        shape = (*self.shape, lanes)
        valid = _both(self.valid, mask)
        element = np.broadcast_to(values.value(a.element), shape)
        position = np.broadcast_to(values.position(a.position), shape) if a.is_arg else None
        if valid is not None:
            valid = np.broadcast_to(valid, shape)
        (state.add_all if self.ordered else state.add)(element, valid, position)


def _adds(s: Loop | Lines) -> bool:
    """Is something added up in it?"""
    return any(isinstance(one, Flush | Accumulate) or isinstance(one, Loop | Lines) and _adds(one)
               or isinstance(one, Vectors) and any(isinstance(x, Accumulate) for x in one.body) for one in s.body)


def _does_more_than_keep(s: Loop | Lines | Vectors) -> bool:
    return any(isinstance(one, Accumulate | Store)
               or isinstance(one, Loop | Lines | Vectors) and _does_more_than_keep(one) for one in s.body)


def _both(a: Array | None, b: Array | None) -> Array | None:
    return b if a is None else a if b is None else a & b

