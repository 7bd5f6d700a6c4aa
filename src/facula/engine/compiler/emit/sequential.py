"""Kernels whose order is part of the meaning: scans and scatters.

A scan runs along one dimension, scalar by scalar; a scatter goes through its indices in order,
vectors along the columns. Tiles are independent lines (of a scan) or blocks of columns (of a
scatter), so any number of threads gives the same bits.
"""

from __future__ import annotations

import functools

from facula.dtypes import dtype
from facula.engine.compiler.emit import access, casts, scalar
from facula.engine.compiler.emit.module import Code, Module
from facula.engine.compiler.emit.types import (
    narrow,
    register,
    rounded,
    stored,
    vector,
    widen,
)
from facula.engine.compiler.instructions import Instructions
from facula.engine.compiler.kernel import Kernel

_HEAD = ("(ptr noalias readonly %args, ptr noalias readonly %bufs, ptr noalias readonly %nums, i64 "
         "%lo, i64 %hi, ptr noalias %scratch) #0 {\nentry:\n")
_STEP = {
    "cumsum": "add",
    "cumprod": "mul",
    "cummax": "maximum",
    "cummin": "minimum",
    "add": "add",
    "mul": "mul",
    "max": "maximum",
    "min": "minimum",
}


class Writer:
    """Loops with counters in stack slots, as in kernel_builder.py."""

    def __init__(self, table: Instructions) -> None:
        self.module = Module(table)
        self.code = Code(self.module)
        self.slots: list[str] = []

    def word(self, k: int) -> str:
        at = self.code.op(f"getelementptr i64, ptr %args, i64 {k}")
        return self.code.op(f"load i64, ptr {at}, align 8")

    def pointer(self, k: int) -> str:
        at = self.code.op(f"getelementptr ptr, ptr %bufs, i64 {self.word(k)}")
        return self.code.op(f"load ptr, ptr {at}, align 8")

    def slot(self, type_: str) -> str:
        name = self.code.fresh("slot")
        self.slots.append(f"  {name} = alloca {type_}, align 64")
        return name

    def begin(self, start: str, end: str) -> tuple[str, str, str, str]:
        return self.code.open_loop(self.slot("i64"), start, end)

    def end(self, loop: tuple[str, str, str, str], step: str = "1") -> None:
        self.code.close_loop(loop, step)

    def kernel(self, title: str, bits: int) -> Kernel:
        self.code.do("ret void")
        name = "k_" + "".join(c if c.isalnum() else "_" for c in title)
        body = "\n".join(self.slots + self.code.lines)
        self.module.declare(name, f"define void @{name}{_HEAD}{body}\n}}")
        width = f'"prefer-vector-width"="{bits}" "min-legal-vector-width"="{bits}"'
        tail = f"\nattributes #0 = {{ nounwind {width} }}\n"
        return Kernel(name, self.module.text() + tail, title)


@functools.cache
def scan_kernel(op: str, source: dtype, to: dtype, table: Instructions) -> Kernel:
    """args: x, out, lines, n, inner, lines of a tile.

    Line l starts at l / inner * n * inner + l % inner.
    """
    w = Writer(table)
    code = w.code
    x, out = w.pointer(0), w.pointer(1)
    lines, n, inner, tile = w.word(2), w.word(3), w.word(4), w.word(5)
    first = code.op(f"mul i64 %lo, {tile}")
    end = code.least(code.op(f"mul i64 %hi, {tile}"), lines)
    t = register(to, 1)
    total = w.slot(t)
    line = w.begin(first, end)
    above = code.op(f"udiv i64 {line[0]}, {inner}")
    rest = code.op(f"sub i64 {line[0]}, {code.op(f'mul i64 {above}, {inner}')}")
    size = code.op(f"mul i64 {n}, {inner}")
    place = code.op(f"add i64 {code.op(f'mul i64 {above}, {size}')}, {rest}")

    def element(position: str) -> str:
        at = code.op(f"getelementptr {stored(source)}, ptr {x}, i64 {position}")
        raw = code.op(f"load {stored(source)}, ptr {at}, align {source.itemsize}")
        return casts.cast(code, widen(code, source, raw, 1), source, to, 1)

    def put(position: str, name: str) -> None:
        at = code.op(f"getelementptr {stored(to)}, ptr {out}, i64 {position}")
        code.do(f"store {stored(to)} {narrow(code, to, name, 1)}, ptr {at}, align {to.itemsize}")

    some = w.begin("0", code.least(n, "1"))  # the first element is itself
    start = element(place)
    code.do(f"store {t} {start}, ptr {total}")
    put(place, start)
    w.end(some)
    k = w.begin("1", n)
    position = code.op(f"add i64 {place}, {code.op(f'mul i64 {k[0]}, {inner}')}")
    so_far = code.op(f"load {t}, ptr {total}")
    value = scalar.emit(code, _STEP[op], to, 1, [so_far, element(position)])
    code.do(f"store {t} {value}, ptr {total}")
    put(position, value)
    w.end(k)
    w.end(line)
    return w.kernel(f"{op} {source.name} {to.name}", 128)


@functools.cache
def scatter_kernel(op: str, d: dtype, single: bool, table: Instructions) -> Kernel:
    """args: out, index, source, count, rows, columns, columns of a tile. An index that is no row writes nothing."""
    w = Writer(table)
    code = w.code
    lanes = 1 if single or not table.vectors else max(2, table.vector_bytes // max(4, d.itemsize))
    out, index, source = w.pointer(0), w.pointer(1), w.pointer(2)
    count, rows, columns, tile = w.word(3), w.word(4), w.word(5), w.word(6)
    left = code.op(f"mul i64 %lo, {tile}")
    right = code.least(code.op(f"mul i64 %hi, {tile}"), columns)
    i = w.begin("0", count)
    at = code.op(f"getelementptr i64, ptr {index}, i64 {i[0]}")
    row = code.op(f"load i64, ptr {at}, align 8")
    to = code.op(f"mul i64 {row}, {columns}")
    start = code.op(f"mul i64 {i[0]}, {columns}")
    wrong = code.op(f"icmp uge i64 {row}, {rows}")  # must not touch foreign memory
    j = w.begin(left, code.op(f"select i1 {wrong}, i64 {left}, i64 {right}"))
    mask = None if lanes == 1 else _mask(code, j[0], right, lanes)
    size = d.itemsize

    def pointer(base: str, line: str) -> str:
        return code.op(f"getelementptr {stored(d)}, ptr {base}, i64 "
                       f"{code.op(f'add i64 {line}, {j[0]}')}")

    def load(p: str) -> str:
        return widen(code, d, access.load(code, stored(d), lanes, p, size, mask), lanes)

    new = load(pointer(source, start))
    target = pointer(out, to)
    if op != "set":
        new = rounded(code, d, scalar.emit(code, _STEP[op], d, lanes, [load(target), new]), lanes)
    raw = narrow(code, d, new, lanes)
    access.store(code, stored(d), lanes, raw, target, size, mask)
    w.end(j, str(lanes))
    w.end(i)
    return w.kernel(f"scatter {op} {d.name}{' single' if single else ''}", 8 * table.vector_bytes)


def _mask(code: Code, at: str, end: str, lanes: int) -> str:
    left = code.op(f"sub i64 {end}, {at}")
    wide = vector("i64", lanes)
    one = code.op(f"insertelement {wide} poison, i64 {left}, i64 0")
    every = code.op(f"shufflevector {wide} {one}, {wide} poison, <{lanes} x i32> zeroinitializer")
    steps = ", ".join(f"i64 {k}" for k in range(lanes))
    return code.op(f"icmp sgt {wide} {every}, <{steps}>")
