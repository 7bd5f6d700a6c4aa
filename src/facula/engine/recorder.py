"""Recording: the list of nodes that have been asked for and not yet computed."""

from __future__ import annotations

import os
import threading

from facula import config
from facula.dtypes import dtype
from facula.engine.graph.node import Node, Number, Primitive

pending: list[Node] = []  # in program order; realize.py empties it
lock = threading.RLock()  # held while the graph is walked and run
if hasattr(os, "register_at_fork"):  # a child must not inherit it from a thread that it does not have
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
# Pending nodes after which the recorder flushes by itself: the last resort against growth. 0: every operation
# runs at its call.
LIMIT = 0 if config.EAGER.value else 8192

_append = pending.append
_blank = object.__new__


def record(op: Primitive, inputs: tuple[Node, ...], attrs: tuple[object, ...] | None,
           scalars: tuple[Number, ...] | None, shape: tuple[int, ...], of: dtype) -> Node:
    """A new pending node. Shapes and dtypes have been checked by the caller."""
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


def overflow() -> None:
    """Too much is pending: compute it now."""
    from facula.engine.realize import flush
    flush()
