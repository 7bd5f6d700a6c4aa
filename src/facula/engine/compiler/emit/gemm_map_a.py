"""Packing blocks of a mapped A by the tables of gemm_map.py, in the order of gemm_pack.py.

A block of rows is to A what a vector of columns is to B: with masks, it is packed as that (gemm_map_b.py).
"""

from __future__ import annotations

from facula.engine.compiler.emit.gemm_base import (
    Target,
    add,
    at,
    define,
    loop,
    mul,
    when,
)
from facula.engine.compiler.emit.gemm_map import MapLayout, entry, sizes_of
from facula.engine.compiler.emit.gemm_map_b import Panel
from facula.engine.compiler.emit.module import Code, Module


def pack_a(module: Module, t: Target, layout: MapLayout, counts: list[int]) -> None:
    """Define @pack_a_map(a, rows, along, m, k, map, fill, to): in the order of gemm_pack.pack_a."""
    code = Code(module)

    ends = Panel(code, t, layout, 1, "1").ends() if layout.way == "depth" else "null"

    def block(rows: int, i: str) -> None:
        if t.masked and rows > 1:
            panel = Panel(Code(module), t, layout, rows, str(rows))
            panel.pack("%rows", str(rows), "%to", "%ends")
            define(panel.code, f"pack_a_map{rows}", "ptr noalias %b, ptr %rows, ptr %along, i64 %k, ptr %map, "
                                                    f"{t.type} %fill, ptr noalias %to, ptr %ends")
        else:
            _pack_rows(module, t, layout, rows)
        code.do(f"call void @pack_a_map{rows}(ptr %a, ptr {at(code, 'i64', '%rows', i)}, ptr %along, i64 %k, "
                f"ptr %map, {t.type} %fill, ptr {at(code, t.type, '%to', mul(code, i, '%k'))}, ptr {ends})")

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
    sizes = sizes_of(code, layout)
    lines = [entry(code, "%rows", layout, str(r)) for r in range(rows)]
    starts = [at(code, t.type, "%a", line[0]) for line in lines]
    with loop(code, "0", "%k") as kk:
        position, *coordinates = entry(code, "%along", layout, kk)
        place = at(code, t.type, "%to", mul(code, kk, str(rows)))
        for r in range(rows):
            source = at(code, t.type, starts[r], position)
            for c, own, size in zip(coordinates, lines[r][1:], sizes, strict=True):
                inside = code.op(f"icmp ult i64 {add(code, c, own)}, {size}")
                source = code.op(f"select i1 {inside}, ptr {source}, ptr {outside}")
            value = code.op(f"load {t.type}, ptr {source}, align {t.itemsize}")
            code.do(f"store {t.type} {value}, ptr {at(code, t.type, place, str(r))}, align {t.itemsize}")
    define(code, f"pack_a_map{rows}",
           f"ptr %a, ptr %rows, ptr %along, i64 %k, ptr %map, {t.type} %fill, ptr %to, ptr %ends")
