"""Scatters: the base copied, or taken over, and rows put into it one after the other."""

from __future__ import annotations

from facula.engine.compiler.emit.sequential import scatter_kernel
from facula.engine.compiler.kernel import Machine, Step
from facula.engine.compiler.plan import Made, Work
from facula.engine.compiler.program.ordered import Scatter
from facula.engine.compiler.reads import Graph
from facula.engine.compiler.single.lowering import Lowering, Slots, copy_of, in_memory
from facula.engine.graph.node import Node, size_of
from facula.engine.graph.primitives.scatter import rows_of


def _scatter(node: Node, graph: Graph, formats: dict[int, str], machine: Machine) -> list[Work]:
    base, (index, _), (source, _) = graph.reads[node]
    rows, columns = rows_of(node, node.inputs[2])
    copy = copy_of(node, base, graph, formats, machine)
    count = size_of(index.shape)
    op = node.op.name.removeprefix("scatter_")
    kernel = scatter_kernel(op, node.dtype, columns == 1, machine.table)
    block = max(256, columns if count * columns < 65536 else -(-columns // 16))
    tiles = -(-columns // block)

    def make(slots: Slots, in_place: bool) -> list[Made]:
        made: list[Made] = [] if in_place else [copy.step(slots)]
        if count and columns:
            args = [slots[node], slots[index], slots[source], count, rows, columns, block]
            made.append(
                Step(
                    kernel,
                    args,
                    tiles,
                    count * columns * 0.5 + count * 2.0,
                    count * columns * node.dtype.itemsize * 2,
                    program=Scatter(op, node.dtype, count, rows, columns),
                    slots=(slots[node], slots[index], slots[source]),
                )
            )
        return made

    reads: list[object] = [index, source]
    if in_memory(base[0], graph):
        reads.insert(0, base[0])
    return [Work(reads, [node], make, base[0] if in_memory(base[0], graph) else None)]


LOWERING = Lowering(_scatter, fills=(0,))
