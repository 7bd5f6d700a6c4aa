"""Rows ordered by an unstable method, in the thread's scratch: a key and a place for each element, then the machine
code of engine/graph/primitives/unstable.py. Where a few are looked for among many these alone are there, as a heap.
Stable sorts are NumPy's, which has vectors for them.
"""

from __future__ import annotations

import functools

from facula.dtypes import FLOAT, dtype
from facula.engine.compiler.emit.sequential import Writer
from facula.engine.compiler.emit.smallest import KeyedRow
from facula.engine.compiler.emit.translated import functions
from facula.engine.compiler.instructions import Instructions
from facula.engine.compiler.kernel import SCRATCH_BYTES, Kernel, Machine, Step
from facula.engine.compiler.plan import Made, Work
from facula.engine.compiler.program.ordered import alike
from facula.engine.compiler.reads import Graph
from facula.engine.compiler.single.lowering import Lowering, Slots, real
from facula.engine.graph.node import Node, size_of
from facula.engine.graph.primitives import unstable
from facula.engine.graph.primitives.elements import attributes
from facula.engine.graph.primitives.sort import is_few

_ARRAYS = ("keys", "places", "to_keys", "to_places", "counts")
_SOON = 8  # times as many as are looked for are in a row where that is worth a try
LONGEST = (SCRATCH_BYTES // 8 - 256) // 4  # elements of a row: all of its arrays are in scratch
_FIRST = "i64 {count}, i64 {n}"
_CALLS = {"sort": ("whole", 5, "i64 {n}, i64 {bits}"), "top": ("top", 2, _FIRST), "some": ("some", 2, _FIRST),
          "soon": ("top", 2, _FIRST), "nth": ("nth", 2, "i64 {start}, i64 {n}")}


@functools.cache
def _kernel(of: dtype, way: str, down: bool, table: Instructions) -> Kernel:
    """args: x, out, rows, n, inner, start, count, rows of a tile. Row r begins at r / inner * n * inner + r % inner.

    Two ways are of this page alone. `few` is `top` (and `some`) where that begins with a heap. `soon` is `top` where it
    does not: it tries a heap first, as there is but one order if no two elements are equal.
    """
    w = Writer(table)
    code = w.code
    for name, text in functions(unstable, _ARRAYS).items():
        w.module.declare(name, text)
    x, out = w.pointer(0), w.pointer(1)
    rows, n, inner, start, count, tile = (w.word(k) for k in range(2, 8))
    arrays = ["%scratch"]
    for _ in _ARRAYS[1:]:
        arrays.append(code.op(f"getelementptr i64, ptr {arrays[-1]}, i64 {count if way == 'few' else n}"))
    places = arrays[1]
    row = w.begin(code.op(f"mul i64 %lo, {tile}"), code.least(code.op(f"mul i64 %hi, {tile}"), rows))
    above = code.op(f"udiv i64 {row[0]}, {inner}")
    rest = code.op(f"sub i64 {row[0]}, {code.op(f'mul i64 {above}, {inner}')}")

    def place(of_row: str, k: str) -> str:
        line = code.op(f"add i64 {code.op(f'mul i64 {above}, {of_row}')}, {k}")
        return code.op(f"add i64 {code.op(f'mul i64 {line}, {inner}')}, {rest}")

    keyed = KeyedRow(w, of, down, x, n, inner, lambda k: place(n, k), (arrays[0], places))
    found, ordinary = code.label("found"), code.label("ordinary")
    if way in ("few", "soon"):
        keyed.take_few(count)
    if way == "soon":
        code.do(f"br i1 {keyed.unlike(count)}, label %{found}, label %{ordinary}")
        code.start(ordinary)
    if way != "few":
        keyed.fill(n)
        name, some, numbers = _CALLS[way]
        bits = 64 if of.itemsize == 8 else 32 if of.category == FLOAT else 8 * of.itemsize + 8  # unsigned: with a sign
        numbers = numbers.format(n=n, start=start, count=count, bits=bits)
        code.do(f"call void @{name}({', '.join(f'ptr {a}' for a in arrays[:some])}, {numbers})")
    if way == "soon":
        code.do(f"br label %{found}")
        code.start(found)
    k = w.begin("0", count)
    at = code.op(f"getelementptr i64, ptr {places}, i64 {code.op(f'add i64 {start}, {k[0]}')}")
    found = code.op(f"load i64, ptr {at}, align 8")
    at = code.op(f"getelementptr i64, ptr {out}, i64 {place(count, k[0])}")
    code.do(f"store i64 {found}, ptr {at}, align 8")
    w.end(k)
    w.end(row)
    return w.kernel(f"order {way} {of.name}{' down' if down else ''}",
                    8 * table.vector_bytes if way in ("few", "soon") else 128)


def _way(way: object, n: int, count: int) -> str:
    """The kernel's."""
    if is_few(way, n, count):
        return "few"
    return "soon" if way == "top" and _SOON * count <= n else str(way)


def _order(node: Node, graph: Graph, formats: dict[int, str], machine: Machine) -> list[Work]:
    source = node.inputs[0]
    dim, down, start, way = attributes(node.attrs)
    shape, result = (source.shape, node.shape) if source.shape else ((1,), (1,))
    n, count, inner = shape[dim], result[dim], size_of(shape[dim + 1:])
    rows = size_of(shape[:dim]) * inner
    tile = max(1, min(rows, 4096 // n))
    found = _way(way, n, count)
    kernel = _kernel(source.dtype, found, bool(down), machine.table)
    steps = n * ({"few": 0.2, "soon": 1.0, "sort": 2.0 * n.bit_length()}.get(found, 3.0))

    def make(slots: Slots, in_place: bool) -> list[Made]:
        places = slots[source], slots[node]
        return [Step(kernel, [*places, rows, n, inner, start, count, tile], -(-rows // tile), rows * steps,
                     rows * (n * source.dtype.itemsize + count * 8), program=alike(node), slots=places)]

    return [Work([source], [node], make)]


def _native(node: Node) -> bool:
    attrs, shape = attributes(node.attrs), node.inputs[0].shape
    if len(attrs) < 4 or not real(node) or not size_of(shape):
        return False
    return not shape or shape[attrs[0]] <= LONGEST or (
        _way(attrs[3], shape[attrs[0]], node.shape[attrs[0]]) == "few" and node.shape[attrs[0]] <= LONGEST)


LOWERING = Lowering(_order, _native)
