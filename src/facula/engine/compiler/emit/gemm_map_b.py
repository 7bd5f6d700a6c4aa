"""Packing panels of a mapped B by the tables of gemm_map.py, in the order of gemm_pack.py.

Where neighbouring columns are mostly adjacent in memory ("columns"), each run of a vector's lanes is loaded by a mask,
k by k. Where neighbours along k are ("depth"), each run is loaded for all columns of a vector, and transposed.
Otherwise the lanes are gathered.
"""

from __future__ import annotations

from collections.abc import Callable

from facula.engine.compiler.emit import access
from facula.engine.compiler.emit.gemm_base import (
    Target,
    add,
    at,
    define,
    lane_mask,
    loop,
    masked_store,
    mul,
    smaller,
    splat,
    store,
    sub,
)
from facula.engine.compiler.emit.gemm_map import CAPACITY, MapLayout, entry, sizes_of
from facula.engine.compiler.emit.gemm_pack import transpose
from facula.engine.compiler.emit.module import Code, Module


def pack_b(module: Module, t: Target, layout: MapLayout) -> None:
    """Define @pack_b_map(b, along, across, k, columns, ldb, map, fill, to): see gemm_pack.pack_b."""
    panel = _Panel(Code(module), t, layout)
    code = panel.code
    with loop(code, "0", "%ldb", str(t.lanes)) as j:
        across, left = at(code, "i64", "%across", j), sub(code, "%columns", j)
        {"any": panel.gathered, "columns": panel.in_columns, "depth": panel.in_depth}[layout.way](
            across, left, at(code, t.type, "%to", j))
    define(code, "pack_b_map", "ptr noalias %b, ptr %along, ptr %across, i64 %k, i64 %columns, i64 %ldb, ptr %map, "
                               f"{t.type} %fill, ptr noalias %to")


class _Panel:
    """The text of @pack_b_map; its methods write one vector of columns each (`left` of its lanes exist)."""

    def __init__(self, code: Code, t: Target, layout: MapLayout) -> None:
        self.code = code
        self.t = t
        self.layout = layout
        self.narrow, self.bits = f"<{t.lanes} x i32>", f"<{t.lanes} x i1>"
        self.limits = [self.every(code.op(f"trunc i64 {s} to i32")) for s in sizes_of(code, layout)]
        self.fill = splat(code, t, "%fill")

    def every(self, value: str) -> str:
        """An i32 in all lanes."""
        one = self.code.op(f"insertelement {self.narrow} poison, i32 {value}, i64 0")
        return self.code.op(f"shufflevector {self.narrow} {one}, {self.narrow} poison, {self.narrow} zeroinitializer")

    def both(self, x: str, y: str) -> str:
        return self.code.op(f"and {self.bits} {x}, {y}")

    def inside(self, mask: str, coordinates: list[str], own: list[str]) -> str:
        """`mask`, where the sums of coordinates, which may follow the lanes, are within the bounds."""
        code = self.code
        lanes = "<" + ", ".join(f"i32 {i}" for i in range(self.t.lanes)) + ">"
        for c, mine, limit, moves in zip(coordinates, own, self.limits, self.layout.moves, strict=True):
            here = self.every(code.op(f"trunc i64 {add(code, c, mine)} to i32"))
            if moves:
                here = code.op(f"add {self.narrow} {here}, {lanes}")
            mask = self.both(mask, code.op(f"icmp ult {self.narrow} {here}, {limit}"))
        return mask

    def load(self, source: str, mask: str) -> str:
        """Outside the mask: the fill."""
        t = self.t
        return access.load(self.code, t.type, t.lanes, source, t.itemsize, mask, self.fill)

    def gathered(self, across: str, left: str, to: str) -> None:
        code, t, v, wide = self.code, self.t, self.narrow, f"<{self.t.lanes} x i64>"
        words = []
        for w in range(self.layout.words):  # lanes past the end hold anything: the mask spares them
            whole = code.op(f"load {wide}, ptr {at(code, 'i64', across, str(w * CAPACITY))}, align 8")
            words.append(code.op(f"trunc {wide} {whole} to {v}"))
        present = lane_mask(code, t, left)
        with loop(code, "0", "%k") as kk:
            position, *coordinates = entry(code, "%along", self.layout, kk)
            mask = present
            for c, own, limit in zip(coordinates, words[1:], self.limits, strict=True):
                here = code.op(f"add {v} {own}, {self.every(code.op(f'trunc i64 {c} to i32'))}")
                mask = self.both(mask, code.op(f"icmp ult {v} {here}, {limit}"))
            start = at(code, t.type, "%b", position)
            value = access.gather(code, t.type, t.lanes, start, words[0], t.itemsize, mask, self.fill, "i32")
            store(code, t, value, at(code, t.type, to, mul(code, kk, "%ldb")))

    def in_columns(self, across: str, left: str, to: str) -> None:
        code, t = self.code, self.t
        every = "<" + ", ".join(["i1 true"] * t.lanes) + ">"

        def run(first: str, last: str) -> None:
            words = entry(code, across, self.layout, first)
            # of lane 0, had the run begun there
            words = [sub(code, w, first) if moves else w
                     for w, moves in zip(words, (True, *self.layout.moves), strict=True)]
            begun = code.op(f"xor {self.bits} {lane_mask(code, t, first)}, {every}")
            own = self.both(lane_mask(code, t, last), begun)
            source = at(code, t.type, "%b", words[0])
            with loop(code, "0", "%k") as kk:
                position, *coordinates = entry(code, "%along", self.layout, kk)
                mask = self.inside(own, coordinates, words[1:])
                value = self.load(at(code, t.type, source, position), mask)
                masked_store(code, t, value, at(code, t.type, to, mul(code, kk, "%ldb")), own)

        self.runs(across, smaller(code, left, str(t.lanes)), str(t.lanes), run)

    def in_depth(self, across: str, left: str, to: str) -> None:
        """Squares: a run of up to `lanes` k for each column. Its other lanes become lines that the next run writes
        again; the last ones of all lie behind the panel, where there is room. Missing columns repeat the last."""
        code, t = self.code, self.t
        final = sub(code, left, "1")

        def run(first: str, last: str) -> None:
            position, *coordinates = entry(code, "%along", self.layout, first)
            start = at(code, t.type, "%b", position)
            own = lane_mask(code, t, sub(code, last, first))
            rows = []
            for lane in range(t.lanes):
                words = entry(code, across, self.layout, smaller(code, str(lane), final))
                mask = self.inside(own, coordinates, words[1:])
                rows.append(self.load(at(code, t.type, start, words[0]), mask))
            line = at(code, t.type, to, mul(code, first, "%ldb"))
            for k, row in enumerate(transpose(code, t, rows)):
                store(code, t, row, at(code, t.type, line, mul(code, str(k), "%ldb")))

        self.runs("%along", "%k", str(t.lanes), run)

    def runs(self, table: str, count: str, most: str, body: Callable[[str, str], None]) -> None:
        """`body(first, last)` for each run of entries that lie one behind the other, of `most` at most."""
        code = self.code
        head, inner, done = (code.label(s) for s in ("head", "run", "done"))
        before, first, last = code.current, code.fresh("l"), code.fresh("l")
        code.do(f"br label %{head}")
        code.start(head)
        hole = len(code.lines)
        code.do(f"br i1 {code.op(f'icmp slt i64 {first}, {count}')}, label %{inner}, label %{done}")
        code.start(inner)
        self.run_end(table, first, last, smaller(code, count, add(code, first, most)))
        body(first, last)
        code.lines.insert(hole, f"  {first} = phi i64 [0, %{before}], [{last}, %{code.current}]")
        code.do(f"br label %{head}")
        code.start(done)

    def run_end(self, table: str, first: str, last: str, end: str) -> None:
        """`last` becomes the first entry behind the run that begins at `first`, `end` at most."""
        code = self.code
        head, inner, following, done = (code.label(s) for s in ("scan", "compare", "further", "end"))
        before = code.current
        start, more = add(code, first, "1"), code.fresh("l")
        code.do(f"br label %{head}")
        code.start(head)
        code.do(f"{last} = phi i64 [{start}, %{before}], [{more}, %{following}]")
        code.do(f"br i1 {code.op(f'icmp slt i64 {last}, {end}')}, label %{inner}, label %{done}")
        code.start(inner)
        here, behind = (entry(code, table, self.layout, e) for e in (last, sub(code, last, "1")))
        same = "true"
        for x, y, moves in zip(here, behind, (True, *self.layout.moves), strict=True):
            same = code.op(f"and i1 {same}, {code.op(f'icmp eq i64 {sub(code, x, y)}, {int(moves)}')}")
        code.do(f"br i1 {same}, label %{following}, label %{done}")
        code.start(following)
        code.do(f"{more} = add i64 {last}, 1")
        code.do(f"br label %{head}")
        code.start(done)
