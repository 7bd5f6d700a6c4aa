"""Sizes that stay what they are while others are Symbols (symbols.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

ANY_HASH = 1_000_003  # of symbols


class Fixed(int):
    """A size that a template is for alone: an integer like others, but that it has the hash of Symbols, so that dicts
    and sets compare it with them, and what they find is a condition. What is computed of such sizes is one, too."""

    __slots__ = ()

    def __hash__(self) -> int:
        return ANY_HASH

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self


def _of_fixed(of: Callable[..., Any]) -> Any:
    def method(*given: Any) -> Any:
        found = of(*given)
        return found if found is NotImplemented else fixed(found)
    return method


for _name in """add radd sub rsub mul rmul floordiv rfloordiv mod rmod neg abs lshift rlshift rshift rrshift and rand or
                ror""".split():
    setattr(Fixed, f"__{_name}__", _of_fixed(getattr(int, f"__{_name}__")))


def fixed(value: int) -> int:
    """`value` as a size of a trace; 0, 1 and -1 are numbers."""
    return value if -2 < value < 2 else Fixed(value)
