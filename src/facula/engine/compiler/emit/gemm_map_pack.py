"""Packing blocks of mapped operands by the tables of gemm_map.py, in the order of gemm_pack.py.

B's panels come in two ways. Where neighbouring columns are mostly adjacent in memory too ("runs"), each run of a vector
is loaded by a mask, k by k. Otherwise the lanes are gathered.
"""

from __future__ import annotations

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
    when,
)
from facula.engine.compiler.emit.gemm_map import BOUNDS, CAPACITY, MapLayout, word
from facula.engine.compiler.emit.module import Code, Module


def _sizes(code: Code, layout: MapLayout) -> list[str]:
    return [word(code, "%map", BOUNDS + 2 * q + 1) for q in range(layout.bounds)]


def _entry(code: Code, table: str, layout: MapLayout, e: str) -> list[str]:
    """The words of entry `e`."""
    return [code.op(f"load i64, ptr {at(code, 'i64', table, add(code, e, str(w * CAPACITY)))}")
            for w in range(layout.words)]


def pack_a(module: Module, t: Target, layout: MapLayout, counts: list[int]) -> None:
    """Define @pack_a_map(a, rows, along, m, k, map, fill, to): in the order of gemm_pack.pack_a."""
    code = Code(module)

    def block(rows: int, i: str) -> None:
        _pack_rows(module, t, layout, rows)
        code.do(f"call void @pack_a_map{rows}(ptr %a, ptr {at(code, 'i64', '%rows', i)}, ptr %along, i64 %k, "
                f"ptr %map, {t.type} %fill, ptr {at(code, t.type, '%to', mul(code, i, '%k'))})")

    whole = code.op(f"and i64 %m, {-counts[0]}")
    with loop(code, "0", whole, str(counts[0])) as i:
        block(counts[0], i)
    for rows in counts[1:]:
        here = code.op(f"and i64 %m, {-2 * rows}")
        with when(code, code.op(f"icmp ne i64 {code.op(f'and i64 %m, {rows}')}, 0")):
            block(rows, here)
    define(code, "pack_a_map", f"ptr noalias %a, ptr %rows, ptr %along, i64 %m, i64 %k, ptr %map, {t.type} %fill, "
                               "ptr noalias %to")


def _pack_rows(module: Module, t: Target, layout: MapLayout, rows: int) -> None:
    code = Code(module)
    outside = code.op(f"alloca {t.type}")  # what an element outside the bounds is read from
    code.do(f"store {t.type} %fill, ptr {outside}")
    sizes = _sizes(code, layout)
    lines = [_entry(code, "%rows", layout, str(r)) for r in range(rows)]
    starts = [at(code, t.type, "%a", line[0]) for line in lines]
    with loop(code, "0", "%k") as kk:
        position, *coordinates = _entry(code, "%along", layout, kk)
        place = at(code, t.type, "%to", mul(code, kk, str(rows)))
        for r in range(rows):
            source = at(code, t.type, starts[r], position)
            for c, own, size in zip(coordinates, lines[r][1:], sizes, strict=True):
                inside = code.op(f"icmp ult i64 {add(code, c, own)}, {size}")
                source = code.op(f"select i1 {inside}, ptr {source}, ptr {outside}")
            value = code.op(f"load {t.type}, ptr {source}, align {t.itemsize}")
            code.do(f"store {t.type} {value}, ptr {at(code, t.type, place, str(r))}, align {t.itemsize}")
    define(code, f"pack_a_map{rows}",
           f"ptr %a, ptr %rows, ptr %along, i64 %k, ptr %map, {t.type} %fill, ptr %to")


def pack_b(module: Module, t: Target, layout: MapLayout) -> None:
    """Define @pack_b_map(b, along, across, k, columns, ldb, map, fill, to): see gemm_pack.pack_b."""
    code = Code(module)
    sizes = [code.op(f"trunc i64 {s} to i32") for s in _sizes(code, layout)]
    fill = splat(code, t, "%fill")
    with loop(code, "0", "%ldb", str(t.lanes)) as j:
        across = at(code, "i64", "%across", j)
        left = sub(code, "%columns", j)
        to = at(code, t.type, "%to", j)
        if layout.moves is None:
            _gathered(code, t, layout, sizes, fill, across, left, to)
        else:
            _runs(code, t, layout, sizes, fill, across, left, to)
    define(code, "pack_b_map", "ptr noalias %b, ptr %along, ptr %across, i64 %k, i64 %columns, i64 %ldb, ptr %map, "
                               f"{t.type} %fill, ptr noalias %to")


def _splat32(code: Code, t: Target, value: str) -> str:
    v = f"<{t.lanes} x i32>"
    one = code.op(f"insertelement {v} poison, i32 {value}, i64 0")
    return code.op(f"shufflevector {v} {one}, {v} poison, {v} zeroinitializer")


def _both(code: Code, t: Target, x: str, y: str) -> str:
    return code.op(f"and <{t.lanes} x i1> {x}, {y}")


def _gathered(code: Code, t: Target, layout: MapLayout, sizes: list[str], fill: str, across: str, left: str,
              to: str) -> None:
    v, wide = f"<{t.lanes} x i32>", f"<{t.lanes} x i64>"
    words = []
    for w in range(layout.words):  # lanes past the end hold anything: the mask spares them
        whole = code.op(f"load {wide}, ptr {at(code, 'i64', across, str(w * CAPACITY))}, align 8")
        words.append(code.op(f"trunc {wide} {whole} to {v}"))
    limits = [_splat32(code, t, s) for s in sizes]
    present = lane_mask(code, t, left)
    name = f"llvm.masked.gather.{t.suffix}.v{t.lanes}p0"
    bits, pointers = f"<{t.lanes} x i1>", f"<{t.lanes} x ptr>"
    code.module.declare(name, f"declare {t.vector} @{name}({pointers}, i32, {bits}, {t.vector})")
    with loop(code, "0", "%k") as kk:
        position, *coordinates = _entry(code, "%along", layout, kk)
        mask = present
        for c, own, limit in zip(coordinates, words[1:], limits, strict=True):
            here = code.op(f"add {v} {own}, {_splat32(code, t, code.op(f'trunc i64 {c} to i32'))}")
            mask = _both(code, t, mask, code.op(f"icmp ult {v} {here}, {limit}"))
        start = at(code, t.type, "%b", position)
        lanes = code.op(f"getelementptr {t.type}, ptr {start}, {v} {words[0]}")
        value = code.op(f"call {t.vector} @{name}({pointers} {lanes}, i32 {t.itemsize}, {bits} {mask}, "
                        f"{t.vector} {fill})")
        store(code, t, value, at(code, t.type, to, mul(code, kk, "%ldb")))


def _runs(code: Code, t: Target, layout: MapLayout, sizes: list[str], fill: str, across: str, left: str,
          to: str) -> None:
    """Runs of lanes, one after the other; where one begins is seen in the table."""
    assert layout.moves is not None
    width = smaller(code, left, str(t.lanes))
    head, body, done = (code.label(s) for s in ("head", "run", "done"))
    before = code.current
    first, last = code.fresh("l"), code.fresh("l")
    code.do(f"br label %{head}")
    code.start(head)
    hole = len(code.lines)
    code.do(f"br i1 {code.op(f'icmp slt i64 {first}, {width}')}, label %{body}, label %{done}")
    code.start(body)
    words = _entry(code, across, layout, first)
    _run_end(code, layout, across, first, last, width)
    steps = [True, *layout.moves]
    # of lane 0, had the run begun there
    words = [sub(code, w, first) if moves else w for w, moves in zip(words, steps, strict=True)]
    every = "<" + ", ".join(["i1 true"] * t.lanes) + ">"
    begun = code.op(f"xor <{t.lanes} x i1> {lane_mask(code, t, first)}, {every}")
    own = _both(code, t, lane_mask(code, t, last), begun)
    _one_run(code, t, layout, sizes, fill, words, own, to)
    code.lines.insert(hole, f"  {first} = phi i64 [0, %{before}], [{last}, %{code.current}]")
    code.do(f"br label %{head}")
    code.start(done)


def _run_end(code: Code, layout: MapLayout, across: str, first: str, last: str, width: str) -> None:
    """%last: the first lane behind the run that begins at lane `first`."""
    assert layout.moves is not None
    head, body, following, done = (code.label(s) for s in ("scan", "compare", "further", "end"))
    before = code.current
    start, more = add(code, first, "1"), code.fresh("l")
    code.do(f"br label %{head}")
    code.start(head)
    code.do(f"{last} = phi i64 [{start}, %{before}], [{more}, %{following}]")
    code.do(f"br i1 {code.op(f'icmp slt i64 {last}, {width}')}, label %{body}, label %{done}")
    code.start(body)
    here, ahead = _entry(code, across, layout, last), _entry(code, across, layout, sub(code, last, "1"))
    same = "true"
    for x, y, moves in zip(here, ahead, (True, *layout.moves), strict=True):
        same = code.op(f"and i1 {same}, {code.op(f'icmp eq i64 {sub(code, x, y)}, {int(moves)}')}")
    code.do(f"br i1 {same}, label %{following}, label %{done}")
    code.start(following)
    code.do(f"{more} = add i64 {last}, 1")
    code.do(f"br label %{head}")
    code.start(done)


def _one_run(code: Code, t: Target, layout: MapLayout, sizes: list[str], fill: str, words: list[str], own: str,
             to: str) -> None:
    assert layout.moves is not None
    v, bits = f"<{t.lanes} x i32>", f"<{t.lanes} x i1>"
    lanes = "<" + ", ".join(f"i32 {i}" for i in range(t.lanes)) + ">"
    name = f"llvm.masked.load.{t.suffix}.p0"
    code.module.declare(name, f"declare {t.vector} @{name}(ptr, i32, {bits}, {t.vector})")
    source = at(code, t.type, "%b", words[0])
    limits = [_splat32(code, t, s) for s in sizes]
    with loop(code, "0", "%k") as kk:
        position, *coordinates = _entry(code, "%along", layout, kk)
        mask = own
        for c, mine, limit, moves in zip(coordinates, words[1:], limits, layout.moves, strict=True):
            here = _splat32(code, t, code.op(f"trunc i64 {add(code, c, mine)} to i32"))
            if moves:
                here = code.op(f"add {v} {here}, {lanes}")
            mask = _both(code, t, mask, code.op(f"icmp ult {v} {here}, {limit}"))
        value = code.op(f"call {t.vector} @{name}(ptr {at(code, t.type, source, position)}, i32 {t.itemsize}, "
                        f"{bits} {mask}, {t.vector} {fill})")
        masked_store(code, t, value, at(code, t.type, to, mul(code, kk, "%ldb")), own)
