"""Binary search: each element halves its row as often as a row of that length may be halved, without a branch."""

from __future__ import annotations

import functools

from facula.dtypes import dtype
from facula.engine.compiler.emit import scalar
from facula.engine.compiler.emit.sequential import Writer
from facula.engine.compiler.emit.types import stored, widen
from facula.engine.compiler.instructions import Instructions
from facula.engine.compiler.kernel import Kernel, Machine, Step
from facula.engine.compiler.plan import Made, Work
from facula.engine.compiler.program.ordered import alike
from facula.engine.compiler.reads import Graph
from facula.engine.compiler.single.lowering import Lowering, Slots
from facula.engine.graph.node import Node, size_of

TILE = 4096  # elements


@functools.cache
def _kernel(of: dtype, right: bool, table: Instructions) -> Kernel:
    """args: edges, x, out, elements, elements of a row, edges of a row, halvings, elements of a tile."""
    w = Writer(table)
    code = w.code
    edges, x, out = w.pointer(0), w.pointer(1), w.pointer(2)
    total, wide, n, halvings, tile = (w.word(k) for k in range(3, 8))
    low, left = w.slot("i64"), w.slot("i64")
    last = code.op(f"sub i64 {n}, 1")

    def element(base: str, place: str) -> str:
        at = code.op(f"getelementptr {stored(of)}, ptr {base}, i64 {place}")
        return widen(code, of, code.op(f"load {stored(of)}, ptr {at}, align {of.itemsize}"), 1)

    first, end = code.op(f"mul i64 %lo, {tile}"), code.least(code.op(f"mul i64 %hi, {tile}"), total)
    i = w.begin(first, end)
    value = element(x, i[0])
    row = code.op(f"mul i64 {code.op(f'udiv i64 {i[0]}, {wide}')}, {n}")
    code.do(f"store i64 0, ptr {low}")
    code.do(f"store i64 {n}, ptr {left}")
    k = w.begin("0", halvings)
    start, rest = code.op(f"load i64, ptr {low}"), code.op(f"load i64, ptr {left}")
    half = code.op(f"lshr i64 {rest}, 1")
    middle = code.op(f"add i64 {start}, {half}")
    edge = element(edges, code.op(f"add i64 {row}, {code.least(middle, last)}"))  # done early: whatever is last
    before = scalar.emit(code, "gt" if right else "ge", of, 1, [edge, value])
    some = code.op(f"icmp ne i64 {rest}, 0")
    past = code.op(f"and i1 {code.op(f'xor i1 {before}, true')}, {some}")
    after = code.op(f"add i64 {middle}, 1")
    behind = code.op(f"sub i64 {code.op(f'sub i64 {rest}, {half}')}, 1")
    code.do(f"store i64 {code.op(f'select i1 {past}, i64 {after}, i64 {start}')}, ptr {low}")
    code.do(f"store i64 {code.op(f'select i1 {past}, i64 {behind}, i64 {half}')}, ptr {left}")
    w.end(k)
    at = code.op(f"getelementptr i64, ptr {out}, i64 {i[0]}")
    code.do(f"store i64 {code.op(f'load i64, ptr {low}')}, ptr {at}, align 8")
    w.end(i)
    return w.kernel(f"search {of.name}{' right' if right else ''}", 128)


def _search(node: Node, graph: Graph, formats: dict[int, str], machine: Machine) -> list[Work]:
    edges, x = node.inputs
    (right,) = node.attrs or (False,)
    total, (wide, n) = size_of(node.shape), (x.shape[1], edges.shape[1])
    halvings = n.bit_length()
    kernel = _kernel(x.dtype, bool(right), machine.table)

    def make(slots: Slots, in_place: bool) -> list[Made]:
        places = slots[edges], slots[x], slots[node]
        return [Step(kernel, [*places, total, wide, n, halvings, TILE], -(-total // TILE), total * halvings * 1.5,
                     total * (8 + x.dtype.itemsize), program=alike(node), slots=places)]

    return [Work([edges, x], [node], make)]


LOWERING = Lowering(_search)
