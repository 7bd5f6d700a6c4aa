"""The update of one parameter, applied to all that are like it.

`_update_group` says with recorded tensor operations what a step does to a parameter, and for hundreds of small
parameters recording took several times what computing does. So it is recorded for the first of those that differ in
shape only, and _tensor/rows.py has it done to all of them.
"""

from __future__ import annotations

from itertools import chain
from operator import attrgetter
from typing import Any

from facula._tensor.handle import Tensor, inferred
from facula._tensor.rows import MANY, compute, drop, led_to, nodes_of, put, recordable, run
from facula.engine.graph.node import BUFFER, CONST, Node, Number
from facula.engine.session import session
from facula.engine.trace.rows import Update, most_rows, update_of
from facula.nn.parameter import Parameter

Row = tuple[Any, ...]  # tensors: a parameter, its gradient, its state

_shape, _op, _buffer, _class = map(attrgetter, ("shape", "op", "buffer", "size_class"))
_KINDS = {Tensor, Parameter}


def updated(optimizer: Any, group: dict[str, Any], params: list[Any]) -> list[Any]:
    """Update those of `params` that are many and alike. Returns the others."""
    states = optimizer.state
    if len(params) * (1 + len(states.get(params[0], ()))) < MANY or not recordable():
        return params
    cells = [id(param._storage) for param in params if param._storage is not None]
    if len(set(cells)) < len(cells):  # parts of one memory: the order in which they are updated matters
        return params
    left: list[Row] = []
    alike: dict[Any, list[Row]] = {}
    for param in params:
        state = states[param] if param in states else {}
        row = param, param._grad, *state.values()
        if inferred and any(t._inference for t in row if isinstance(t, Tensor)):  # its write is refused, or not
            left.append(row)
        elif _KINDS.issuperset(map(type, row)) and param.dtype.is_floating_point:
            alike.setdefault((param.dtype, param._grad.dtype, *state), []).append(row)
        else:
            left.append(row)
    for rows in alike.values():
        left += _updated(optimizer, group, rows)
    return [row[0] for row in left]


def _updated(optimizer: Any, group: dict[str, Any], rows: list[Row]) -> list[Row]:
    """`updated`, of rows whose columns have the same names and types."""
    if not rows or len(rows) * (len(rows[0]) - 1) < MANY:
        return rows
    columns = list(zip(*rows, strict=True))
    shapes = list(map(_shape, columns[0]))
    nodes: list[list[Node]] = []  # per column of elements
    elements: list[int] = []
    numbers: list[int] = []  # columns of numbers, such as the step
    met: set[int] = set()
    for k, column in enumerate(columns):
        found = nodes_of(column, met)
        if k > 1 and found[0] is not None and found[0].op is CONST and not found[0].shape:
            values = [node and node.op is CONST and node.scalars for node in found]
            if values.count(values[0]) < len(values):  # parameters that joined later, say
                return _apart(optimizer, group, rows, values)
            numbers.append(k)
        elif None in found or list(map(_shape, found)) != shapes:
            fits = [node is not None and node.shape == shape for node, shape in zip(found, shapes, strict=True)]
            simple = _updated(optimizer, group, [row for row, it_does in zip(rows, fits, strict=True) if it_does])
            return simple + [row for row, it_does in zip(rows, fits, strict=True) if not it_does]
        else:
            nodes.append(found)
            elements.append(k)
    if CONST in map(_op, nodes[1]):  # gradients that are numbers need no memory, the ordinary way
        return rows
    for found, k in zip(nodes, elements, strict=True):
        if {BUFFER} != set(map(_op, found)) or k != 1 and 0 in map(_class, map(_buffer, found)):
            compute(found, columns[k], k != 1)
    before = [column[0] for column in nodes]
    recorded = _recorded(optimizer, group, rows[0], before, elements, numbers)
    if recorded is None:
        return rows[1:]
    update, runtime, after = recorded
    most = most_rows(update, len(nodes), len(runtime))
    parts = [[column[start:start + most] for column in nodes] for start in range(0, len(rows), most)]
    nodes.clear()
    del before, found, column  # nothing but `parts` may count as a holder
    done = 0
    while parts and run(update, runtime, [columns[elements[k]][done:done + most] for k, _ in update.written],
                         shapes[done:done + most], parts.pop(0)):
        done = min(done + most, len(rows))
    for k, result in zip(numbers, after, strict=True):
        put(columns[k][:done], [result] * done)
    return rows[done:]


def _apart(optimizer: Any, group: dict[str, Any], rows: list[Row], values: list[Any]) -> list[Row]:
    parts: dict[Any, list[Row]] = {}
    for row, value in zip(rows, values, strict=True):
        parts.setdefault(value, []).append(row)
    return list(chain.from_iterable(_updated(optimizer, group, part) for part in parts.values()))


def _recorded(optimizer: Any, group: dict[str, Any], row: Row, before: list[Node], elements: list[int],
              numbers: list[int]) -> tuple[Update, list[Number], list[Node]] | None:
    """What a step does to this row, as if it had not been done; with its numbers, and those that its columns of
    `numbers` hold afterwards. None: it cannot be told so, and has been done."""
    pending, start, looks = session.pending, len(session.pending), session.looks
    counts = [nodes_of([row[k]], set())[0] for k in numbers]
    optimizer._update_group(group, [row[0]])
    if len(pending) < start or session.looks != looks or len(optimizer.state.get(row[0], ())) != len(row) - 2:
        return None  # something was computed on the way, or the state has been begun
    after = [nodes_of([row[k]], set())[0] for k in numbers]
    results = nodes_of([row[k] for k in elements], set())
    made = led_to(results, pending[start:])
    found = update_of(made, before, results)
    if found is None or not {CONST}.issuperset(map(_op, after)):
        return None
    drop(made, start)
    put([row[k] for k in elements], before)
    put([row[k] for k in numbers], counts)
    return *found, after
