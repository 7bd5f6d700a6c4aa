"""Short functions that no signal handler interrupts at their beginning.

CPython asks for signals where a function begins, where a loop turns back and where a call has returned. A `__exit__`
that puts a mode back is too late if a Ctrl-C arrives as it begins; what a handler raises in a `__del__` is lost, since
Python prints and forgets it. Where a function begins the instruction RESUME asks, unless it says that a generator goes
on after `yield from` (2 in place of 0): then the signal waits for the next place, in the caller.
Python 3.10 has no RESUME: there a function that begins with `try` is not disturbed at its beginning.
"""

from __future__ import annotations

import sys
import threading
from opcode import hasjabs, opmap
from types import FunctionType
from typing import Any, TypeVar

F = TypeVar("F")
_RESUME = opmap.get("RESUME")  # None before Python 3.11
_GOES_ON = 2
_PREFIX = 2  # instructions: a `try` of nothing


def undisturbed(function: F) -> F:
    """The function itself, which must neither call nor loop before its work is done."""
    assert isinstance(function, FunctionType)
    if _RESUME is None and sys.implementation.name == "cpython":
        return _behind_a_try(function)  # type: ignore[no-any-return]
    code = bytearray(function.__code__.co_code)
    for at in range(0, len(code), 2):
        if code[at] == _RESUME:
            code[at + 1] = _GOES_ON
            function.__code__ = function.__code__.replace(co_code=bytes(code))
            break
    return function


def _behind_a_try(function: Any) -> Any:
    """For Python 3.10."""
    known, code = function.__code__, bytearray(function.__code__.co_code)
    for at in range(0, len(code), 2):
        assert code[at] != opmap["EXTENDED_ARG"]
        if code[at] in hasjabs:
            code[at + 1] += _PREFIX
    nothing = bytes((opmap["SETUP_FINALLY"], 0, opmap["POP_BLOCK"], 0))
    lines = bytes((len(nothing), 0)) + known.co_linetable
    function.__code__ = known.replace(co_code=nothing + bytes(code), co_linetable=lines)
    return function


_RLock: Any = type(threading.RLock())


class _Lock(_RLock):  # type: ignore[misc]
    """From Python 3.14 on `with` calls `__enter__` as one calls any function: signals are looked for between the
    return of one that is written in C and the block, and then nobody calls `__exit__`. So a lock of threading's stays
    taken for good: the thread that has it never sees that, every other one waits. To ask for an attribute looks for
    nothing, nor does the return of a function of Python's."""

    __slots__ = ()
    taken = property(_RLock.acquire)

    @undisturbed
    def __enter__(self) -> None:
        self.taken  # noqa: B018


def reentrant_lock() -> Any:
    """A `threading.RLock` that no interrupt leaves taken, if it is used by `with`."""
    return threading.RLock() if "BEFORE_WITH" in opmap or sys.version_info < (3, 11) else _Lock()


class PutBack:
    """A base of context managers whose `put_back`, which may be called twice, makes undone what `change` does: it has,
    wherever in either of them (or before the block, or after it) one exception of a signal handler comes."""

    def change(self) -> Any:
        raise NotImplementedError

    def put_back(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Any:
        try:
            return self.change()
        except BaseException:
            self.put_back()
            raise

    def _leave(self, *exc: object) -> None:
        try:
            self.put_back()
        except BaseException:
            self.put_back()
            raise

    __exit__ = undisturbed(_leave)
