"""Integers that say what they were computed from, and remember what was asked of them.

Whoever computes something from sizes, to be used again for other sizes, does it with `Quantity`s. Words made of them
say in Python how they follow from the integers `q` that it began with, and each comparison is a *guard*: a condition on
`q` that held. What was made serves all sizes for which the guards hold, with words that are computed anew.

A Quantity is an int wherever Python asks in C (`range`, an index, `int()`): such a question leaves no guard. Nor does
a function that caches its results, which would answer with other Quantities, or keep these: none may be given any.
A Quantity cannot be written into a text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

Guards = dict[str, None]  # conditions, in the order in which they were met


class Quantity(int):
    """`source`: how it follows from `q`; `never`: numbers that it is known not to be, for which nobody has to ask."""

    source: str
    guards: Guards
    never: tuple[int, ...]

    def __new__(cls, value: int, source: str, guards: Guards, never: tuple[int, ...] = ()) -> Quantity:
        made = super().__new__(cls, value)
        made.source, made.guards, made.never = source, guards, never
        return made

    def __format__(self, spec: str) -> str:
        raise AssertionError(f"{self.source} gets into a kernel's text")

    __str__ = __repr__ = lambda self: format(self)

    def _made(self, value: int, source: str) -> Quantity:
        return Quantity(value, f"({source})", self.guards)

    def __neg__(self) -> Quantity:
        return self._made(-int(self), f"-{self.source}")

    def __add__(self, other: int) -> Quantity:
        if type(other) is int and other == 0:
            return self
        return self._made(int(self) + int(other), f"{self.source} + {source(other)}")

    def __sub__(self, other: int) -> Quantity:
        return self._made(int(self) - int(other), f"{self.source} - {source(other)}")

    def __rsub__(self, other: int) -> Quantity:
        return self._made(int(other) - int(self), f"{source(other)} - {self.source}")

    def __mul__(self, other: int) -> int:  # type: ignore[override]
        if type(other) is int and (other == 0 or other == 1):
            return self if other else 0
        return self._made(int(self) * int(other), f"{self.source} * {source(other)}")

    def __floordiv__(self, other: int) -> Quantity:
        return self._made(int(self) // int(other), f"{self.source} // {source(other)}")

    def __rfloordiv__(self, other: int) -> Quantity:
        return self._made(int(other) // int(self), f"{source(other)} // {self.source}")

    def __mod__(self, other: int) -> Quantity:
        return self._made(int(self) % int(other), f"{self.source} % {source(other)}")

    def __rmod__(self, other: int) -> Quantity:
        return self._made(int(other) % int(self), f"{source(other)} % {self.source}")

    def __divmod__(self, other: int) -> tuple[Quantity, Quantity]:
        return self // other, self % other

    def __abs__(self) -> Quantity:
        return self._made(abs(int(self)), f"abs({self.source})")

    __radd__, __rmul__ = __add__, __mul__
    __hash__ = int.__hash__

    def _asked(self, outcome: bool, relation: str, opposite: str, other: int) -> bool:
        self.guards[f"{self.source} {relation if outcome else opposite} {source(other)}"] = None
        return outcome

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, int) or type(other) is int and other in self.never:
            return False
        return self is other or self._asked(int(self) == int(other), "==", "!=", other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __lt__(self, other: int) -> bool:
        return self._asked(int(self) < int(other), "<", ">=", other)

    def __ge__(self, other: int) -> bool:
        return self._asked(int(self) >= int(other), ">=", "<", other)

    def __gt__(self, other: int) -> bool:
        return self._asked(int(self) > int(other), ">", "<=", other)

    def __le__(self, other: int) -> bool:
        return self._asked(int(self) <= int(other), "<=", ">", other)

    def __bool__(self) -> bool:
        return self != 0


def source(value: int) -> str:
    return value.source if isinstance(value, Quantity) else str(value)


def formula(words: Sequence[object]) -> Callable[[Sequence[int]], tuple[Any, ...]]:
    """A function that gives these words for other integers `q`. What is no integer stays as it is."""
    parts = [source(w) if isinstance(w, int) else repr(w) for w in words]
    made: Callable[[Sequence[int]], tuple[Any, ...]] = eval(f"lambda q: ({''.join(p + ', ' for p in parts)})")
    return made


def condition(guards: Iterable[str]) -> Callable[[Sequence[int]], bool]:
    """Do all `guards` hold for integers `q`?"""
    made: Callable[[Sequence[int]], bool] = eval(f"lambda q: {' and '.join(guards) or 'True'}")
    return made
