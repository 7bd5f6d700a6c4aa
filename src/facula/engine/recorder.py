"""Recording: the list of nodes that have been asked for and not yet computed."""

from __future__ import annotations

import threading

from facula import config
from facula.dtypes import dtype
from facula.engine.graph.node import Node, Number, Primitive

pending: list[Node] = []  # in program order; realize.py empties it
lock = threading.RLock()  # held while the graph is walked and run
LIMIT = 8192  # pending nodes after which the recorder flushes by itself: the last resort against growth

_append = pending.append


def record(op: Primitive, inputs: tuple[Node, ...], attrs: tuple[object, ...] | None,
           scalars: tuple[Number, ...] | None, shape: tuple[int, ...], of: dtype) -> Node:
    """A new pending node. Shapes and dtypes have been checked by the caller."""
    node = Node(op, inputs, attrs, scalars, shape, of)
    _append(node)
    if EAGER or len(pending) > LIMIT:
        _flush()
    return node


def _flush() -> None:
    from facula.engine.realize import flush
    flush()


EAGER = config.EAGER.value
