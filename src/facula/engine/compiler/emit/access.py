"""Loads and stores of vectors: of all lanes or of those under a mask, side by side or anywhere.

`type` is an element's LLVM type as memory has it. Where the target's table lacks an instruction, lanes go one by one:
what a mask spares is neither read nor written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from facula.engine.compiler.emit.module import Code
from facula.engine.compiler.emit.types import splat, suffix, vector
from facula.engine.compiler.instructions import Masks

NOWHERE = "@nowhere"  # zeros, where a lane that is spared may be read


def load(code: Code, type: str, lanes: int, pointer: str, align: int, mask: str | None = None, other: str = "") -> str:
    """`lanes` elements from `pointer` on. Where `mask` is not set: `other` (zeros)."""
    v = vector(type, lanes)
    if mask is None:
        return code.op(f"load {v}, ptr {pointer}, align {align}")
    if code.module.table.masks is Masks.NONE:
        return _one_by_one(code, type, lanes, lambda k: _element(code, type, pointer, str(k)), align, mask, other)
    bits, name = vector("i1", lanes), f"llvm.masked.load.{suffix(type, lanes)}.p0"
    code.module.declare(name, f"declare {v} @{name}(ptr, i32, {bits}, {v})")
    return code.op(f"call {v} @{name}(ptr {pointer}, i32 {align}, {bits} {mask}, {v} {other or 'zeroinitializer'})")


def store(code: Code, type: str, lanes: int, value: str, pointer: str, align: int, mask: str | None = None) -> None:
    v = vector(type, lanes)
    if mask is None:
        code.do(f"store {v} {value}, ptr {pointer}, align {align}")
    elif code.module.table.masks is Masks.NONE:
        where = [_element(code, type, pointer, str(k)) for k in range(lanes)]
        _store_one_by_one(code, type, lanes, value, where, align, mask)
    else:
        bits, name = vector("i1", lanes), f"llvm.masked.store.{suffix(type, lanes)}.p0"
        code.module.declare(name, f"declare void @{name}({v}, ptr, i32, {bits})")
        code.do(f"call void @{name}({v} {value}, ptr {pointer}, i32 {align}, {bits} {mask})")


def has_pairs(code: Code, mask: str | None, stores: bool = False) -> bool:
    """Are `load_every_other` and `store_every_other` quicker than lanes from anywhere? What is between what is stored
    may be somebody else's, so stores need masks, too."""
    return code.module.table.masks is Masks.FREE or not stores and mask is None


def load_every_other(code: Code, type: str, lanes: int, pointer: str, align: int, mask: str | None = None) -> str:
    """The elements 0, 2, 4, ... from `pointer` on, of two vectors; nothing behind the last one is read."""
    parts = []
    for half, first in ((0, 0), (1, lanes - 1)):
        part = _spread(code, lanes, mask, half) if mask is not None else None
        parts.append(load(code, type, lanes, _element(code, type, pointer, str(first)), align, part))
    v = vector(type, lanes)
    picked = [2 * k if 2 * k < lanes else 2 * k + 1 for k in range(lanes)]  # the second one begins an element earlier
    return code.op(f"shufflevector {v} {parts[0]}, {v} {parts[1]}, {_picks(picked)}")


def store_every_other(code: Code, type: str, lanes: int, value: str, pointer: str, align: int,
                      mask: str | None = None) -> None:
    """To the elements 0, 2, 4, ... from `pointer` on."""
    v = vector(type, lanes)
    for half in (0, 1):
        first = half * lanes // 2
        picked = [first + k // 2 if k % 2 == 0 else -1 for k in range(lanes)]
        part = code.op(f"shufflevector {v} {value}, {v} poison, {_picks(picked)}")
        bits = _spread(code, lanes, mask or splat("true", "i1", lanes), half, 0)
        store(code, type, lanes, part, _element(code, type, pointer, str(half * lanes)), align, bits)


def _spread(code: Code, lanes: int, mask: str, half: int, earlier: int = 1) -> str:
    """The lanes of half a mask, one apart: with none before them, or, in a second half that begins `earlier`, one."""
    odd = half * earlier
    picked = [half * lanes // 2 + k // 2 if k % 2 == odd else lanes for k in range(lanes)]
    bits = vector("i1", lanes)
    return code.op(f"shufflevector {bits} {mask}, {bits} zeroinitializer, {_picks(picked)}")


def _picks(picked: Sequence[int]) -> str:
    lanes = ", ".join("i32 poison" if k < 0 else f"i32 {k}" for k in picked)
    return f"<{len(picked)} x i32> <{lanes}>"


def gather(code: Code, type: str, lanes: int, base: str, places: str, align: int, mask: str | None = None,
           other: str = "", index: str = "i64") -> str:
    """The elements at `places` (of integers of type `index`, one a lane) from `base`."""
    v, places_type = vector(type, lanes), vector(index, lanes)
    if lanes == 1:
        return code.op(f"load {type}, ptr {_element(code, type, base, places, index)}, align {align}")
    if not code.module.table.gathers:
        def at(k: int) -> str:
            place = code.op(f"extractelement {places_type} {places}, i64 {k}")
            return _element(code, type, base, place, index)

        return _one_by_one(code, type, lanes, at, align, mask, other)
    p, bits = vector("ptr", lanes), vector("i1", lanes)
    pointers = code.op(f"getelementptr {type}, ptr {base}, {places_type} {places}")
    name = f"llvm.masked.gather.{suffix(type, lanes)}.v{lanes}p0"
    code.module.declare(name, f"declare {v} @{name}({p}, i32, {bits}, {v})")
    return code.op(f"call {v} @{name}({p} {pointers}, i32 {align}, {bits} {mask or splat('true', 'i1', lanes)}, "
                   f"{v} {other or 'zeroinitializer'})")


def scatter(code: Code, type: str, lanes: int, value: str, base: str, places: str, align: int,
            mask: str | None = None) -> None:
    """To `places` from `base`, in the order of the lanes."""
    v, places_type = vector(type, lanes), vector("i64", lanes)
    if lanes == 1:
        code.do(f"store {type} {value}, ptr {_element(code, type, base, places)}, align {align}")
    elif not code.module.table.scatters:
        where = [_element(code, type, base, code.op(f"extractelement {places_type} {places}, i64 {k}"))
                 for k in range(lanes)]
        _store_one_by_one(code, type, lanes, value, where, align, mask)
    else:
        p, bits = vector("ptr", lanes), vector("i1", lanes)
        pointers = code.op(f"getelementptr {type}, ptr {base}, {places_type} {places}")
        name = f"llvm.masked.scatter.{suffix(type, lanes)}.v{lanes}p0"
        code.module.declare(name, f"declare void @{name}({v}, {p}, i32, {bits})")
        code.do(f"call void @{name}({v} {value}, {p} {pointers}, i32 {align}, {bits} "
                f"{mask or splat('true', 'i1', lanes)})")


def _element(code: Code, type: str, base: str, place: str, index: str = "i64") -> str:
    return base if place == "0" else code.op(f"getelementptr {type}, ptr {base}, {index} {place}")


def _one_by_one(code: Code, type: str, lanes: int, at: Callable[[int], str], align: int, mask: str | None,
                other: str) -> str:
    v = vector(type, lanes)
    if mask is not None:  # no branches: a lane that is spared reads zeros from elsewhere
        code.module.declare(NOWHERE, f"{NOWHERE} = private unnamed_addr constant i64 0, align 8")
    found = "poison"
    for k in range(lanes):
        place = at(k)
        if mask is not None:
            bit = code.op(f"extractelement {vector('i1', lanes)} {mask}, i64 {k}")
            place = code.op(f"select i1 {bit}, ptr {place}, ptr {NOWHERE}")
        one = code.op(f"load {type}, ptr {place}, align {align}")
        found = code.op(f"insertelement {v} {found}, {type} {one}, i64 {k}")
    if mask is not None and other:
        found = code.op(f"select {vector('i1', lanes)} {mask}, {v} {found}, {v} {other}")
    return found


def _store_one_by_one(code: Code, type: str, lanes: int, value: str, where: Sequence[str], align: int,
                      mask: str | None) -> None:
    for k, place in enumerate(where):
        one = code.op(f"extractelement {vector(type, lanes)} {value}, i64 {k}")
        if mask is None:
            code.do(f"store {type} {one}, ptr {place}, align {align}")
            continue
        bit = code.op(f"extractelement {vector('i1', lanes)} {mask}, i64 {k}")
        there, after = code.label("lane"), code.label("after")
        code.do(f"br i1 {bit}, label %{there}, label %{after}")
        code.start(there)
        code.do(f"store {type} {one}, ptr {place}, align {align}")
        code.do(f"br label %{after}")
        code.start(after)
