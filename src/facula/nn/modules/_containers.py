"""What containers have in common: children numbered from 0, and entries given as pairs."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .module import Module


def position(index: Any, size: int) -> int:
    """`index` counted from the front; IndexError if there is none such."""
    index = operator.index(index)
    if not -size <= index < size:
        raise IndexError(f"index {index} is out of range")
    return index % size  # type: ignore[no-any-return]


class Numbered(Module):
    """A module whose attributes 0, 1, ... are its entries."""

    def __len__(self) -> int:
        return len(self._modules)

    def _get_abs_string_index(self, idx: Any) -> str:
        return str(position(idx, len(self)))

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]


def entries(owner: str, given: Any) -> Iterator[tuple[Any, Any]]:
    """Entries of a mapping, or of an iterable of pairs, with PyTorch's complaints."""
    if not isinstance(given, Iterable):
        raise TypeError(f"{owner}.update should be called with an iterable of key/value pairs, but "
                        "got " + type(given).__name__)
    if isinstance(given, Mapping) or hasattr(given, "items"):
        yield from given.items()
        return
    for j, pair in enumerate(given):
        if not isinstance(pair, Iterable):
            raise TypeError(f"{owner} update sequence element #{j} should be Iterable; is "
                            f"{type(pair).__name__}")
        if len(pair) != 2:  # type: ignore[arg-type]
            raise ValueError(f"{owner} update sequence element #{j} has length "
                             f"{len(pair)}; 2 is required")  # type: ignore[arg-type]
        yield tuple(pair)
