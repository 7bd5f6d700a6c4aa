"""`record_function` of torch's profiler: accepted, and without effect."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


class record_function:
    """A named range of a profile. Facula has `facula explain` instead: nothing is recorded."""

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name = name

    def __enter__(self) -> record_function:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)
        return wrapped
