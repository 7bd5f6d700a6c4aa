"""Exceptions that are Facula's own.

Where PyTorch raises a built-in exception (RuntimeError, IndexError, TypeError, ValueError), so does Facula:
programs catch those. The classes here are for what has no counterpart there, and derive from RuntimeError.
Warnings go through `warn`.
"""

from __future__ import annotations

import sys
import warnings
from types import FrameType
from typing import cast

_OURS = frozenset(("facula", "llvmlite", "numpy", *sys.stdlib_module_names))


class CompileError(RuntimeError):
    """A kernel could not be turned into machine code: a defect of Facula, not of the program that met it."""


class VerifyError(CompileError):
    """FACULA_VERIFY=1 found that a pass of the compiler hands on what it must not."""


class PlanFileError(RuntimeError):
    """A plan file (engine/plan_file.py) that says what no plan can be."""


class BackendUnavailable(RuntimeError):
    """The machine or the installation lacks what a backend needs (llvmlite, a supported processor)."""


class LinAlgError(RuntimeError):
    """A factorization failed: the matrix is singular, not positive-definite, or has elements that are not finite."""


LinAlgError.__name__ = LinAlgError.__qualname__ = "_LinAlgError"  # PyTorch's name


class OutOfMemoryError(RuntimeError, MemoryError):
    """Memory could not be had: torch's RuntimeError and Python's MemoryError at once."""


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn of the line that has called Facula, however many frames of its own lie between: modules, forms of
    operations, doors (ops/listening.py). A number of frames, as `warnings.warn` takes it, would differ from road to
    road. While a mode or a subclass stands between, its line is it."""
    level, frame = 2, cast("FrameType | None", sys._getframe(1))  # 1 is this function
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "facula":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


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
