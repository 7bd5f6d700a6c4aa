"""Exceptions that are Facula's own.

Where PyTorch raises a built-in exception (RuntimeError, IndexError, TypeError, ValueError), so does Facula:
programs catch those. The classes here are for what has no counterpart there, and derive from RuntimeError.
"""

from __future__ import annotations


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
