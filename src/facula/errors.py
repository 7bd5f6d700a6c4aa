"""Exceptions that are Facula's own.

Where PyTorch raises a built-in exception (RuntimeError, IndexError, TypeError, ValueError), so does Facula:
programs catch those. The classes here are for what has no counterpart there, and derive from RuntimeError.
"""

from __future__ import annotations

import sys

_OURS = frozenset(("facula", "llvmlite", "numpy", *sys.stdlib_module_names))


class CompileError(RuntimeError):
    """A kernel could not be turned into machine code: a defect of Facula, not of the program that met it."""


class VerifyError(CompileError):
    """FACULA_VERIFY=1 found that a pass of the compiler hands on what it must not."""


class PlanFileError(RuntimeError):
    """A plan file (engine/plan_file.py) that says what no plan can be."""


class BackendUnavailable(RuntimeError):
    """The machine or the installation lacks what a backend needs (llvmlite, a supported processor)."""


class OutOfMemoryError(RuntimeError, MemoryError):
    """Memory could not be had: torch's RuntimeError and Python's MemoryError at once."""


def of_our_making(error: BaseException) -> bool:
    """Has the code that was called raised this itself? Signal handlers (a time limit) run in the midst of whatever is
    running, and other threads can raise in this one: what they raise is for the program, which is waiting for it."""
    if type(error).__module__.partition(".")[0] not in _OURS:
        return False
    trace = error.__traceback__.tb_next if error.__traceback__ is not None else None  # the catcher's own frame is first
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__") or ""
        if name.partition(".")[0] not in _OURS:
            return False
        trace = trace.tb_next
    return True
