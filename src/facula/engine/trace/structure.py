"""What graphs of different sizes have in common.

The structure of some work is its key without sizes, strides and offsets: -1, 0 and 1 are said as they are, since much
depends on them, and of another number that there is one. These numbers are its `sizes`, in order.
"""

from __future__ import annotations

from collections.abc import Sequence

from facula.engine.graph.node import Node
from facula.engine.trace.work import Work

Structure = tuple[object, ...]
REGIONS = frozenset(("view", "write"))  # kinds whose attributes are strides and offsets
ANY = 2  # stands for a size
MOST_ONE_BY_ONE = 1 << 14
# Hashes of structures whose plans are not to be had for other sizes (compiler/template.py).
one_by_one: dict[int, None] = {}


def structure_of(order: Sequence[Node], leaves: Sequence[Node], outputs: Sequence[Node],
                 donated: frozenset[Node]) -> tuple[Structure, list[int]]:
    """The structure of what `compile_plan` is given, and its sizes."""
    places: dict[Node, int] = {leaf: -1 - k for k, leaf in enumerate(leaves)}
    parts: list[object] = [len(order)]
    sizes: list[int] = []
    for leaf in leaves:
        parts += (leaf.dtype, tuple([n if -2 < n < ANY else ANY for n in leaf.shape]))
        sizes.extend(leaf.shape)
    for k, node in enumerate(order):
        attrs: object = node.attrs
        if attrs and node.op.kind in REGIONS:
            strides, *offset = node.attrs  # type: ignore[misc]
            attrs = tuple([n if -2 < n < ANY else ANY for n in (*strides, *offset)])  # type: ignore[has-type]
            parts.append(len(offset))
            sizes.extend(strides)
            sizes.extend(offset)
        parts += (node.op, node.dtype, attrs, len(node.scalars or ()),
                  tuple([n if -2 < n < ANY else ANY for n in node.shape]))
        sizes.extend(node.shape)
        for source in node.inputs:
            place = places.get(source)
            if place is None:  # a constant
                place = places[source] = len(order) + len(places)
                parts += (source.op, source.dtype, tuple([n if -2 < n < ANY else ANY for n in source.shape]))
                sizes.extend(source.shape)
            parts.append(place)
        places[node] = k
    parts.append(tuple([places[node] for node in outputs]))
    parts.append(tuple(sorted([places[leaf] for leaf in donated])))
    return tuple(parts), [n for n in sizes if not -2 < n < ANY]


def with_sizes(order: Sequence[Node], leaves: Sequence[Node], of: dict[int, int]) -> dict[Node, Node]:
    """Copies of the nodes, `of[n]` in place of each size n."""
    copies: dict[Node, Node] = {}

    def sized(values: Sequence[int]) -> tuple[int, ...]:
        return tuple([n if -2 < n < ANY else of[n] for n in values])

    def copy(node: Node) -> Node:
        found = copies.get(node)
        if found is None:
            attrs: object = node.attrs
            if attrs and node.op.kind in REGIONS:
                attrs = (sized(node.attrs[0]), *sized(node.attrs[1:]))  # type: ignore[index,arg-type]
            inputs = tuple([copy(source) for source in node.inputs]) if node in computed else ()
            found = copies[node] = Node(node.op, inputs, attrs, node.scalars,  # type: ignore[arg-type]
                                        sized(node.shape), node.dtype)
        return found

    computed = set(order)
    for node in (*leaves, *order):
        copy(node)
    return copies


def name_of(work: Work, key: object) -> int:
    """What a graph is known again by, before it has a plan: its structure, if plans of that serve other sizes."""
    structure, _ = structure_of(work.order, work.leaves, work.outputs, frozenset())
    name = hash(structure)
    return hash(key) if name in one_by_one else name


def is_one_by_one(structure: Structure) -> None:
    """Plans of this structure are made for each of its sizes."""
    if len(one_by_one) >= MOST_ONE_BY_ONE:
        del one_by_one[next(iter(one_by_one))]
    one_by_one[hash(structure)] = None
