"""What graphs of different sizes have in common.

The structure of some work is its key with a number in place of each size, stride and offset: equal ones have equal
numbers, in order of first appearance. -1, 0 and 1 are said as they are, since much depends on them. `sizes` are what
the numbers stand for.
"""

from __future__ import annotations

from collections.abc import Sequence

from facula.engine.graph.node import Node

Structure = tuple[object, ...]
REGIONS = frozenset(("view", "write"))  # kinds whose attributes are strides and offsets
FIRST = 2  # the least number


def structure_of(order: Sequence[Node], leaves: Sequence[Node], outputs: Sequence[Node],
                 donated: frozenset[Node]) -> tuple[Structure, tuple[int, ...]]:
    """The structure of what `compile_plan` is given, and the sizes."""
    numbers: dict[int, int] = {}
    number = numbers.setdefault
    places: dict[Node, int] = {leaf: -1 - k for k, leaf in enumerate(leaves)}
    parts: list[object] = [len(order)]
    for leaf in leaves:
        parts += (leaf.dtype, tuple([n if -2 < n < FIRST else number(n, len(numbers) + FIRST) for n in leaf.shape]))
    for k, node in enumerate(order):
        attrs: object = node.attrs
        if attrs and node.op.kind in REGIONS:
            strides, *offset = node.attrs  # type: ignore[misc]
            attrs = tuple([n if -2 < n < FIRST else number(n, len(numbers) + FIRST) for n in (*strides, *offset)])
            parts.append(len(offset))
        parts += (node.op, node.dtype, attrs, len(node.scalars or ()),
                  tuple([n if -2 < n < FIRST else number(n, len(numbers) + FIRST) for n in node.shape]))
        for source in node.inputs:
            place = places.get(source)
            if place is None:  # a constant
                place = places[source] = len(order) + len(places)
                parts += (source.op, source.dtype, tuple([n if -2 < n < FIRST else number(n, len(numbers) + FIRST)
                                                          for n in source.shape]))
            parts.append(place)
        places[node] = k
    parts.append(tuple([places[node] for node in outputs]))
    parts.append(tuple(sorted([places[leaf] for leaf in donated])))
    return tuple(parts), tuple(numbers)


def with_sizes(order: Sequence[Node], leaves: Sequence[Node], of: dict[int, int]) -> dict[Node, Node]:
    """Copies of the nodes, `of[n]` in place of each size n."""
    copies: dict[Node, Node] = {}

    def sized(values: Sequence[int]) -> tuple[int, ...]:
        return tuple([n if -2 < n < FIRST else of[n] for n in values])

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
