"""What a thread is doing: is it tracing?"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _State(threading.local):
    tracing = False


_state = _State()


def is_tracing() -> bool:
    """Does `torch.jit.trace` run this code right now?

    Example:
        >>> import facula
        >>> answers = []
        >>> def double(x):
        ...     answers.append(facula.jit.is_tracing())
        ...     return 2 * x
        >>> traced = facula.jit.trace(double, facula.ones(2))
        >>> answers[-1], facula.jit.is_tracing()
        (True, False)
    """
    return _state.tracing


@contextmanager
def tracing() -> Iterator[None]:
    """`is_tracing()` is True within."""
    before = _state.tracing
    _state.tracing = True
    try:
        yield
    finally:
        _state.tracing = before
