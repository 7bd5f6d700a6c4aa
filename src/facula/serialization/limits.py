"""What a file may cost that is read with `weights_only=True`: time and memory that are linear in its length.

A few hundred bytes of a pickle can describe an object that takes longer to hash, print or compare than anybody can
wait, or nested so deeply that the interpreter's own stack ends: shared tuples in tuples, one list copied over and
over. A zip entry of nothing but zeros becomes a thousand times as long. Everything of that kind is counted here.
"""

from __future__ import annotations

import pickle
from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import Any

from facula.size import Size

_DEPTH = 100  # of tuples in tuples that are used as keys; hashing them goes as deep on the interpreter's own stack
_COLLISIONS = 64  # keys of one dictionary with one hash: looking one up compares it with all of them
_SMALL = 1 << 60  # integers below have hashes of their own
_FREE = 16 << 20  # bytes that objects may always take
_PER_BYTE = 8  # and bytes for each byte of the pickle
_SIZED = frozenset({str, bytes, bytearray, tuple, list, dict, set, frozenset, OrderedDict, Size})
_NESTING = frozenset({tuple, frozenset, Size})


class DamagedFile(pickle.UnpicklingError, RuntimeError):
    """A file that `load` cannot read, or does not want to: damaged, refused, or in need of more than it may take."""


class EmptyFile(DamagedFile, EOFError):
    """There is nothing in the file."""


class CallersError(Exception):
    """Carries what a function of the caller's (`map_location`) has raised past those who look for damage."""


def shown(value: Any) -> str:
    """A text for messages whose length and cost have a bound, whatever the value is."""
    kind = type(value)
    if kind in (str, bytes):
        return repr(value if len(value) <= 80 else value[:80]) + ("..." if len(value) > 80 else "")
    if kind in (int, float, complex, bool, type(None)):
        return repr(value) if kind is not int or abs(value) < 1 << 128 else f"an integer of {value.bit_length()} bits"
    if kind is tuple and len(value) <= 8:
        return f"({', '.join(f'a {kind.__name__}' if type(v) in _SIZED - {str} else shown(v) for v in value)})"
    if kind in _SIZED:
        return f"a {kind.__name__} of {len(value)}"
    return repr(value)[:200] if isinstance(value, type) or callable(value) else f"an object of {kind.__name__}"


class Limits:
    """What one call of `load` has left.

    Args:
        stored: bytes of the file.
    """

    def __init__(self, stored: int) -> None:
        self.stored = stored  # bytes of uncompressed entries: more can only be had by reading some of them twice
        self.unpacked = 2 * stored + (1 << 20)  # bytes of compressed entries, and of copies that are made here
        self.objects = self.hashed = 0
        self._weights: dict[int, tuple[Any, int, int]] = {}  # id -> tuple of tuples, what its hash visits, its depth
        self._hashes: Counter[tuple[int, int]] = Counter()
        self.pickle_of(stored)

    def pickle_of(self, length: int) -> None:
        """A pickle of so many bytes begins."""
        self.objects = _FREE + _PER_BYTE * length  # bytes
        self.hashed = (1 << 20) + 64 * length  # objects visited

    def take(self, what: str, count: int, why: str) -> None:
        """Take from a budget. UnpicklingError where less is left."""
        left = getattr(self, what) - count
        if left < 0:
            raise pickle.UnpicklingError(f"{why} takes more than a file of this length may ask for")
        setattr(self, what, left)

    def object(self, size: int) -> None:
        """An object of so many bytes is made."""
        self.objects -= size
        if self.objects < 0:
            raise pickle.UnpicklingError("the objects of the pickle take more memory than a file of this length may "
                                         "ask for")

    def call(self, arguments: tuple[Any, ...]) -> None:
        """A function is called that may copy its arguments, and theirs."""
        size = 0
        for argument in arguments:
            if type(argument) in _SIZED:
                size += len(argument)
                if type(argument) is tuple:
                    size += sum(len(inner) for inner in argument if type(inner) in _SIZED)
        self.object(16 * size)

    def nested(self, made: Any) -> Any:
        """Note how much a new tuple or frozenset costs to hash, if it has others inside. Returns it."""
        for item in made:
            if type(item) in _NESTING:
                self.object(200)
                weight, depth = 1, 0
                for inner in made:
                    w, d = self._cost(inner)
                    weight += w
                    depth = max(depth, d)
                self._weights[id(made)] = made, min(weight, 1 << 62), depth + 1
                break
        return made

    def _cost(self, value: Any) -> tuple[int, int]:
        kind = type(value)
        if kind in _NESTING:
            known = self._weights.get(id(value))
            return (known[1], known[2]) if known is not None else (1 + len(value), 1)
        return (1 + value.bit_length() // 64 if kind is int else 1), 0

    def key(self, value: Any, target: Any) -> Any:
        """`value` is about to be hashed, as a key or an element of `target`. Returns it."""
        kind = type(value)
        if kind is str or kind is int and -_SMALL < value < _SMALL:
            return value
        weight, depth = self._cost(value)
        if depth > _DEPTH:
            raise pickle.UnpicklingError(f"a key of tuples in tuples, {depth} deep, is refused")
        self.take("hashed", 2 * weight, "hashing the keys of the pickle")
        if kind is not bytes:  # whose hashes nobody can foresee
            place = id(target), hash(value)
            self._hashes[place] += 1
            if self._hashes[place] > _COLLISIONS:
                raise pickle.UnpicklingError(f"more than {_COLLISIONS} keys of one {type(target).__name__} have the "
                                             "same hash")
        return value

    def keys(self, values: Iterable[Any], target: Any) -> Any:
        """The same for several."""
        for value in values:
            self.key(value, target)
        return values
