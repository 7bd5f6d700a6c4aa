"""Tables of 16 floats, looked up lane by lane: by instructions of the target that pick among registers, where it has
some, else from memory. The same numbers either way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from facula.engine.compiler.emit.module import Code
from facula.engine.compiler.emit.vecmath_lanes import Lanes, Value, hex_real


def lookup(b: Lanes, table: Sequence[float], index: Value) -> Value:
    """table[index % 16] in float lanes, for 16 floats."""
    vector_bytes = b.code.module.vector_bytes
    if vector_bytes == 64:
        return _in_registers(b, index, 16, lambda places: _of_one_register(b.code, table, places))
    if vector_bytes == 32:
        return _in_registers(b, index, 8, lambda places: _of_two_registers(b.code, table, places))
    return _in_memory(b, table, index)


def _floats(table: Sequence[float]) -> str:
    return f"<{len(table)} x float> <{', '.join(f'float {hex_real(x)}' for x in table)}>"


def _of_one_register(code: Code, table: Sequence[float], places: str) -> str:
    """AVX-512 has room for 16 floats in a register."""
    return code.op(f"call <16 x float> @llvm.x86.avx512.permvar.sf.512({_floats(table)}, <16 x i32> {places})")


def _of_two_registers(code: Code, table: Sequence[float], places: str) -> str:
    """AVX2 has room for 8; its instruction looks at three bits of a place, and the fourth says which register."""
    low, high = (code.op(f"call <8 x float> @llvm.x86.avx2.permps({_floats(half)}, <8 x i32> {places})")
                 for half in (table[:8], table[8:]))
    fourth = code.op(f"shl <8 x i32> {places}, splat (i32 28)")
    upper = code.op(f"icmp slt <8 x i32> {fourth}, zeroinitializer")
    return code.op(f"select <8 x i1> {upper}, <8 x float> {high}, <8 x float> {low}")


def _in_registers(b: Lanes, index: Value, at_once: int, pick: Callable[[str], str]) -> Value:
    """`pick` of `at_once` lanes at a time."""
    op, n = b.code.op, b.lanes

    def shuffled(of: int, first: str, second: str, order: Sequence[int], element: str) -> str:
        lanes = ", ".join(f"i32 {k if k >= 0 else 'poison'}" for k in order)
        t = f"<{of} x {element}>"
        return op(f"shufflevector {t} {first}, {t} {second}, <{len(order)} x i32> <{lanes}>")

    if n == 1:
        found = pick(op(f"insertelement <{at_once} x i32> poison, i32 {index.text}, i64 0"))
        return b.new(f"extractelement <{at_once} x float> {found}, i64 0", "real")
    parts = []
    for start in range(0, n, at_once):
        order = [k if k < n else -1 for k in range(start, start + at_once)]
        parts.append(pick(shuffled(n, index.text, "poison", order, "i32") if n != at_once else index.text))
    have = at_once
    while len(parts) > 1:
        have *= 2
        parts = [shuffled(have // 2, low, high, range(have), "float")
                 for low, high in zip(parts[::2], parts[1::2], strict=True)]
    if n < at_once:
        parts = [shuffled(at_once, parts[0], "poison", range(n), "float")]
    return Value(b, parts[0], "real")


def _in_memory(b: Lanes, table: Sequence[float], index: Value) -> Value:
    op, n = b.code.op, b.lanes
    text = _floats(table)
    name = f"@table{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"
    b.code.module.declare(name, f"{name} = private unnamed_addr constant {text}, align 64")
    places, found = index & 15, "poison"
    for lane in range(n):
        place = places.text if n == 1 else op(f"extractelement {b.type('int')} {places.text}, i64 {lane}")
        at = op(f"getelementptr float, ptr {name}, i32 {place}")
        one = op(f"load float, ptr {at}, align 4, !invariant.load !{{}}")
        found = one if n == 1 else op(f"insertelement {b.type('real')} {found}, float {one}, i64 {lane}")
    return Value(b, found, "real")
