"""Second pass: which nodes share a kernel.

A `Group` is a loop over a space of points. Before it has a reduction, all members are computed
once a point ("element" level). A reduction cuts the space's dimensions into reduced and kept ones;
what is computed once per kept point is at "row" level. So softmax is one group: max (row), exp
(element), sum (row), quotient (element). Members meet only at the same point, hence nothing but
identity reads inside a group; a value that is read elsewhere (transposed, shifted) is computed
again by its reader (`inlining.py`) or goes through memory.

Nodes are placed in order, each into the groups of what it reads, joined where that makes no cycle
and `legality.py` has nothing against it.
"""

from __future__ import annotations

from facula.engine.compiler.affine import joined
from facula.engine.compiler.groups import Group
from facula.engine.compiler.inlining import inline
from facula.engine.compiler.legality import Legality
from facula.engine.compiler.reads import Graph
from facula.engine.compiler.spaces import (
    is_reduction,
    recut,
    reduced_flags,
    space_of,
    with_rows,
    without_ones,
)
from facula.engine.graph.node import Node, size_of


def fuse(graph: Graph) -> list[Group]:
    """Groups, each after those it depends on."""
    fusion = _Fusion(graph)
    for node in graph.order:
        fusion.place(node)
    inline(graph, fusion.groups, fusion.group_of)
    return fusion.ordered()


class _Fusion(Legality):
    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        # who reads a value from memory: siblings to join
        self.readers: dict[Node, list[Group]] = {}
        self.next = 0

    def place(self, node: Node) -> None:
        graph = self.graph
        if node not in graph.loops:
            group = self._new(node, single=True, dims=())
            for source, _ in graph.reads[node]:
                self._depend(group, source)
            return
        space, reduced = space_of(node)
        home: Group | None = None
        for candidate in self._candidates(node):
            if home is None:
                if self.fits(node, candidate, space, reduced):
                    home = candidate
                    self._add(home, node, reduced, space)
            elif candidate is not home and candidate.index in self.groups:
                if self.joins(home, candidate):
                    home = self._merge(home, candidate)
        if home is None:
            home = self._new(
                node, single=False, dims=joined([without_ones(space), *self.cuts(node)]) or space
            )
            self._add(home, node, reduced, space)

    def _new(self, node: Node, single: bool, dims: tuple[int, ...]) -> Group:
        group = Group(self.next, single, dims)
        self.groups[self.next] = group
        self.next += 1
        group.members[node] = None
        self.group_of[node] = group
        return group

    def _candidates(self, node: Node) -> list[Group]:
        found: dict[int, Group] = {}
        for source, _ in self.graph.reads[node]:
            group = self.group_of.get(source)
            if group is not None and not group.single:
                found[group.index] = group
        if is_reduction(node):
            # siblings: what is reduced is read from memory that they read, or computed of such
            sources = [source for source, _ in self.graph.reads[node]]
            for group in list(found.values()):
                sources += [source for member in group.members for source, _ in self.graph.reads[member]
                            if source in self.readers and size_of(source.shape) >= group.size]
            for source in dict.fromkeys(sources):
                for group in self.readers.get(source, ()):
                    if group.index in self.groups and group.reduced is not None:
                        found.setdefault(group.index, group)
        return list(found.values())

    def _add(self, group: Group, node: Node, reduced: set[int], space: tuple[int, ...]) -> None:
        group.members[node] = None
        self.group_of[node] = group
        if size_of(space) == group.size or not group.members.keys() - {node}:
            dims = joined([group.dims, *self.cuts(node), without_ones(space)]) or group.dims
            if size_of(space) == 0:
                dims = group.dims
            if reduced:
                group.reduced = reduced_flags(dims, space, reduced)
                group.rows.add(node)
            elif group.reduced is not None:
                group.reduced = recut(group.dims, group.reduced, dims)
            group.dims = dims
        else:
            assert group.reduced is not None
            rows = joined([group.row_dims, *self.cuts(node), without_ones(space)])
            assert rows is not None
            group.dims, group.reduced = with_rows(group.dims, group.reduced, rows)
            group.rows.add(node)
        for source, _ in self.graph.reads[node]:
            self._depend(group, source)
            if self.group_of.get(source) is not group:
                self.readers.setdefault(source, []).append(group)

    def _depend(self, group: Group, source: Node) -> None:
        other = self.group_of.get(source)
        if other is None or other is group:
            return
        new = other.needs | 1 << other.index
        if new & ~group.needs:
            group.needs |= new
            for later in self.groups.values():
                if later.needs >> group.index & 1:
                    later.needs |= group.needs

    def _merge(self, a: Group, b: Group) -> Group:
        dims = joined([a.dims, b.dims])
        assert dims is not None
        owner = a if a.reduced is not None else b
        if owner.reduced is not None:
            a.reduced = recut(owner.dims, owner.reduced, dims)
        a.dims = dims
        a.members = {**b.members, **a.members}
        a.rows |= b.rows
        for node in b.members:
            self.group_of[node] = a
        del self.groups[b.index]
        bit_a, bit_b = 1 << a.index, 1 << b.index
        a.needs = (a.needs | b.needs) & ~(bit_a | bit_b)
        for group in self.groups.values():
            if group.needs & bit_b and group is not a:
                group.needs = group.needs & ~bit_b | bit_a
            if group.needs & bit_a:
                group.needs |= a.needs
        return a

    def ordered(self) -> list[Group]:
        """Depth first by the order in which members were recorded."""
        out: list[Group] = []
        left = sorted(self.groups.values(), key=lambda g: g.index)
        done = 0
        alive = sum(1 << g.index for g in left)
        while left:
            rest: list[Group] = []
            for group in left:
                if group.needs & alive & ~done & ~(1 << group.index):
                    rest.append(group)
                else:
                    out.append(group)
                    done |= 1 << group.index
            assert len(rest) < len(left), "a cycle among kernels"
            left = rest
        return out
