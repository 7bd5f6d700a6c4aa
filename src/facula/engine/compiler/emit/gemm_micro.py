"""The micro-kernel of the matrix product: a few rows of A times a few vectors of B's columns.

                  vectors x lanes columns
                 b0      b1      b2              one k at a time:
            a0 | c00     c01     c02 |             load b0 b1 b2
     rows   a1 | c10     c11     c12 |             for each row: broadcast a_r, c_rv += a_r * b_v
            .. |                     |           all of c stays in registers

A may have any strides, so the same code reads packed panels and the user's matrix; B's columns
must be adjacent. The loop is not unrolled: its 24 multiply-adds hide the three index updates, and
compiling an unrolled one takes four times as long.
"""

from __future__ import annotations

from facula.engine.compiler.emit.gemm_base import (
    Target,
    at,
    define,
    lane_mask,
    load,
    loop,
    masked_load,
    masked_store,
    mul,
    multiply_add,
    splat,
    store,
    when,
)
from facula.engine.compiler.emit.module import Code, Module

MICRO = ("ptr noalias readonly %a, i64 %rs, i64 %cs, ptr noalias readonly %b, i64 %ldb, i64 %k, "
         "ptr noalias %c, i64 %ldc, i64 %width, i1 %more")


def micro_kernel(module: Module, t: Target, rows: int, vectors: int) -> str:
    """Define c[rows, ...] (+)= a[rows, k] @ b[k, ...], and return its name.

    `width` counts the columns of the last vector; `more` says that c holds a sum to be added to.
    """
    name = f"micro_{rows}x{vectors}"
    if name in module.definitions:
        return name
    code = Code(module)
    mask = lane_mask(code, t, "%width") if t.masked else ""
    starts = [at(code, t.type, "%a", mul(code, "%rs", str(r))) for r in range(rows)]
    sums = [[f"%c{r}_{v}" for v in range(vectors)] for r in range(rows)]
    code.do("br label %head")
    code.start("head")
    code.do("%kk = phi i64 [0, %entry], [%kk1, %body]")
    code.do("%ka = phi i64 [0, %entry], [%ka1, %body]")
    code.do("%kb = phi ptr [%b, %entry], [%kb1, %body]")
    for row in sums:
        for c in row:
            code.do(f"{c} = phi {t.vector} [zeroinitializer, %entry], [{c}n, %body]")
    code.do("%inside = icmp ult i64 %kk, %k")
    code.do("br i1 %inside, label %body, label %done")
    code.start("body")
    columns = [at(code, t.type, "%kb", str(v * t.lanes)) for v in range(vectors)]
    b = [load(code, t, p) for p in columns[:-1]]
    b.append(masked_load(code, t, columns[-1], mask) if t.masked else load(code, t, columns[-1]))
    for r in range(rows):
        scalar = code.op(f"load {t.type}, ptr {at(code, t.type, starts[r], '%ka')}, align {t.itemsize}")
        a = splat(code, t, scalar)
        for v in range(vectors):
            name_of_sum = multiply_add(code, t, a, b[v], sums[r][v])
            code.lines[-1] = code.lines[-1].replace(f"{name_of_sum} =", f"{sums[r][v]}n =", 1)
    code.do("%kk1 = add i64 %kk, 1")
    code.do("%ka1 = add i64 %ka, %cs")
    code.do(f"%kb1 = getelementptr {t.type}, ptr %kb, i64 %ldb")
    code.do("br label %head")
    code.start("done")
    code.do("br i1 %more, label %adding, label %storing")
    # Two copies of the stores: a select between loaded and zero would read C's untouched pages.
    for label, adding in (("adding", True), ("storing", False)):
        code.start(label)
        for r in range(rows):
            line = at(code, t.type, "%c", mul(code, "%ldc", str(r)))
            for v in range(vectors):
                place = at(code, t.type, line, str(v * t.lanes))
                _store(code, t, sums[r][v], place, adding, mask, last=v == vectors - 1)
        if adding:
            code.do("br label %end")
    code.do("br label %end")
    code.start("end")
    define(code, name, MICRO)
    return name


def _store(code: Code, t: Target, value: str, place: str, adding: bool, mask: str, last: bool) -> None:
    if not last:
        if adding:
            value = code.op(f"fadd {t.vector} {load(code, t, place)}, {value}")
        store(code, t, value, place)
    elif t.masked:
        if adding:
            value = code.op(f"fadd {t.vector} {masked_load(code, t, place, mask)}, {value}")
        masked_store(code, t, value, place, mask)
    else:
        _part(code.module, t)
        code.do(f"call void @store_part(ptr {place}, {t.vector} {value}, i64 %width, i1 {int(adding)})")


def _part(module: Module, t: Target) -> None:
    """Define the store of the first `width` lanes for targets without masks."""
    code = Code(module)
    buffer = code.op(f"alloca {t.vector}")
    code.do(f"store {t.vector} %value, ptr {buffer}")
    with loop(code, "0", "%width") as i:
        source, place = at(code, t.type, buffer, i), at(code, t.type, "%place", i)
        value = code.op(f"load {t.type}, ptr {source}")
        before = code.op(f"load {t.type}, ptr {place}")
        total = code.op(f"fadd {t.type} {before}, {value}")
        chosen = code.op(f"select i1 %adding, {t.type} {total}, {t.type} {value}")
        code.do(f"store {t.type} {chosen}, ptr {place}")
    define(code, "store_part", f"ptr %place, {t.vector} %value, i64 %width, i1 %adding")


PANEL = ("ptr %a, i64 %rs, i64 %cs, ptr %b, i64 %ldb, i64 %k, ptr %c, i64 %ldc, i64 %width, i1 %more, i64 %m")


def panel_kernel(module: Module, t: Target, vectors: int, packed: bool, counts: list[int]) -> str:
    """Define the product of `m` rows of A with one panel of B, and return its name.

    Rows are taken by the largest micro-kernel that fits. A packed A is a sequence of blocks of
    that many rows, each stored k by k.
    """
    name = f"panel_{vectors}"
    code = Code(module)
    largest = counts[0]

    def call(rows: int, i: str) -> None:
        micro = micro_kernel(module, t, rows, vectors)
        start = at(code, t.type, "%a", mul(code, i, "%k" if packed else "%rs"))
        steps = f"i64 1, i64 {rows}" if packed else "i64 %rs, i64 %cs"
        place = at(code, t.type, "%c", mul(code, i, "%ldc"))
        code.do(f"call void @{micro}(ptr {start}, {steps}, ptr %b, i64 %ldb, i64 %k, ptr {place}, i64 %ldc, "
                "i64 %width, i1 %more)")

    whole = code.op(f"and i64 %m, {-largest}")
    with loop(code, "0", whole, str(largest)) as i:
        call(largest, i)
    for rows in counts[1:]:
        here = code.op(f"and i64 %m, {-2 * rows}")
        present = code.op(f"icmp ne i64 {code.op(f'and i64 %m, {rows}')}, 0")
        with when(code, present):
            call(rows, here)
    define(code, name, PANEL)
    return name


