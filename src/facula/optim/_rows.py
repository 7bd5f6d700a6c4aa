"""The update of one parameter, applied to all that are like it.

`_update_group` says with recorded tensor operations what a step does to a parameter, and for hundreds of small
parameters recording took several times what computing does. So it is recorded for the first of those that differ in
shape only, and engine/trace/rows.py runs it for all of them. What is not that simple (other layouts than row-major,
memory that NumPy shares, complex numbers, operations that are more than formulas) goes the ordinary way.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

from facula._tensor.handle import Tensor, inferred
from facula.autograd.graph import mode
from facula.config import threshold
from facula.dtypes import float32
from facula.engine import recorder
from facula.engine.cpython import liveness
from facula.engine.cpython.liveness import getrefcount
from facula.engine.graph.node import BUFFER, CONST, Node, Number, contiguous_strides
from facula.engine.realize import realize, value_of
from facula.engine.runtime.buffer import allocate
from facula.engine.session import session
from facula.engine.threads import others
from facula.engine.trace.rows import Update, most_rows, rows_of, update_of
from facula.engine.trace.work import bytes_of
from facula.nn.parameter import Parameter
from facula.ops.listening import anybody

Row = tuple[Any, ...]  # tensors: a parameter, its gradient, its state

_node, _shape, _op, _buffer, _class = map(attrgetter, ("_node", "shape", "op", "buffer", "size_class"))
_LONE_NODE = _LONE_MEMORY = liveness.UNKNOWN  # measured at the end of this page
_KINDS = {Tensor, Parameter}
MANY = threshold("row_tensors")  # of gradients and state: with fewer, recording costs less than telling what is alike


def updated(optimizer: Any, group: dict[str, Any], params: list[Any]) -> list[Any]:
    """Update those of `params` that are many and alike. Returns the others."""
    states = optimizer.state
    if len(params) * (1 + len(states.get(params[0], ()))) < MANY or mode.grad or not session.plain \
            or not recorder.LIMIT or anybody():
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
        found = _nodes(column, met)
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
            _compute(found, columns[k], k != 1)
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
    while parts and _run(update, runtime, [columns[elements[k]][done:done + most] for k, _ in update.written],
                         shapes[done:done + most], parts.pop(0)):
        done = min(done + most, len(rows))
    for k, result in zip(numbers, after, strict=True):
        _put(columns[k][:done], [result] * done)
    return rows[done:]


def _compute(nodes: list[Node], column: Sequence[Any], to_keep: bool) -> None:
    """Have all of a column in memory. `to_keep`: in memory that is the engine's, of each node's own. Zeros begin as a
    number, and share a node; a parameter begins in an array of NumPy's."""
    for k, node in enumerate(nodes):
        if to_keep and node.op is CONST:
            nodes[k] = Node(CONST, (), None, node.scalars, node.shape, node.dtype)
        elif to_keep and not realize(node).size_class:
            nodes[k] = own = Node(BUFFER, (), None, None, node.shape, node.dtype)
            own.buffer = allocate(bytes_of(node))
            own.buffer.array(node.shape, node.dtype)[...] = value_of(node)
        realize(nodes[k])
        if nodes[k] is not node:
            _put(column[k:k + 1], nodes[k:k + 1])


def _apart(optimizer: Any, group: dict[str, Any], rows: list[Row], values: list[Any]) -> list[Row]:
    parts: dict[Any, list[Row]] = {}
    for row, value in zip(rows, values, strict=True):
        parts.setdefault(value, []).append(row)
    return list(chain.from_iterable(_updated(optimizer, group, part) for part in parts.values()))


def _nodes(column: Sequence[Any], met: set[int]) -> list[Any]:
    """The nodes of tensors that are whole, row-major and in memory that is ours alone; None of others, and of those
    that share it with one that has been `met` (by the id of its storage)."""
    found = list(map(_node, column))
    if None in found:
        for k, node in enumerate(found):
            if node is None:
                t = column[k]
                storage = id(t._storage)
                found[k] = None if storage in met else _stored(t)
                met.add(storage)
    return found


def _stored(t: Any) -> Node | None:
    storage = t._storage
    if t._base is not None or t._offset or t._strides != contiguous_strides(t.shape) \
            or storage.node.dtype is not t.dtype or storage.shared and storage.pinned():
        return None
    if getattr(t, "_cached", None) is storage.node:  # what was seen through it, and would count as a holder
        t._cached = None
        t._seen = -1
    return storage.node  # type: ignore[no-any-return]


def _recorded(optimizer: Any, group: dict[str, Any], row: Row, before: list[Node], elements: list[int],
              numbers: list[int]) -> tuple[Update, list[Number], list[Node]] | None:
    """What a step does to this row, as if it had not been done; with its numbers, and those that its columns of
    `numbers` hold afterwards. None: it cannot be told so, and has been done."""
    pending, start, looks = session.pending, len(session.pending), session.looks
    counts = [_nodes([row[k]], set())[0] for k in numbers]
    optimizer._update_group(group, [row[0]])
    if len(pending) < start or session.looks != looks or len(optimizer.state.get(row[0], ())) != len(row) - 2:
        return None  # something was computed on the way, or the state has been begun
    after = [_nodes([row[k]], set())[0] for k in numbers]
    results = _nodes([row[k] for k in elements], set())
    made = _led_to(results, pending[start:]) if others else pending[start:]
    found = update_of(made, before, results)
    if found is None or not {CONST}.issuperset(map(_op, after)):
        return None
    if others:
        for node in made:
            pending.remove(node)
    else:
        del pending[start:]
    _put([row[k] for k in elements], before)
    _put([row[k] for k in numbers], counts)
    return *found, after


def _led_to(results: list[Any], nodes: list[Node]) -> list[Node]:
    """Those of `nodes` that lead to `results`. (What else has been recorded meanwhile is another thread's.)"""
    there, found = set(map(id, nodes)), set[int]()
    stack = [node for node in results if id(node) in there]
    while stack:
        node = stack.pop()
        if id(node) not in found:
            found.add(id(node))
            stack += [source for source in node.inputs if id(source) in there]
    return [node for node in nodes if id(node) in found]


def _put(column: Sequence[Any], nodes: list[Node]) -> None:
    """Write nodes into tensors that `_nodes` had some of."""
    for t, node in zip(column, nodes, strict=True):
        if t._node is not None:
            t._node = node
            t._seen += 1
        else:
            storage = t._storage
            storage.node = node
            storage.version += 1


def _run(update: Update, numbers: list[Number], written: list[Sequence[Any]], shapes: list[tuple[int, ...]],
         nodes: list[list[Node]]) -> bool:
    """`update` of all rows. `written`: the tensors of the columns that it writes. False: nobody compiles it."""
    dtypes = [column[0].dtype for column in nodes]
    leaves = list(chain.from_iterable(nodes))
    targets = list(chain.from_iterable([nodes[k] for k, _ in update.written]))
    nodes.clear()
    in_place = _alone(targets)
    entry = rows_of(update, shapes, dtypes, numbers, in_place)
    if entry is None:
        return False
    count = len(shapes)
    if in_place:  # the same nodes, so this counts the writes: before an interrupt can come behind them
        for k, column in enumerate(written):
            _put(column, targets[k * count:(k + 1) * count])
        entry.run(targets, leaves, numbers)
        return True
    targets = [Node(BUFFER, (), None, None, node.shape, node.dtype) for node in targets]
    entry.run(targets, leaves, numbers)
    for k, column in enumerate(written):
        _put(column, targets[k * count:(k + 1) * count])
    return True


def _alone(targets: list[Node]) -> bool:
    """Is there nobody but the tensors (and the two lists that the caller has) who holds any of these, or their
    memory?"""
    if max(map(getrefcount, targets)) > _LONE_NODE or len(set(map(id, targets))) < len(targets):
        return False
    return 0 not in map(_class, map(_buffer, targets)) and max(map(getrefcount, map(_buffer, targets))) <= _LONE_MEMORY


# ---- what the counts are, on this Python ------------------------------------------------------------------


class _Holder:
    """Stands for a tensor."""

    def __init__(self) -> None:
        self.node: Node = Node(BUFFER, (), None, None, (), float32)
        self.node.buffer = allocate(64)


def _node_of_no_other(held: bool) -> bool:
    holder = _Holder()
    leaves = [holder.node]
    targets = [*leaves]
    other = targets[0] if held else None
    seen = _alone(targets)
    del other
    return seen


def _memory_of_no_other(held: bool) -> bool:
    holder = _Holder()
    leaves = [holder.node]
    targets = [*leaves]
    other = targets[0].buffer if held else None
    seen = _alone(targets)
    del other
    return seen


_LONE_MEMORY = -liveness.UNKNOWN  # while the node alone is asked about
liveness.calibrate(globals(), "_LONE_NODE", _node_of_no_other)
liveness.calibrate(globals(), "_LONE_MEMORY", _memory_of_no_other)
