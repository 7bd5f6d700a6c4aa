"""Tables of 16 floats, looked up lane by lane: by instructions of the target that pick among registers, where it has
some, else from memory. The same numbers either way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from facula.engine.compiler.emit.literals import hex_real
from facula.engine.compiler.emit.vecmath_lanes import Lanes, Value


def lookup(b: Lanes, table: Sequence[float], index: Value) -> Value:
    """table[index % 16] in float lanes, for 16 floats."""
    found = b.code.module.table.lookup
    if found is None:
        return _in_memory(b, table, index)
    return _in_registers(b, index, found.at_once, lambda places: found.pick(b.code, table, places))


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
    text = f"<{len(table)} x float> <{', '.join(f'float {hex_real(x)}' for x in table)}>"
    name = f"@table{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"
    b.code.module.declare(name, f"{name} = private unnamed_addr constant {text}, align 64")
    places, found = index & 15, "poison"
    for lane in range(n):
        place = places.text if n == 1 else op(f"extractelement {b.type('int')} {places.text}, i64 {lane}")
        at = op(f"getelementptr float, ptr {name}, i32 {place}")
        one = op(f"load float, ptr {at}, align 4, !invariant.load !{{}}")
        found = one if n == 1 else op(f"insertelement {b.type('real')} {found}, float {one}, i64 {lane}")
    return Value(b, found, "real")
