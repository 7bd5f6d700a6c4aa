"""Checks of values that are not there yet: effects of the graph.

An operation whose arguments may be wrong as only their elements show (an index out of range, an integer divided by
zero) records a node that tells, and goes on: nothing is computed for it, and no kernel reads or writes outside its
memory whatever an index says. `waiting` keeps these nodes alive, so that whoever computes next computes them too, and
has them judged.

An error is raised at the latest where a value is read (realize.py: `realize` and `flush` ask `settle`), not where much
is pending and some call happens to have it computed. It is raised once, by the thread that reads, and says which call
it is about. What the same thread has recorded after that call is not held against it: had the call raised at once, none
of it would have been recorded.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from ctypes import c_int8, c_int64
from typing import Any

from facula.config import threshold
from facula.devices import CPU
from facula.engine import recorder
from facula.engine.graph.node import META, Node
from facula.engine.session import session

# Of the value of the node's one element, and of whatever else the check was given: what is wrong, or None.
Judge = Callable[..., Exception | None]
# The node, its judge, what that is given, the call's file and line, the thread.
Check = tuple[Node, Judge, tuple[Any, ...], "tuple[str, int] | None", int]

waiting: list[Check] = session.waiting  # in the order of the calls
MOST = threshold("waiting_checks")  # checks after which what is pending is computed
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_AT: dict[int, Any] = {1: c_int8.from_address, 8: c_int64.from_address}


def add(node: Node, judge: Judge, facts: tuple[Any, ...]) -> None:
    """`judge(element, *facts)` says what is wrong once `node`, one integer or bool, is computed: now, if it is."""
    if node.op is META:
        return
    if node.buffer is not None:  # everything runs at its call
        error = judge(_element(node), *facts)
        if error is not None:
            raise error
        return
    waiting.append((node, judge, facts, _place(), threading.get_ident()))
    if len(waiting) > MOST:
        settle()  # of what has been computed and not read since
        if len(waiting) > MOST:
            recorder.above.flush()
            settle()


def withdraw(count: int) -> None:
    """Forget what this thread has added since `waiting` had so many: the call it was for has failed otherwise."""
    me = threading.get_ident()
    with recorder.lock:
        for check in waiting[count:]:
            if check[4] == me:
                waiting.remove(check)  # one by one: other threads add to it meanwhile


def _place() -> tuple[str, int] | None:
    """The file and line, outside this package, that made the call."""
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_PACKAGE):
            return name, frame.f_lineno
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _element(node: Node) -> int:
    """The integer or bool, without making an array of it."""
    assert node.buffer is not None
    if node.device is not CPU:
        return int(node.buffer.array((), node.dtype))
    return _AT[node.dtype.itemsize](node.buffer.ptr).value  # type: ignore[no-any-return]


def look() -> None:
    """`settle`, if there may be reason to. Nearly always the first is computed before the others, or with them."""
    try:
        first = waiting[0][0]
    except IndexError:  # another thread has been here
        return
    if first.buffer is not None:
        settle()


def left_behind(pending: Sequence[Node]) -> list[Node]:
    """Nodes to be judged that are neither computed nor pending: whoever was computing them has failed."""
    left = [check[0] for check in waiting if check[0].buffer is None]
    if left:
        about = set(map(id, pending))
        left = [node for node in left if id(node) not in about]
    return left


def settle() -> None:
    """Raise the error of the first call that was wrong, of those whose nodes have been computed."""
    with recorder.lock:
        failed: list[tuple[Check, Exception]] = []
        for check in [check for check in waiting if check[0].buffer is not None]:
            waiting.remove(check)
            node, judge, facts = check[:3]
            error = judge(_element(node), *facts)
            if error is not None:
                failed.append((check, error))
        if not failed:
            return
        (_, _, _, place, thread), error = failed[0]
        waiting[:0] = [check for check, _ in failed if check[4] != thread]
    if place is not None:
        error.args = (f"{error.args[0]} (called at {place[0]}:{place[1]})", *error.args[1:])
    raise error
