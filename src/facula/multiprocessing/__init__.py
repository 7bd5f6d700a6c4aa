"""Python's `multiprocessing` under torch's name, with `spawn` and `start_processes`.

Tensors go through queues and pipes by value: memory is not shared between processes yet, so a child's writes into a
tensor are its own. `share_memory_()` and sharing strategies come with that.

    spawning.py   spawn, start_processes, and the exceptions of children

Example:
    >>> import facula.multiprocessing as mp
    >>> mp.get_sharing_strategy(), mp.cpu_count() >= 1
    ('file_descriptor', True)
"""

from __future__ import annotations

import multiprocessing
from multiprocessing import *  # noqa: F403
from typing import Any

from facula import absent
from facula.multiprocessing.spawning import (
    ProcessContext,
    ProcessException,
    ProcessExitedException,
    ProcessRaisedException,
    SpawnContext,
    spawn,
    start_processes,
)

__all__ = [  # noqa: PLE0604
    "ProcessContext", "ProcessException", "ProcessExitedException", "ProcessRaisedException", "SpawnContext",
    "get_all_sharing_strategies", "get_sharing_strategy", "set_sharing_strategy", "spawn", "start_processes",
    *multiprocessing.__all__,
]


def get_all_sharing_strategies() -> set[str]:
    """The names that `set_sharing_strategy` takes."""
    return {"file_descriptor", "file_system"}


_strategy = ["file_descriptor"]


def get_sharing_strategy() -> str:
    """The strategy that was set; it has no effect yet, because tensors go by value."""
    return _strategy[0]


def set_sharing_strategy(new_strategy: str) -> None:
    """Accepted: tensors go by value, and use no descriptors. ValueError of an unknown one.

    Example:
        >>> import facula.multiprocessing as mp
        >>> mp.set_sharing_strategy("file_system")
        >>> mp.get_sharing_strategy()
        'file_system'
    """
    if new_strategy not in get_all_sharing_strategies():
        raise ValueError(f"set_sharing_strategy: expected one of {sorted(get_all_sharing_strategies())}, got "
                         f"{new_strategy!r}")
    _strategy[0] = new_strategy


def __getattr__(name: str) -> Any:
    if name.startswith("_") or hasattr(multiprocessing, name):
        return getattr(multiprocessing, name)
    raise absent.missing("multiprocessing", name)
