"""Loads, stores and coordinates inside a loop nest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facula.dtypes import bool_, dtype, int64
from facula.engine.compiler.affine import Affine
from facula.engine.compiler.emit.types import broadcast, element, narrow, splat, stored, suffix, vector, widen
from facula.engine.compiler.loops import Store
from facula.engine.compiler.values import Val
from facula.engine.graph.node import contiguous_strides

if TYPE_CHECKING:
    from facula.engine.compiler.emit.nest_values import NestValues


def place(e: NestValues, key: object, map: Affine) -> tuple[str, int]:
    """Position of `map` at lane 0 of the current point, and the lane stride (0, 1, or 2: an argument)."""
    nest = e.nest
    strides = nest.strides(map)
    at = e.bases.get((key, map))
    if at is None:
        at = "0"
        if map.const:
            at = e.add(at, e.argument(map.const, ("const", key, map)))
        for position, factor in map.nums:
            n = e.run_time_number(position, int64)
            at = e.add(at, n if factor == 1 else e.mul(n, e.argument(factor, ("factor", key, map, position))))
        for d in nest.outer:
            if strides[d]:
                at = e.add(at, e.mul(e.coordinates[d], _stride(e, key, map, d)))
        if len(e.scopes) == 2:  # row scope: valid for all of the row
            e.bases[key, map] = at
    for d in nest.inner:
        if d != nest.vector_dim and strides[d]:
            at = e.add(at, e.mul(e.coordinates[d], _stride(e, key, map, d)))
    if not nest.sizes or not strides[nest.vector_dim]:
        return at, 0
    if strides[nest.vector_dim] == 1:
        return e.add(at, e.vector_at), 1
    return e.add(at, e.mul(e.vector_at, _stride(e, key, map, nest.vector_dim))), 2


def _stride(e: NestValues, key: object, map: Affine, d: int) -> str:
    step = e.nest.strides(map)[d]
    return "1" if step == 1 else e.argument(step, ("stride", key, map, d))


def lanes_apart(e: NestValues, key: object, map: Affine) -> str:
    """<0, s, 2s, ...> as i64 lanes."""
    steps = "<" + ", ".join(f"i64 {k}" for k in range(e.lanes)) + ">"
    stride = broadcast(e.code, _stride(e, key, map, e.nest.vector_dim), "i64", e.lanes)
    return e.code.op(f"mul nsw {vector('i64', e.lanes)} {steps}, {stride}")


def moved(e: NestValues, at: str, u: int, key: object, map: Affine, lane: int) -> str:
    """The position `u` vectors further on."""
    if not u or not lane:
        return at
    if lane == 1:
        return e.add(at, str(u * e.lanes))
    return e.add(at, e.mul(_stride(e, key, map, e.nest.vector_dim), str(u * e.lanes)))


def load(e: NestValues, value: Val, u: int) -> str:
    source, map = value.payload[:2]  # type: ignore[index]
    if value.op == "gather":
        return _gather(e, value, u)
    at, lane = place(e, source, map)
    at = moved(e, at, u, source, map, lane)
    base = e.buffer(source)
    t = stored(value.dtype)
    pointer = e.code.op(f"getelementptr {t}, ptr {base}, i64 {at}")
    if lane == 0:
        return widen(
            e.code, value.dtype, e.code.op(f"load {t}, ptr {pointer}, align {value.dtype.itemsize}"), 1
        )
    if lane == 1:
        return widen(e.code, value.dtype, _load_vector(e, value.dtype, pointer), e.lanes)
    return _gather_lanes(e, value.dtype, pointer, lanes_apart(e, source, map))


def _load_vector(e: NestValues, d: dtype, pointer: str) -> str:
    t, lanes = stored(d), e.lanes
    v = vector(t, lanes)
    if e.mask is None:
        return e.code.op(f"load {v}, ptr {pointer}, align {d.itemsize}")
    name = f"llvm.masked.load.{suffix(t, lanes)}.p0"
    e.module.declare(name, f"declare {v} @{name}(ptr, i32, {vector('i1', lanes)}, {v})")
    return e.code.op(
        f"call {v} @{name}(ptr {pointer}, i32 {d.itemsize}, {vector('i1', lanes)} {e.mask}, "
        f"{v} zeroinitializer)"
    )


def _all(lanes: int) -> str:
    return splat("true", "i1", lanes)


def _gather_lanes(e: NestValues, d: dtype, pointer: str, offsets: str) -> str:
    t, lanes = stored(d), e.lanes
    v, p = vector(t, lanes), vector("ptr", lanes)
    pointers = e.code.op(f"getelementptr {t}, ptr {pointer}, {vector('i64', lanes)} {offsets}")
    name = f"llvm.masked.gather.{suffix(t, lanes)}.v{lanes}p0"
    e.module.declare(name, f"declare {v} @{name}({p}, i32, {vector('i1', lanes)}, {v})")
    raw = e.code.op(
        f"call {v} @{name}({p} {pointers}, i32 {d.itemsize}, {vector('i1', lanes)} {e.mask or _all(lanes)}, "
        f"{v} zeroinitializer)"
    )
    return widen(e.code, d, raw, lanes)


def _clamped(e: NestValues, index: str, limit: str, lanes: int) -> str:
    """Within [0, limit]: a wrong index must not read foreign memory."""
    t = vector("i64", lanes)
    top = broadcast(e.code, limit, "i64", lanes)
    high = e.code.op(f"icmp ugt {t} {index}, {top}")
    return e.code.op(f"select {vector('i1', lanes)} {high}, {t} {top}, {t} {index}")


def _gather(e: NestValues, value: Val, u: int) -> str:
    payload: tuple[object, Affine, int, int] = value.payload  # type: ignore[assignment]
    source, map, step, rows = payload
    index = value.args[0]
    at, lane = place(e, source, map)
    at = moved(e, at, u, source, map, lane)
    base = e.buffer(source)
    t = stored(value.dtype)
    limit = e.argument(rows - 1, ("rows", source, rows))
    pace = e.argument(step, ("step", source, map))
    if not index.vec:  # the same row for all lanes: an ordinary load from there
        row = _clamped(e, e.value(index, u), limit, 1)
        pointer = e.code.op(f"getelementptr {t}, ptr {base}, i64 {e.add(at, e.mul(row, pace))}")
        if lane == 0:
            return widen(
                e.code, value.dtype, e.code.op(f"load {t}, ptr {pointer}, align {value.dtype.itemsize}"), 1
            )
        if lane == 1:
            return widen(e.code, value.dtype, _load_vector(e, value.dtype, pointer), e.lanes)
        return _gather_lanes(e, value.dtype, pointer, lanes_apart(e, source, map))
    wide = vector("i64", e.lanes)
    row = _clamped(e, e.vector_value(index, u), limit, e.lanes)
    offsets = e.code.op(f"mul nsw {wide} {row}, {broadcast(e.code, pace, 'i64', e.lanes)}")
    if lane:
        apart = (
            ("<" + ", ".join(f"i64 {k}" for k in range(e.lanes)) + ">")
            if lane == 1
            else lanes_apart(e, source, map)
        )
        offsets = e.code.op(f"add nsw {wide} {offsets}, {apart}")
    pointer = e.code.op(f"getelementptr {t}, ptr {base}, i64 {at}")
    return _gather_lanes(e, value.dtype, pointer, offsets)


def coordinate(e: NestValues, value: Val, u: int) -> str:
    map: Affine = value.payload  # type: ignore[assignment]
    at, lane = place(e, value, map)
    at = moved(e, at, u, value, map, lane)
    if lane == 0:
        return at
    steps = (
        ("<" + ", ".join(f"i64 {k}" for k in range(e.lanes)) + ">")
        if lane == 1
        else lanes_apart(e, value, map)
    )
    return e.code.op(f"add nsw {vector('i64', e.lanes)} {broadcast(e.code, at, 'i64', e.lanes)}, {steps}")


def store(e: NestValues, s: Store, u: int, is_vector: bool) -> None:
    if not is_vector and u:
        return
    at, lane = place(e, s.node, s.map)
    at = moved(e, at, u, s.node, s.map, lane)
    t, d = stored(s.dtype), s.dtype
    if e.nest.chunk and s in e.nest.outer_stores:  # partial results: one set of all rows for each chunk
        at = e.add(at, e.mul(e.coordinates[-1], e.argument(e.nest.rows, "all rows")))
    pointer = e.code.op(f"getelementptr {t}, ptr {e.buffer(s.node)}, i64 {at}")
    if not is_vector:
        name = narrow(e.code, d, e.value(s.value, 0), 1)
        e.code.do(f"store {t} {name}, ptr {pointer}, align {d.itemsize}")
        return
    v = vector(t, e.lanes)
    name = narrow(e.code, d, e.vector_value(s.value, u), e.lanes)
    bits = vector("i1", e.lanes)
    if lane == 2:
        p = vector("ptr", e.lanes)
        pointers = e.code.op(
            f"getelementptr {t}, ptr {pointer}, {vector('i64', e.lanes)} {lanes_apart(e, s.node, s.map)}"
        )
        f = f"llvm.masked.scatter.{suffix(t, e.lanes)}.v{e.lanes}p0"
        e.module.declare(f, f"declare void @{f}({v}, {p}, i32, {bits})")
        e.code.do(
            f"call void @{f}({v} {name}, {p} {pointers}, i32 {d.itemsize}, {bits} {e.mask or _all(e.lanes)})"
        )
    elif e.mask is None:
        e.code.do(f"store {v} {name}, ptr {pointer}, align {d.itemsize}")
    else:
        f = f"llvm.masked.store.{suffix(t, e.lanes)}.p0"
        e.module.declare(f, f"declare void @{f}({v}, ptr, i32, {bits})")
        e.code.do(f"call void @{f}({v} {name}, ptr {pointer}, i32 {d.itemsize}, {bits} {e.mask})")


# ---- values kept between phases, in the thread's scratch memory


def _scratch(e: NestValues, value: Val, u: int) -> tuple[str, str]:
    """Pointer to a kept vector, and its type in scratch (a bool is a byte)."""
    nest = e.nest
    inner = tuple(nest.sizes[d] for d in nest.inner)
    total = 1
    for n in inner:
        total *= n
    strides = contiguous_strides(inner)
    at = "0"
    for d, s in zip(nest.inner, strides, strict=True):
        step = "1" if d == nest.inner[-1] else e.argument(s, ("scratch", d))
        index = e.vector_at if d == nest.vector_dim else e.coordinates[d]
        at = e.add(at, e.mul(index, step))
    if nest.columns:
        at = e.mul(at, str(e.lanes))
        total *= e.lanes
    at = e.add(at, str(u * e.lanes))
    offset = -(-(total * 8) // 64) * 64 * nest.kept.index(value)
    base = "%scratch"
    if offset:
        base = e.code.op(f"getelementptr i8, ptr %scratch, i64 {e.argument(offset, ('kept', value))}")
    t = "i8" if value.dtype is bool_ else element(value.dtype)
    return e.code.op(f"getelementptr {t}, ptr {base}, i64 {at}"), t


def store_scratch(e: NestValues, value: Val, u: int, name: str) -> None:
    pointer, t = _scratch(e, value, u)
    if value.dtype is bool_:
        name = narrow(e.code, bool_, name, e.lanes)

    v = vector(t, e.lanes)
    size = 1 if t == "i8" else value.dtype.compute.itemsize
    if e.mask is None:
        e.code.do(f"store {v} {name}, ptr {pointer}, align {size}")
        return
    f = f"llvm.masked.store.{suffix(t, e.lanes)}.p0"
    bits = vector("i1", e.lanes)
    e.module.declare(f, f"declare void @{f}({v}, ptr, i32, {bits})")
    e.code.do(f"call void @{f}({v} {name}, ptr {pointer}, i32 {size}, {bits} {e.mask})")


def load_scratch(e: NestValues, value: Val, u: int) -> str:
    pointer, t = _scratch(e, value, u)
    v = vector(t, e.lanes)
    size = 1 if t == "i8" else value.dtype.compute.itemsize
    if e.mask is None:
        raw = e.code.op(f"load {v}, ptr {pointer}, align {size}")
    else:
        f = f"llvm.masked.load.{suffix(t, e.lanes)}.p0"
        bits = vector("i1", e.lanes)
        e.module.declare(f, f"declare {v} @{f}(ptr, i32, {bits}, {v})")
        raw = e.code.op(f"call {v} @{f}(ptr {pointer}, i32 {size}, {bits} {e.mask}, {v} zeroinitializer)")
    return widen(e.code, bool_, raw, e.lanes) if value.dtype is bool_ else raw
