"""What graphs of different sizes have in common.

The structure of some work is its key without sizes, strides and offsets: -1, 0 and 1 are said as they are, since much
depends on them, and of another number that there is one. These numbers are its `sizes`, in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from facula.engine.graph.node import Node

_op = attrgetter("op")
Structure = tuple[object, ...]
REGIONS = frozenset(("view", "write"))  # kinds whose attributes are strides and offsets
ANY = 2  # stands for a size
MOST_NODES = 256  # of what plans for other sizes are made of: larger graphs are run in pieces
MOST_KNOWN = 1 << 14
# By name: graphs whose plans are had for other sizes (targets/template.py). A credit, since it may be that each new
# size asks for a new plan after all.
credits: dict[int, int] = {}
CREDIT = 32


def structure_of(order: Sequence[Node], leaves: Sequence[Node], outputs: Sequence[Node], numbers_at: dict[Node, int],
                 donated: frozenset[Node]) -> tuple[Structure, list[int]]:
    """The structure of what `compile_plan` is given, and its sizes."""
    places: dict[Node, int] = {leaf: -1 - k for k, leaf in enumerate(leaves)}
    parts: list[object] = [len(order)]
    sizes: list[int] = []
    for leaf in leaves:
        parts += (leaf.dtype, tuple([n if -2 < n < ANY else ANY for n in leaf.shape]))
        sizes.extend(leaf.shape)
    for k, node in enumerate(order):
        attrs: Any = node.attrs
        if attrs and node.op.kind in REGIONS:
            strides, offset = attrs[0], attrs[1:]
            attrs = tuple([n if -2 < n < ANY else ANY for n in (*strides, *offset)])
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
    parts.append(tuple([(places[node], at) for node, at in numbers_at.items()]))
    parts.append(tuple([places[node] for node in outputs]))
    parts.append(tuple(sorted([places[leaf] for leaf in donated])))
    return tuple(parts), [n for n in sizes if not -2 < n < ANY]


def kinds_of(order: Sequence[Node], leaves: Sequence[Node]) -> tuple[dict[tuple[Node, int], int], list[int]]:
    """Which of the sizes are one and the same, as far as this work knows: equal ones of a node and of what it reads.
    The kind of each (node, size), numbered in order, and of each of `sizes`."""
    seen = set(leaves)
    owners = [*leaves]
    parents: dict[tuple[Node, int], tuple[Node, int]] = {}

    def root(one: tuple[Node, int]) -> tuple[Node, int]:
        while parents[one] != one:
            parents[one] = one = parents[parents[one]]
        return one

    for node in (*leaves, *order):
        constants = [] if node in seen else [n for n in dict.fromkeys(node.inputs) if n not in seen]
        if node not in seen:
            owners += [node, *constants]
        seen.update((node, *constants))
        for one in (node, *constants):
            parents.update([((one, n), (one, n)) for n in _sizes(one)])
        for source in node.inputs if node not in leaves else ():
            for n in _sizes(source):
                if (node, n) in parents:
                    parents[root((node, n))] = root((source, n))
    numbers: dict[tuple[Node, int], int] = {}
    kinds: dict[tuple[Node, int], int] = {}
    listed = []
    for node in owners:
        for n in _sizes(node):
            top = root((node, n))
            kinds[node, n] = numbers.setdefault(top, len(numbers))
            listed.append(kinds[node, n])
    return kinds, listed


def _sizes(node: Node) -> list[int]:
    attrs = node.attrs
    regions: tuple[int, ...] = (*attrs[0], *attrs[1:]) if attrs and node.op.kind in REGIONS else ()  # type: ignore
    return [n for n in (*regions, *node.shape) if not -2 < n < ANY]


def with_sizes(order: Sequence[Node], leaves: Sequence[Node], of: dict[tuple[Node, int], Any]) -> dict[Node, Node]:
    """Copies of the nodes, `of[node, n]` in place of each size n."""
    copies: dict[Node, Node] = {}
    computed = set(order)
    for node in (*leaves, *order):  # without functions that call themselves: they are circles, and would hold the nodes
        inputs = node.inputs if node in computed else ()
        for source in inputs:
            if source not in copies:  # a constant
                copies[source] = _with_sizes(source, (), of)
        if node not in copies:
            copies[node] = _with_sizes(node, tuple([copies[source] for source in inputs]), of)
    return copies


def _with_sizes(node: Node, inputs: tuple[Node, ...], of: dict[tuple[Node, int], Any]) -> Node:
    def sized(values: Sequence[int]) -> tuple[int, ...]:
        return tuple([n if -2 < n < ANY else of[node, n] for n in values])

    attrs: Any = node.attrs
    if attrs and node.op.kind in REGIONS:
        attrs = (sized(attrs[0]), *sized(attrs[1:]))
    return Node(node.op, inputs, attrs, node.scalars, sized(node.shape), node.dtype)


def name_of(nodes: list[Node]) -> int:
    """What a graph is known by, whatever its sizes. Others may have the same name: it is for guesses."""
    return hash(tuple(map(_op, nodes)))


def is_ready_made(name: int) -> bool:
    """Is a plan for this graph, of sizes that are new, likely to be had at once?"""
    return credits.get(name, 0) > 0


class Outcome:
    """What the last plan has told about those for other sizes: a gain in credit, or a loss; 0: nothing."""

    gain = 0


def credit(name: int) -> None:
    """A plan for such a graph has just been asked for."""
    if Outcome.gain:
        left = credits.pop(name, CREDIT)
        if len(credits) >= MOST_KNOWN:
            del credits[next(iter(credits))]
        credits[name] = max(min(left + Outcome.gain, CREDIT), -CREDIT)
        Outcome.gain = 0
