"""Checks between the passes, where FACULA_VERIFY=1 asks for them (the tests do): what one pass hands on is what the
next one takes for granted. A violation is a defect of the compiler: VerifyError shows the part of the graph around it.

verify_graph   after simplify: order, reads inside their sources; each node by verify_node
verify_groups  after fuse: everything is computed once, before its readers
verify_memory  after assign: nothing is overwritten that somebody still needs (verify_memory.py)
"""

from __future__ import annotations

from facula.engine.compiler.affine import Affine
from facula.engine.compiler.groups import Group
from facula.engine.compiler.operands import Padding
from facula.engine.compiler.reads import Graph
from facula.engine.compiler.simplify import in_loops
from facula.engine.compiler.spaces import space_of
from facula.engine.compiler.verify_node import around, verify_node
from facula.engine.graph.node import CONST, INDEX, Formula, Node, size_of
from facula.errors import VerifyError

_NUMBERS = (CONST, INDEX)  # computed wherever they are read


def verify_graph(graph: Graph, nodes: list[Node]) -> None:
    seen: set[Node] = set(graph.leaves)
    for node in nodes:
        verify_node(node)
        for source in node.inputs:
            if source not in seen and source.op not in _NUMBERS:
                raise VerifyError(f"{source!r} is read before it is computed{around(node)}")
        seen.add(node)
    known: set[Node] = set(graph.leaves)
    for node in graph.order:
        if node in known:
            raise VerifyError(f"after simplify: {node!r} stands in the order twice{around(node)}")
        for place, (source, map) in enumerate(graph.reads[node]):
            _available(node, source, known, "after simplify")
            padding = graph.padding.get((node, place))
            if padding is None:
                _inside(node, source, map)
            else:
                _inside_bounds(node, source, map, padding)
        if in_loops(node) and (isinstance(node.op, Formula) or node.op.kind == "reduce"):
            _covers(node, graph)  # what the host computes broadcasts its operands itself
        known.add(node)
        known.update(() if node not in graph.same else (graph.same[node],))
    for output in graph.outputs:
        if output not in known and size_of(output.shape):
            raise VerifyError(f"after simplify: nobody computes the output {output!r}{around(output)}")


def _available(node: Node, source: Node, known: set[Node], when: str) -> None:
    if source not in known and source.op not in _NUMBERS and size_of(source.shape):
        raise VerifyError(f"{when}: {node!r} reads {source!r} before it is computed{around(node)}")


def _inside(node: Node, source: Node, map: Affine) -> None:
    """Every position read lies in the source; with an offset that comes at run time: some offset makes it so."""
    if not size_of(map.dims) or len(map.dims) != len(map.strides):
        if len(map.dims) != len(map.strides):
            raise VerifyError(f"after simplify: a map of {map.dims} has strides {map.strides}{around(node)}")
        return
    steps = [(n - 1) * s for n, s in zip(map.dims, map.strides, strict=True)]
    low, high = sum(s for s in steps if s < 0), sum(s for s in steps if s > 0)
    size = size_of(source.shape)
    if map.nums:
        bad = high - low >= size
    else:
        bad = map.const + low < 0 or map.const + high >= size
    if bad and source.op is not CONST:
        raise VerifyError(f"after simplify: {node!r} reads positions {map.const + low} to {map.const + high} of "
                          f"{source!r}, which has {size}{around(node)}")


def _inside_bounds(node: Node, source: Node, map: Affine, padding: Padding) -> None:
    """Every position lies in the source, of points whose bounded coordinates lie in their bounds."""
    steps = list(map.strides)
    low = high = map.const
    for bound in padding.bounds:
        low -= bound.start * bound.step
        high -= bound.start * bound.step
        ends = (0, (bound.size - 1) * bound.step)
        low, high = low + min(ends), high + max(ends)
        steps = [s - c * bound.step for s, c in zip(steps, bound.coefs, strict=True)]
    low += sum((n - 1) * s for n, s in zip(map.dims, steps, strict=True) if s < 0)
    high += sum((n - 1) * s for n, s in zip(map.dims, steps, strict=True) if s > 0)
    size = size_of(source.shape)
    if padding.fill.op is not CONST or (high - low >= size if map.nums else low < 0 or high >= size):
        raise VerifyError(f"after simplify: {node!r} reads positions {low} to {high} of {source!r}, which has {size}, "
                          f"within its padding{around(node)}")


def _covers(node: Node, graph: Graph) -> None:
    points = size_of(space_of(node)[0])
    for source, map in graph.reads[node]:
        if size_of(map.dims) != points:
            raise VerifyError(f"after simplify: {node!r} has {points} points, and reads {source!r} at "
                              f"{size_of(map.dims)}{around(node)}")


def verify_groups(graph: Graph, groups: list[Group]) -> None:
    known: set[Node] = set(graph.leaves)
    computed: set[Node] = set()
    for group in groups:
        own = group.members.keys() | group.inlined
        twice = computed & own | group.inlined & group.members.keys()
        if twice:
            node = next(iter(twice))
            raise VerifyError(f"after fuse: {node!r} is computed twice{around(node)}")
        _verify_space(group)
        for node in own:
            if node in group.inlined and node in graph.kept:
                raise VerifyError(f"after fuse: {node!r} has to be in memory, and is inlined{around(node)}")
            for source, _ in graph.reads[node]:
                if source not in own:
                    _available(node, source, known, "after fuse")
        computed |= own
        known |= group.members.keys()
        known.update(graph.same[n] for n in group.members if n in graph.same)
    for node in graph.order:
        if node not in computed and node.op not in _NUMBERS:
            raise VerifyError(f"after fuse: no group computes {node!r}{around(node)}")


def _verify_space(group: Group) -> None:
    first = next(iter(group.members), None)
    if first is None:
        raise VerifyError(f"after fuse: group {group.index} has no members")
    if group.single:
        if len(group.members) != 1:
            raise VerifyError(f"after fuse: a step of its own has {len(group.members)} members{around(first)}")
        return
    if group.reduced is not None and len(group.reduced) != len(group.dims):
        raise VerifyError(f"after fuse: flags {group.reduced} for the space {group.dims}{around(first)}")
    sizes = {group.size} if group.reduced is None else {group.size, size_of(group.row_dims)}
    for node in group.members:
        points = size_of(space_of(node)[0])
        if points not in sizes:
            raise VerifyError(f"after fuse: {node!r} has {points} points in the space {group.dims}{around(node)}")
        if node in group.rows and group.reduced is None:
            raise VerifyError(f"after fuse: {node!r} is at row level where nothing is reduced{around(node)}")
