"""Rows ordered by an unstable method, in the thread's scratch: a key and a place for each element, then the machine
code of engine/graph/primitives/unstable.py. Stable sorts are NumPy's, which has vectors for them.
"""

from __future__ import annotations

import functools

from facula.dtypes import FLOAT, UNSIGNED, bool_, dtype, float64
from facula.engine.compiler.emit.module import Code
from facula.engine.compiler.emit.sequential import Writer
from facula.engine.compiler.emit.translated import functions
from facula.engine.compiler.emit.types import stored, widen
from facula.engine.compiler.instructions import Instructions
from facula.engine.compiler.kernel import SCRATCH_BYTES, Kernel, Machine, Step
from facula.engine.compiler.plan import Made, Work
from facula.engine.compiler.program.ordered import alike
from facula.engine.compiler.reads import Graph
from facula.engine.compiler.single.lowering import Lowering, Slots, real
from facula.engine.graph.node import Node, size_of
from facula.engine.graph.primitives import unstable
from facula.engine.graph.primitives.elements import attributes

_ARRAYS = ("keys", "places", "to_keys", "to_places", "counts")
LONGEST = (SCRATCH_BYTES // 8 - 256) // 4  # elements of a row: all of its arrays are in scratch
_CALLS = {"sort": ("whole", 5, "i64 {n}, i64 {bits}"), "top": ("top", 2, "i64 {count}, i64 {n}"),
          "some": ("some", 2, "i64 {count}, i64 {n}"), "nth": ("nth", 2, "i64 {start}, i64 {n}")}


def _key(code: Code, of: dtype, raw: str) -> str:
    """What sort.order_keys makes of an element."""
    if of.category != FLOAT:
        if of.itemsize == 8:
            return raw
        extend = "zext" if of is bool_ or of.category == UNSIGNED else "sext"
        return code.op(f"{extend} {stored(of)} {raw} to i64")
    real_, word = ("double", "i64") if of is float64 else ("float", "i32")
    width = 64 if of is float64 else 32
    most = str((1 << width - 1) - 1)
    value = widen(code, of, raw, 1)
    bits = code.op(f"bitcast {real_} {code.op(f'fadd {real_} {value}, 0.0')} to {word}")
    sign = code.op(f"ashr {word} {bits}, {width - 1}")
    bits = code.op(f"xor {word} {bits}, {code.op(f'and {word} {sign}, {most}')}")
    nan = code.op(f"fcmp uno {real_} {value}, {value}")
    bits = code.op(f"select i1 {nan}, {word} {most}, {word} {bits}")
    return bits if of is float64 else code.op(f"sext i32 {bits} to i64")


@functools.cache
def _kernel(of: dtype, way: str, down: bool, table: Instructions) -> Kernel:
    """args: x, out, rows, n, inner, start, count, rows of a tile. Row r begins at r / inner * n * inner + r % inner."""
    w = Writer(table)
    code = w.code
    for name, text in functions(unstable, _ARRAYS).items():
        w.module.declare(name, text)
    x, out = w.pointer(0), w.pointer(1)
    rows, n, inner, start, count, tile = (w.word(k) for k in range(2, 8))
    arrays = ["%scratch"]
    for _ in _ARRAYS[1:]:
        arrays.append(code.op(f"getelementptr i64, ptr {arrays[-1]}, i64 {n}"))
    places = arrays[1]
    row = w.begin(code.op(f"mul i64 %lo, {tile}"), code.least(code.op(f"mul i64 %hi, {tile}"), rows))
    above = code.op(f"udiv i64 {row[0]}, {inner}")
    rest = code.op(f"sub i64 {row[0]}, {code.op(f'mul i64 {above}, {inner}')}")

    def place(of_row: str, k: str) -> str:
        line = code.op(f"add i64 {code.op(f'mul i64 {above}, {of_row}')}, {k}")
        return code.op(f"add i64 {code.op(f'mul i64 {line}, {inner}')}, {rest}")

    k = w.begin("0", n)
    at = code.op(f"getelementptr {stored(of)}, ptr {x}, i64 {place(n, k[0])}")
    key = _key(code, of, code.op(f"load {stored(of)}, ptr {at}, align {of.itemsize}"))
    if down:
        key = code.op(f"xor i64 {key}, -1")
    for base, value in (("%scratch", key), (places, k[0])):
        at = code.op(f"getelementptr i64, ptr {base}, i64 {k[0]}")
        code.do(f"store i64 {value}, ptr {at}, align 8")
    w.end(k)
    name, some, numbers = _CALLS[way]
    bits = 64 if of.itemsize == 8 else 32 if of.category == FLOAT else 8 * of.itemsize + 8  # unsigned: with a sign
    numbers = numbers.format(n=n, start=start, count=count, bits=bits)
    code.do(f"call void @{name}({', '.join(f'ptr {a}' for a in arrays[:some])}, {numbers})")
    k = w.begin("0", count)
    at = code.op(f"getelementptr i64, ptr {places}, i64 {code.op(f'add i64 {start}, {k[0]}')}")
    found = code.op(f"load i64, ptr {at}, align 8")
    at = code.op(f"getelementptr i64, ptr {out}, i64 {place(count, k[0])}")
    code.do(f"store i64 {found}, ptr {at}, align 8")
    w.end(k)
    w.end(row)
    return w.kernel(f"order {way} {of.name}{' down' if down else ''}", 128)


def _order(node: Node, graph: Graph, formats: dict[int, str], machine: Machine) -> list[Work]:
    source = node.inputs[0]
    dim, down, start, way = attributes(node.attrs)
    shape, result = (source.shape, node.shape) if source.shape else ((1,), (1,))
    n, count, inner = shape[dim], result[dim], size_of(shape[dim + 1:])
    rows = size_of(shape[:dim]) * inner
    tile = max(1, min(rows, 4096 // n))
    kernel = _kernel(source.dtype, str(way), bool(down), machine.table)
    steps = n * (3.0 if way != "sort" else 2.0 * n.bit_length())

    def make(slots: Slots, in_place: bool) -> list[Made]:
        places = slots[source], slots[node]
        return [Step(kernel, [*places, rows, n, inner, start, count, tile], -(-rows // tile), rows * steps,
                     rows * (n * source.dtype.itemsize + count * 8), program=alike(node), slots=places)]

    return [Work([source], [node], make)]


def _native(node: Node) -> bool:
    attrs, shape = attributes(node.attrs), node.inputs[0].shape
    return len(attrs) == 4 and real(node) and size_of(shape) > 0 and (not shape or shape[attrs[0]] <= LONGEST)


LOWERING = Lowering(_order, _native)
