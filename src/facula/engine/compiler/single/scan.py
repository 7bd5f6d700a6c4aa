"""Scans: lines that go on from element to element."""

from __future__ import annotations

from facula.engine.compiler.emit.sequential import scan_kernel
from facula.engine.compiler.kernel import Machine, Step
from facula.engine.compiler.plan import Made, Work
from facula.engine.compiler.program.ordered import Scan
from facula.engine.compiler.reads import Graph
from facula.engine.compiler.single.lowering import Lowering, Slots
from facula.engine.graph.node import Node, size_of


def _scan(node: Node, graph: Graph, formats: dict[int, str], machine: Machine) -> list[Work]:
    assert node.attrs is not None
    dim: int = node.attrs[0]  # type: ignore[assignment]
    shape = node.shape
    if not shape:
        shape, dim = (1,), 0
    outer, n, inner = size_of(shape[:dim]), shape[dim], size_of(shape[dim + 1 :])
    source = node.inputs[0]
    program = Scan(node.op.name, source.dtype, node.dtype, outer, n, inner)
    kernel = scan_kernel(node.op.name, source.dtype, node.dtype, program.grouped, machine.table)
    total = outer * inner
    rows = max(1, min(total, 16384 // max(1, n)))

    def make(slots: Slots, in_place: bool) -> list[Made]:
        args = [slots[source], slots[node], total, n, inner, rows]
        return [Step(kernel, args, -(-total // rows), total * n * 1.5, total * n * 2 * node.dtype.itemsize,
                     program=program, slots=(slots[source], slots[node]))]

    return [Work([source], [node], make)]


LOWERING = Lowering(_scan)
