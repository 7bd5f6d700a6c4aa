"""Is a loop program sound? Checked where FACULA_VERIFY=1 asks for it (the tests do), before it is printed.

loops         every point of every axis is met once: pieces are cut further until a loop or vectors take single points,
              what a loop over whole units leaves is taken by the loop behind it, and lanes are masked unless a whole
              unit surely is there
loads, stores every position lies in its buffer, for all points of the axes; those axes stand somewhere
sums          started, given the element of every reduced point, flushed, finished, and not asked for before
types         of arguments and results (verify_values.py)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from facula.engine.compiler.program.formulas import Axis, Index
from facula.engine.compiler.program.statements import (
    Accumulate,
    Accumulator,
    Binding,
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
from facula.engine.compiler.program.text import program_text
from facula.engine.compiler.program.verify_values import Known, verify_value, within
from facula.errors import VerifyError


def verify_program(program: LoopProgram) -> None:
    try:
        _Walk(program).run()
    except VerifyError as error:
        raise VerifyError(f"loop program: {error}\n{program_text(program)}") from None


class _Walk:
    def __init__(self, program: LoopProgram) -> None:
        self.program = program
        self.known = Known(set(), set(), set())
        self.whole: dict[Axis, int] = {}  # what is left of an axis is a multiple of so many points
        self.pieces: dict[Axis, Loop] = {}  # the innermost loop over each axis
        self.masked = False
        self.started: dict[Accumulator, int] = {}
        self.bound_at_start: dict[Accumulator, set[Axis]] = {}
        self.unflushed: set[Accumulator] = set()
        self.fed: set[Accumulator] = set()
        self.reduced = _reduced(program.body)

    def run(self) -> None:
        for value in self.program.prelude:
            verify_value(value, self.known, False)
        self._statements(self.program.body)
        if self.started:
            raise VerifyError(f"{len(self.started)} sums are never finished")

    def _statements(self, body: Sequence[Statement]) -> None:
        for k, s in enumerate(body):
            match s:
                case Loop():
                    self._pairs(body, k, s)
                    self._loop(s)
                case Lines():
                    self._lines(s)
                case Vectors():
                    self._vectors(s)
                case Let():
                    verify_value(s.value, self.known, False)
                case Start():
                    for a in s.accumulators:
                        self.started[a] = s.vectors
                        self.known.totals.discard(a)
                        self.bound_at_start[a] = set(self.known.axes)
                case Flush():
                    self.unflushed.difference_update(s.accumulators)
                case Finish():
                    self._finish(s)
                case _:
                    raise VerifyError(f"{s!r} stands outside of Vectors")

    # ---- loops

    def _pairs(self, body: Sequence[Statement], k: int, loop: Loop) -> None:
        """WHOLE and REST stand behind each other and speak of the same points."""
        if loop.part not in (Part.WHOLE, Part.REST):
            return
        other = k + 1 if loop.part is Part.WHOLE else k - 1
        found = body[other] if 0 <= other < len(body) else None
        wanted = Part.REST if loop.part is Part.WHOLE else Part.WHOLE
        if not isinstance(found, Loop) or found.part is not wanted or found.axis.root is not loop.axis.root \
                or found.unit != loop.unit:
            raise VerifyError(f"a loop over the {loop.part.value} of {loop.axis!r} has no other half beside it")

    def _loop(self, loop: Loop) -> None:
        axis, root = loop.axis, loop.axis.root
        if axis.of is not None and axis.extent != -(-root.extent // axis.size):
            raise VerifyError(f"{axis!r}: {root.extent} points are not {axis.extent} pieces")
        if loop.unit < 1 or loop.part is not Part.ALL and axis.size % loop.unit and loop.unit % axis.size:
            raise VerifyError(f"{axis!r} and units of {loop.unit} do not fit into each other")
        outer = self.pieces.get(root)
        if axis is not root and not _cut_further(loop):
            raise VerifyError(f"nobody goes through the points of {axis!r}")
        before = self.known, self.masked, self.whole
        units = loop.unit if loop.part is Part.WHOLE else self.whole.get(root, 1)
        self.whole = {**self.whole, root: math.gcd(units, axis.size)}
        self.known = self.known.copy()
        if axis is root and loop.binding is not Binding.THREADS:
            self.known.axes.update((root, *axis.parts))
        self.masked = self.masked or loop.masked
        self.pieces[root] = loop
        self._statements(loop.body)
        if outer is None:
            del self.pieces[root]
        else:
            self.pieces[root] = outer
        self.known, self.masked, self.whole = before

    def _lines(self, lines: Lines) -> None:
        """Of a line any number of points may be left."""
        *parts, last = lines.axis.parts
        if not any(isinstance(s, Loop) and s.axis.root is last for s in lines.body):
            raise VerifyError(f"nobody goes along the lines of {lines.axis!r}")
        before = self.known, self.whole
        self.known, self.whole = self.known.copy(), {**self.whole, last: 1}
        self.known.axes.update(parts)
        self._statements(lines.body)
        self.known, self.whole = before

    # ---- lanes

    def _vectors(self, s: Vectors) -> None:
        vector, points = s.axis, s.count * self.program.lanes
        loop = self.pieces.get(vector)
        here = loop is not None and loop.axis.size == points
        if here and not self.masked and self.whole.get(vector, 1) % points:
            raise VerifyError(f"{points} points of {vector!r} at a time, without a mask, where fewer may be left")
        before, self.known = self.known, self.known.copy()
        if here:
            self.known.axes.update((vector, *vector.parts))
        for one in s.body:
            match one:
                case Let():
                    verify_value(one.value, self.known, here)
                case Store():
                    self._store(one, vector, here)
                case Keep():
                    verify_value(one.value, self.known, here)
                    self.known.kept.add(one.slot.number)
                case Accumulate():
                    self._accumulate(one.accumulator, s.count, here)
                case _:
                    raise VerifyError(f"{one!r} in Vectors")
        self.known = before

    def _store(self, s: Store, vector: Axis, here: bool) -> None:
        verify_value(s.value, self.known, here)
        if s.vector and not here:
            raise VerifyError(f"a vector is stored to buffer {s.buffer.number} where no lanes are")
        if s.vector != bool(s.index.stride(vector)):
            raise VerifyError(f"a store to buffer {s.buffer.number} mistakes vectors for scalars")
        if not s.dtype is s.buffer.dtype is s.value.dtype:
            raise VerifyError(f"{s.value.dtype} is stored as {s.dtype} to a buffer of {s.buffer.dtype}")
        within(s.index, s.buffer, self.known, 0)

    # ---- sums

    def _accumulate(self, a: Accumulator, count: int, here: bool) -> None:
        verify_value(a.element, self.known, here)
        if self.started.get(a) != count:
            raise VerifyError(f"{a.name}: {count} partial sums are added to, of {self.started.get(a)} started")
        met = self.known.axes - self.bound_at_start[a]
        if a.across and not here:
            raise VerifyError(f"{a.name}: no lanes at hand")
        missing = [axis for axis in self.reduced if axis not in met]
        if missing:
            raise VerifyError(f"{a.name}: is not given the elements along {missing}")
        self._position(a.position)
        self.fed.add(a)
        if a.levels == 2:
            self.unflushed.add(a)

    def _position(self, index: Index) -> None:
        for axis, _ in index.terms:
            if axis not in self.known.axes:
                raise VerifyError(f"{axis!r} stands nowhere")

    def _finish(self, s: Finish) -> None:
        for a in s.accumulators:
            if self.started.pop(a, None) != s.vectors:
                raise VerifyError(f"{a.name}: {s.vectors} partial sums are finished that were not started")
            if a not in self.fed:
                raise VerifyError(f"{a.name}: nothing was added up")
            if a in self.unflushed:
                raise VerifyError(f"{a.name}: partial sums are lost that were not flushed")
            self.fed.discard(a)
            self.known.totals.add(a)


def _cut_further(loop: Loop) -> bool:
    """Is there a loop inside that takes smaller pieces?"""
    return any(_goes_over(s, loop.axis.root) for s in loop.body)


def _goes_over(s: Statement, root: Axis) -> bool:
    if isinstance(s, Vectors):
        return s.axis is root
    return isinstance(s, Loop | Lines) and (s.axis.root is root or any(_goes_over(inner, root) for inner in s.body))


def _reduced(body: Sequence[Statement]) -> set[Axis]:
    """The reduced axes that loops go over."""
    found: set[Axis] = set()
    for s in body:
        if isinstance(s, Loop | Lines):
            found |= {p for p in s.axis.root.parts or (s.axis.root,) if p.reduced}
            found |= _reduced(s.body)
    return found
