"""Many tensors whose nodes are in memory, as rows of an update (engine/trace/rows.py): taking them out, having them
updated, putting them back. What is said of a parameter (optim/_rows.py) or of any tensor (many.py) is done so to all.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

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
from facula.engine.trace.rows import Update, rows_of
from facula.engine.trace.work import bytes_of
from facula.ops.listening import anybody

_node, _op, _buffer, _class = map(attrgetter, ("_node", "op", "buffer", "size_class"))
_LONE_NODE = _LONE_MEMORY = liveness.UNKNOWN  # measured at the end of this page
MANY = threshold("row_tensors")  # with fewer, recording costs less than telling what is alike


def recordable() -> bool:
    """May what is done to one tensor be told of others? Not while somebody wants to hear of each call."""
    return not mode.grad and session.plain and bool(recorder.LIMIT) and not anybody()


def nodes_of(column: Sequence[Any], met: set[int]) -> list[Any]:
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


def compute(nodes: list[Node], column: Sequence[Any], to_keep: bool) -> None:
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
            put(column[k:k + 1], nodes[k:k + 1])


def put(column: Sequence[Any], nodes: list[Node]) -> None:
    """Write nodes into tensors that `nodes_of` had some of."""
    for t, node in zip(column, nodes, strict=True):
        if t._node is not None:
            t._node = node
            t._seen += 1
        else:
            storage = t._storage
            storage.node = node
            storage.version += 1


def led_to(results: list[Any], nodes: list[Node]) -> list[Node]:
    """Those of `nodes` that lead to `results`. (What else has been recorded meanwhile is another thread's.)"""
    if not others:
        return nodes
    there, found = set(map(id, nodes)), set[int]()
    stack = [node for node in results if id(node) in there]
    while stack:
        node = stack.pop()
        if id(node) not in found:
            found.add(id(node))
            stack += [source for source in node.inputs if id(source) in there]
    return [node for node in nodes if id(node) in found]


def drop(made: list[Node], start: int) -> None:
    """Take back what has been recorded, from place `start` on."""
    pending = session.pending
    if others:
        for node in made:
            pending.remove(node)
    else:
        del pending[start:]


def run(update: Update, numbers: list[Number], written: list[Sequence[Any]], shapes: list[tuple[int, ...]],
       nodes: list[list[Node]], shared: Sequence[Node] = ()) -> bool:
    """`update` of all rows, all of which read `shared`. `written`: the tensors of the columns that it writes. False:
    nobody compiles it."""
    dtypes = [column[0].dtype for column in nodes]
    leaves = [*chain.from_iterable(nodes), *shared]
    targets = list(chain.from_iterable([nodes[k] for k, _ in update.written]))
    nodes.clear()
    in_place = _alone(targets)
    entry = rows_of(update, shapes, dtypes, numbers, in_place, [node.dtype for node in shared])
    if entry is None:
        return False
    count = len(shapes)
    if in_place:  # the same nodes, so this counts the writes: before an interrupt can come behind them
        for k, column in enumerate(written):
            put(column, targets[k * count:(k + 1) * count])
        entry.run(targets, leaves, numbers)
        return True
    targets = [Node(BUFFER, (), None, None, node.shape, node.dtype) for node in targets]
    entry.run(targets, leaves, numbers)
    for k, column in enumerate(written):
        put(column, targets[k * count:(k + 1) * count])
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
