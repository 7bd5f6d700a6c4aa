"""Meta values: a shape and a dtype, and no elements (`device="meta"`).

A META node is what nothing computes. Whatever is recorded over one becomes one itself, at the call:
it forgets its inputs and is never pending, so that flushes, plans and replays need to know nothing
of this, and what is dropped is gone. A tensor is on the meta device if its node is META.

Recording pays for this only while there is a META node. `recorder.overflow`, which is asked after
LIMIT nodes, is then asked after every one: LIMIT is -1. All META nodes refer to one object, and its
reference count tells when the last of them is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.dtypes import dtype
from facula.engine import realize, recorder
from facula.engine.cpython import liveness
from facula.engine.cpython.liveness import getrefcount
from facula.engine.graph.node import META, Node
from facula.engine.recorder import lock, pending
from facula.size import Size

_NOTHING: tuple[Node, ...] = ()
_alive: tuple[object, ...] = (object(),)
_NOBODY = liveness.UNKNOWN  # references to _alive when there is no META node
_NO_ELEMENTS = 0, -1  # as the range of an index: every check of indices lets it pass
# Nodes at the end of `pending` that are looked at. A thread may be interrupted between recording a
# node and having it looked at: others then see it not far from the end, and make it meta (an error
# that it should have raised is lost then).
_DEPTH = 32

_switches: list[tuple[dict[str, Any], str, Any, Any]] = []
# Called when a node is recorded over meta values and elements alike: raises if they were mixed by
# the program.
on_mixture: Callable[[], None] | None = None


def switch(namespace: dict[str, Any], name: str, value: Any) -> None:
    """Set a module's variable to `value` while there are meta nodes."""
    _switches.append((namespace, name, namespace[name], value))
    if recorder.watch is not None:  # a module that is imported late
        namespace[name] = value


if recorder.LIMIT:
    switch(recorder.__dict__, "LIMIT", -1)


def meta_node(shape: tuple[int, ...], of: dtype) -> Node:
    """A value without elements."""
    shape = shape if type(shape) is Size else tuple.__new__(Size, shape)
    with lock:
        node = Node(META, _NOTHING, _alive, None, shape, of)
        node.range = _NO_ELEMENTS
        if recorder.watch is None:
            for namespace, name, _, value in _switches:
                namespace[name] = value
            recorder.set_watch(_watch)
    return node


def _none_left() -> bool:
    return getrefcount(_alive) <= _NOBODY


def _none_left_if(held: bool) -> bool:
    other = _alive if held else None
    seen = _none_left()
    del other
    return seen


liveness.calibrate(globals(), "_NOBODY", _none_left_if)


def _watch() -> None:
    """What was recorded over a META node becomes one; when there is none left, watching ends."""
    mixed = False
    with lock:
        if _none_left():
            recorder.set_watch(None)
            for namespace, name, value, _ in _switches:
                namespace[name] = value
            return
        last = len(pending) - 1
        for place in range(last, max(last - _DEPTH, -1), -1):
            node = pending[place]
            for source in node.inputs:
                if source.op is META:
                    if _collapse(node) and place == last:
                        mixed = True
                    del pending[place]
                    break
    if mixed and on_mixture is not None:
        on_mixture()


def _run(nodes: list[Node]) -> None:
    """realize.run, without what another thread has recorded over a META node and not looked at."""
    found = []
    # not over the nodes themselves: a reference that lasts would count as a holder
    for place in range(len(nodes)):
        if any(source.op is META for source in nodes[place].inputs):
            _collapse(nodes[place])
            found.append(place)
    for place in reversed(found):
        del nodes[place]
    if nodes:
        _run_elements(nodes)


_run_elements = realize.run
switch(realize.__dict__, "run", _run)


def _collapse(node: Node) -> bool:
    """Make `node` a META node. Has it an input with elements that no broadcasting would explain?"""
    inputs = node.inputs
    node.op, node.inputs, node.attrs, node.scalars = META, _NOTHING, _alive, None
    node.range = _NO_ELEMENTS
    return any(source.op is not META and source.shape for source in inputs)
