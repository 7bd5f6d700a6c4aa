"""Exceptions at chosen places of Facula's own code, as a signal handler's would come.

CPython asks for signals where a function begins, where a loop turns back and where a call has returned. `at` raises
there, at the k-th such place that a call of Facula's code passes; `Alarm` raises from a timer, wherever that is.
"""

from __future__ import annotations

import dis
import functools
import os
import signal
import sys
from collections.abc import Callable
from types import CodeType
from typing import Any

import facula

PACKAGE = os.path.dirname(os.path.abspath(facula.__file__)) + os.sep
_TURNS = frozenset(("RESUME", "JUMP_BACKWARD", "JUMP_ABSOLUTE"))
NEVER = 1 << 60


class Stop(KeyboardInterrupt):
    """What arrives."""


@functools.lru_cache(maxsize=None)
def _looks(code: CodeType) -> frozenset[int]:
    """Offsets of instructions before which a signal may be noticed."""
    found, called = [], False
    for one in dis.get_instructions(code):
        if called or one.opname in _TURNS:
            found.append(one.offset)
        if one.opname not in ("CACHE", "EXTENDED_ARG"):
            called = one.opname.startswith("CALL")
    return frozenset(found)


def at(k: int, call: Callable[[], Any]) -> tuple[bool, int, str]:
    """Run `call`, raising Stop at the k-th place within the package. Did Stop arrive, how many places were passed, and
    where was the last of them?"""
    passed, where = 0, ""

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal passed, where
        if event == "call":
            if not frame.f_code.co_filename.startswith(PACKAGE) or frame.f_code.co_name == "__del__":
                return None
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
        elif event == "opcode" and frame.f_lasti in _looks(frame.f_code):
            passed += 1
            if passed > k:
                where = f"{frame.f_code.co_filename[len(PACKAGE):]}:{frame.f_lineno} {frame.f_code.co_name}"
                sys.settrace(None)
                raise Stop
        return trace

    before = sys.gettrace()
    try:
        sys.settrace(trace)
        call()
    except Stop:
        return True, passed, where
    finally:
        sys.settrace(before)
    return False, passed, where


class Alarm:
    """Raises Stop once, when `seconds` are over."""

    def __init__(self) -> None:
        self.armed = False
        self.before = signal.signal(signal.SIGALRM, self._ring)

    def _ring(self, *_: Any) -> None:
        if self.armed:
            self.armed = False
            raise Stop

    def during(self, seconds: float, call: Callable[[], Any]) -> bool:
        """Did Stop arrive during `call`?"""
        try:
            self.armed = True
            signal.setitimer(signal.ITIMER_REAL, seconds)
            call()
            self.armed = False
        except Stop:
            return True
        finally:
            self.armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
        return False

    def close(self) -> None:
        signal.signal(signal.SIGALRM, self.before)
