"""Scatters: the base copied, or taken over, and rows put into it one after the other."""

from __future__ import annotations

from facula.engine.compiler.affine import identity
from facula.engine.compiler.emit.sequential import scatter_kernel
from facula.engine.compiler.kernel import Machine, Step
from facula.engine.compiler.loops import Store, build_nest
from facula.engine.compiler.lower_loops import Launch, Temporary, launch
from facula.engine.compiler.plan import Made, Work
from facula.engine.compiler.program.ordered import Scatter
from facula.engine.compiler.reads import Graph
from facula.engine.compiler.single.lowering import Lowering, Slots, copy_of, in_memory, value_read
from facula.engine.graph.node import CONST, Node, size_of


def _scatter(node: Node, graph: Graph, formats: dict[int, str], machine: Machine) -> list[Work]:
    base, (index, _), (source, source_map) = graph.reads[node]
    rows, columns = node.shape
    copy = copy_of(node, base, graph, formats, machine)
    count = size_of(index.shape)
    op = node.op.name.removeprefix("scatter_")
    kernel = scatter_kernel(op, node.dtype, columns == 1, machine.table)
    block = max(256, columns if count * columns < 65536 else -(-columns // 16))
    tiles = -(-columns // block)
    constant = source.op is CONST and source not in graph.leaves

    def make(slots: Slots, in_place: bool) -> list[Made]:
        made: list[Made] = [] if in_place else [copy.step(slots)]
        if count and columns:
            args = [slots[node], slots[index], slots[filled], count, rows, columns, block]
            if fill is not None:
                made.append(fill.step(slots))
            made.append(
                Step(
                    kernel,
                    args,
                    tiles,
                    count * columns * 0.5 + count * 2.0,
                    count * columns * node.dtype.itemsize * 2,
                    program=Scatter(op, node.dtype, count, rows, columns),
                    slots=(slots[node], slots[index], slots[filled]),
                )
            )
        return made

    fill: Launch | None = None
    filled: object = source
    writes: list[object] = [node]
    if constant:  # a number scattered everywhere: put it into memory
        filled = Temporary(size_of(source.shape) * node.dtype.itemsize)
        writes.append(filled)
        value = value_read((source, source_map), source_map.dims, graph, formats)
        dims = source_map.dims
        fill = launch(
            build_nest(
                dims, (False,) * len(dims), [Store(filled, value, identity(dims), node.dtype)], machine),
            "fill",
            machine,
        )
    reads: list[object] = [s for s in (base[0], index) if in_memory(s, graph)]
    if not constant:
        reads.append(source)
    return [Work(reads, writes, make, base[0] if in_memory(base[0], graph) else None)]


LOWERING = Lowering(_scatter, fills=True)
