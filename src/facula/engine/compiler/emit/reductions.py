"""Accumulators of reductions.

An accumulator is a vector in a stack slot; a floating-point sum has a second one, which takes over the
partial sum after every block (so the error grows with the number of blocks, not of elements). Arg-reductions
have the value and its index. The order of all combinations depends on shapes alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from facula.dtypes import BOOL, FLOAT, bool_, dtype, int64
from facula.engine.compiler.emit import scalar
from facula.engine.compiler.emit.memory import over_reduced
from facula.engine.compiler.emit.types import broadcast, constant, element, register, vector
from facula.engine.compiler.program.statements import Accumulator

if TYPE_CHECKING:
    from facula.engine.compiler.emit.nest_values import NestValues

STEP = {"sum": "add", "prod": "mul", "max": "maximum", "min": "minimum", "any": "or", "all": "and"}


def _least(d: dtype, low: bool) -> object:
    """The neutral element of max (low) or min."""
    if d.category == FLOAT:
        return float("-inf") if low else float("inf")
    if d.category == BOOL:
        return not low
    bits = 8 * d.itemsize
    if d.is_signed:
        return -(1 << (bits - 1)) if low else (1 << (bits - 1)) - 1
    return 0 if low else (1 << bits) - 1


def _neutral(a: Accumulator) -> object:
    d = a.element.dtype
    name = a.name
    if name in ("max", "argmax"):
        return _least(d, True)
    if name in ("min", "argmin"):
        return _least(d, False)
    return {"sum": 0, "prod": 1, "any": False, "all": True}[name]


def fields(a: Accumulator) -> list[tuple[dtype, object]]:
    """What an accumulator has for each lane, and begins with: the partial result; then the total, or the index."""
    d = a.element.dtype
    found = [(d, _neutral(a))]
    if a.levels == 2:
        found.append((d, 0))
    if a.is_arg:
        found.append((int64, -1))
    return found


def start(e: NestValues, a: Accumulator) -> list[str]:
    slots = []
    for d, first in fields(a):
        t = register(d, e.lanes)
        slots.append(e.slot(t))
        e.code.do(f"store {t} {constant(first, d, e.lanes)}, ptr {slots[-1]}")
    return slots


def accumulate(e: NestValues, a: Accumulator, slots: list[str], name: str, u: int) -> None:
    code, d, lanes = e.code, a.element.dtype, e.lanes
    t = register(d, lanes)
    old = code.op(f"load {t}, ptr {slots[0]}")
    if a.is_arg:
        wide = vector("i64", lanes)
        old_index = code.op(f"load {wide}, ptr {slots[1]}")
        best, index = better(e, a, lanes, (old, old_index), (name, _index(e, a, u)))
        if e.mask is not None:
            best = scalar.select(code, e.mask, d, lanes, best, old)
            index = scalar.select(code, e.mask, int64, lanes, index, old_index)
        code.do(f"store {wide} {index}, ptr {slots[1]}")
    else:
        # the new value first: of max and min, only its NaN has to be looked for, off the chain of accumulations
        best = scalar.emit(code, STEP[a.name], d, lanes, [name, old])
        if e.mask is not None:
            best = scalar.select(code, e.mask, d, lanes, best, old)
    code.do(f"store {t} {best}, ptr {slots[0]}")


def flush(e: NestValues, a: Accumulator, slots: list[str]) -> None:
    if a.levels != 2:
        return
    code, d = e.code, a.element.dtype
    t = register(d, e.lanes)
    total = code.op(f"load {t}, ptr {slots[1]}")
    part = code.op(f"load {t}, ptr {slots[0]}")
    code.do(f"store {t} {code.op(f'fadd {t} {total}, {part}')}, ptr {slots[1]}")
    code.do(f"store {t} {constant(0, d, e.lanes)}, ptr {slots[0]}")


def result(e: NestValues, a: Accumulator, slots: list[str]) -> str:
    """The accumulated vector (for arg-reductions, of indices)."""
    if a.is_arg:
        return e.code.op(f"load {vector('i64', e.lanes)}, ptr {slots[1]}")
    t = register(a.element.dtype, e.lanes)
    return e.code.op(f"load {t}, ptr {slots[1 if a.levels == 2 else 0]}")


def finish(e: NestValues, a: Accumulator, groups: list[list[str]]) -> str:
    """All accumulators and all lanes of them combined, halving: a scalar."""
    code, d, lanes = e.code, a.element.dtype, e.lanes
    if a.is_arg:
        return _finish_arg(e, a, groups)
    parts = [result(e, a, slots) for slots in groups]
    step = STEP[a.name]
    while len(parts) > 1:
        half = len(parts) // 2  # the same halving as among the lanes below
        parts = [scalar.emit(code, step, d, lanes, [parts[k], parts[half + k]]) for k in range(half)]
    name = parts[0]
    while lanes > 1:
        low, high = _halves(e, name, element(d), lanes)
        lanes //= 2
        name = scalar.emit(code, step, d, lanes, [low, high])
    return name


def _halves(e: NestValues, name: str, type_: str, lanes: int) -> tuple[str, str]:
    t = vector(type_, lanes)
    if lanes == 2:
        return (
            e.code.op(f"extractelement {t} {name}, i64 0"),
            e.code.op(f"extractelement {t} {name}, i64 1"),
        )
    half = lanes // 2
    out = []
    for first in (0, half):
        mask = ", ".join(f"i32 {first + k}" for k in range(half))
        out.append(e.code.op(f"shufflevector {t} {name}, {t} poison, <{half} x i32> <{mask}>"))
    return out[0], out[1]


def _finish_arg(e: NestValues, a: Accumulator, groups: list[list[str]]) -> str:
    code, d, lanes = e.code, a.element.dtype, e.lanes
    pairs = [
        (
            code.op(f"load {register(d, lanes)}, ptr {s[0]}"),
            code.op(f"load {vector('i64', lanes)}, ptr {s[1]}"),
        )
        for s in groups
    ]
    while len(pairs) > 1:
        pairs = [better(e, a, lanes, x, y) for x, y in zip(pairs[::2], pairs[1::2], strict=True)]
    best, index = pairs[0]
    while lanes > 1:
        low, high = _halves(e, best, element(d), lanes)
        first, second = _halves(e, index, "i64", lanes)
        lanes //= 2
        best, index = better(e, a, lanes, (low, first), (high, second))
    return index


def better(e: NestValues, of: Accumulator, lanes: int, a: tuple[str, str], b: tuple[str, str]) -> tuple[str, str]:
    """Of two (value, index) pairs: NaN first, then the larger (smaller) value, then the smaller index.

    Index -1, of accumulators that saw nothing, is the largest unsigned number."""
    code, d = e.code, of.element.dtype
    t, bits, wide = register(d, lanes), vector("i1", lanes), vector("i64", lanes)
    name = "gt" if of.name == "argmax" else "lt"
    over = scalar.emit(code, name, d, lanes, [b[0], a[0]])
    same = scalar.emit(code, "eq", d, lanes, [b[0], a[0]])
    if d.category == FLOAT:
        nan_a, nan_b = code.op(f"fcmp uno {t} {a[0]}, {a[0]}"), code.op(f"fcmp uno {t} {b[0]}, {b[0]}")
        a_fine = scalar.emit(code, "not", bool_, lanes, [nan_a])
        over = code.op(f"or {bits} {over}, {code.op(f'and {bits} {nan_b}, {a_fine}')}")
        same = code.op(f"or {bits} {same}, {code.op(f'and {bits} {nan_a}, {nan_b}')}")
    earlier = code.op(f"icmp ult {wide} {b[1]}, {a[1]}")
    take = code.op(f"or {bits} {over}, {code.op(f'and {bits} {same}, {earlier}')}")
    return scalar.select(code, take, d, lanes, b[0], a[0]), scalar.select(
        code, take, int64, lanes, b[1], a[1]
    )


def _index(e: NestValues, a: Accumulator, u: int) -> str:
    """The flat number of the current element among the reduced ones, in every lane."""
    at = over_reduced(e, a.position, "flat")
    if not a.across or e.lanes == 1:
        return broadcast(e.code, at, "i64", e.lanes)
    first = broadcast(e.code, e.add(at, str(u * e.lanes)), "i64", e.lanes)
    steps = ", ".join(f"i64 {k}" for k in range(e.lanes))
    return e.code.op(f"add nsw {vector('i64', e.lanes)} {first}, <{steps}>")
