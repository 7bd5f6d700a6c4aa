"""The values of a nest as the typed formulas of its loop program."""

from __future__ import annotations

from facula.dtypes import dtype
from facula.engine.compiler.affine import Affine
from facula.engine.compiler.kernel import SCRATCH_BYTES, VECTOR_BYTES
from facula.engine.compiler.loops import ELEMENT, Nest
from facula.engine.compiler.program.formulas import (
    POINT,
    Apply,
    Axis,
    Buffer,
    Coordinate,
    Gather,
    Index,
    Kept,
    Literal,
    Load,
    Number,
    Slot,
    Total,
    Value,
)
from facula.engine.compiler.program.statements import Accumulator
from facula.engine.compiler.program.walks import Walk, walk_of
from facula.engine.compiler.values import Val
from facula.engine.graph.node import Node, size_of

BLOCK = 256  # vectors added up before the sum moves on to the next level: keeps long sums accurate
PIECE = 8  # of these, vectors that are staged at a time: what they are made of stays in the first-level cache, too
BATCH = SCRATCH_BYTES // 2 // (VECTOR_BYTES * PIECE * 8)  # reductions whose elements are staged at the same time


class Translation:
    """`value(val, phase)`: what a Val is in the loops of that phase.

    There is one axis for each dimension, and one for each run of reduced ones: `flats`, made of the others.
    """

    def __init__(self, nest: Nest, order: list[Val], axes: list[Axis]) -> None:
        self.nest = nest
        self.axes = axes
        self.flats = [self._flat(run) for run in nest.runs]
        self.walks = [Walk.BY_PARTS if nest.columns else walk_of(nest, p) for p in range(len(nest.phases))]
        self.step = max(1, VECTOR_BYTES // nest.lanes) * nest.lanes  # partial sums along a reduced axis
        self.keys: list[object] = []  # what each buffer is, by its number
        self.buffers: dict[object, Buffer] = {}
        self.accumulators: dict[Val, Accumulator] = {}
        self._kept = {v: k for k, v in enumerate(nest.kept)}
        lanes = [nest.vector_dim] if nest.sizes else []
        self._terms = [d for d in (*nest.outer, *nest.inner) if d not in lanes] + lanes
        self._done: list[dict[Val, Value]] = []
        self._interned: dict[tuple[object, ...], Value] = {}
        self._totals: dict[Val, Total] = {}
        if not nest.kept and len(set(self.walks)) <= 1:  # values are the same in all phases
            self._done = [{}] * (len(nest.phases) + 1)
            self._fill(0, order)
            return
        for phase in range(len(nest.phases) + 1):
            self._done.append({})
            self._fill(phase, [v for v in order if v.phase <= phase])

    def _fill(self, phase: int, order: list[Val]) -> None:
        done = self._done[phase]
        for v in order:  # arguments first
            done[v] = self._total(v) if v.op == "reduce" else self._translate(v, phase, done)

    def _flat(self, run: tuple[int, ...]) -> Axis:
        if len(run) == 1:
            return self.axes[run[0]]
        parts = tuple([self.axes[d] for d in run])
        return Axis("*".join(p.name for p in parts), self.nest.extent(run), True, parts=parts)

    def is_flat(self, phase: int) -> bool:
        """Do the phase's elements lie along a run as along one axis?"""
        return phase < len(self.walks) and self.walks[phase] is Walk.FLAT

    def vector(self, phase: int) -> Axis:
        """The axis that lanes run along where a phase's elements are computed."""
        return self.flats[-1] if self.is_flat(phase) else self.axes[-1] if self.axes else POINT

    def value(self, val: Val, phase: int = 0) -> Value:
        return self._done[phase][val]

    def _total(self, v: Val) -> Value:
        """The reduction's element is what the phase that ends with it computes."""
        found = self._totals.get(v)
        if found is None:
            walk = Walk.BY_PARTS if self.nest.columns else self.walks[v.phase - 1]
            element = self.value(v.args[0], v.phase - 1)
            if walk is Walk.STAGED:
                element = Kept(element.dtype, True, element, self.staging(v, flat=True))
            position = self._over_reduced(walk is not Walk.BY_PARTS)
            made = Accumulator(str(v.payload), element, position, not self.nest.columns)
            self.accumulators[v] = made
            found = self._totals[v] = Total(v.dtype, v.vec, made)
        return found

    def buffer(self, key: object, of: dtype | None = None) -> Buffer:
        found = self.buffers.get(key)
        if found is None:
            if isinstance(key, Node):
                of, size = key.dtype, size_of(key.shape)
            else:
                assert of is not None
                size = key.nbytes // of.itemsize  # type: ignore[attr-defined]
            found = self.buffers[key] = Buffer(len(self.keys), of, size)
            self.keys.append(key)
        return found

    def index(self, map: Affine, flat: bool = False) -> Index:
        strides = self.nest.strides(map)
        run = self.nest.runs[-1] if flat else ()
        terms = [(self.axes[d], strides[d]) for d in self._terms if strides[d] and d not in run]
        if run and strides[run[-1]]:
            terms.append((self.flats[-1], strides[run[-1]]))
        return Index(map.const, map.nums, tuple(terms))

    def _over_reduced(self, flat: bool, start: int = 0) -> Index:
        """The flat number of a point among the reduced ones, from the `start`-th of them on."""
        inner = self.nest.inner[start:]
        run = self.nest.runs[-1] if flat else ()
        terms, step = list[tuple[Axis, int]](), 1
        for d in reversed(inner):
            if d not in run:
                terms.insert(0, (self.axes[d], step))
            step *= self.nest.sizes[d] or 1
        return Index(0, (), (*terms, (self.flats[-1], 1)) if flat else tuple(terms))

    def slot(self, v: Val, flat: bool) -> Slot:
        """Where an element value is kept for later phases."""
        nest, number = self.nest, self._kept[v]
        return Slot(number, number * self._room(nest.inner), self._over_reduced(flat), nest.columns)

    def staging(self, v: Val, flat: bool) -> Slot:
        """Where a reduction's elements are left to be added up: those of a piece, or of all of the run where it is no
        longer. Batches of a phase's reductions use the same memory one after the other."""
        nest, run = self.nest, self.nest.runs[-1]
        number = nest.phases[v.phase - 1].index(v) % BATCH
        room = min(self.step * PIECE * 8, self._room(list(run)))
        index = self._over_reduced(flat, len(nest.inner) - len(run))
        start = self.flats[-1] if self.in_pieces else None
        behind = len(nest.kept) * self._room(nest.inner)
        return Slot(len(nest.kept) + number, behind + number * room, index, False, start)

    @property
    def in_pieces(self) -> bool:
        """Are the elements of the last run staged piece by piece?"""
        nest = self.nest
        return nest.extent(nest.runs[-1]) > self.step * PIECE or nest.chunk > 0 and len(nest.runs) == 1

    def _room(self, dims: list[int]) -> int:
        total = size_of(tuple(self.nest.sizes[d] for d in dims)) * (self.nest.lanes if self.nest.columns else 1)
        return -(-(total * 8) // 64) * 64

    def _translate(self, v: Val, phase: int, done: dict[Val, Value]) -> Value:
        nest = self.nest
        if nest.kept_from.get(v, phase) < phase:
            first = self._done[nest.kept_from[v]][v]
            return Kept(v.dtype, v.vec, first, self.slot(v, self.is_flat(phase)))
        args = tuple([done[a] for a in v.args])
        flat = self.is_flat(phase) and v.level == ELEMENT
        key = (v, flat, *map(id, args))
        found = self._interned.get(key)
        if found is None:
            found = self._interned[key] = self._make(v, args, flat)
        return found

    def _make(self, v: Val, args: tuple[Value, ...], flat: bool) -> Value:
        op, payload = v.op, v.payload
        if op == "lit":
            return Literal(v.dtype, v.vec, payload)
        if op == "num":
            return Number(v.dtype, v.vec, payload)  # type: ignore[arg-type]
        if op == "coord":
            return Coordinate(v.dtype, v.vec, self.index(payload, flat))  # type: ignore[arg-type]
        if op == "load":
            source, map = payload  # type: ignore[misc]
            return Load(v.dtype, v.vec, self.buffer(source, v.dtype), self.index(map, flat))  # type: ignore[has-type]
        if op == "gather":
            source, map, step, rows = payload  # type: ignore[misc]
            buffer = self.buffer(source, v.dtype)  # type: ignore[has-type]
            return Gather(v.dtype, v.vec, buffer, self.index(map, flat), args[0], step, rows)  # type: ignore[has-type]
        return Apply(v.dtype, v.vec, op, args)

