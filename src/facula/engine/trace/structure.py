"""What graphs of different sizes have in common.

The structure of some work is its key without sizes, strides and offsets: -1, 0 and 1 are said as they are, since much
depends on them, and of another number that there is one. These numbers are its `sizes`, in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter, floordiv, mod
from typing import Any, NamedTuple

from facula.engine.graph.node import Node

_op = attrgetter("op")
Structure = tuple[object, ...]
REGIONS = frozenset(("view", "write"))  # kinds whose attributes are strides and offsets
ANY = 2  # stands for a size
MOST_NODES = 4096  # of what plans for other sizes are made of: larger graphs are run in pieces
FEW_BASES, MOST_FACTORS = 8, 3  # of what sizes are looked for as products of
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


class Term(NamedTuple):
    """What some of the sizes are: `number` times those that the `factors` count (Pattern.bases)."""

    number: int
    factors: tuple[int, ...] = ()


class Pattern(NamedTuple):
    """How the sizes of a structure hang together: what is the same each time, and what some have to do with others."""

    kinds: list[int]  # of each size the number of its term
    terms: list[Term]
    bases: list[int]  # where to find the sizes that others are multiples of


def pattern_of(sights: Sequence[Sequence[int]]) -> Pattern:
    """What holds for these sizes, which one structure has come with. Whoever goes by it has to look whether it holds
    for others."""
    columns: dict[tuple[int, ...], int] = {}
    kinds = [columns.setdefault(column, len(columns)) for column in zip(*sights, strict=True)]
    bases: list[tuple[int, ...]] = []

    def product(column: tuple[int, ...], more: int) -> Term | None:
        if min(column) == max(column):
            return Term(column[0])
        for k, base in enumerate(bases[:FEW_BASES] if more else ()):
            if not any(map(mod, column, base)):
                found = product(tuple(map(floordiv, column, base)), more - 1)
                if found is not None:
                    return Term(found.number, (k, *found.factors))
        return None

    terms: dict[tuple[int, ...], Term] = {}
    for column in sorted(columns, key=_size):
        found = product(column, MOST_FACTORS)
        if found is None:
            bases.append(column)
            found = Term(1, (len(bases) - 1,))
        terms[column] = found
    numbers = {number: place for place, number in reversed(list(enumerate(kinds)))}
    return Pattern(kinds, [terms[column] for column in columns], [numbers[columns[base]] for base in bases])


def _size(column: tuple[int, ...]) -> tuple[object, ...]:
    return tuple(map(abs, column)), column[0] < 0


def with_sizes(order: Sequence[Node], leaves: Sequence[Node], sizes: Iterable[Any]) -> dict[Node, Node]:
    """Copies of the nodes that have these sizes."""
    given = iter(sizes)
    copies: dict[Node, Node] = {}

    def sized(values: Sequence[int]) -> tuple[Any, ...]:
        return tuple([n if -2 < n < ANY else next(given) for n in values])

    def memory(node: Node) -> Node:
        return Node(node.op, (), node.attrs, node.scalars, sized(node.shape), node.dtype)

    for leaf in leaves:
        copies[leaf] = memory(leaf)
    for node in order:
        attrs: Any = node.attrs
        if attrs and node.op.kind in REGIONS:
            attrs = (sized(attrs[0]), *sized(attrs[1:]))
        shape = sized(node.shape)
        for source in node.inputs:
            if source not in copies:  # a constant
                copies[source] = memory(source)
        copies[node] = Node(node.op, tuple([copies[source] for source in node.inputs]), attrs, node.scalars, shape,
                            node.dtype)
    return copies


def name_of(nodes: list[Node]) -> int:
    """What a graph is known by, whatever its sizes. Others may have the same name: it is for guesses."""
    return hash(tuple(map(_op, nodes)))


def is_ready_made(name: int) -> bool:
    """Is a plan for this graph, of sizes that are new, likely to be had at once?"""
    return credits.get(name, 0) > 0


class Outcome:
    """What the last plan has told about those for other sizes: a gain in credit, or a loss; 0: nothing."""

    gain = 0
    # What gives the Program of other sizes, in the order of `structure_of`, or None; None: nothing does.
    of_sizes: Callable[[Sequence[int]], Any] | None = None


def credit(name: int) -> None:
    """A plan for such a graph has just been asked for."""
    if Outcome.gain:
        left = credits.pop(name, CREDIT)
        if len(credits) >= MOST_KNOWN:
            del credits[next(iter(credits))]
        credits[name] = max(min(left + Outcome.gain, CREDIT), -CREDIT)
        Outcome.gain = 0
