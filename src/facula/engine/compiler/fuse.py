"""Second pass: which nodes share a kernel.

A `Group` is a loop over a space of points. Before it has a reduction, all members are computed once a point
("element" level). A reduction cuts the space's dimensions into reduced and kept ones; what is
computed once per kept point is at "row" level. So softmax is one group: max (row), exp (element), sum (row),
quotient (element). Members meet only at the same point, hence nothing but identity reads inside a group; a
value that is read elsewhere (transposed, shifted) is computed again by its reader (`inlined`) or goes through
memory.

Nodes are placed in order, each into the groups of what it reads, joined where that makes no cycle. Every
refusal is noted: `facula explain` prints them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from facula.engine.compiler.affine import Affine, compose, is_identity, joined, normal
from facula.engine.compiler.simplify import Graph
from facula.engine.compiler.values import Read, coordinate_map
from facula.engine.graph.node import INDEX, Formula, Node, contiguous_strides, size_of

SPLIT_ABOVE = 1 << 16  # a longer sum to few results is cut into chunks, and the chunks' results are combined
MAX_MEMBERS = 120  # larger kernels compile slowly and spill registers
COSTLY = frozenset(
    (
        "exp",
        "exp2",
        "expm1",
        "log",
        "log2",
        "log10",
        "log1p",
        "sin",
        "cos",
        "tan",
        "asin",
        "acos",
        "atan",
        "atan2",
        "sinh",
        "cosh",
        "tanh",
        "asinh",
        "acosh",
        "atanh",
        "erf",
        "erfc",
        "lgamma",
        "pow",
        "fmod",
        "remainder",
        "floordiv",
        "hypot",
        "nextafter",
        "random_bits",
        "div",
        "sqrt",
        "rsqrt",
    )
)


@dataclass(eq=False)
class Group:
    """Nodes computed by one kernel (`single`: by one step that is not a loop kernel).

    dims      the space, cut finely enough for every member's reads
    reduced   for each of dims, once there is a reduction: is it reduced?
    rows      members at row level (reductions among them)
    """

    index: int
    single: bool
    dims: tuple[int, ...]
    reduced: tuple[bool, ...] | None = None
    members: dict[Node, None] = field(default_factory=dict)
    rows: set[Node] = field(default_factory=set)
    needs: int = 0  # bit mask of the groups this one depends on, directly or not
    inlined: set[Node] = field(default_factory=set)

    @property
    def size(self) -> int:
        return size_of(self.dims)

    @property
    def row_dims(self) -> tuple[int, ...]:
        assert self.reduced is not None
        return tuple(n for n, r in zip(self.dims, self.reduced, strict=True) if not r)

    @property
    def is_split(self) -> bool:
        """Is the reduction so long that it runs in chunks?"""
        return self.reduced is not None and is_split(size_of(self.row_dims), self.size)


def is_split(rows: int, size: int) -> bool:
    return rows > 0 and size // rows >= SPLIT_ABOVE


def fuse(graph: Graph) -> list[Group]:
    """Groups, each after those it depends on."""
    fusion = _Fusion(graph)
    for node in graph.order:
        fusion.place(node)
    fusion.inline()
    return fusion.ordered()


class _Fusion:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.groups: dict[int, Group] = {}
        self.group_of: dict[Node, Group] = {}
        self.readers: dict[Node, list[Group]] = {}  # who reads a value from memory: siblings to join
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
                if self._fits(node, candidate, space, reduced):
                    home = candidate
                    self._add(home, node, reduced, space)
            elif candidate is not home and candidate.index in self.groups and self._joins(home, candidate):
                home = self._merge(home, candidate)
        if home is None:
            home = self._new(
                node, single=False, dims=joined([_without_ones(space), *self._cuts(node)]) or space
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
            for source, _ in self.graph.reads[node]:
                for group in self.readers.get(source, ()):
                    if group.index in self.groups and group.reduced is not None:
                        found.setdefault(group.index, group)
        return list(found.values())

    def _cuts(self, node: Node) -> list[tuple[int, ...]]:
        """The factorisations that reading what `node` reads needs."""
        out: list[tuple[int, ...]] = []
        for source, map in self._loop_reads(node):
            if source.op is INDEX:
                found = compose(map, coordinate_map(source))
                if found is not None:
                    out += [_without_ones(found.dims), normal(found).dims]
            out += [_without_ones(map.dims), normal(map).dims]
        full = size_of(space_of(node)[0])
        return [dims for dims in out if size_of(dims) == full]

    def _loop_reads(self, node: Node) -> list[Read]:
        reads = self.graph.reads[node]
        return reads[:1] if node.op.kind == "gather" else reads

    # ---- may they share a kernel?

    def _fits(self, node: Node, group: Group, space: tuple[int, ...], reduced: set[int]) -> bool:
        reason = self._why_not(node, group, space, reduced)
        if reason:
            self.graph.notes.append(f"{node!r} apart from kernel {group.index}: {reason}")
        return not reason

    def _why_not(self, node: Node, group: Group, space: tuple[int, ...], reduced: set[int]) -> str:
        if len(group.members) >= MAX_MEMBERS:
            return "the kernel is large enough"
        if self._cycle(group, [self.group_of[s] for s, _ in self.graph.reads[node] if s in self.group_of]):
            return "what it reads depends on the kernel"
        size = size_of(space)
        if size == 0:
            return "empty"
        if reduced:
            return self._why_no_reduction(node, group, space, reduced)
        if size == group.size:
            dims = joined([group.dims, *self._cuts(node), _without_ones(space)])
            if dims is None:
                return "the shapes cut the elements differently"
            return self._why_not_read(node, group, dims, row=False)
        if group.reduced is not None and size == size_of(group.row_dims):
            rows = joined([group.row_dims, *self._cuts(node), _without_ones(space)])
            if rows is None:
                return "the shapes cut the rows differently"
            return self._why_not_read(node, group, rows, row=True)
        return f"{size} elements, the kernel has {group.size}"

    def _why_no_reduction(self, node: Node, group: Group, space: tuple[int, ...], reduced: set[int]) -> str:
        if size_of(space) != group.size:
            return "it reduces another space"
        dims = joined([group.dims, *self._cuts(node), _without_ones(space)])
        if dims is None:
            return "the shapes cut the elements differently"
        flags = _flags(dims, space, reduced)
        if group.reduced is not None:
            if flags != _recut(group.dims, group.reduced, dims):
                return "it reduces other dimensions"
        if node.op.name in ("argmax", "argmin") and _split_flags(dims, flags):
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
            flags = _recut(group.dims, group.reduced, dims)
        split = group.is_split or flags is not None and _split_flags(dims, flags)
        for source, map in self._loop_reads(node):
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

    def _joins(self, a: Group, b: Group) -> bool:
        """May group b (which the node just placed in `a` also reads) become one with a?"""
        reason = self._why_not_join(a, b)
        if reason:
            self.graph.notes.append(f"kernels {a.index} and {b.index} apart: {reason}")
        return not reason

    def _why_not_join(self, a: Group, b: Group) -> str:
        if a.single or b.single or a.size != b.size or len(a.members) + len(b.members) > MAX_MEMBERS:
            return "different spaces"
        dims = joined([a.dims, b.dims])
        if dims is None:
            return "the shapes cut the elements differently"
        if a.reduced is not None and b.reduced is not None:
            if _recut(a.dims, a.reduced, dims) != _recut(b.dims, b.reduced, dims):
                return "they reduce other dimensions"
        third = (a.needs & ~(1 << b.index)) | (b.needs & ~(1 << a.index))
        for index, group in self.groups.items():
            if third >> index & 1 and (group.needs >> a.index & 1 or group.needs >> b.index & 1):
                return "a kernel between them"
        owner = a if a.reduced is not None else b
        flags = _recut(owner.dims, owner.reduced, dims) if owner.reduced is not None else None
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
        if flags is not None and _split_flags(dims, flags):
            return "the reduction runs in chunks"
        return ""

    # ---- carrying it out

    def _add(self, group: Group, node: Node, reduced: set[int], space: tuple[int, ...]) -> None:
        group.members[node] = None
        self.group_of[node] = group
        if size_of(space) == group.size or not group.members.keys() - {node}:
            dims = joined([group.dims, *self._cuts(node), _without_ones(space)]) or group.dims
            if size_of(space) == 0:
                dims = group.dims
            if reduced:
                group.reduced = _flags(dims, space, reduced)
                group.rows.add(node)
            elif group.reduced is not None:
                group.reduced = _recut(group.dims, group.reduced, dims)
            group.dims = dims
        else:
            assert group.reduced is not None
            rows = joined([group.row_dims, *self._cuts(node), _without_ones(space)])
            assert rows is not None
            group.dims, group.reduced = _with_rows(group.dims, group.reduced, rows)
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
            a.reduced = _recut(owner.dims, owner.reduced, dims)
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

    def inline(self) -> None:
        """Values that cost little and are read at other points than their own: computed by their reader."""
        graph = self.graph
        users: dict[Node, list[Node]] = {}
        for node in graph.order:
            for source in dict.fromkeys(s for s, _ in graph.reads.get(node, ())):
                users.setdefault(source, []).append(node)
        for node in graph.order:
            if node in graph.kept or node not in graph.loops or not isinstance(node.op, Formula):
                continue
            home = self.group_of[node]
            readers = users.get(node, [])
            into = self.group_of[readers[0]] if readers else home
            if len(readers) != 1 or into is home or into.single or node in home.rows:
                continue
            self._try_inline(node, readers[0], home, into)

    def _try_inline(self, node: Node, reader: Node, home: Group, into: Group) -> None:
        graph = self.graph
        work = sum(e.fn in COSTLY for e in node.op.order) if isinstance(node.op, Formula) else 0
        at = [map for source, map in graph.reads[reader] if source is node]
        if (work and size_of(at[0].dims) > size_of(node.shape)) or len(graph.reads[node]) > 3 or len(at) > 1:
            return
        if any(s.op is INDEX for s, _ in graph.reads[node]) or any(e.fn == "index" for e in node.op.order):  # type: ignore[attr-defined]
            return
        chain = self._inlined_chain(node, home)
        if any(s in into.members or s in home.members for n in chain for s, _ in graph.reads[n]):
            return  # then its own kernel has to write that value instead: nothing gained
        if any(s in home.inlined for s, _ in graph.reads[node]):
            return  # its kernel computes that value for it, and nobody else does
        if reader.op.kind == "gather" and graph.reads[reader][1][0] is node:
            return
        row = reader in into.rows and not is_reduction(reader)
        space = into.row_dims if row else into.dims
        cuts = [space]
        places = {node: at[0]}
        for n in chain:
            for source, inner in graph.reads[n]:
                found = compose(places[n], inner)
                if found is None:
                    return
                cuts += [_without_ones(found.dims), normal(found).dims]
                places[source] = found
        dims = joined(cuts)
        if dims is None or size_of(dims) != size_of(space):
            return
        if row:
            assert into.reduced is not None
            into.dims, into.reduced = _with_rows(into.dims, into.reduced, dims)
        else:
            if into.reduced is not None:
                into.reduced = _recut(into.dims, into.reduced, dims)
            into.dims = dims
        into.inlined.update(chain)
        home.inlined.difference_update(chain)
        del home.members[node]
        for n in chain:
            self.group_of[n] = into
        if not home.members:
            del self.groups[home.index]

    def _inlined_chain(self, node: Node, home: Group) -> list[Node]:
        """`node`, and what has been inlined into `home` for it: that moves along. Each has one reader."""
        chain = [node]
        for n in chain:
            chain += [s for s, _ in self.graph.reads[n] if s in home.inlined]
        return chain

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


def space_of(node: Node) -> tuple[tuple[int, ...], set[int]]:
    """The points a node is computed at, and which dimensions of them it reduces."""
    if node.op.kind != "reduce":
        return node.shape, set()
    shape = node.inputs[0].shape
    assert node.attrs is not None
    dims: tuple[int, ...] = node.attrs[0]  # type: ignore[assignment]
    return shape, {d for d in dims if shape[d] > 1}


def is_reduction(node: Node) -> bool:
    """Does it reduce more than dimensions of size 1?"""
    return bool(space_of(node)[1])


def row_map(dims: tuple[int, ...], reduced: tuple[bool, ...]) -> Affine:
    """The row number of every point."""
    kept = contiguous_strides(tuple(n for n, r in zip(dims, reduced, strict=True) if not r))
    steps = iter(kept)
    return Affine(dims, tuple(0 if r else next(steps) for r in reduced))


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def _split_flags(dims: tuple[int, ...], flags: tuple[bool, ...]) -> bool:
    return is_split(size_of(tuple(n for n, r in zip(dims, flags, strict=True) if not r)), size_of(dims))


def _flags(dims: tuple[int, ...], space: tuple[int, ...], reduced: set[int]) -> tuple[bool, ...]:
    """Which of the finer `dims` are reduced, when `reduced` of `space` are."""
    coarse = [(n, d in reduced) for d, n in enumerate(space) if n != 1]
    return _recut(tuple(n for n, _ in coarse), tuple(r for _, r in coarse), dims)


def _recut(dims: tuple[int, ...], flags: tuple[bool, ...], finer: tuple[int, ...]) -> tuple[bool, ...]:
    out: list[bool] = []
    at = 0
    for n, flag in zip(dims, flags, strict=True):
        done = 1
        while done < n:
            done *= finer[at]
            out.append(flag)
            at += 1
    return tuple(out)


def _with_rows(
    dims: tuple[int, ...], flags: tuple[bool, ...], rows: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """The space with its kept dimensions cut as `rows`."""
    out: list[int] = []
    marks: list[bool] = []
    at = 0
    for n, flag in zip(dims, flags, strict=True):
        done = 1
        while done < n:
            part = n if flag else rows[at]
            at += not flag
            done *= part
            out.append(part)
            marks.append(flag)
    return tuple(out), tuple(marks)
