"""Loads, stores and coordinates inside a loop nest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facula.dtypes import bool_, dtype, int64
from facula.engine.compiler.emit import access
from facula.engine.compiler.emit.types import broadcast, element, narrow, stored, vector, widen
from facula.engine.compiler.program.formulas import Axis, Coordinate, Gather, Index, Kept, Load, Slot, Value
from facula.engine.compiler.program.statements import Store

if TYPE_CHECKING:
    from facula.engine.compiler.emit.nest_values import NestValues

ANY = 3  # of lane strides


def place(e: NestValues, key: object, index: Index) -> tuple[str, int]:
    """Position of `index` at lane 0 of the current point, and the lane stride (0, 1, 2, or ANY: an argument)."""
    across = e.vector
    at = e.bases.get((key, index))
    if at is None:
        at = "0"
        if index.const:
            at = e.add(at, e.argument(index.const, ("const", key, index)))
        for position, factor in index.nums:
            n = e.run_time_number(position, int64)
            at = e.add(at, n if factor == 1 else e.mul(n, e.argument(factor, ("factor", key, index, position))))
        for axis, stride in index.terms:
            if axis is not across and not axis.reduced and axis.of is None:
                at = e.add(at, e.mul(e.coordinates[axis], _stride(e, key, index, axis, stride)))
        if len(e.scopes) == e.row_depth:  # valid for all of the row
            e.bases[key, index] = at
    for axis, stride in index.terms:
        if axis is not across and axis.reduced:
            at = e.add(at, e.mul(e.coordinates[axis], _stride(e, key, index, axis, stride)))
    stride = index.stride(across)
    if not stride:
        return at, 0
    if stride == 1:
        return e.add(at, e.vector_at), 1
    return e.add(at, e.mul(e.vector_at, _stride(e, key, index, across, stride))), 2 if stride == 2 else ANY


def _stride(e: NestValues, key: object, index: Index, axis: Axis, stride: int) -> str:
    return "1" if stride == 1 else e.argument(stride, ("stride", key, index, axis))


def lanes_apart(e: NestValues, key: object, index: Index) -> str:
    """<0, s, 2s, ...> as i64 lanes."""
    steps = "<" + ", ".join(f"i64 {k}" for k in range(e.lanes)) + ">"
    axis = e.vector
    stride = broadcast(e.code, _stride(e, key, index, axis, index.stride(axis)), "i64", e.lanes)
    return e.code.op(f"mul nsw {vector('i64', e.lanes)} {steps}, {stride}")


def moved(e: NestValues, at: str, u: int, key: object, index: Index, lane: int) -> str:
    """The position `u` vectors further on, and in the piece of a chunk."""
    if u and lane == 1:
        at = e.add(at, str(u * e.lanes))
    elif u and lane:
        axis = e.vector
        at = e.add(at, e.mul(_stride(e, key, index, axis, index.stride(axis)), str(u * e.lanes)))
    for axis, stride in index.terms:
        if axis.of is not None:
            at = e.add(at, e.mul(e.coordinates[axis], e.argument(stride, "all rows")))
    return at


def load(e: NestValues, value: Load, u: int) -> str:
    at, lane = place(e, value.buffer, value.index)
    at = moved(e, at, u, value.buffer, value.index, lane)
    base = e.buffer(value.buffer)
    t = stored(value.dtype)
    pointer = e.code.op(f"getelementptr {t}, ptr {base}, i64 {at}")
    if lane == 0:
        return widen(
            e.code, value.dtype, e.code.op(f"load {t}, ptr {pointer}, align {value.dtype.itemsize}"), 1
        )
    if lane == 1 or e.lanes == 1:
        return _load_vector(e, value.dtype, pointer)
    if lane == 2 and access.has_pairs(e.code, e.mask):
        return widen(e.code, value.dtype, access.load_every_other(e.code, t, e.lanes, pointer, value.dtype.itemsize,
                                                                  e.mask), e.lanes)
    return _gather_lanes(e, value.dtype, pointer, lanes_apart(e, value.buffer, value.index))


def _load_vector(e: NestValues, d: dtype, pointer: str) -> str:
    return widen(e.code, d, access.load(e.code, stored(d), e.lanes, pointer, d.itemsize, e.mask), e.lanes)


def _gather_lanes(e: NestValues, d: dtype, pointer: str, offsets: str) -> str:
    return widen(e.code, d, access.gather(e.code, stored(d), e.lanes, pointer, offsets, d.itemsize, e.mask), e.lanes)


def _clamped(e: NestValues, index: str, limit: str, lanes: int) -> str:
    """Within [0, limit]: a wrong index must not read foreign memory."""
    t = vector("i64", lanes)
    top = broadcast(e.code, limit, "i64", lanes)
    high = e.code.op(f"icmp ugt {t} {index}, {top}")
    return e.code.op(f"select {vector('i1', lanes)} {high}, {t} {top}, {t} {index}")


def gather(e: NestValues, value: Gather, u: int) -> str:
    source, index, row = value.buffer, value.index, value.row
    at, lane = place(e, source, index)
    at = moved(e, at, u, source, index, lane)
    base = e.buffer(source)
    t = stored(value.dtype)
    limit = e.argument(value.rows - 1, ("rows", source, value.rows))
    pace = e.argument(value.step, ("step", source, index))
    if not row.vector:  # the same row for all lanes: an ordinary load from there
        one = _clamped(e, e.value(row, u), limit, 1)
        pointer = e.code.op(f"getelementptr {t}, ptr {base}, i64 {e.add(at, e.mul(one, pace))}")
        if lane == 0:
            return widen(
                e.code, value.dtype, e.code.op(f"load {t}, ptr {pointer}, align {value.dtype.itemsize}"), 1
            )
        if lane == 1 or e.lanes == 1:
            return _load_vector(e, value.dtype, pointer)
        return _gather_lanes(e, value.dtype, pointer, lanes_apart(e, source, index))
    wide = vector("i64", e.lanes)
    rows = _clamped(e, e.vector_value(row, u), limit, e.lanes)
    offsets = e.code.op(f"mul nsw {wide} {rows}, {broadcast(e.code, pace, 'i64', e.lanes)}")
    if lane and e.lanes > 1:
        apart = (
            ("<" + ", ".join(f"i64 {k}" for k in range(e.lanes)) + ">")
            if lane == 1
            else lanes_apart(e, source, index)
        )
        offsets = e.code.op(f"add nsw {wide} {offsets}, {apart}")
    pointer = e.code.op(f"getelementptr {t}, ptr {base}, i64 {at}")
    return _gather_lanes(e, value.dtype, pointer, offsets)


def coordinate(e: NestValues, value: Coordinate, u: int) -> str:
    at, lane = place(e, value, value.index)
    at = moved(e, at, u, value, value.index, lane)
    if lane == 0 or e.lanes == 1:
        return at
    steps = (
        ("<" + ", ".join(f"i64 {k}" for k in range(e.lanes)) + ">")
        if lane == 1
        else lanes_apart(e, value, value.index)
    )
    return e.code.op(f"add nsw {vector('i64', e.lanes)} {broadcast(e.code, at, 'i64', e.lanes)}, {steps}")


def store(e: NestValues, s: Store, u: int) -> None:
    if not s.vector and u:
        return
    at, lane = place(e, s.buffer, s.index)
    at = moved(e, at, u, s.buffer, s.index, lane)
    t, d = stored(s.dtype), s.dtype
    pointer = e.code.op(f"getelementptr {t}, ptr {e.buffer(s.buffer)}, i64 {at}")
    if not s.vector:
        name = narrow(e.code, d, e.value(s.value, 0), 1)
        e.code.do(f"store {t} {name}, ptr {pointer}, align {d.itemsize}")
        return
    name = narrow(e.code, d, e.vector_value(s.value, u), e.lanes)
    if lane == 2 and e.lanes > 1 and access.has_pairs(e.code, e.mask, True):
        access.store_every_other(e.code, t, e.lanes, name, pointer, d.itemsize, e.mask)
    elif lane >= 2 and e.lanes > 1:
        apart = lanes_apart(e, s.buffer, s.index)
        access.scatter(e.code, t, e.lanes, name, pointer, apart, d.itemsize, e.mask)
    else:
        access.store(e.code, t, e.lanes, name, pointer, d.itemsize, e.mask)


def over_reduced(e: NestValues, index: Index, name: str) -> str:
    """A position among the points of the reduced axes, at lane 0."""
    at = "0"
    for k, (axis, stride) in enumerate(index.terms, 1):
        step = "1" if k == len(index.terms) else e.argument(stride, (name, axis))
        at = e.add(at, e.mul(e.vector_at if axis is e.vector else e.coordinates[axis], step))
    return at


# ---- values kept between phases, in the thread's scratch memory


def _scratch(e: NestValues, slot: Slot, value: Value, u: int) -> tuple[str, str]:
    """Pointer to a kept vector, and its type in scratch (a bool is a byte)."""
    at = over_reduced(e, slot.index, "scratch")
    if slot.start is not None:
        at = e.code.op(f"sub nsw i64 {at}, {e.intervals[slot.start][0]}")
    if slot.vectors:
        at = e.add(e.mul(at, str(e.program.lanes)), e.lane)
    at = e.add(at, str(u * e.lanes))
    base = "%scratch"
    if slot.offset:
        base = e.code.op(f"getelementptr i8, ptr %scratch, i64 {e.argument(slot.offset, ('kept', slot.number))}")
    t = "i8" if value.dtype is bool_ else element(value.dtype)
    return e.code.op(f"getelementptr {t}, ptr {base}, i64 {at}"), t


def store_scratch(e: NestValues, slot: Slot, value: Value, u: int, name: str) -> None:
    pointer, t = _scratch(e, slot, value, u)
    if value.dtype is bool_:
        name = narrow(e.code, bool_, name, e.lanes)
    size = 1 if t == "i8" else value.dtype.compute.itemsize
    access.store(e.code, t, e.lanes, name, pointer, size, e.mask)


def load_scratch(e: NestValues, value: Kept, u: int) -> str:
    pointer, t = _scratch(e, value.slot, value, u)
    size = 1 if t == "i8" else value.dtype.compute.itemsize
    raw = access.load(e.code, t, e.lanes, pointer, size, e.mask)
    return widen(e.code, bool_, raw, e.lanes) if value.dtype is bool_ else raw
