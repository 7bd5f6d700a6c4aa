"""Marks of what PyTorch promises to keep. Nothing is promised or checked here: the marks are kept as attributes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

_T = TypeVar("_T")
_BACK_COMPAT_OBJECTS: dict[Any, None] = {}
_MARKED_WITH_COMPATIBILITY: dict[Any, None] = {}


def compatibility(is_backward_compatible: bool) -> Callable[[_T], _T]:
    """A decorator that says whether PyTorch keeps a function or class as it is."""
    def mark(found: _T) -> _T:
        _MARKED_WITH_COMPATIBILITY.setdefault(found)
        if is_backward_compatible:
            _BACK_COMPAT_OBJECTS.setdefault(found)
        return found
    return mark
