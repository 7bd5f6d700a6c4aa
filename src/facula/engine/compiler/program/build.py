"""The pass that makes a loop program of a nest: which loops there are, how they are cut, unrolled and masked.

Whatever a sum's order follows from is decided here, from shapes and types alone. Every loop over lanes stands
there twice, without masks for the bulk and with masks for the rest, unless its body is large.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from facula.engine.compiler.loops import COLUMN, KERNEL, ROW, Nest
from facula.engine.compiler.program.formulas import Axis
from facula.engine.compiler.program.statements import (
    Accumulate,
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
    Vectors,
)
from facula.engine.compiler.program.straight import Straight
from facula.engine.compiler.program.translate import BATCH, BLOCK, PIECE
from facula.engine.compiler.program.walks import Walk
from facula.engine.compiler.values import Val
from facula.engine.graph.node import size_of

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
    return LoopProgram(title, tuple(build.axes), nest.lanes, buffers, prelude, body), build.values.keys


class _Build(Straight):
    def __init__(self, nest: Nest, tiles: Tiles) -> None:
        super().__init__(nest)
        self.tiles = tiles
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
            out += self._reduced(phase, unroll, self._element(phase, unroll), len(nest.runs))
            out += [Finish(accumulators, unroll), *self._lets(COLUMN, phase + 1, unroll)]
        return (*out, *self._stores(nest.outer_stores, len(nest.phases), unroll))

    # ---- lanes along the innermost reduced axis

    def row_tiles(self) -> tuple[Statement, ...]:
        nest = self.nest
        out: list[Statement] = self._lets(ROW, 0)
        # from the type alone: the order of a sum does not depend on what it was fused with
        unroll = self.values.step // nest.lanes
        for phase in range(len(nest.phases)):
            accumulators = self._accumulators(phase)
            out.append(Start(accumulators, unroll))
            out += self._reduced(phase, unroll, self._along_run(phase, unroll), len(nest.runs) - 1)
            out += [Finish(accumulators, unroll), *self._lets(ROW, phase + 1)]
        out += self._stores(nest.outer_stores, len(nest.phases), 1)
        return self._row_tiles_of(Loop(self.rows, tuple(out)))

    # ---- reduced axes

    def _reduced(self, phase: int, unroll: int, body: list[Statement], runs: int) -> list[Statement]:
        """Loops over the first so many runs of reduced dimensions; along the last of all in blocks: accuracy."""
        nest = self.nest
        for k in reversed(range(runs)):
            run, axis = nest.runs[k], self.values.flats[k]
            last = k == len(nest.runs) - 1
            flush = Flush(self._accumulators(phase), unroll)
            chunked = self.chunk is not None and k == 0
            blocks = last and (len(run) == 1 or chunked or axis.extent > BLOCK)
            if len(run) > 1 and (blocks or chunked):
                body = [Lines(axis, (Loop(self.axes[run[-1]], tuple(body)),))]
            else:
                for d in reversed(run):
                    body = [Loop(self.axes[d], tuple(body))]
            if blocks:
                body = [Loop(Axis("block", -(-axis.extent // BLOCK), of=axis, size=BLOCK), (*body, flush))]
            elif last:
                body.append(flush)
        return body

    def _along_run(self, phase: int, unroll: int) -> list[Statement]:
        """Over the last run of reduced dimensions, which the lanes run along."""
        walk, axis = self.values.walks[phase], self.values.flats[-1]
        if walk is Walk.FLAT:
            return self._in_steps(axis, self._element(phase, unroll), phase, unroll)
        if walk is Walk.BY_PARTS:
            chunked = self.chunk is not None and len(self.nest.runs) == 1
            return self._by_parts(self._in_steps(self.axes[-1], self._element(phase, unroll), phase, unroll), chunked)
        out: list[Statement] = []
        reductions = self.nest.phases[phase]
        for start in range(0, len(reductions), BATCH):
            batch = reductions[start:start + BATCH]
            accumulators = tuple([self.values.accumulators[v] for v in batch])
            lines = self._by_parts(self._staged(phase, batch, start == 0), self.values.in_pieces)
            body = [Vectors(axis, unroll, tuple([Let(a.element) for a in accumulators])),
                    Vectors(axis, unroll, tuple([Accumulate(a) for a in accumulators]))]
            if self.values.in_pieces:
                out += self._in_steps(axis, body, phase, unroll, lines)
            else:
                out += [*lines, *self._in_steps(axis, body, phase, unroll)]
        return out

    def _by_parts(self, body: list[Statement], within: bool) -> list[Statement]:
        """`body`, which goes along the last part of the last run, for all of it or what is left `within` a loop."""
        if within:
            return [Lines(self.values.flats[-1], tuple(body))]
        for d in reversed(self.nest.runs[-1][:-1]):
            body = [Loop(self.axes[d], tuple(body))]
        return body

    def _in_steps(self, axis: Axis, body: Sequence[Statement], phase: int, unroll: int,
                  before: Sequence[Statement] = ()) -> list[Statement]:
        """Whole steps in blocks, then the rest masked; `before` the steps of each piece of a block something else.

        The element at distance i from the start goes to partial sum i mod step, whether the text is one or two.
        """
        step = self.values.step
        steps = Axis("step", -(-axis.extent // step), of=axis, size=step)
        blocks = Axis("block", -(-axis.extent // (step * BLOCK)), of=axis, size=step * BLOCK)
        flush = Flush(self._accumulators(phase), unroll)
        bulk, rest = Loop(steps, tuple(body)), Loop(steps, tuple(body), masked=True)
        if before:
            pieces = Axis("piece", -(-axis.extent // (step * PIECE)), of=axis, size=step * PIECE)
            bulk, rest = Loop(pieces, (*before, bulk)), Loop(pieces, (*before, rest))
        if not self.small:
            return [Loop(blocks, (rest, flush), part=Part.BOTH, unit=step)]
        return [Loop(blocks, (bulk, flush), part=Part.WHOLE, unit=step),
                Loop(steps, (rest, flush), part=Part.REST, unit=step)]

    def _staged(self, phase: int, reductions: list[Val], first: bool) -> list[Statement]:
        """The elements of `reductions` along a line, left in scratch memory; for the `first` of them, what else the
        phase does."""
        axis, lanes = self.axes[-1], self.nest.lanes
        steps = 2 if self.small and axis.extent >= 4 * lanes else 1

        def body(unroll: int) -> tuple[Statement, ...]:
            made = [(self.values.staging(v, flat=False), self.values.value(v.args[0], phase)) for v in reductions]
            out: list[Statement] = [Vectors(axis, unroll, tuple([Keep(slot, value) for slot, value in made]))]
            return (*out, *self._left_behind(phase, unroll)) if first else tuple(out)

        vectors = Axis("vector", -(-axis.extent // lanes), of=axis, size=lanes)
        if steps == 1:
            return [Loop(vectors, body(1), masked=True)]
        whole = Axis("step", -(-axis.extent // (steps * lanes)), of=axis, size=steps * lanes)
        return [Loop(whole, body(steps), part=Part.WHOLE, unit=steps * lanes),
                Loop(vectors, body(1), part=Part.REST, unit=steps * lanes, masked=True)]
