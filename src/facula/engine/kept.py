"""What is remembered of graphs (steps, plans, replays), within a budget of bytes.

A plan of three nodes and one of three thousand are not the same to keep: entries are weighed, roughly, when they come.
The oldest go, but one that has been used since it was last looked at stays for another round.
"""

from __future__ import annotations

from typing import Any

from facula.config import threshold

LIMIT = threshold("kept_plans")  # entries of a cache
KEPT_BYTES = threshold("kept_bytes")  # of a cache, estimated
FEW = 8  # of the newest entries stay, whatever they weigh: a few large graphs must not drive each other out
_ENTRY = 200  # bytes of an entry's place, and of the objects that every one has


class Kept(dict[Any, Any]):
    """A cache. Entries that come by `keep` are weighed."""

    __slots__ = ("nbytes", "weights")

    def __init__(self) -> None:
        super().__init__()
        self.nbytes = 0
        self.weights: dict[Any, int] = {}

    def keep(self, key: Any, value: Any) -> None:
        weight = _ENTRY + weight_of(key) + weight_of(value)
        self.nbytes += weight - self.weights.pop(key, 0)
        self.pop(key, None)
        self[key] = value
        self.weights[key] = weight
        rounds = len(self)
        while len(self) > FEW and (self.nbytes > KEPT_BYTES or len(self) > LIMIT):
            oldest = next(iter(self))
            found = super().pop(oldest)
            rounds -= 1
            if rounds > 0 and getattr(found, "used", False):
                found.used = False
                self[oldest] = found
                continue
            self.nbytes -= self.weights.pop(oldest, 0)


def weight_of(thing: Any) -> int:
    """About so many bytes. Whatever has a `weight` says it itself."""
    total, stack = 0, [thing]
    while stack:
        one = stack.pop()
        kind = type(one)
        if kind is tuple or kind is list or issubclass(kind, tuple):
            total += 56 + 8 * len(one)
            stack.extend(one)
        elif kind is bytes or kind is str:
            total += 40 + len(one)
        elif kind is int:
            total += 32 * (not -5 <= one <= 256)
        elif hasattr(one, "weight"):
            total += one.weight()
    return total
