"""A loop nest as LLVM IR.

Loop counters and accumulators are stack slots (`alloca`), which LLVM turns into registers: so emitting needs
no phi nodes, and code for a loop body can be written in any order. Every loop over lanes is emitted twice,
without masks for the bulk and with masks for the rest.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from facula.dtypes import FLOAT, dtype, float64, int64
from facula.engine.compiler.affine import Affine
from facula.engine.compiler.emit import casts, memory, reductions, scalar
from facula.engine.compiler.emit.module import Code, Module
from facula.engine.compiler.emit.types import broadcast, element, number, rounded, vector
from facula.engine.compiler.loops import COLUMN, KERNEL, ROW, Nest, Store, postorder
from facula.engine.compiler.values import Val

Word = (
    int | tuple[str, object]
)  # an argument: a number, or ("buf", node) / ("num", position), resolved by plan.py
BLOCK = 256  # vectors added up before the sum moves on to the next level: keeps long sums accurate
MOST_COST = 48.0  # of the operations in a loop body, unrolled
BIG = 90  # operations from which on only the masked form is emitted, to keep compile times low


class NestEmitter:
    """Writes the kernel of one Nest. `words` become the step's args."""

    def __init__(self, nest: Nest, vector_bytes: int) -> None:
        self.nest = nest
        self.lanes = nest.lanes
        self.vector_bytes = vector_bytes
        self.module = Module(vector_bytes)
        self.entry = Code(self.module)
        self.code = Code(self.module)
        self.code.counter = 100000  # names of the two never meet
        self.words: list[Word] = []
        self.arguments: dict[object, str] = {}
        self.memo: dict[tuple[Val, int], str] = {}
        self.scopes: list[list[tuple[Val, int]]] = [[]]
        self.bases: dict[tuple[object, Affine], str] = {}
        self.coordinates: dict[int, str] = {}
        self.mask: str | None = None  # of the vector being worked on; None: all lanes
        self.masks: list[str] = []  # one for each vector of the step
        self.phase = 0
        self.accumulators: dict[tuple[Val, int], list[str]] = {}

    # ---- arguments

    def argument(self, word: Word, key: object = None) -> str:
        """An int64 of `args`. Equal `key`: the same argument. Equal numbers are not (kernels are generic)."""
        if key is not None and key in self.arguments:
            return self.arguments[key]
        at = self.entry.op(f"getelementptr i64, ptr %args, i64 {len(self.words)}")
        self.words.append(word)
        name = self.entry.op(f"load i64, ptr {at}, align 8, !invariant.load !0")
        if key is not None:
            self.arguments[key] = name
        return name

    def buffer(self, node: object) -> str:
        key = ("pointer", node)
        if key not in self.arguments:
            index = self.argument(("buf", node))
            at = self.entry.op(f"getelementptr ptr, ptr %bufs, i64 {index}")
            self.arguments[key] = self.entry.op(f"load ptr, ptr {at}, align 8, !invariant.load !0")
        return self.arguments[key]

    def run_time_number(self, at: int, d: dtype) -> str:
        key = ("number", at, element(d))
        if key not in self.arguments:
            index = self.argument(("num", at), ("index", at))
            wide = float64 if d.category == FLOAT else int64
            where = self.entry.op(f"getelementptr {element(wide)}, ptr %nums, i64 {index}")
            name = self.entry.op(f"load {element(wide)}, ptr {where}, align 8")
            self.arguments[key] = casts.cast(self.entry, name, wide, d.compute, 1)
        return self.arguments[key]

    def size(self, d: int) -> str:
        return self.argument(self.nest.sizes[d], ("size", d))

    # ---- control flow

    def slot(self, type_: str) -> str:
        name = self.entry.fresh("slot")
        self.entry.lines.insert(0, f"  {name} = alloca {type_}, align {min(64, 64)}")
        return name

    @contextmanager
    def loop(self, start: str, end: str, step: str | list[str]) -> Iterator[str]:
        """for i in range(start, end, step); the body may compute the step: it is in a list then."""
        code = self.code
        at = self.slot("i64")
        code.do(f"store i64 {start}, ptr {at}")
        head, body, done = code.label("head"), code.label("body"), code.label("done")
        code.do(f"br label %{head}")
        code.start(head)
        i = code.op(f"load i64, ptr {at}")
        code.do(f"br i1 {code.op(f'icmp slt i64 {i}, {end}')}, label %{body}, label %{done}")
        code.start(body)
        yield i
        step = step if isinstance(step, str) else step[0]
        code.do(f"store i64 {code.op(f'add nsw i64 {i}, {step}')}, ptr {at}")
        code.do(f"br label %{head}")
        code.start(done)

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Values made inside are forgotten at the end."""
        self.scopes.append([])
        yield
        for key in self.scopes.pop():
            self.memo.pop(key, None)

    def add(self, a: str, b: str) -> str:
        return b if a == "0" else a if b == "0" else self.code.op(f"add nsw i64 {a}, {b}")

    def mul(self, a: str, b: str) -> str:
        return a if b == "1" else b if a == "1" else self.code.op(f"mul nsw i64 {a}, {b}")

    # ---- the kernel

    def run(self) -> str:
        """The module's text, with the function's name left as KERNEL_NAME."""
        nest, code = self.nest, self.code
        outer = list(nest.stores)
        order = postorder([s.value for s in outer])
        for value in order:
            if value.level == KERNEL and value.op != "reduce":
                self._kernel_level(value)
        rows = self.argument(_product(nest.sizes[d] for d in nest.outer) * max(1, self._chunks()), "rows")
        with self.loop("%lo", "%hi", "1") as tile:
            if nest.columns:
                self._column_tile(tile, rows, order)
            else:
                self._row_tile(tile, rows, order)
        code.do("ret void")
        bits = 8 * self.vector_bytes
        head = (
            f'attributes #0 = {{ nounwind "prefer-vector-width"="{bits}" '
            f'"min-legal-vector-width"="{bits}" }}\n'
            "!0 = !{}\n"
        )
        body = "\n".join(self.entry.lines + ["  br label %start", "start:"] + code.lines)
        self.module.declare(
            "KERNEL_NAME",
            "define void @KERNEL_NAME(ptr noalias readonly %args, ptr noalias readonly %bufs, "
            "ptr noalias readonly %nums, i64 %lo, i64 %hi, ptr noalias %scratch) #0 {\nentry:\n"
            f"{body}\n}}",
        )
        return self.module.text() + "\n" + head

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
        return first, self._least(self.add(first, size), total)

    def _mask(self, at: str, end: str) -> str:
        code, lanes = self.code, self.lanes
        left = code.op(f"sub nsw i64 {end}, {at}")
        few = code.op(f"icmp slt i64 {left}, {lanes}")
        left = code.op(f"select i1 {few}, i64 {left}, i64 {lanes}")
        every = broadcast(code, code.op(f"trunc i64 {left} to i8"), "i8", lanes)
        steps = ", ".join(f"i8 {k}" for k in range(lanes))
        return code.op(f"icmp sgt {vector('i8', lanes)} {every}, <{steps}>")

    def _decode(self, row: str) -> None:
        """Coordinates of the linear row number along the outer dimensions (and its chunk, if split)."""
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
        self.row = row

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
                # from the type alone, so that the order of a sum does not depend on what it was fused with
                unroll = max(1, self.vector_bytes // self.lanes)
                self._start_accumulators(phase, unroll)
                self._reduced_loops(0, functools.partial(self._vector_loop, unroll, len(order) < BIG))
                self._finish_accumulators(phase, unroll, horizontal=True)
                self.prepare(order, ROW, phase + 1)
            self._write(nest.outer_stores, 1)

    def _inner_range(self, d: int) -> tuple[str, str]:
        size = self.size(d)
        if self.nest.chunk and d == self.nest.inner[0]:
            return self._range(self.coordinates[-1], self.argument(self.nest.chunk, "chunk"), size)
        return "0", size

    def _reduced_loops(self, depth: int, body: Callable[[], None]) -> None:
        """Loops over the reduced dimensions (all but the vector's), the innermost in blocks for accuracy."""
        nest = self.nest
        dims = [d for d in nest.inner if nest.columns or d != nest.vector_dim]
        if depth == len(dims):
            body()
            return
        d = dims[depth]
        start, end = self._inner_range(d)
        if depth == len(dims) - 1 and nest.columns:
            with self.loop(start, end, str(BLOCK)) as block:
                upto = self._least(self.add(block, str(BLOCK)), end)
                with self.loop(block, upto, "1") as i, self.scope():
                    self.coordinates[d] = i
                    body()
                self._flush()
            return
        with self.loop(start, end, "1") as i, self.scope():
            self.coordinates[d] = i
            self._reduced_loops(depth + 1, body)

    def _vector_loop(self, unroll: int, small: bool) -> None:
        """Lanes along the innermost reduced dimension: whole steps, in blocks, then the rest with masks.

        The element at distance i from the start goes to partial sum i mod step, whatever `small` is.
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
                self._block(block, self._least(self.add(block, length), middle), unroll, None)
            with self.loop(middle, end, str(step)) as block:
                self._block(block, end, unroll, end)
            return
        advance = [""]
        with self.loop(start, end, advance) as block:  # bulk and rest in one text
            is_rest = code.op(f"icmp sge i64 {block}, {middle}")
            upto = self._least(self.add(block, length), middle)
            upto = code.op(f"select i1 {is_rest}, i64 {end}, i64 {upto}")
            self._block(block, upto, unroll, end)
            advance[0] = code.op(f"sub nsw i64 {upto}, {block}")

    def _block(self, first: str, upto: str, unroll: int, masked_by: str | None) -> None:
        with self.loop(first, upto, str(self.lanes * unroll)) as i, self.scope():
            self.vector_at = i
            if masked_by is not None:
                self.masks = [self._mask(self.add(i, str(u * self.lanes)), masked_by) for u in range(unroll)]
            self._element_body(unroll)
            self.masks = []
        self._flush()

    def _least(self, a: str, b: str) -> str:
        smaller = self.code.op(f"icmp slt i64 {a}, {b}")
        return self.code.op(f"select i1 {smaller}, i64 {a}, i64 {b}")

    def _lane_block(self, u: int) -> None:
        """From here on, masked operations are about the u-th vector of the step."""
        self.mask = self.masks[u] if self.masks else None

    def _element_body(self, unroll: int) -> None:
        nest = self.nest
        reductions_here = nest.phases[self.phase]
        for u in range(unroll):
            self._lane_block(u)
            for value in reductions_here:
                self.vector_value(value.args[0], u)
        for u in range(unroll):
            self._lane_block(u)
            for value in nest.kept:
                if nest.kept_from[value] == self.phase:
                    memory.store_scratch(self, value, u, self.vector_value(value, u))
        self._write(nest.element_stores[self.phase], unroll)
        for u in range(unroll):
            self._lane_block(u)
            for value in reductions_here:
                name = self.vector_value(value.args[0], u)
                reductions.accumulate(self, value, self.accumulators[value, u], name, u)
        self.mask = None

    # ---- values

    def prepare(self, order: list[Val], level: int, phase: int, unroll: int = 1) -> None:
        """Compute the values of `level` that are known after `phase` reductions."""
        for value in order:
            if value.level == level and value.phase == phase and value.op != "reduce":
                for u in range(unroll):
                    self._lane_block(u)
                    self.value(value, u)
                self.mask = None

    def _kernel_level(self, value: Val) -> None:
        code, self.code = self.code, self.entry
        self.memo[value, 0] = self._make(value, 0)
        self.code = code

    def value(self, value: Val, u: int) -> str:
        """The register (or constant) that holds `value`: a vector if value.vec, else a scalar."""
        key = (value, u if value.vec else 0)
        name = self.memo.get(key)
        if name is None:
            if value.op == "lit":
                return number(value.payload, value.dtype)
            name = self.memo[key] = self._make(value, key[1])
            self.scopes[-1].append(key)
        return name

    def vector_value(self, value: Val, u: int) -> str:
        name = self.value(value, u)
        if value.vec:
            return name
        return broadcast(self.code, name, element(value.dtype), self.lanes)

    def _make(self, value: Val, u: int) -> str:
        code, op = self.code, value.op
        if op == "lit":
            return number(value.payload, value.dtype)
        if op == "num":
            return self.run_time_number(value.payload, value.dtype)  # type: ignore[arg-type]
        if op in ("load", "gather"):
            if value in self.nest.kept_from and self.phase > self.nest.kept_from[value]:
                return memory.load_scratch(self, value, u)
            return memory.load(self, value, u)
        if op == "coord":
            return memory.coordinate(self, value, u)
        if value in self.nest.kept_from and self.phase > self.nest.kept_from[value]:
            return memory.load_scratch(self, value, u)
        lanes = self.lanes if value.vec else 1
        args = [self.vector_value(a, u) if value.vec else self.value(a, u) for a in value.args]
        if op == "cast":
            return casts.cast(code, args[0], value.args[0].dtype, value.dtype, lanes)
        if op == "round16":
            return rounded(code, value.dtype, args[0], lanes)
        kind = value.args[1].dtype if op == "where" else value.args[0].dtype
        return scalar.emit(code, op, kind, lanes, args)

    # ---- accumulators

    def _start_accumulators(self, phase: int, unroll: int) -> None:
        for value in self.nest.phases[phase]:
            for u in range(unroll):
                self.accumulators[value, u] = reductions.start(self, value)

    def _flush(self) -> None:
        for value in self.nest.phases[self.phase]:
            u = 0
            while (value, u) in self.accumulators:
                reductions.flush(self, value, self.accumulators[value, u])
                u += 1

    def _finish_accumulators(self, phase: int, unroll: int, horizontal: bool) -> None:
        for value in self.nest.phases[phase]:
            slots = [self.accumulators.pop((value, u)) for u in range(unroll)]
            if horizontal:
                self.memo[value, 0] = reductions.finish(self, value, slots)
                self.scopes[-1].append((value, 0))
            else:
                for u in range(unroll):
                    self.memo[value, u] = reductions.result(self, value, slots[u])
                    self.scopes[-1].append((value, u))

    def _write(self, stores: list[Store], unroll: int) -> None:
        for u in range(unroll):
            self._lane_block(u)
            for store in stores:
                if self._is_vector(store):
                    self.vector_value(store.value, u)
        for u in range(unroll):
            self._lane_block(u)
            for store in stores:
                memory.store(self, store, u, self._is_vector(store))
        self.mask = None

    def _is_vector(self, store: Store) -> bool:
        nest = self.nest
        return bool(nest.sizes) and nest.strides(store.map)[nest.vector_dim] != 0

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


def _product(sizes: Iterable[int]) -> int:
    n = 1
    for s in sizes:
        n *= s
    return n
