"""A loop program for targets whose lanes go one by one: what it does for some lanes at a time is a loop over them.

Accumulators are arrays, with an element for each lane. Values are pure, so those that every lane has of its own are
computed where they are asked for. The order of sums is the program's, so the bits are those of vectors.
"""

from __future__ import annotations

from collections.abc import Sequence

from facula.engine.compiler.emit import memory, reductions, scalar
from facula.engine.compiler.emit.nest import NestEmitter
from facula.engine.compiler.emit.types import constant, register
from facula.engine.compiler.kernel import Machine
from facula.engine.compiler.program.formulas import Total, Value
from facula.engine.compiler.program.statements import (
    Accumulate,
    Accumulator,
    Keep,
    LoopProgram,
    Statement,
    Store,
    Vectors,
)


class LaneEmitter(NestEmitter):
    def __init__(self, program: LoopProgram, machine: Machine) -> None:
        super().__init__(program, machine)
        self.lanes = 1
        self.limit: str | None = None  # where the lanes of a masked loop end
        self.arrays: dict[Accumulator, list[str]] = {}

    def mask_from(self, first: str, end: str, points: int) -> None:
        self.limit = end

    def unmask(self) -> None:
        self.limit = None

    def vectors(self, s: Vectors) -> None:
        self.vector = s.axis
        for_all = [one for one in s.body if isinstance(one, Store) and not one.vector]
        stores = [one for one in s.body if isinstance(one, Store) and one.vector]
        for_each = [one for one in s.body if isinstance(one, Accumulate | Keep) or one in stores]
        for one in for_all:
            self.value(one.value, 0)
        if for_each:
            first, points = self.vector_at, str(s.count * self.program.lanes)
            if self.limit is not None:
                points = self.code.least(points, self.code.op(f"sub nsw i64 {self.limit}, {first}"))
            with self.loop("0", points, "1") as lane, self.scope():
                self.lane, self.vector_at = lane, self.add(first, lane)
                for one in stores:  # what is stored may lie where another value is read from
                    self.value(one.value, 0)
                for each in for_each:
                    self._one(each)
                self.lane, self.vector_at = "0", first
        for one in for_all:
            memory.store(self, one, 0)

    def _one(self, s: Statement) -> None:
        if isinstance(s, Store):
            memory.store(self, s, 0)
        elif isinstance(s, Keep):
            memory.store_scratch(self, s.slot, s.value, 0, self.value(s.value, 0))
        else:
            assert isinstance(s, Accumulate)
            a = s.accumulator
            reductions.accumulate(self, a, self._at(a, self.lane), self.value(a.element, 0), 0)

    def _make(self, value: Value, u: int) -> str:
        if isinstance(value, Total) and value.vector:
            return reductions.result(self, value.of, self._at(value.of, self.lane))
        return super()._make(value, u)

    def _at(self, a: Accumulator, lane: str) -> list[str]:
        """Where one lane's fields are."""
        return [self.code.op(f"getelementptr {register(d, 1)}, ptr {array}, i64 {lane}")
                for (d, _), array in zip(reductions.fields(a), self.arrays[a], strict=True)]

    def start(self, accumulators: Sequence[Accumulator], vectors: int) -> None:
        count = vectors * self.program.lanes
        for a in accumulators:
            fields = reductions.fields(a)
            self.arrays[a] = [self.slot(f"[{count} x {register(d, 1)}]") for d, _ in fields]
            with self.loop("0", str(count), "1") as lane:
                for (d, first), place in zip(fields, self._at(a, lane), strict=True):
                    self.code.do(f"store {register(d, 1)} {constant(first, d, 1)}, ptr {place}")

    def flush(self, accumulators: Sequence[Accumulator], vectors: int) -> None:
        for a in accumulators:
            if a.levels == 2:
                with self.loop("0", str(vectors * self.program.lanes), "1") as lane:
                    reductions.flush(self, a, self._at(a, lane))

    def finish(self, accumulators: Sequence[Accumulator], vectors: int) -> None:
        for a in accumulators:
            if a.across:
                half = vectors * self.program.lanes // 2
                while half:
                    with self.loop("0", str(half), "1") as lane:
                        self._combine(a, self._at(a, lane), self._at(a, self.add(lane, str(half))))
                    half //= 2
                self.memo[a, 0] = reductions.result(self, a, self._at(a, "0"))
                self.scopes[-1].append((a, 0))

    def _combine(self, a: Accumulator, to: list[str], other: list[str]) -> None:
        """The arg-reductions' order does not matter: of equal elements the first is known by its number."""
        kinds = [register(d, 1) for d, _ in reductions.fields(a)]

        def pair(slots: list[str]) -> tuple[str, str]:
            low, high = (self.code.op(f"load {t}, ptr {p}") for t, p in zip(kinds, slots, strict=True))
            return low, high

        if a.is_arg:
            names: Sequence[str] = reductions.better(self, a, 1, pair(to), pair(other))
        else:
            d, last = a.element.dtype, a.levels - 1
            both = [reductions.result(self, a, slots) for slots in (to, other)]
            names, kinds, to = [scalar.emit(self.code, reductions.STEP[a.name], d, 1, both)], kinds[last:], to[last:]
        for name, t, place in zip(names, kinds, to, strict=True):
            self.code.do(f"store {t} {name}, ptr {place}")
