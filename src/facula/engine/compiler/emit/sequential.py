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
    constant,
    narrow,
    register,
    rounded,
    stored,
    vector,
    widen,
)
from facula.engine.compiler.instructions import Instructions
from facula.engine.compiler.kernel import Kernel
from facula.engine.compiler.program.ordered import GROUP
from facula.engine.graph.primitives.scan import carried

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
def scan_kernel(op: str, source: dtype, to: dtype, grouped: bool, table: Instructions) -> Kernel:
    """args: x, out, lines, n, inner, lines of a tile.

    Line l starts at l / inner * n * inner + l % inner. `grouped`: inner is 1, and elements are taken in by GROUPs
    (program/ordered.py says how), so that one addition in four waits for the one before.
    """
    w = Writer(table)
    code = w.code
    x, out = w.pointer(0), w.pointer(1)
    lines, n, inner, tile = w.word(2), w.word(3), w.word(4), w.word(5)
    first = code.op(f"mul i64 %lo, {tile}")
    end = code.least(code.op(f"mul i64 %hi, {tile}"), lines)
    wide = carried(op, to)
    if wide is to.compute:  # 16-bit types: registers hold them in float32 as it is
        wide = to
    t = register(wide, 1)
    total = w.slot(t)
    line = w.begin(first, end)
    above = code.op(f"udiv i64 {line[0]}, {inner}")
    rest = code.op(f"sub i64 {line[0]}, {code.op(f'mul i64 {above}, {inner}')}")
    size = code.op(f"mul i64 {n}, {inner}")
    place = code.op(f"add i64 {code.op(f'mul i64 {above}, {size}')}, {rest}")

    def element(position: str, lanes: int = 1) -> str:
        at = code.op(f"getelementptr {stored(source)}, ptr {x}, i64 {position}")
        raw = code.op(f"load {vector(stored(source), lanes)}, ptr {at}, align {source.itemsize}")
        # first to `to`, then to what goes on: a scan with a dtype is one of converted elements
        value = casts.cast(code, widen(code, source, raw, lanes), source, to, lanes)
        return casts.cast(code, value, to, wide, lanes)

    def put(position: str, name: str, lanes: int = 1) -> None:
        at = code.op(f"getelementptr {stored(to)}, ptr {out}, i64 {position}")
        raw = narrow(code, to, casts.cast(code, name, wide, to, lanes), lanes)
        code.do(f"store {vector(stored(to), lanes)} {raw}, ptr {at}, align {to.itemsize}")

    def step(a: str, b: str, lanes: int = 1) -> str:
        return scalar.emit(code, _STEP[op], wide, lanes, [a, b])

    if grouped:
        whole, pick = register(wide, GROUP), f"<{GROUP} x i32> <i32 "
        nothing = constant(-0.0 if op == "cumsum" else 1.0, wide, GROUP)
        so_far = w.slot(whole)  # the same in every lane
        code.do(f"store {whole} {nothing}, ptr {so_far}")
        groups = code.op(f"and i64 {n}, -{GROUP}")
        k = w.begin("0", groups)
        position = code.op(f"add i64 {place}, {k[0]}")
        value = element(position, GROUP)
        for away in (1, 2):
            lanes = ", i32 ".join(str(GROUP if i < away else i - away) for i in range(GROUP))
            value = step(value, code.op(f"shufflevector {whole} {value}, {whole} {nothing}, {pick}{lanes}>"), GROUP)
        every = code.op(f"load {whole}, ptr {so_far}")
        put(position, step(every, value, GROUP), GROUP)
        lanes = ", i32 ".join([str(GROUP - 1)] * GROUP)
        last = code.op(f"shufflevector {whole} {value}, {whole} poison, {pick}{lanes}>")
        code.do(f"store {whole} {step(every, last, GROUP)}, ptr {so_far}")  # not of the sum: no shuffle waits for it
        w.end(k, str(GROUP))
        every = code.op(f"load {whole}, ptr {so_far}")
        code.do(f"store {t} {code.op(f'extractelement {whole} {every}, i64 0')}, ptr {total}")
        k = w.begin(groups, n)
        position = code.op(f"add i64 {place}, {k[0]}")
        value = step(code.op(f"load {t}, ptr {total}"), element(position))
        code.do(f"store {t} {value}, ptr {total}")
        put(position, value)
        w.end(k)
        w.end(line)
        return w.kernel(f"{op} {source.name} {to.name} grouped", 256)

    some = w.begin("0", code.least(n, "1"))  # the first element is itself
    start = element(place)
    code.do(f"store {t} {start}, ptr {total}")
    put(place, start)
    w.end(some)
    k = w.begin("1", n)
    position = code.op(f"add i64 {place}, {code.op(f'mul i64 {k[0]}, {inner}')}")
    so_far = code.op(f"load {t}, ptr {total}")
    value = step(so_far, element(position))
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
