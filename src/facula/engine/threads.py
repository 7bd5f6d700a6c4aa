"""Threads of Python that write to the same tensors: none of their writes may be lost.

A write in place reads the newest node of a tensor, records, and puts another node in its place; between the first and
the last another thread may do the same, and one of the two writes would be gone. So whoever writes takes the engine's
lock, but only in programs that have begun a second thread: `others` says so. It is set before that thread runs, by the
one thread there is, which is in no write then. While it is empty, to look at it is all that a write costs.
"""

from __future__ import annotations

import functools
import sys
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from facula.engine.session import session

others: list[None] = []  # has an entry once there has been a second thread
_first = threading.get_ident()
_alone: AbstractContextManager[Any] = nullcontext()


def turn() -> AbstractContextManager[Any]:
    """A context for a write of several steps: no other thread writes meanwhile. It must not call what the user has
    defined, which may wait for other threads."""
    return session.lock if others else _alone


def looking() -> None:
    """To be called in a thread: it may be one that did not come by `threading`."""
    if not others and threading.get_ident() != _first:
        others.append(None)


def _noticed(start: Any) -> Any:
    @functools.wraps(start)
    def form(self: threading.Thread) -> Any:
        if not others:
            others.append(None)
        return start(self)
    return form


# There is no public way to be told of a new thread that costs nothing afterwards: an audit hook is called for each
# `id(...)`, a trace function for each line, and asking for the thread's number at each write costs 3% of a small one.
threading.Thread.start = _noticed(threading.Thread.start)  # type: ignore[method-assign]
if len(sys._current_frames()) > 1:  # we have been imported by a program that has several
    others.append(None)
