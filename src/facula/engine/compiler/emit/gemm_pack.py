"""Packing: copying a block of A or B into the order in which the micro-kernel reads it.

A (m rows, k): blocks of 8 (then 4, 2, 1) rows; in a block, the rows of one k are adjacent.
B (k, one panel of columns): the panel's columns of one k are adjacent, `ldb` apart from the next k.
Columns past the end hold anything: every lane is a sum of its own, and those are never stored.

Sources are told apart by which stride is 1 (`layout`): "row" (k-adjacent for A, column-adjacent for B
is a plain copy or a transpose), "col", or "any", which is element by element.
"""

from __future__ import annotations

from dataclasses import replace

from facula.engine.compiler.emit.gemm_base import (
    Target,
    add,
    at,
    define,
    lane_mask,
    load,
    loop,
    masked_load,
    mul,
    smaller,
    store,
    sub,
    when,
)
from facula.engine.compiler.emit.module import Code, Module


def transpose(code: Code, t: Target, rows: list[str]) -> list[str]:
    """Transpose `rows` in groups of len(rows) lanes: result j holds column j of the first group, then
    column j of the second group, ... The number of rows is a power of two, at most `lanes`.

    Stage d swaps the off-diagonal d x d blocks of every 2d x 2d block.
    """
    n = len(rows)
    rows = list(rows)
    d = n // 2
    while d:
        low, high = [], []
        for lane in range(t.lanes):
            if lane & d:
                low.append(t.lanes + lane - d)
                high.append(t.lanes + lane)
            else:
                low.append(lane)
                high.append(lane + d)
        masks = ["<" + ", ".join(f"i32 {x}" for x in m) + ">" for m in (low, high)]
        for i in range(n):
            if not i & d:
                x, y = rows[i], rows[i + d]
                rows[i], rows[i + d] = (
                    code.op(f"shufflevector {t.vector} {x}, {t.vector} {y}, <{t.lanes} x i32> {m}")
                    for m in masks)
        d //= 2
    return rows


def _element(code: Code, t: Target, source: str, place: str) -> None:
    value = code.op(f"load {t.type}, ptr {source}")
    code.do(f"store {t.type} {value}, ptr {place}")


def pack_a(module: Module, t: Target, layout: str, counts: list[int]) -> str:
    """Define @pack_a(a, rs, cs, m, k, to)."""
    code = Code(module)

    def block(rows: int, i: str) -> None:
        source = at(code, t.type, "%a", mul(code, i, "%rs"))
        place = at(code, t.type, "%to", mul(code, i, "%k"))
        define_block = {"row": _block_across, "col": _block_along, "any": _block_any}[layout]
        name = f"pack_a{rows}"
        if name not in module.definitions:
            define_block(module, t, rows, name)
        code.do(f"call void @{name}(ptr {source}, i64 %rs, i64 %cs, i64 %k, ptr {place})")

    whole = code.op(f"and i64 %m, {-counts[0]}")
    with loop(code, "0", whole, str(counts[0])) as i:
        block(counts[0], i)
    for rows in counts[1:]:
        here = code.op(f"and i64 %m, {-2 * rows}")
        with when(code, code.op(f"icmp ne i64 {code.op(f'and i64 %m, {rows}')}, 0")):
            block(rows, here)
    define(code, "pack_a", "ptr noalias %a, i64 %rs, i64 %cs, i64 %m, i64 %k, ptr noalias %to")
    return "pack_a"


BLOCK = "ptr noalias %a, i64 %rs, i64 %cs, i64 %k, ptr noalias %to"


def _block_any(module: Module, t: Target, rows: int, name: str) -> None:
    code = Code(module)
    with loop(code, "0", "%k") as kk:
        source = at(code, t.type, "%a", mul(code, kk, "%cs"))
        place = at(code, t.type, "%to", mul(code, kk, str(rows)))
        for r in range(rows):
            element = at(code, t.type, source, mul(code, "%rs", str(r)))
            _element(code, t, element, at(code, t.type, place, str(r)))
    define(code, name, BLOCK)


def _block_along(module: Module, t: Target, rows: int, name: str) -> None:
    """The rows of one k are adjacent in the source too."""
    code = Code(module)
    short = replace(t, lanes=rows)
    with loop(code, "0", "%k") as kk:
        value = load(code, short, at(code, t.type, "%a", mul(code, kk, "%cs")))
        store(code, short, value, at(code, t.type, "%to", mul(code, kk, str(rows))))
    define(code, name, BLOCK)


def _block_across(module: Module, t: Target, rows: int, name: str) -> None:
    """Each row is adjacent along k: transpose `lanes` steps of k at a time. The last, incomplete,
    group is moved back over values that have been written already."""
    if rows > t.lanes:
        _block_any(module, t, rows, name)
        return
    code = Code(module)
    starts = [at(code, t.type, "%a", mul(code, "%rs", str(r))) for r in range(rows)]
    fits = code.op(f"icmp sge i64 %k, {t.lanes}")
    groups, single = code.label("groups"), code.label("single")
    code.do(f"br i1 {fits}, label %{groups}, label %{single}")
    code.start(groups)
    last = sub(code, "%k", str(t.lanes))
    short = replace(t, lanes=rows)
    with loop(code, "0", "%k", str(t.lanes)) as kk:
        k0 = smaller(code, kk, last)
        columns = transpose(code, t, [load(code, t, at(code, t.type, s, k0)) for s in starts])
        place = at(code, t.type, "%to", mul(code, k0, str(rows)))
        for j, column in enumerate(columns):
            for group in range(t.lanes // rows):
                lanes = ", ".join(f"i32 {group * rows + r}" for r in range(rows))
                part = code.op(f"shufflevector {t.vector} {column}, {t.vector} poison, "
                               f"<{rows} x i32> <{lanes}>")
                store(code, short, part, at(code, t.type, place, str((group * rows + j) * rows)))
    code.do("ret void")
    code.start(single)
    with loop(code, "0", "%k") as kk:
        place = at(code, t.type, "%to", mul(code, kk, str(rows)))
        for r in range(rows):
            _element(code, t, at(code, t.type, starts[r], kk), at(code, t.type, place, str(r)))
    define(code, name, BLOCK)


def pack_b(module: Module, t: Target, layout: str) -> str:
    """Define @pack_b(b, rs, cs, k, columns, ldb, to): `columns` is how many of the `ldb` exist."""
    code = Code(module)
    {"row": _panel_along, "col": _panel_across, "any": _panel_any}[layout](code, t)
    define(code, "pack_b",
           "ptr noalias %b, i64 %rs, i64 %cs, i64 %k, i64 %columns, i64 %ldb, ptr noalias %to")
    return "pack_b"


def _panel_any(code: Code, t: Target) -> None:
    with loop(code, "0", "%k") as kk:
        source = at(code, t.type, "%b", mul(code, kk, "%rs"))
        place = at(code, t.type, "%to", mul(code, kk, "%ldb"))
        with loop(code, "0", "%columns") as j:
            _element(code, t, at(code, t.type, source, mul(code, j, "%cs")), at(code, t.type, place, j))


def _panel_along(code: Code, t: Target) -> None:
    """Columns are adjacent in the source: copy vectors."""
    with loop(code, "0", "%ldb", str(t.lanes)) as j:
        left = sub(code, "%columns", j)
        if t.masked:
            mask = lane_mask(code, t, left)
            with loop(code, "0", "%k") as kk:
                source = at(code, t.type, "%b", add(code, mul(code, kk, "%rs"), j))
                value = masked_load(code, t, source, mask)
                store(code, t, value, at(code, t.type, "%to", add(code, mul(code, kk, "%ldb"), j)))
        else:
            width = smaller(code, left, str(t.lanes))
            whole = code.op(f"icmp eq i64 {width}, {t.lanes}")
            fast, slow, join = code.label("whole"), code.label("part"), code.label("join")
            code.do(f"br i1 {whole}, label %{fast}, label %{slow}")
            code.start(fast)
            with loop(code, "0", "%k") as kk:
                value = load(code, t, at(code, t.type, "%b", add(code, mul(code, kk, "%rs"), j)))
                store(code, t, value, at(code, t.type, "%to", add(code, mul(code, kk, "%ldb"), j)))
            code.do(f"br label %{join}")
            code.start(slow)
            with loop(code, "0", "%k") as kk:
                source = at(code, t.type, "%b", add(code, mul(code, kk, "%rs"), j))
                place = at(code, t.type, "%to", add(code, mul(code, kk, "%ldb"), j))
                with loop(code, "0", width) as lane:
                    _element(code, t, at(code, t.type, source, lane), at(code, t.type, place, lane))
            code.do(f"br label %{join}")
            code.start(join)


def _panel_across(code: Code, t: Target) -> None:
    """Each column is adjacent along k: transpose squares. Missing columns repeat the last one, and the
    last, incomplete, square of a column is moved back over values that have been written already."""
    final = sub(code, "%columns", "1")
    last = sub(code, "%k", str(t.lanes))
    fits = code.op(f"icmp sge i64 {last}, 0")
    with loop(code, "0", "%ldb", str(t.lanes)) as j:
        starts = [at(code, t.type, "%b", mul(code, smaller(code, add(code, j, str(i)), final), "%cs"))
                  for i in range(t.lanes)]
        squares, single, join = code.label("squares"), code.label("single"), code.label("join")
        code.do(f"br i1 {fits}, label %{squares}, label %{single}")
        code.start(squares)
        with loop(code, "0", "%k", str(t.lanes)) as kk:
            k0 = smaller(code, kk, last)
            rows = transpose(code, t, [load(code, t, at(code, t.type, s, k0)) for s in starts])
            for i, row in enumerate(rows):
                line = mul(code, add(code, k0, str(i)), "%ldb")
                store(code, t, row, at(code, t.type, "%to", add(code, line, j)))
        code.do(f"br label %{join}")
        code.start(single)
        with loop(code, "0", "%k") as kk:
            place = at(code, t.type, "%to", add(code, mul(code, kk, "%ldb"), j))
            for i in range(t.lanes):
                _element(code, t, at(code, t.type, starts[i], kk), at(code, t.type, place, str(i)))
        code.do(f"br label %{join}")
        code.start(join)
