"""Vector times matrix, y[j] = sum over k of x[k] * w[k, j], at the speed of memory.

"dots"    each output's weights are adjacent along k: several dot products at once
"wide"    the outputs are adjacent: eight rows of w at a time are added into y, so that memory is
          read in long runs and not in a column of page-sized steps
"narrow"  the outputs are adjacent and fit one vector: eight independent sums hide the latency

A matrix times a vector is the same with the roles exchanged; `axis` says which it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from facula.engine.compiler.emit.gemm import EmitEpilogue, depth, finish_kernel
from facula.engine.compiler.emit.gemm_base import (
    SIGNATURE,
    Target,
    accumulate,
    add,
    argument,
    at,
    define,
    lane_mask,
    lane_total,
    load,
    loop,
    masked_load,
    masked_store,
    mul,
    multiply_add,
    operand_pointer,
    smaller,
    splat,
    store,
    sub,
    total,
    when,
)
from facula.engine.compiler.emit.module import Code, Module
from facula.engine.compiler.program.ordered import Order

# Positions in args; X's strides are (batch, k, -), W's (batch, k, j). K, K_TOTAL, K_STEP: see gemm.depth.
X, W, Y = 0, 6, 12
N, K, K_TOTAL, K_STEP, JC, J_BLOCKS = range(18, 24)
EXTRA = 24
ROWS_AT_ONCE = 8


@dataclass(frozen=True)
class VectorLayout:
    """What the text of a kernel depends on."""

    target: Target
    form: str  # "dots", "wide" or "narrow"
    unit_x: bool  # x is adjacent; otherwise "dots" copies it to scratch first
    single: bool  # one output: one dot product with many sums instead of several with few
    axis: str  # "column" (m == 1) or "row" (n == 1)


def vector_order(layout: VectorLayout) -> Order:
    """The order of a sum, which the functions below write."""
    if layout.form == "dots":
        lanes = layout.target.whole.lanes
        return Order(lanes=((8 if layout.single else 2) * lanes, lanes), padded=True)
    if layout.form == "narrow":
        return Order(lanes=(ROWS_AT_ONCE, 1))
    return Order(blocks=(ROWS_AT_ONCE, 1), zero=True)


def vector_kernel(name: str, layout: VectorLayout, epilogue: EmitEpilogue | None = None) -> str:
    """The text of a module whose function `name` computes tiles: (batch, block of outputs)."""
    t = layout.target
    module = Module(t.table)
    if epilogue is not None:
        finish_kernel(module, t, epilogue, EXTRA, layout.axis)
    code = Code(module)
    x_all, w_all, y_all = (operand_pointer(code, t.type, k) for k in (X, W, Y))
    n, jc, blocks = (argument(code, p) for p in (N, JC, J_BLOCKS))
    w_j = argument(code, W + 5)
    with loop(code, "%lo", "%hi") as tile:
        batch = code.op(f"sdiv i64 {tile}, {blocks}")
        j0 = mul(code, code.op(f"srem i64 {tile}, {blocks}"), jc)
        count = smaller(code, jc, sub(code, n, j0))
        k = depth(code, batch, K)
        x = at(code, t.type, x_all, mul(code, batch, argument(code, X + 3)))
        w = at(code, t.type, w_all, add(code, mul(code, batch, argument(code, W + 3)), mul(code, j0, w_j)))
        y = at(code, t.type, y_all, add(code, mul(code, batch, argument(code, Y + 3)), j0))
        {"dots": _dots, "wide": _wide, "narrow": _narrow}[layout.form](code, layout, x, w, y, k, count)
        if epilogue is not None:
            code.do(f"call void @finish(ptr %args, ptr %bufs, ptr %nums, ptr {y}, i64 0, i64 {batch}, i64 0, "
                    f"i64 1, i64 {j0}, i64 {count})")
    define(code, name, SIGNATURE, public=True)
    return module.text()


def _scalar(code: Code, t: Target, pointer: str) -> str:
    return code.op(f"load {t.type}, ptr {pointer}, align {t.itemsize}")


def _dots(code: Code, layout: VectorLayout, x: str, w: str, y: str, k: str, count: str) -> None:
    t = layout.target.whole
    if not layout.unit_x:
        stride = argument(code, X + 4)
        with loop(code, "0", k) as kk:
            value = _scalar(code, t, at(code, t.type, x, mul(code, kk, stride)))
            code.do(f"store {t.type} {value}, ptr {at(code, t.type, '%scratch', kk)}, align {t.itemsize}")
        x = "%scratch"
    # how many vectors share a sum is the same everywhere; narrow registers hold the sums of fewer outputs at once
    outputs, unroll = 1 if layout.single else 4 if layout.target.masked else 2, vector_order(layout).lanes[0] // t.lanes
    w_j = argument(code, W + 5)
    final = sub(code, count, "1")
    step = unroll * t.lanes
    whole = code.op(f"and i64 {k}, {-step}")
    vectors = code.op(f"and i64 {k}, {-t.lanes}")
    with loop(code, "0", count, str(outputs)) as j:
        # Outputs past the end repeat the last one, and are not stored.
        index = [smaller(code, add(code, j, str(i)), final) for i in range(outputs)]
        starts = [at(code, t.type, w, mul(code, i, w_j)) for i in index]

        def group(kk: str, sums: list[str], unroll: int = unroll, starts: list[str] = starts) -> list[str]:
            new = list(sums)
            for u in range(unroll):
                here = add(code, kk, str(u * t.lanes))
                xs = load(code, t, at(code, t.type, x, here))
                for i, s in enumerate(starts):
                    ws = load(code, t, at(code, t.type, s, here))
                    new[u * outputs + i] = multiply_add(code, t, xs, ws, new[u * outputs + i])
            return new

        def one(kk: str, sums: list[str], starts: list[str] = starts) -> list[str]:
            return group(kk, sums, 1, starts)

        sums = accumulate(code, "0", whole, step, t.vector, ["zeroinitializer"] * (outputs * unroll), group)
        sums = [total(code, t, sums[i::outputs]) for i in range(outputs)]
        sums = accumulate(code, whole, vectors, t.lanes, t.vector, sums, one)
        mask = lane_mask(code, t, sub(code, k, vectors))
        xs = masked_load(code, t, at(code, t.type, x, vectors), mask)
        sums = [multiply_add(code, t, xs, masked_load(code, t, at(code, t.type, s, vectors), mask), v)
                for s, v in zip(starts, sums, strict=True)]
        results = [lane_total(code, t, v) for v in sums]
        for i, value in enumerate(results):
            place = add(code, j, str(i))
            with when(code, code.op(f"icmp slt i64 {place}, {count}")):
                code.do(f"store {t.type} {value}, ptr {at(code, t.type, y, place)}, align {t.itemsize}")


def _narrow(code: Code, layout: VectorLayout, x: str, w: str, y: str, k: str, count: str) -> None:
    t = layout.target
    x_k, w_k = argument(code, X + 4), argument(code, W + 4)

    def part(t: Target, j: str, mask: str) -> None:
        def group(kk: str, sums: list[str]) -> list[str]:
            new = []
            for u, s in enumerate(sums):
                here = add(code, kk, str(u))
                place = at(code, t.type, w, add(code, mul(code, here, w_k), j))
                ws = masked_load(code, t, place, mask) if mask else load(code, t, place)
                xs = splat(code, t, _scalar(code, t, at(code, t.type, x, mul(code, here, x_k))))
                new.append(multiply_add(code, t, xs, ws, s))
            return new

        whole = code.op(f"and i64 {k}, {-ROWS_AT_ONCE}")
        sums = accumulate(code, "0", whole, ROWS_AT_ONCE, t.vector, ["zeroinitializer"] * ROWS_AT_ONCE, group)
        sums = accumulate(code, whole, k, 1, t.vector, [total(code, t, sums)], group)
        if mask:
            masked_store(code, t, sums[0], at(code, t.type, y, j), mask)
        else:
            store(code, t, sums[0], at(code, t.type, y, j))

    if t.masked:  # one vector has room for all
        part(t, "0", lane_mask(code, t, count))
    else:
        _over_outputs(code, t, count, part)


def _over_outputs(code: Code, t: Target, count: str, part: Callable[[Target, str, str], None]) -> None:
    """`part(target, first, mask)` over `count` outputs: whole vectors, then the rest under a mask, or one by one
    where masks are slow."""
    whole = code.op(f"and i64 {count}, {-t.lanes}")
    with loop(code, "0", whole, str(t.lanes)) as j:
        part(t, j, "")
    if t.masked:
        with when(code, code.op(f"icmp slt i64 {whole}, {count}")):
            part(t, whole, lane_mask(code, t, sub(code, count, whole)))
    else:
        with loop(code, whole, count) as j:
            part(replace(t, lanes=1), j, "")


def _wide(code: Code, layout: VectorLayout, x: str, w: str, y: str, k: str, count: str) -> None:
    t = layout.target
    x_k, w_k = argument(code, X + 4), argument(code, W + 4)
    with loop(code, "0", count) as j:
        code.do(f"store {t.type} 0.0, ptr {at(code, t.type, y, j)}, align {t.itemsize}")
    whole = code.op(f"and i64 {k}, {-ROWS_AT_ONCE}")
    for rows, start, stop in ((ROWS_AT_ONCE, "0", whole), (1, whole, k)):
        _add_rows(code.module, t, rows)
        with loop(code, start, stop, str(rows)) as kk:
            xs = at(code, t.type, x, mul(code, kk, x_k))
            ws = at(code, t.type, w, mul(code, kk, w_k))
            code.do(f"call void @add_rows{rows}(ptr {y}, ptr {ws}, i64 {w_k}, ptr {xs}, i64 {x_k}, "
                    f"i64 {count})")


def _add_rows(module: Module, t: Target, rows: int) -> None:
    """Define @add_rows<rows>: y[:count] += x[:rows] @ w[:rows, :count]."""
    code = Code(module)
    scalars = [_scalar(code, t, at(code, t.type, "%x", mul(code, "%xs", str(r)))) for r in range(rows)]
    starts = [at(code, t.type, "%w", mul(code, "%ws", str(r))) for r in range(rows)]

    def part(t: Target, j: str, mask: str) -> None:
        values = "zeroinitializer"
        for s, x in zip(starts, [splat(code, t, s) for s in scalars], strict=True):
            place = at(code, t.type, s, j)
            row = masked_load(code, t, place, mask) if mask else load(code, t, place)
            values = multiply_add(code, t, x, row, values)
        place = at(code, t.type, "%y", j)
        before = masked_load(code, t, place, mask) if mask else load(code, t, place)
        values = code.op(f"fadd {t.vector} {before}, {values}")
        if mask:
            masked_store(code, t, values, place, mask)
        else:
            store(code, t, values, place)

    _over_outputs(code, t, "%count", part)
    define(code, f"add_rows{rows}",
           "ptr noalias %y, ptr noalias %w, i64 %ws, ptr noalias %x, i64 %xs, i64 %count")
