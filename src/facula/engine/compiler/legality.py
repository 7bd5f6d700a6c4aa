"""May nodes share a kernel? Every refusal is noted: `facula explain` prints them."""

from __future__ import annotations

from collections.abc import Iterable

from facula.config import threshold
from facula.engine.compiler.affine import compose, is_identity, joined, normal
from facula.engine.compiler.groups import Group
from facula.engine.compiler.reads import Graph
from facula.engine.compiler.spaces import (
    is_reduction,
    recut,
    reduced_flags,
    row_map,
    space_of,
    splits,
    without_ones,
)
from facula.engine.compiler.values import Read, coordinate_map
from facula.engine.graph.node import INDEX, Node, size_of

FEW = 8  # elements that are less than a vector
MAX_MEMBERS = threshold("fused_nodes")  # larger kernels compile slowly and spill registers


class Legality:
    """The groups made so far, and what may become of them."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.groups: dict[int, Group] = {}
        self.group_of: dict[Node, Group] = {}

    def cuts(self, node: Node) -> list[tuple[int, ...]]:
        """The factorisations that reading what `node` reads needs."""
        out: list[tuple[int, ...]] = []
        for source, map in self.loop_reads(node):
            if source.op is INDEX:
                found = compose(map, coordinate_map(source))
                if found is not None:
                    out += [without_ones(found.dims), normal(found).dims]
            out += [without_ones(map.dims), normal(map).dims]
        full = size_of(space_of(node)[0])
        return [dims for dims in out if size_of(dims) == full]

    def loop_reads(self, node: Node) -> list[Read]:
        reads = self.graph.reads[node]
        return reads[:1] if node.op.kind == "gather" else reads

    def _shortens(self, some: Iterable[Node], others: Iterable[Node]) -> bool:
        """Would gathered elements that lie side by side be cut into a few at a time, as what they would share a kernel
        with is read so (a mask of rows, say)? A vector of them costs the same however few of its lanes are used."""
        both = [list(some), list(others)]
        if not any(n.op.kind == "gather" for nodes in both for n in nodes):
            return False
        ends = [self._end(nodes) for nodes in (*both, both[0] + both[1])]
        return ends[2] <= FEW and any(
            end > FEW and any(n.op.kind == "gather" for n in nodes) for end, nodes in zip(ends, both, strict=False))

    def _end(self, nodes: Iterable[Node]) -> int:
        """How many elements follow each other in all that these nodes read."""
        cuts = []
        for node in nodes:
            for source, map in self.loop_reads(node):
                found = compose(map, coordinate_map(source)) if source.op is INDEX else map
                if found is not None:
                    cuts.append(normal(found).dims)
        size = max([size_of(dims) for dims in cuts], default=1)
        dims = joined([dims for dims in cuts if size_of(dims) == size])
        return dims[-1] if dims else 1

    def fits(self, node: Node, group: Group, space: tuple[int, ...], reduced: set[int]) -> bool:
        reason = self._why_not(node, group, space, reduced)
        if reason:
            self.graph.notes.append(f"{node!r} apart from kernel {group.index}: {reason}")
        return not reason

    def _why_not(self, node: Node, group: Group, space: tuple[int, ...], reduced: set[int]) -> str:
        if len(group.members) >= MAX_MEMBERS:
            return "the kernel is large enough"
        sources = [self.group_of[s] for s, _ in self.graph.reads[node] if s in self.group_of]
        if self._cycle(group, sources):
            return "what it reads depends on the kernel"
        size = size_of(space)
        if size == 0:
            return "empty"
        if reduced:
            return self._why_no_reduction(node, group, space, reduced)
        if size == group.size:
            dims = joined([group.dims, *self.cuts(node), without_ones(space)])
            if dims is None:
                return "the shapes cut the elements differently"
            if self._shortens([node], group.members):
                return "gathered elements would be cut into a few at a time"
            return self._why_not_read(node, group, dims, row=False)
        if group.reduced is not None and size == size_of(group.row_dims):
            rows = joined([group.row_dims, *self.cuts(node), without_ones(space)])
            if rows is None:
                return "the shapes cut the rows differently"
            return self._why_not_read(node, group, rows, row=True)
        return f"{size!r} elements, the kernel has {group.size!r}"

    def _why_no_reduction(self, node: Node, group: Group, space: tuple[int, ...],
                          reduced: set[int]) -> str:
        if size_of(space) != group.size:
            return "it reduces another space"
        dims = joined([group.dims, *self.cuts(node), without_ones(space)])
        if dims is None:
            return "the shapes cut the elements differently"
        flags = reduced_flags(dims, space, reduced)
        if group.reduced is not None:
            if flags != recut(group.dims, group.reduced, dims):
                return "it reduces other dimensions"
        if splits(dims, flags) and any(n.op.name in ("argmax", "argmin") for n in (node, *group.members)):
            return "a long arg-reduction runs by itself"
        return self._why_not_read(node, group, dims, row=False, flags=flags)

    def _why_not_read(
        self,
        node: Node,
        group: Group,
        dims: tuple[int, ...],
        row: bool,
        flags: tuple[bool, ...] | None = None,
    ) -> str:
        size = size_of(dims)
        if flags is None and group.reduced is not None and not row:
            flags = recut(group.dims, group.reduced, dims)
        split = group.is_split or flags is not None and splits(dims, flags)
        for source, map in self.loop_reads(node):
            if source not in group.members:
                continue
            if source in group.rows:
                if row:
                    if not is_identity(map, size):
                        return f"it reads {source!r} at other rows"
                    continue
                if split:
                    return "the reduction runs in chunks: its result is known only afterwards"
                assert flags is not None
                if normal(map) != normal(row_map(dims, flags)):
                    return f"it reads {source!r} at other rows"
            elif row:
                return f"it reads elements of {source!r} one a row"
            elif not is_identity(map, size):
                return f"it reads {source!r} at other positions"
        if node.op.kind == "gather" and self.graph.reads[node][1][0] in group.members:
            return "it gathers from it"
        return ""

    def _cycle(self, group: Group, sources: list[Group]) -> bool:
        return any(s is not group and s.needs >> group.index & 1 for s in sources)

    def joins(self, a: Group, b: Group) -> bool:
        """May group b (which the node just placed in `a` also reads) become one with a?"""
        reason = self._why_not_join(a, b)
        if reason:
            self.graph.notes.append(f"kernels {a.index} and {b.index} apart: {reason}")
        return not reason

    def _why_not_join(self, a: Group, b: Group) -> str:
        members = len(a.members) + len(b.members)
        if a.single or b.single or a.size != b.size or members > MAX_MEMBERS:
            return "different spaces"
        dims = joined([a.dims, b.dims])
        if dims is None:
            return "the shapes cut the elements differently"
        if self._shortens(a.members, b.members):
            return "gathered elements would be cut into a few at a time"
        if a.reduced is not None and b.reduced is not None:
            if recut(a.dims, a.reduced, dims) != recut(b.dims, b.reduced, dims):
                return "they reduce other dimensions"
        third = (a.needs & ~(1 << b.index)) | (b.needs & ~(1 << a.index))
        for index, group in self.groups.items():
            if third >> index & 1 and (group.needs >> a.index & 1 or group.needs >> b.index & 1):
                return "a kernel between them"
        owner = a if a.reduced is not None else b
        flags = recut(owner.dims, owner.reduced, dims) if owner.reduced is not None else None
        probe = Group(-1, False, dims, flags, {**a.members, **b.members}, a.rows | b.rows)
        for one, other in ((a, b), (b, a)):
            for node in one.members:
                if any(s in other.members for s, _ in self.graph.reads[node]):
                    row = node in one.rows and not is_reduction(node)
                    reason = self._why_not_read(
                        node, probe, probe.row_dims if row else dims, row, None if row else flags
                    )
                    if reason:
                        return reason
        # two of them go through their chunks together; what reads no chunk but a sum is with the kernel that combines
        if flags is not None and splits(dims, flags) and (a.reduced is None or b.reduced is None):
            return "the reduction runs in chunks"
        return ""
