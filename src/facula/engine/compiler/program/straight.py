"""The straight lines of a loop program: what stands in its innermost loops, and between them."""

from __future__ import annotations

from facula.engine.compiler.loops import COLUMN, Nest
from facula.engine.compiler.loops import Store as NestStore
from facula.engine.compiler.program.formulas import POINT, Axis, Index
from facula.engine.compiler.program.statements import (
    Accumulate,
    Accumulator,
    Keep,
    Let,
    Statement,
    Store,
    Vectors,
)
from facula.engine.compiler.program.translate import Translation

MOST_COST = 48.0  # of the operations in a loop body, unrolled

MOST_SUMS = 16  # accumulators in one: with more of them than registers all go through memory


class Straight:
    def __init__(self, nest: Nest) -> None:
        self.nest = nest
        self.order = nest.order
        self.axes = [Axis(f"i{d}", n, r) for d, (n, r) in enumerate(zip(nest.sizes, nest.reduced, strict=True))]
        self.values = Translation(nest, self.order, self.axes)
        self.vector = self.axes[-1] if self.axes else POINT
        self.chunk: Axis | None = None
        if nest.chunk:
            first = self.values.flats[0]
            self.chunk = Axis("chunk", -(-first.extent // nest.chunk), of=first, size=nest.chunk)

    def _accumulators(self, phase: int) -> tuple[Accumulator, ...]:
        return tuple([self.values.accumulators[v] for v in self.nest.phases[phase]])

    def _lets(self, level: int, phase: int, unroll: int = 0) -> list[Statement]:
        """The values of `level` that are known after `phase` reductions."""
        values = [self.values.value(v, phase) for v in self.order
                  if v.level == level and v.phase == phase and v.op != "reduce"]
        return [Vectors(self.vector, unroll, (Let(v),)) if unroll else Let(v) for v in values]

    def _element(self, phase: int, unroll: int) -> list[Statement]:
        """The body of the innermost loop."""
        axis, accumulators = self.values.vector(phase), self._accumulators(phase)
        out: list[Statement] = [
            Vectors(axis, unroll, tuple([Let(a.element) for a in accumulators])),
            *self._left_behind(phase, unroll),
            Vectors(axis, unroll, tuple([Accumulate(a) for a in accumulators]))]
        return [s for s in out if not isinstance(s, Vectors) or s.body]

    def _left_behind(self, phase: int, unroll: int) -> list[Statement]:
        """What a phase stores, and keeps for later ones."""
        nest, values = self.nest, self.values
        kept = [Keep(values.slot(v, values.is_flat(phase)), values.value(v, phase))
                for v in nest.kept if nest.kept_from[v] == phase]
        stores = self._stores(nest.element_stores[phase], phase, unroll)
        return [Vectors(values.vector(phase), unroll, tuple(kept)), *stores] if kept else stores

    def _stores(self, stores: list[NestStore], phase: int, unroll: int) -> list[Statement]:
        made = [self._store(s, phase) for s in stores]
        values = tuple([Let(s.value) for s in made if s.vector])
        axis = self.values.vector(phase)
        return [Vectors(axis, unroll, body) for body in (values, tuple(made)) if body]

    def _store(self, store: NestStore, phase: int) -> Store:
        nest, value = self.nest, self.values.value(store.value, phase)
        index = self.values.index(store.map, self.values.is_flat(phase))
        vector = bool(nest.sizes) and index.stride(self.values.vector(phase)) != 0
        if self.chunk is not None and store in nest.outer_stores:  # partial results: one set of rows for each chunk
            index = Index(index.const, index.nums, (*index.terms, (self.chunk, nest.rows)))
        return Store(self.values.buffer(store.node, store.dtype), index, value, store.dtype, vector)

    def _unroll(self) -> int:
        nest = self.nest
        if not nest.sizes:
            return 1
        # by cost, since math functions are inlined: the unrolled body should stay small to compile
        heavy = sum(v.cost - sum(a.cost for a in v.args) for v in self.order if v.level >= COLUMN)
        most = 2 if not nest.phases else 4
        sums = max(map(len, nest.phases), default=0)
        while most > 1 and (heavy * most > MOST_COST or sums * most > MOST_SUMS):
            most //= 2
        if nest.columns and nest.kept:
            return 1
        return most
