"""The pass that makes a loop program of a nest: which loops there are, how they are cut, unrolled and masked.

Whatever a sum's order follows from is decided here, from shapes and types alone. Every loop over lanes stands
there twice, without masks for the bulk and with masks for the rest, unless its body is large.
"""

from __future__ import annotations

from typing import NamedTuple

from facula.engine.compiler.kernel import VECTOR_BYTES
from facula.engine.compiler.loops import COLUMN, KERNEL, ROW, Nest
from facula.engine.compiler.loops import Store as NestStore
from facula.engine.compiler.program.formulas import Axis, Index
from facula.engine.compiler.program.statements import (
    Accumulate,
    Accumulator,
    Binding,
    Finish,
    Flush,
    Keep,
    Let,
    Loop,
    LoopProgram,
    Part,
    Start,
    Statement,
    Store,
    Vectors,
)
from facula.engine.compiler.program.translate import Translation
from facula.engine.graph.node import size_of

BLOCK = 256  # vectors added up before the sum moves on to the next level: keeps long sums accurate
MOST_COST = 48.0  # of the operations in a loop body, unrolled
BIG = 90  # operations from which on only the masked form is written, to keep compile times low


class Tiles(NamedTuple):
    """What a thread takes at a time: `rows` rows, and of these `columns` columns where lanes run along a kept axis;
    `across` tiles lie beside each other."""

    rows: int
    columns: int = 0
    across: int = 1


def build_program(nest: Nest, title: str, tiles: Tiles) -> tuple[LoopProgram, list[object]]:
    """The program, and for each of its buffers the value that lies in it."""
    build = _Build(nest, tiles)
    body = build.column_tiles() if nest.columns else build.row_tiles()
    prelude = tuple([build.values.value(v) for v in build.order if v.level == KERNEL and v.op != "reduce"])
    buffers = tuple(build.values.buffers.values())
    return LoopProgram(title, tuple(build.axes), nest.lanes, build.vector, buffers, prelude, body), build.values.keys


class _Build:
    def __init__(self, nest: Nest, tiles: Tiles) -> None:
        self.nest = nest
        self.tiles = tiles
        self.axes = [Axis(f"i{d}", n, r) for d, (n, r) in enumerate(zip(nest.sizes, nest.reduced, strict=True))]
        self.order = nest.order
        self.values = Translation(nest, self.order, self.axes)
        self.vector = self.axes[-1] if self.axes else Axis("point", 1, fixed=True)
        self.chunk: Axis | None = None
        if nest.chunk:
            first = self.axes[nest.inner[0]]
            self.chunk = Axis("chunk", -(-first.extent // nest.chunk), of=first, size=nest.chunk)
        parts = [self.axes[d] for d in nest.outer] + ([self.chunk] if self.chunk else [])
        self.rows = Axis("row", size_of(tuple([p.extent for p in parts])), parts=tuple(parts))
        self.small = len(self.order) < BIG

    # ---- lanes along a kept axis

    def column_tiles(self) -> tuple[Statement, ...]:
        tiles, column, lanes = self.tiles, self.vector, self.nest.lanes
        unroll = self._unroll()
        loops: list[Statement] = self._lets(ROW, 0)
        vectors = Axis("vector", -(-column.extent // lanes), of=column, size=lanes)
        if self.small and self.nest.sizes:
            step = lanes * unroll
            steps = Axis("step", -(-column.extent // step), of=column, size=step)
            loops += [Loop(steps, self._columns(unroll), part=Part.WHOLE, unit=step),
                      Loop(vectors, self._columns(1), part=Part.REST, unit=step, masked=True)]
        else:
            loops.append(Loop(vectors, self._columns(1), masked=True))
        across = Axis("column tile", tiles.across, of=column, size=tiles.columns)
        rows = Loop(self.rows, tuple(loops))
        return self._row_tiles_of(Loop(across, (rows,), Binding.THREADS))

    def _row_tiles_of(self, loop: Loop) -> tuple[Statement, ...]:
        size = self.tiles.rows
        return (Loop(Axis("row tile", -(-self.rows.extent // size), of=self.rows, size=size), (loop,),
                     Binding.THREADS),)

    def _columns(self, unroll: int) -> tuple[Statement, ...]:
        nest = self.nest
        out: list[Statement] = self._lets(COLUMN, 0, unroll)
        for phase in range(len(nest.phases)):
            accumulators = self._accumulators(phase)
            out.append(Start(accumulators, unroll))
            out += self._reduced(0, phase, unroll)
            out += [Finish(accumulators, unroll), *self._lets(COLUMN, phase + 1, unroll)]
        return (*out, *self._stores(nest.outer_stores, len(nest.phases), unroll))

    # ---- lanes along the innermost reduced axis

    def row_tiles(self) -> tuple[Statement, ...]:
        nest = self.nest
        out: list[Statement] = self._lets(ROW, 0)
        # from the type alone: the order of a sum does not depend on what it was fused with
        unroll = max(1, VECTOR_BYTES // nest.lanes)
        for phase in range(len(nest.phases)):
            accumulators = self._accumulators(phase)
            out.append(Start(accumulators, unroll))
            out += self._reduced(0, phase, unroll)
            out += [Finish(accumulators, unroll), *self._lets(ROW, phase + 1)]
        out += self._stores(nest.outer_stores, len(nest.phases), 1)
        return self._row_tiles_of(Loop(self.rows, tuple(out)))

    # ---- reduced axes

    def _reduced(self, depth: int, phase: int, unroll: int) -> list[Statement]:
        """Loops over the reduced axes; the innermost in blocks: accuracy."""
        nest = self.nest
        dims = [d for d in nest.inner if nest.columns or d != nest.vector_dim]
        if depth == len(dims):
            body = self._element(phase, unroll)
            return self._vectors_along(body, phase, unroll) if not nest.columns else body
        axis = self.axes[dims[depth]]
        inner = Loop(axis, tuple(self._reduced(depth + 1, phase, unroll)))
        if depth < len(dims) - 1 or not nest.columns:
            return [inner]
        block = Axis("block", -(-axis.extent // BLOCK), of=axis, size=BLOCK)
        return [Loop(block, (inner, Flush(self._accumulators(phase), unroll)))]

    def _vectors_along(self, body: list[Statement], phase: int, unroll: int) -> list[Statement]:
        """Whole steps in blocks, then the rest masked.

        The element at distance i from the start goes to partial sum i mod step, whether the text is one or two.
        """
        axis, step = self.vector, self.nest.lanes * unroll
        steps = Axis("step", -(-axis.extent // step), of=axis, size=step)
        blocks = Axis("block", -(-axis.extent // (step * BLOCK)), of=axis, size=step * BLOCK)
        flush = Flush(self._accumulators(phase), unroll)
        bulk, rest = Loop(steps, tuple(body)), Loop(steps, tuple(body), masked=True)
        if not self.small:
            return [Loop(blocks, (rest, flush), part=Part.BOTH, unit=step)]
        return [Loop(blocks, (bulk, flush), part=Part.WHOLE, unit=step),
                Loop(steps, (rest, flush), part=Part.REST, unit=step)]

    # ---- straight lines

    def _accumulators(self, phase: int) -> tuple[Accumulator, ...]:
        return tuple([self.values.accumulators[v] for v in self.nest.phases[phase]])

    def _lets(self, level: int, phase: int, unroll: int = 0) -> list[Statement]:
        """The values of `level` that are known after `phase` reductions."""
        values = [self.values.value(v, phase) for v in self.order
                  if v.level == level and v.phase == phase and v.op != "reduce"]
        return [Vectors(unroll, (Let(v),)) if unroll else Let(v) for v in values]

    def _element(self, phase: int, unroll: int) -> list[Statement]:
        """The body of the innermost loop."""
        nest = self.nest
        accumulators = self._accumulators(phase)
        kept = [v for v in nest.kept if nest.kept_from[v] == phase]
        out: list[Statement] = [
            Vectors(unroll, tuple([Let(a.element) for a in accumulators])),
            Vectors(unroll, tuple([Keep(self.values.slots[v], self.values.value(v, phase)) for v in kept])),
            *self._stores(nest.element_stores[phase], phase, unroll),
            Vectors(unroll, tuple([Accumulate(a) for a in accumulators]))]
        return [s for s in out if not isinstance(s, Vectors) or s.body]

    def _stores(self, stores: list[NestStore], phase: int, unroll: int) -> list[Statement]:
        made = [self._store(s, phase) for s in stores]
        values = tuple([Let(s.value) for s in made if s.vector])
        return [Vectors(unroll, body) for body in (values, tuple(made)) if body]

    def _store(self, store: NestStore, phase: int) -> Store:
        nest, value = self.nest, self.values.value(store.value, phase)
        index = self.values.index(store.map)
        vector = bool(nest.sizes) and index.stride(self.vector) != 0
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
        while most > 1 and heavy * most > MOST_COST:
            most //= 2
        if nest.columns and nest.kept:
            return 1
        return most
