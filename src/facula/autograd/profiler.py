"""`record_function`: named ranges of a program, which `facula.profiler.profile` puts into its table.

While nobody profiles, a range does nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

# What wants to know of ranges: profiles that are running. Each has `enter(name)` and `leave()`.
listeners: list[Any] = []


class record_function:
    """A named range of a profile, as context manager or decorator.

    Example:
        >>> import facula
        >>> with facula.profiler.profile() as profile:
        ...     with facula.autograd.profiler.record_function("two sums"):
        ...         y = facula.ones(2).sum() + facula.ones(3).sum()
        >>> [e.count for e in profile.key_averages() if e.key == "two sums"]
        [1]
    """

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name = name
        self._told: list[Any] = []

    def __enter__(self) -> record_function:
        self._told = listeners[:]
        for listener in self._told:
            listener.enter(self.name)
        return self

    def __exit__(self, *exc: object) -> None:
        told, self._told = self._told, []
        for listener in told:
            listener.leave(self.name)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with record_function(self.name):
                return function(*args, **kwargs)
        return wrapped


def __getattr__(name: str) -> Any:
    """`profile` stands on the profiler, which few programs need: loaded when first asked for."""
    if name in ("profile", "ProfilerActivity"):
        import importlib
        return getattr(importlib.import_module("facula.profiler.autograd_profile"), name)
    raise AttributeError(f"module 'facula.autograd.profiler' has no attribute {name!r}")
