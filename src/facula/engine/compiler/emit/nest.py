"""A loop program as LLVM IR: its loops and statements. What they are has been decided (program/build.py).

The point that a loop stands at is a register: an axis' coordinate, or `vector_at` for the axis that lanes run along.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from facula.engine.compiler.emit import memory, reductions
from facula.engine.compiler.emit.nest_values import NestValues
from facula.engine.compiler.emit.types import broadcast, vector
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
    Part,
    Start,
    Statement,
    Store,
    Vectors,
)


class NestEmitter(NestValues):
    """Writes the kernel of one LoopProgram."""

    def run(self) -> str:
        """The module's text, with the function's name left as KERNEL_NAME."""
        for value in self.program.prelude:
            self.prelude(value)
        self._statements(self.program.body)
        self.code.do("ret void")
        return self.text()

    def _statements(self, statements: Sequence[Statement]) -> None:
        for s in statements:
            match s:
                case Loop():
                    self._loop(s)
                case Lines():
                    self._lines(s)
                case Vectors():
                    self.vectors(s)
                case Let():
                    self.value(s.value, 0)
                case Start():
                    self.start(s.accumulators, s.vectors)
                case Flush():
                    self.flush(s.accumulators, s.vectors)
                case Finish():
                    self.finish(s.accumulators, s.vectors)
                case _:
                    raise AssertionError(f"{s!r} stands outside of Vectors")

    def vectors(self, s: Vectors) -> None:
        self.vector = s.axis
        for u in range(s.count):
            self.lane_block(u)
            for one in s.body:
                self._vector(one, u)
        self.mask = None

    def _vector(self, s: Statement, u: int) -> None:
        match s:
            case Let():
                self.vector_value(s.value, u)
            case Store():
                memory.store(self, s, u)
            case Keep():
                memory.store_scratch(self, s.slot, s.value, u, self.vector_value(s.value, u))
            case Accumulate():
                a = s.accumulator
                reductions.accumulate(self, a, self.accumulators[a, u], self.vector_value(a.element, u), u)
            case _:
                raise AssertionError(f"{s!r} in Vectors")

    # ---- loops

    def _loop(self, loop: Loop) -> None:
        if loop.binding is Binding.THREADS:
            self._tiles(loop)
            return
        axis, root = loop.axis, loop.axis.root
        if loop.part is Part.REST:
            start, end = self.rests.pop(root)
        else:
            start, end = self._interval(root)
        if loop.part is Part.BOTH:
            self._both(loop, start, end)
            return
        if loop.part is Part.WHOLE:
            middle = self._whole(start, end, loop.unit)
            self.rests[root] = middle, end
            end = middle
        with self.loop(start, end, str(axis.size)) as i:
            if any(isinstance(s, Loop | Lines) and s.axis.root is root for s in loop.body):
                once = loop.part is Part.REST and axis.size == loop.unit
                upto = end if once else self.code.least(self.add(i, str(axis.size)), end)
                with self._left(root, i, upto):
                    self._statements(loop.body)
            else:
                with self.scope():
                    self._enter(loop, i, self.ends.get(root, end))
                    self._statements(loop.body)
                    if loop.masked:
                        self.unmask()

    @contextmanager
    def _left(self, root: Axis, start: str, end: str) -> Iterator[None]:
        """Loops made inside go over these points of the axis."""
        before = self.intervals.get(root)
        self.intervals[root] = start, end
        yield
        if before is None:
            del self.intervals[root]
        else:
            self.intervals[root] = before

    def _enter(self, loop: Loop, i: str, end: str) -> None:
        """The loop that says where an axis stands."""
        axis, root = loop.axis, loop.axis.root
        if _lanes_along(root, loop.body):
            self.vector_at = i
        elif root.reduced:
            self.coordinates[root] = i
        else:
            self.bases.clear()
            self.row_depth = len(self.scopes)
            self._decode(root.parts, i)
        if loop.masked:
            self.mask_from(i, end, axis.size)

    def _tiles(self, loop: Loop) -> None:
        """The loops that threads share out, as one over all their tiles: the last one's lie side by side."""
        grid = [loop]
        while isinstance(grid[-1].body[0], Loop) and grid[-1].body[0].binding is Binding.THREADS:
            grid.append(grid[-1].body[0])
        rows = grid[0].axis
        end = self.argument(rows.root.extent, "rows")
        with self.loop("%lo", "%hi", "1") as tile:
            if len(grid) == 1:
                self.intervals[rows.root] = self.piece(tile, self.argument(rows.size, ("tile", rows)), end)
            else:
                columns = grid[1].axis
                width = self.size(columns.root)
                size, wide = self.argument(rows.size, ("tile", rows)), self.argument(columns.size, ("tile", columns))
                count = self.argument(columns.extent, ("tiles", columns))
                block = self.code.op(f"udiv i64 {tile}, {count}")
                across = self.code.op(f"sub nsw i64 {tile}, {self.mul(block, count)}")
                self.intervals[rows.root] = self.piece(block, size, end)
                self.intervals[columns.root] = self.piece(across, wide, width)
            self._statements(grid[-1].body)

    def _interval(self, root: Axis) -> tuple[str, str]:
        """What the loops around have left of an axis: of one that is cut in chunks, the chunk."""
        if root in self.intervals:
            return self.intervals[root]
        size = self.size(root)
        for axis, number in self.coordinates.items():
            if axis.of is root:
                return self.piece(number, self.argument(axis.size, "chunk"), size)
        return "0", size

    def piece(self, number: str, size: str, total: str) -> tuple[str, str]:
        first = self.mul(number, size)
        return first, self.code.least(self.add(first, size), total)

    def _whole(self, start: str, end: str, unit: int) -> str:
        code = self.code
        span = code.op(f"sub nsw i64 {end}, {start}")
        bulk = code.op(f"sub nsw i64 {span}, {code.op(f'urem i64 {span}, {unit}')}")
        return self.add(start, bulk)

    def _both(self, loop: Loop, start: str, end: str) -> None:
        """Blocks of whole steps, and then the rest, by one text."""
        code, root = self.code, loop.axis.root
        middle = self._whole(start, end, loop.unit)
        advance = [""]
        with self.loop(start, end, advance) as block:
            is_rest = code.op(f"icmp sge i64 {block}, {middle}")
            upto = code.least(self.add(block, str(loop.axis.size)), middle)
            upto = code.op(f"select i1 {is_rest}, i64 {end}, i64 {upto}")
            self.ends[root] = end
            with self._left(root, block, upto):
                self._statements(loop.body)
            del self.ends[root]
            advance[0] = code.op(f"sub nsw i64 {upto}, {block}")

    def mask_from(self, first: str, end: str, points: int) -> None:
        """Of `points` from the first on, those from the end on do nothing."""
        self.masks = [self._mask(self.add(first, str(at)), end) for at in range(0, points, self.lanes)]

    def unmask(self) -> None:
        self.masks = []

    def _mask(self, at: str, end: str) -> str:
        code, lanes = self.code, self.lanes
        left = code.op(f"sub nsw i64 {end}, {at}")
        few = code.op(f"icmp slt i64 {left}, {lanes}")
        left = code.op(f"select i1 {few}, i64 {left}, i64 {lanes}")
        every = broadcast(code, code.op(f"trunc i64 {left} to i8"), "i8", lanes)
        steps = ", ".join(f"i8 {k}" for k in range(lanes))
        return code.op(f"icmp sgt {vector('i8', lanes)} {every}, <{steps}>")

    def _lines(self, lines: Lines) -> None:
        """One loop over the lines that the interval touches, the first and the last of them perhaps in part."""
        code, parts = self.code, lines.axis.parts
        start, end = self._interval(lines.axis)
        length = self.size(parts[-1])
        first = code.op(f"udiv i64 {start}, {length}")
        after = code.op(f"udiv i64 {self.add(end, code.op(f'sub nsw i64 {length}, 1'))}, {length}")
        with self.loop(first, after, "1") as line, self.scope():
            self._decode(parts[:-1], line)
            base = self.mul(line, length)
            before = code.op(f"sub nsw i64 {start}, {base}")
            lower = code.op(f"select i1 {code.op(f'icmp sgt i64 {before}, 0')}, i64 {before}, i64 0")
            upper = code.least(code.op(f"sub nsw i64 {end}, {base}"), length)
            with self._left(parts[-1], lower, upper):
                self._statements(lines.body)

    def _decode(self, parts: Sequence[Axis], number: str) -> None:
        """Coordinates of a linear number along the axes it is made of."""
        code, rest = self.code, number
        sizes = [self.argument(p.extent, "chunks") if p.of is not None else self.size(p) for p in parts]
        for k in range(len(sizes) - 1, -1, -1):
            if k == 0:
                self.coordinates[parts[k]] = rest
                break
            above = code.op(f"udiv i64 {rest}, {sizes[k]}")
            self.coordinates[parts[k]] = code.op(f"sub nsw i64 {rest}, {self.mul(above, sizes[k])}")
            rest = above


def _lanes_along(axis: Axis, body: Sequence[Statement]) -> bool:
    return any(s.axis is axis if isinstance(s, Vectors) else isinstance(s, Loop | Lines) and _lanes_along(axis, s.body)
               for s in body)
