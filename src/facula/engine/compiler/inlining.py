"""Values that cost little and are read at other points than their own: their reader computes them.

Such a value would need memory only to be read from it in another order.
"""

from __future__ import annotations

from facula.engine.compiler.affine import Affine, compose, joined, normal
from facula.engine.compiler.groups import Group
from facula.engine.compiler.reads import Graph
from facula.engine.compiler.spaces import is_reduction, recut, with_rows, without_ones
from facula.engine.graph.node import INDEX, Formula, Node, size_of

COSTLY = frozenset((
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos",
    "atan", "atan2", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "erfc", "lgamma",
    "pow", "fmod", "remainder", "floordiv", "hypot", "nextafter", "random_bits", "div", "sqrt",
    "rsqrt",
))


def inline(graph: Graph, groups: dict[int, Group], group_of: dict[Node, Group]) -> None:
    """Move what has one reader, in another group, there; groups that are left empty go."""
    users: dict[Node, list[Node]] = {}
    for node in graph.order:
        for source in dict.fromkeys(s for s, _ in graph.reads.get(node, ())):
            users.setdefault(source, []).append(node)
    for node in graph.order:
        if node in graph.kept or node not in graph.loops or not isinstance(node.op, Formula):
            continue
        home = group_of[node]
        readers = users.get(node, [])
        into = group_of[readers[0]] if readers else home
        if len(readers) != 1 or into is home or into.single or node in home.rows:
            continue
        chain = _movable(graph, node, readers[0], home, into)
        if chain and _make_room(graph, chain, readers[0], into):
            into.inlined.update(chain)
            home.inlined.difference_update(chain)
            del home.members[node]
            for n in chain:
                group_of[n] = into
            if not home.members:
                del groups[home.index]


def _movable(graph: Graph, node: Node, reader: Node, home: Group, into: Group) -> list[Node]:
    """`node` and what moves along with it; nothing if it is better computed where it is."""
    assert isinstance(node.op, Formula)
    reads = graph.reads[node]
    at = _read_at(graph, node, reader)
    costly = any(e.fn in COSTLY for e in node.op.order)
    if costly and size_of(at[0].dims) > size_of(node.shape) or len(reads) > 3 or len(at) > 1:
        return []
    if any(s.op is INDEX for s, _ in reads) or any(e.fn == "index" for e in node.op.order):
        return []
    chain = _inlined_chain(graph, node, home)
    if any(s in into.members or s in home.members for n in chain for s, _ in graph.reads[n]):
        return []  # then its own kernel has to write that value instead: nothing gained
    if any(s in home.inlined for s, _ in reads):
        return []  # its kernel computes that value for it, and nobody else does
    if reader.op.kind == "gather" and graph.reads[reader][1][0] is node:
        return []
    return chain


def _read_at(graph: Graph, node: Node, reader: Node) -> list[Affine]:
    return [map for source, map in graph.reads[reader] if source is node]


def _inlined_chain(graph: Graph, node: Node, home: Group) -> list[Node]:
    """`node`, and what has been inlined into `home` for it. Each has one reader."""
    chain = [node]
    for n in chain:
        chain += [s for s, _ in graph.reads[n] if s in home.inlined]
    return chain


def _make_room(graph: Graph, chain: list[Node], reader: Node, into: Group) -> bool:
    """Cut the reader's space as the chain's reads need it, if it can be cut so."""
    row = reader in into.rows and not is_reduction(reader)
    space = into.row_dims if row else into.dims
    cuts = [space]
    places = {chain[0]: _read_at(graph, chain[0], reader)[0]}
    for n in chain:
        for source, inner in graph.reads[n]:
            found = compose(places[n], inner)
            if found is None:
                return False
            cuts += [without_ones(found.dims), normal(found).dims]
            places[source] = found
    dims = joined(cuts)
    if dims is None or size_of(dims) != size_of(space):
        return False
    if row:
        assert into.reduced is not None
        into.dims, into.reduced = with_rows(into.dims, into.reduced, dims)
    else:
        if into.reduced is not None:
            into.reduced = recut(into.dims, into.reduced, dims)
        into.dims = dims
    return True
