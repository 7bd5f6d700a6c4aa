"""First pass: look through views.

Every node that a kernel can compute gets its `reads`: which value it takes its elements from, and the
affine map of positions. Views vanish here, unless a position is not affine (a permuted value reshaped so that
dimensions merge): then the inner view becomes a value of its own, copied by a kernel. Nodes nobody needs drop
out.
"""

from __future__ import annotations

from facula.dtypes import COMPLEX
from facula.engine.compiler.affine import broadcast, identity, is_identity, joined, normal, view_map
from facula.engine.compiler.emit.scalar import can_emit
from facula.engine.compiler.operands import product_operands, resolve
from facula.engine.compiler.reads import Graph
from facula.engine.compiler.single import fills, is_native
from facula.engine.compiler.spaces import cut_of
from facula.engine.compiler.values import Read, steps_of
from facula.engine.graph.expr import LEAVES
from facula.engine.graph.node import CONST, CONTRACT, INDEX, VIEW, WRITE, Formula, Node, size_of


def simplify(
    nodes: list[Node], leaves: list[Node], outputs: list[Node], numbers_at: dict[Node, int]
) -> Graph:
    graph = Graph(set(leaves), list(dict.fromkeys(outputs)), numbers_at)
    position = {node: k for k, node in enumerate(nodes)}
    pending = [n for n in graph.outputs if n not in graph.leaves]
    graph.kept.update(pending)
    needed: dict[Node, None] = {}  # in order: the plan of a structure is the same each time
    while pending:
        node = pending.pop()
        if node in needed or size_of(node.shape) == 0:
            continue
        needed[node] = None
        if in_loops(node):
            graph.loops.add(node)
            graph.reads[node] = _reads(node, graph)
            for source, _ in graph.reads[node]:
                if source in graph.leaves:
                    continue
                if not in_loops(source) or source.op is VIEW:
                    graph.kept.add(source)
                if source in graph.kept or not (source.op is CONST or source.op is INDEX):
                    pending.append(source)
            if node.op.kind == "gather" and graph.reads[node][1][0] not in graph.leaves:
                graph.kept.add(graph.reads[node][1][0])
                pending.append(graph.reads[node][1][0])
        else:
            graph.reads[node] = _operands(node, graph)
            for place, (source, _) in enumerate(graph.reads[node]):
                if source not in graph.leaves and not (source.op is CONST and fills(node, place)):
                    graph.kept.add(source)
                    pending.append(source)
    _share_memory(graph, needed)
    # constants need not be in `nodes`: they come first
    graph.order = sorted(needed, key=lambda n: position.get(n, -1))
    return graph


def _share_memory(graph: Graph, needed: dict[Node, None]) -> None:
    """An output that is nothing but a reshaped result of a step of its own is not copied from it."""
    outputs = set(graph.outputs)
    read = {source for reads in graph.reads.values() for source, _ in reads}
    for view in graph.outputs:
        if view.op is not VIEW or view not in needed or view not in graph.loops:
            continue
        if view in read:  # by a step of its own, which would find nobody who computes it
            continue
        source, map = graph.reads[view][0]
        if source in graph.leaves or source in outputs or source in graph.loops or source in graph.same:
            continue
        if source not in needed:  # a constant: there is no step that could write it there
            continue
        if size_of(source.shape) == size_of(view.shape) and is_identity(map, size_of(view.shape)):
            graph.same[source] = view
            needed.pop(view, None)
            graph.loops.discard(view)
            del graph.reads[view]


def in_loops(node: Node) -> bool:
    """Can a loop kernel compute this node?"""
    op = node.op
    if node.dtype.category == COMPLEX or any(i.dtype.category == COMPLEX for i in node.inputs):
        return False
    if isinstance(op, Formula):
        return all(e.fn in LEAVES or can_emit(e.fn) for e in op.order)
    if op is CONST or op is INDEX or op is VIEW:
        return True
    if op.kind == "reduce":
        return size_of(node.inputs[0].shape) > 0
    return op.kind == "gather" and size_of(node.inputs[0].shape) > 0


def _reads(node: Node, graph: Graph) -> list[Read]:
    op = node.op
    if isinstance(op, Formula):
        reads: list[Read] = []
        cuts = [tuple(n for n in node.shape if n != 1)]
        for source in node.inputs:
            direct = broadcast(source.shape, node.shape)
            read = resolve(source, direct, graph)
            finer = joined([*cuts, tuple(n for n in read[1].dims if n != 1), normal(read[1]).dims])
            if finer is None:  # two operands cut the elements in ways that have no common refinement
                graph.notes.append(f"{source!r}: kept, its layout does not go with the other operands'")
                read = source, direct
            else:
                cuts.append(finer)
            reads.append(read)
        return reads
    if op is VIEW:
        base = node.inputs[0]
        return [resolve(base, view_map(node, graph.numbers_at.get(node, -1)), graph)]
    if op.kind == "reduce":
        return [resolve(node.inputs[0], identity(node.inputs[0].shape), graph)]
    if op.kind == "gather":
        table, index = node.inputs
        over = broadcast((*index.shape, 1), node.shape)
        source, map = resolve(table, identity(table.shape), graph)
        if source.op is CONST or source.op is INDEX or steps_of(map, table.shape) is None:
            source, map = table, identity(table.shape)
        return [resolve(index, over, graph), (source, map)]
    return []


def _operands(node: Node, graph: Graph) -> list[Read]:
    """What a step of its own reads: memory, through maps where its lowering can."""
    direct = [(source, identity(source.shape)) for source in node.inputs]
    if node.op is WRITE and is_native(node):
        (base, over), (value, region) = direct
        read = resolve(value, region, graph)
        if cut_of(read[1], value.shape) is None and size_of(value.shape):
            graph.notes.append(f"{value!r}: kept, its layout does not go with the region it is written to")
            read = value, region
        return [resolve(base, over, graph), read]
    if node.op is not CONTRACT or not is_native(node):
        return direct
    found = product_operands(node, graph)
    graph.padding.update({(node, k): padding for k, (_, _, padding) in enumerate(found) if padding is not None})
    return [(source, map) for source, map, _ in found]
