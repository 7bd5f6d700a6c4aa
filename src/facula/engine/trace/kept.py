"""What has been seen before, up to a number of bytes."""

from __future__ import annotations

from sys import getsizeof
from typing import Any

Key = tuple[object, ...]


class Kept(dict[Key, Any]):
    """A cache of about `most` bytes: the oldest entries go first, except that those which say that they have been
    `used` since stay for another round, and that the `few` newest stay in any case. Values have a `weight`, their bytes
    and those of all that lives with them (plans, tables); or they are integers, which weigh nothing."""

    __slots__ = ("most", "few", "held")

    def __init__(self, most: int, few: int = 1) -> None:
        self.most = most
        self.few = few
        self.held = 0

    def keep(self, key: Key, value: Any) -> None:
        """Put an entry in, as the newest."""
        if key in self:
            self.held -= _weight(key, self.pop(key))
        self[key] = value
        self.held += _weight(key, value)
        self._shrink()

    def grown(self, nbytes: int) -> None:
        """The weight of an entry has become so much more."""
        self.held += nbytes
        self._shrink()

    def clear(self) -> None:
        super().clear()
        self.held = 0

    def _shrink(self) -> None:
        spared = 0
        while self.held > self.most and len(self) > self.few:
            oldest = next(iter(self))
            value = self.pop(oldest)
            if spared < len(self) and getattr(value, "used", False):
                spared += 1
                value.used = False
                self[oldest] = value
                continue
            self.held -= _weight(oldest, value)


def _weight(key: Key, value: Any) -> int:
    return getsizeof(key) + sum(map(getsizeof, key)) + (100 if type(value) is int else value.weight)
