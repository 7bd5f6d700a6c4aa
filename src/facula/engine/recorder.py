"""Recording: the list of nodes that have been asked for and not yet computed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from facula import config
from facula.dtypes import dtype
from facula.engine.graph.node import Node, Number, Primitive

pending: list[Node] = []  # in program order; realize.py empties it
lock = threading.RLock()  # held while the graph is walked and run
if hasattr(os, "register_at_fork"):  # a child must not inherit it from a thread that it does not have
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
# Pending nodes after which `overflow` is asked. 0: every operation runs at its call.
LIMIT = 0 if config.EAGER.value else 256
_AT_FIRST = LIMIT
MOST = 8192  # pending nodes after which everything is computed, whatever it looks like

# Asked at every node, instead of after LIMIT nodes, while there are meta tensors (engine/meta.py).
watch: Callable[[], None] | None = None

_append = pending.append
_blank = object.__new__
_native: Callable[..., Any] | None = None  # the rest of `record` in machine code, once there is some
_made = _native  # the same, but None while there are meta nodes: it knows one LIMIT


def use_machine_code() -> None:
    """As steps.use_machine_code, which calls this."""
    global _native
    from facula.engine.cpython import recording
    _native = recording.recorder(Node, pending, overflow, _AT_FIRST, tested=True)
    set_watch(watch)


def set_watch(look: Callable[[], None] | None) -> None:
    """Have `look` called after each node that is recorded, or nothing."""
    global watch, _made
    watch = look
    _made = _native if look is None else None


def record(op: Primitive, inputs: tuple[Node, ...], attrs: tuple[object, ...] | None,
           scalars: tuple[Number, ...] | None, shape: tuple[int, ...], of: dtype) -> Node:
    """A new pending node. Shapes and dtypes have been checked by the caller."""
    if _made is not None:
        return _made(op, inputs, attrs, scalars, shape, of)  # type: ignore[no-any-return]
    node = _blank(Node)
    node.op = op
    node.inputs = inputs
    node.attrs = attrs
    node.scalars = scalars
    node.shape = shape
    node.dtype = of
    node.buffer = node.slot = None
    _append(node)
    if len(pending) > LIMIT:
        overflow()
    return node


_look_at = _AT_FIRST + 1  # the number of pending nodes at which to look for a loop
_first = 0  # the first pending node's address when `_look_at` was put off
_period = 0  # of the loop that was seen last


def overflow() -> None:
    """Much is pending. A loop that never asks for a value would grow a graph without end, so what is recorded is
    looked at for repetition: once there is some, a whole number of turns is computed, always the same number, so that
    the graph (and its plan) is the same each time."""
    if watch is not None:
        watch()
    n = len(pending)
    if n < _look_at and LIMIT and (not _first or id(next(iter(pending), None)) == _first):
        return
    with lock:  # looking at nodes marks them
        if _enough():
            from facula.engine.realize import flush
            flush()


def _enough() -> bool:
    """Shall what is pending be computed now?"""
    global _look_at, _first, _period
    nodes = pending[:]  # other threads go on recording
    n = len(nodes)
    if _first and n and id(nodes[0]) != _first:  # it was put off for a graph that is computed by now
        _look_at, _first = _AT_FIRST + 1, 0
    if n < _look_at and LIMIT:
        return False
    if not LIMIT or n >= MOST or (_period and _turns(nodes, _period, 2)):
        return True
    _period = next((p for p in range(1, n // 3 + 1) if _turns(nodes, p, 3)), 0)
    if _period:
        _look_at, _first = _period * -(-(_AT_FIRST + 1) // _period), 0
        return True
    _look_at, _first = 2 * n if n < MOST // 2 else MOST, id(nodes[0])  # look again later
    return False


def _turns(nodes: list[Node], p: int, times: int) -> bool:
    """Are the last p * times nodes that many turns of a loop? Layers of a network that is being trained repeat, too;
    but what they compute is held (by the tape), where the turns of a loop leave little behind."""
    from facula.engine.steps import held_of
    last = nodes[-1]
    if nodes[-1 - p].op is not last.op:
        return False
    seen = [(node.op, node.attrs, node.shape) for node in nodes[-p * times:]]
    if seen[:-p] != seen[p:]:
        return False
    del last
    return 4 * sum(held_of(nodes, 2)[-2 * p:-p]) <= p
