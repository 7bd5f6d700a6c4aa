"""Packing panels of a mapped B by the tables of gemm_map.py, in the order of gemm_pack.py.

Where neighbouring columns are mostly adjacent in memory ("columns"), each run of a vector's lanes is loaded by a mask,
k by k. Where neighbours along k are ("depth"), each run is loaded for all columns of a vector, and transposed.
Otherwise the lanes are gathered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

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
from facula.engine.compiler.emit.gemm_map import CAPACITY, MapLayout, entry, sizes_of, word
from facula.engine.compiler.emit.gemm_pack import transpose
from facula.engine.compiler.emit.module import Code, Module


def pack_b(module: Module, t: Target, layout: MapLayout) -> None:
    """Define @pack_b_map(b, along, across, k, columns, ldb, map, fill, to): see gemm_pack.pack_b."""
    panel = Panel(Code(module), t, layout, t.lanes, "%ldb")
    code = panel.code
    ends = panel.ends() if layout.way == "depth" else ""
    with loop(code, "0", "%ldb", str(t.lanes)) as j:
        panel.pack(at(code, "i64", "%across", j), sub(code, "%columns", j), at(code, t.type, "%to", j), ends)
    define(code, "pack_b_map", "ptr noalias %b, ptr %along, ptr %across, i64 %k, i64 %columns, i64 %ldb, ptr %map, "
                               f"{t.type} %fill, ptr noalias %to")


class Panel:
    """Text that reads a mapped matrix: %b, by the tables %along (%k entries) and `across`, with %map and %fill.

    Its methods write `width` columns each, of which `left` exist; those of each k are adjacent, `ldb` behind the last.
    """

    def __init__(self, code: Code, t: Target, layout: MapLayout, width: int, ldb: str) -> None:
        self.code = code
        self.whole = t
        self.t = replace(t, lanes=width)
        self.layout = layout
        self.ldb = ldb
        self.limits = sizes_of(code, layout)

    def pack(self, across: str, left: str, to: str, ends: str) -> None:
        """In the way of the layout. `ends`: what the method of that name gives, of the table along."""
        if self.layout.way == "depth":
            self.in_depth(across, left, to, ends)
        else:
            (self.gathered if self.layout.way == "any" else self.in_columns)(across, left, to)

    def every(self, value: str, lanes: int) -> str:
        """An i32 in all lanes."""
        narrow = f"<{lanes} x i32>"
        one = self.code.op(f"insertelement {narrow} poison, i32 {value}, i64 0")
        return self.code.op(f"shufflevector {narrow} {one}, {narrow} poison, {narrow} zeroinitializer")

    def inside(self, t: Target, mask: str, coordinates: list[str], own: list[str]) -> str:
        """`mask`, where the sums of coordinates, which may follow the lanes, are within the bounds."""
        code, bits = self.code, f"<{t.lanes} x i1>"
        lanes = "<" + ", ".join(f"i32 {i}" for i in range(t.lanes)) + ">"
        fixed = ""
        for c, mine, limit, moves in zip(coordinates, own, self.limits, self.layout.moves, strict=True):
            here = add(code, c, mine)
            if not moves:
                one = code.op(f"icmp ult i64 {here}, {limit}")
                fixed = code.op(f"and i1 {fixed}, {one}") if fixed else one
                continue
            v = f"<{t.lanes} x i32>"
            here = code.op(f"add {v} {self.every(code.op(f'trunc i64 {here} to i32'), t.lanes)}, {lanes}")
            most = self.every(code.op(f"trunc i64 {limit} to i32"), t.lanes)
            mask = code.op(f"and {bits} {mask}, {code.op(f'icmp ult {v} {here}, {most}')}")
        return code.op(f"select i1 {fixed}, {bits} {mask}, {bits} zeroinitializer") if fixed else mask

    def load(self, t: Target, source: str, mask: str) -> str:
        """Outside the mask: the fill."""
        return access.load(self.code, t.type, t.lanes, source, t.itemsize, mask, splat(self.code, t, "%fill"))

    def gathered(self, across: str, left: str, to: str) -> None:
        code, t = self.code, self.t
        v, wide, bits = f"<{t.lanes} x i32>", f"<{t.lanes} x i64>", f"<{t.lanes} x i1>"
        words = []
        for w in range(self.layout.words):  # lanes past the end hold anything: the mask spares them
            whole = code.op(f"load {wide}, ptr {at(code, 'i64', across, str(w * CAPACITY))}, align 8")
            words.append(code.op(f"trunc {wide} {whole} to {v}"))
        present, fill = lane_mask(code, t, left), splat(code, t, "%fill")
        limits = [self.every(code.op(f"trunc i64 {s} to i32"), t.lanes) for s in self.limits]
        with loop(code, "0", "%k") as kk:
            position, *coordinates = entry(code, "%along", self.layout, kk)
            mask = present
            for c, own, limit in zip(coordinates, words[1:], limits, strict=True):
                here = code.op(f"add {v} {own}, {self.every(code.op(f'trunc i64 {c} to i32'), t.lanes)}")
                mask = code.op(f"and {bits} {mask}, {code.op(f'icmp ult {v} {here}, {limit}')}")
            start = at(code, t.type, "%b", position)
            value = access.gather(code, t.type, t.lanes, start, words[0], t.itemsize, mask, fill, "i32")
            store(code, t, value, at(code, t.type, to, mul(code, kk, self.ldb)))

    def in_columns(self, across: str, left: str, to: str) -> None:
        code, t = self.code, self.t
        bits, every = f"<{t.lanes} x i1>", "<" + ", ".join(["i1 true"] * t.lanes) + ">"

        def end_of(first: str) -> str:
            return self.run_end(across, first, count)

        def run(first: str, last: str) -> None:
            words = entry(code, across, self.layout, first)
            # of lane 0, had the run begun there
            words = [sub(code, w, first) if moves else w
                     for w, moves in zip(words, (True, *self.layout.moves), strict=True)]
            begun = code.op(f"xor {bits} {lane_mask(code, t, first)}, {every}")
            own = code.op(f"and {bits} {lane_mask(code, t, last)}, {begun}")
            source = at(code, t.type, "%b", words[0])
            with loop(code, "0", "%k") as kk:
                position, *coordinates = entry(code, "%along", self.layout, kk)
                mask = self.inside(t, own, coordinates, words[1:])
                value = self.load(t, at(code, t.type, source, position), mask)
                masked_store(code, t, value, at(code, t.type, to, mul(code, kk, self.ldb)), own)

        count = smaller(code, left, str(t.lanes))
        self.runs(count, end_of, run)

    def in_depth(self, across: str, left: str, to: str, ends: str) -> None:
        """A run of up to a vector of k for each column, transposed. Its other lanes become lines that the next run
        writes again; the last ones of all lie behind the panel, where there is room (or another block of A's, which is
        written later). Missing columns repeat the last."""
        code, t, whole = self.code, self.t, self.whole
        final = sub(code, left, "1")

        def end_of(first: str) -> str:
            return smaller(code, add(code, first, str(whole.lanes)), word(code, at(code, "i64", ends, first), 0))

        def run(first: str, last: str) -> None:
            position, *coordinates = entry(code, "%along", self.layout, first)
            start = at(code, t.type, "%b", position)
            own = lane_mask(code, whole, sub(code, last, first))
            rows = []
            for lane in range(t.lanes):
                words = entry(code, across, self.layout, smaller(code, str(lane), final))
                mask = self.inside(whole, own, coordinates, words[1:])
                rows.append(self.load(whole, at(code, t.type, start, words[0]), mask))
            line = at(code, t.type, to, mul(code, first, self.ldb))
            for j, column in enumerate(transpose(code, whole, rows)):
                for group in range(whole.lanes // t.lanes):
                    lanes = ", ".join(f"i32 {group * t.lanes + r}" for r in range(t.lanes))
                    part = column if t.lanes == whole.lanes else code.op(
                        f"shufflevector {whole.vector} {column}, {whole.vector} poison, <{t.lanes} x i32> <{lanes}>")
                    place = mul(code, str(group * t.lanes + j), self.ldb)
                    store(code, t, part, at(code, t.type, line, place))

        self.runs("%k", end_of, run)

    def runs(self, count: str, end_of: Callable[[str], str], body: Callable[[str, str], None]) -> None:
        """`body(first, last)` for each run of entries that lie one behind the other, which ends at `end_of(first)`."""
        code = self.code
        head, inner, done = (code.label(s) for s in ("head", "run", "done"))
        before, first = code.current, code.fresh("l")
        code.do(f"br label %{head}")
        code.start(head)
        hole = len(code.lines)
        code.do(f"br i1 {code.op(f'icmp slt i64 {first}, {count}')}, label %{inner}, label %{done}")
        code.start(inner)
        last = end_of(first)
        body(first, last)
        code.lines.insert(hole, f"  {first} = phi i64 [0, %{before}], [{last}, %{code.current}]")
        code.do(f"br label %{head}")
        code.start(done)

    def ends(self) -> str:
        """A table of where the run ends that each entry of %along is in."""
        code = self.code
        ends = code.op(f"alloca [{CAPACITY} x i64]")
        with loop(code, "0", "%k") as n:
            e = sub(code, sub(code, "%k", "1"), n)
            after = add(code, e, "1")
            following = smaller(code, after, sub(code, "%k", "1"))  # itself, of the last entry
            goes_on = self.adjacent("%along", following, e)
            end = code.op(f"select i1 {goes_on}, i64 {word(code, at(code, 'i64', ends, following), 0)}, i64 {after}")
            code.do(f"store i64 {end}, ptr {at(code, 'i64', ends, e)}")
        return ends

    def adjacent(self, table: str, here: str, behind: str) -> str:
        """Lies entry `here` directly after entry `behind`?"""
        code, same = self.code, "true"
        for x, y, moves in zip(*(entry(code, table, self.layout, e) for e in (here, behind)),
                               (True, *self.layout.moves), strict=True):
            same = code.op(f"and i1 {same}, {code.op(f'icmp eq i64 {sub(code, x, y)}, {int(moves)}')}")
        return same

    def run_end(self, table: str, first: str, end: str) -> str:
        """The first entry behind the run that begins at `first`, `end` at most."""
        code = self.code
        head, inner, following, done = (code.label(s) for s in ("scan", "compare", "further", "end"))
        before = code.current
        start, last, more = add(code, first, "1"), code.fresh("l"), code.fresh("l")
        code.do(f"br label %{head}")
        code.start(head)
        code.do(f"{last} = phi i64 [{start}, %{before}], [{more}, %{following}]")
        code.do(f"br i1 {code.op(f'icmp slt i64 {last}, {end}')}, label %{inner}, label %{done}")
        code.start(inner)
        same = self.adjacent(table, last, sub(code, last, "1"))
        code.do(f"br i1 {same}, label %{following}, label %{done}")
        code.start(following)
        code.do(f"{more} = add i64 {last}, 1")
        code.do(f"br label %{head}")
        code.start(done)
        return last
