"""Switches that hold for all checkpoints within a context."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

early_stop: bool | None = None  # None: what each checkpoint says
debug: bool | None = None


@contextlib.contextmanager
def set_checkpoint_early_stop(enable: bool) -> Iterator[None]:
    """Whether the second run ends as soon as all values are there, of the checkpoints within, whatever they say.

    Example:
        >>> import facula
        >>> from facula.utils.checkpoint import checkpoint, set_checkpoint_early_stop
        >>> def f(x):
        ...     y = x.exp()
        ...     print("done")
        ...     return y.sum()
        >>> with set_checkpoint_early_stop(False):
        ...     y = checkpoint(f, facula.ones(2, requires_grad=True), use_reentrant=False)
        done
        >>> y.backward()
        done
    """
    global early_stop
    before, early_stop = early_stop, enable
    try:
        yield
    finally:
        early_stop = before


@contextlib.contextmanager
def set_checkpoint_debug_enabled(enabled: bool | None) -> Iterator[None]:
    """Whether errors of the checkpoints within list the operations of both runs; None: what each checkpoint says."""
    global debug
    before, debug = debug, enabled
    try:
        yield
    finally:
        debug = before
