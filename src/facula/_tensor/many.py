"""One thing done to many tensors, as one plan.

What is said of one gradient with recorded operations is said of hundreds, and recording takes several times what
computing does. So it is recorded for the first of those that differ in shape only, and done to all of them as rows
(rows.py). What is not that simple (other layouts than row-major, memory that NumPy shares, operations that are more
than formulas and reductions) goes the ordinary way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from facula._tensor.handle import Tensor, inferred, new
from facula._tensor.reading import read
from facula._tensor.rows import MANY, compute, drop, led_to, nodes_of, put, recordable, run
from facula.engine.graph.node import BUFFER, Node, Number
from facula.engine.realize import realize
from facula.engine.session import session
from facula.engine.trace.rows import Update, most_rows, rows_of, update_of
from facula.ops.arrange.joining import cat, stack
from facula.size import Size


def changed(tensors: list[Any], change: Callable[..., Any], *operands: Tensor) -> None:
    """`change(t, *operands)`, which writes `t` in place, of each of `tensors`. `operands` are 0-d."""
    left = tensors
    if len(tensors) >= MANY and recordable() and len(set(map(id, tensors))) == len(tensors):
        left = []
        alike: dict[Any, list[Any]] = {}
        for t, simple in zip(tensors, _simple(tensors), strict=True):
            (alike.setdefault(t.dtype, []) if simple else left).append(t)
        for part in alike.values():
            left += _changed(part, change, operands)
    for t in left:
        change(t, *operands)


def gathered(tensors: list[Any], value: Callable[[Any], Tensor]) -> Tensor:
    """The 0-d floats `value(t)` of each of `tensors`, as a vector."""
    if len(tensors) < MANY or not recordable():
        return stack([value(t) for t in tensors])
    parts: list[Tensor] = []
    kinds = iter(zip(_simple(tensors), [t.dtype for t in tensors], strict=True))
    for (simple, _), some in groupby(tensors, lambda t: next(kinds)):
        part = list(some)
        parts += _gathered(part, value) if simple and len(part) >= MANY else [stack([value(t) for t in part])]
    return parts[0] if len(parts) == 1 else cat(parts)


def _simple(tensors: list[Any]) -> list[bool]:
    return [node is not None and type(t) is Tensor and t.dtype.is_floating_point and len(t.shape) > 0
            and 0 not in t.shape and not (inferred and t._inference)
            for t, node in zip(tensors, nodes_of(tensors, set()), strict=True)]


def _changed(tensors: list[Any], change: Callable[..., Any], operands: tuple[Tensor, ...]) -> list[Any]:
    """`changed`, of those that are alike; those that are left to do."""
    if len(tensors) < MANY:
        return tensors
    shared = [read(t) for t in operands]
    for node in shared:
        realize(node)
    shapes = [t.shape for t in tensors]
    column = nodes_of(tensors, set())
    compute(column, tensors, True)
    found = _told(lambda: change(tensors[0], *operands), tensors[:1], column[:1], shared)
    if found is None:
        return tensors[1:]
    most = most_rows(found[0], 1, len(found[1]))
    parts = [column[k:k + most] for k in range(0, len(column), most)]
    column.clear()  # nothing but `parts` may count as a holder
    done = 0
    while parts and run(*found, [tensors[done:done + most]], shapes[done:done + most], [parts.pop(0)], shared):
        done = min(done + most, len(tensors))
    return tensors[done:]


def _gathered(tensors: list[Any], value: Callable[[Any], Tensor]) -> list[Tensor]:
    """`gathered`, of those that are alike: vectors one after another."""
    column = nodes_of(tensors, set())
    compute(column, tensors, False)
    found = _told(lambda: value(tensors[0]), tensors[:1], column[:1], ())
    done, parts = 0, []
    while found is not None and done < len(column):
        nodes = column[done:done + most_rows(found[0], 1, len(found[1]) + 1)]
        entry = rows_of(found[0], [node.shape for node in nodes], [nodes[0].dtype], found[1], False)
        if entry is None:
            break
        of = found[0].nodes[-1 - found[0].gathered[0]][3]
        vector = Node(BUFFER, (), None, None, Size((len(nodes),)), of)
        entry.run([vector], nodes, found[1])
        parts.append(new(vector))
        done += len(nodes)
    return parts if done == len(column) else [*parts, stack([value(t) for t in tensors[done:]])]


def _told(act: Callable[[], Any], tensors: list[Any], before: list[Node],
          shared: Sequence[Node]) -> tuple[Update, list[Number]] | None:
    """What `act` records about the first of a column, as if it had not been done: a change of it, or a value. None: it
    cannot be told so, and has been done."""
    pending, start, looks = session.pending, len(session.pending), session.looks
    result = act()
    after = nodes_of(tensors, set())
    values = [] if result is tensors[0] else [read(result)]
    if len(pending) < start or session.looks != looks:
        return None  # something was computed on the way
    made = led_to(values or after, pending[start:])
    found = update_of(made, before, after, shared, values)
    if found is not None:
        drop(made, start)
        if not values:
            put(tensors, before)
    return found
