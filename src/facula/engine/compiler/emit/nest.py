"""A loop nest as LLVM IR: which loops there are, and what they go over.

Every loop over lanes is emitted twice, without masks for the bulk and with masks for the rest.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

from facula.engine.compiler.emit.nest_values import NestValues
from facula.engine.compiler.emit.types import broadcast, vector
from facula.engine.compiler.kernel import VECTOR_BYTES
from facula.engine.compiler.loops import COLUMN, KERNEL, ROW, postorder
from facula.engine.compiler.values import Val

BLOCK = 256  # vectors added up before the sum moves on to the next level: keeps long sums accurate
MOST_COST = 48.0  # of the operations in a loop body, unrolled
BIG = 90  # operations from which on only the masked form is emitted, to keep compile times low


class NestEmitter(NestValues):
    """Writes the kernel of one Nest."""

    def run(self) -> str:
        """The module's text, with the function's name left as KERNEL_NAME."""
        nest, code = self.nest, self.code
        outer = list(nest.stores)
        order = postorder([s.value for s in outer])
        for value in order:
            if value.level == KERNEL and value.op != "reduce":
                self._kernel_level(value)
        rows = math.prod(nest.sizes[d] for d in nest.outer) * max(1, self._chunks())
        end = self.argument(rows, "rows")
        with self.loop("%lo", "%hi", "1") as tile:
            if nest.columns:
                self._column_tile(tile, end, order)
            else:
                self._row_tile(tile, end, order)
        code.do("ret void")
        return self.text()

    def _chunks(self) -> int:
        nest = self.nest
        if not nest.chunk:
            return 0
        return -(-nest.sizes[nest.inner[0]] // nest.chunk)

    def _column_tile(self, tile: str, rows: str, order: list[Val]) -> None:
        code, nest = self.code, self.nest
        width = self.size(nest.vector_dim) if nest.sizes else "1"
        tile_rows, tile_columns = (
            self.argument(("tile", "rows"), "tr"),
            self.argument(("tile", "columns"), "tc"),
        )
        tiles_across = self.argument(("tile", "across"), "ta")
        block = code.op(f"udiv i64 {tile}, {tiles_across}")
        across = code.op(f"sub nsw i64 {tile}, {self.mul(block, tiles_across)}")
        first, end = self._range(block, tile_rows, rows)
        left, right = self._range(across, tile_columns, width)
        with self.loop(first, end, "1") as row, self.scope():
            self._decode(row)
            self.prepare(order, ROW, 0)
            unroll = self._unroll(order)
            step = self.lanes * unroll
            middle = left
            if len(order) < BIG and nest.sizes:
                span = code.op(f"sub nsw i64 {right}, {left}")
                bulk = code.op(f"sub nsw i64 {span}, {code.op(f'urem i64 {span}, {step}')}")
                middle = self.add(left, bulk)
                with self.loop(left, middle, str(step)) as column, self.scope():
                    self._columns(column, unroll, order)
            with self.loop(middle, right, str(self.lanes)) as column, self.scope():
                self.masks = [self._mask(column, right)]
                self._columns(column, 1, order)
                self.masks = []

    def _range(self, block: str, size: str, total: str) -> tuple[str, str]:
        first = self.mul(block, size)
        return first, self.code.least(self.add(first, size), total)

    def _mask(self, at: str, end: str) -> str:
        code, lanes = self.code, self.lanes
        left = code.op(f"sub nsw i64 {end}, {at}")
        few = code.op(f"icmp slt i64 {left}, {lanes}")
        left = code.op(f"select i1 {few}, i64 {left}, i64 {lanes}")
        every = broadcast(code, code.op(f"trunc i64 {left} to i8"), "i8", lanes)
        steps = ", ".join(f"i8 {k}" for k in range(lanes))
        return code.op(f"icmp sgt {vector('i8', lanes)} {every}, <{steps}>")

    def _decode(self, row: str) -> None:
        """Coordinates of the linear row number along the outer dimensions (and chunk, if split)."""
        nest, code = self.nest, self.code
        self.bases.clear()
        rest = row
        parts: list[tuple[int, str]] = [(d, self.size(d)) for d in nest.outer]
        if nest.chunk:
            parts.append((-1, self.argument(self._chunks(), "chunks")))
        for k in range(len(parts) - 1, -1, -1):
            d, size = parts[k]
            if k == 0:
                self.coordinates[d] = rest
                break
            above = code.op(f"udiv i64 {rest}, {size}")
            self.coordinates[d] = code.op(f"sub nsw i64 {rest}, {self.mul(above, size)}")
            rest = above

    def _columns(self, column: str, unroll: int, order: list[Val]) -> None:
        nest = self.nest
        self.vector_at = column
        self.prepare(order, COLUMN, 0, unroll)
        for phase in range(len(nest.phases)):
            self.phase = phase
            self._start_accumulators(phase, unroll)
            self._reduced_loops(0, lambda: self._element_body(unroll))
            self._finish_accumulators(phase, unroll, horizontal=False)
            self.prepare(order, COLUMN, phase + 1, unroll)
        self._write(nest.outer_stores, unroll)

    def _row_tile(self, tile: str, rows: str, order: list[Val]) -> None:
        nest = self.nest
        first, end = self._range(tile, self.argument(("tile", "rows"), "tr"), rows)
        with self.loop(first, end, "1") as row, self.scope():
            self._decode(row)
            self.prepare(order, ROW, 0)
            for phase in range(len(nest.phases)):
                self.phase = phase
                # from the type alone: the order of a sum does not depend on what it was fused with
                unroll = max(1, VECTOR_BYTES // self.lanes)
                self._start_accumulators(phase, unroll)
                self._reduced_loops(0,
                                    functools.partial(self._vector_loop, unroll, len(order) < BIG))
                self._finish_accumulators(phase, unroll, horizontal=True)
                self.prepare(order, ROW, phase + 1)
            self._write(nest.outer_stores, 1)

    def _inner_range(self, d: int) -> tuple[str, str]:
        size = self.size(d)
        if self.nest.chunk and d == self.nest.inner[0]:
            return self._range(self.coordinates[-1], self.argument(self.nest.chunk, "chunk"), size)
        return "0", size

    def _reduced_loops(self, depth: int, body: Callable[[], None]) -> None:
        """Loops over the reduced dimensions but the vector's; the innermost in blocks: accuracy."""
        nest = self.nest
        dims = [d for d in nest.inner if nest.columns or d != nest.vector_dim]
        if depth == len(dims):
            body()
            return
        d = dims[depth]
        start, end = self._inner_range(d)
        if depth == len(dims) - 1 and nest.columns:
            with self.loop(start, end, str(BLOCK)) as block:
                upto = self.code.least(self.add(block, str(BLOCK)), end)
                with self.loop(block, upto, "1") as i, self.scope():
                    self.coordinates[d] = i
                    body()
                self._flush()
            return
        with self.loop(start, end, "1") as i, self.scope():
            self.coordinates[d] = i
            self._reduced_loops(depth + 1, body)

    def _vector_loop(self, unroll: int, small: bool) -> None:
        """Lanes along the innermost reduced dimension: whole steps in blocks, then the rest masked.

        The element at distance i from the start goes to partial sum i mod step, for any `small`.
        """
        code, d = self.code, self.nest.vector_dim
        start, end = self._inner_range(d)
        step = self.lanes * unroll
        span = code.op(f"sub nsw i64 {end}, {start}")
        bulk = code.op(f"sub nsw i64 {span}, {code.op(f'urem i64 {span}, {step}')}")
        middle = self.add(start, bulk)
        length = str(step * BLOCK)
        if small:
            with self.loop(start, middle, length) as block:
                self._block(block, self.code.least(self.add(block, length), middle), unroll, None)
            with self.loop(middle, end, str(step)) as block:
                self._block(block, end, unroll, end)
            return
        advance = [""]
        with self.loop(start, end, advance) as block:  # bulk and rest in one text
            is_rest = code.op(f"icmp sge i64 {block}, {middle}")
            upto = self.code.least(self.add(block, length), middle)
            upto = code.op(f"select i1 {is_rest}, i64 {end}, i64 {upto}")
            self._block(block, upto, unroll, end)
            advance[0] = code.op(f"sub nsw i64 {upto}, {block}")

    def _block(self, first: str, upto: str, unroll: int, masked_by: str | None) -> None:
        with self.loop(first, upto, str(self.lanes * unroll)) as i, self.scope():
            self.vector_at = i
            if masked_by is not None:
                self.masks = [self._mask(self.add(i, str(u * self.lanes)), masked_by)
                              for u in range(unroll)]
            self._element_body(unroll)
            self.masks = []
        self._flush()

    def _unroll(self, order: list[Val]) -> int:
        nest = self.nest
        if not nest.sizes:
            return 1
        # by cost, since math functions are inlined: the unrolled body should stay small to compile
        heavy = sum(v.cost - sum(a.cost for a in v.args) for v in order if v.level >= COLUMN)
        most = 2 if not nest.phases else 4
        while most > 1 and heavy * most > MOST_COST:
            most //= 2
        if nest.columns and nest.kept:
            return 1
        return most
