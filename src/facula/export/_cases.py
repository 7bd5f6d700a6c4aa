"""In which cases a program with open sizes is tried, and what becomes of a case that disagrees.

A size that is left open has the example's value in the first case, values without common factors in the next ones, and
the ends of its range in the last two. Every operation is asked for its shapes in all of them; what Python asks about
sizes has to have one answer. So an operation or a question that does not hold for all sizes is met while the program is
captured, whatever it is made of.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from facula.symbolic_expressions import Relation

# Primes, and twice as large ones, far enough from each other that parts of them (by a stride of 32) differ.
_PRIMES = (101, 158, 211, 262, 311, 358, 409, 458, 509, 562, 613, 662, 709, 758, 809, 862, 911, 958, 1009, 1082, 1129,
           1186, 1237, 1286, 1361, 1418, 1471, 1522, 1571, 1618, 1667, 1714, 1777, 1838, 1889, 1942, 1993, 2042, 2089,
           2138)
# Where a range has no end: as large as an operation may still make tables of.
_LARGE = 8209
_LARGE_OF_MANY = 2003
_LOWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
_SCANNED = 4096


class Again(BaseException):
    """The capture has to begin anew: a case does not agree. (No Exception: the program's own `except` is not meant.)

    case: which; relation: what has to hold, or None; error: what an operation raised; at: how far the capture had come;
    where: the program's line; need: how many cases in a row it takes to tell a formula.
    """

    def __init__(self, case: int, relation: Relation | None, error: BaseException | None, at: int, where: str,
                 what: str = "", need: int = 0) -> None:
        super().__init__()
        self.need = need
        self.case, self.relation, self.error, self.at, self.where, self.what = case, relation, error, at, where, what


@dataclass(frozen=True)
class Size:
    """An open size. `kind`: "named", "auto" or "dynamic"; `path`: where it stands, as messages say it."""

    symbol: str
    kind: str
    hint: int
    lower: int
    upper: int | None
    path: str
    name: str = ""
    declared: tuple[int, int | None] = (0, None)
    step: int = 1  # of what it is a multiple


@dataclass(frozen=True)
class Plan:
    """The open sizes, which of them were found to be others or fixed, and the cases' ends."""

    sizes: dict[str, Size]
    same: dict[str, str] = field(default_factory=dict)  # a symbol that has to be another one
    fixed: frozenset[str] = frozenset()
    low: int = 0  # place in _LOWS
    high: bool = True
    row: int = 0  # cases with values that follow each other: for what is divided

    def root(self, symbol: str) -> str:
        """What stands for a symbol."""
        while symbol in self.same:
            symbol = self.same[symbol]
        return symbol

    @property
    def free(self) -> list[Size]:
        """The sizes that are open still."""
        return [size for symbol, size in self.sizes.items() if symbol not in self.same and symbol not in self.fixed]

    def cases(self) -> list[dict[str, int]]:
        """The value of every symbol in each case."""
        free = self.free
        if not free:
            return [{symbol: size.hint for symbol, size in self.sizes.items()}]
        found = [{size.symbol: size.hint for size in free}]
        for k in range(max(3, len(free) + 2)):
            found.append({size.symbol: self._between(size, k * len(free) + i) for i, size in enumerate(free)})
        low = _LOWS[self.low]
        found.append({size.symbol: self._fit(size, min(max(size.lower, low), size.hint), up=True) for size in free})
        for k in range(self.row):
            found.append({size.symbol: self._in_row(size, i, k) for i, size in enumerate(free)})
        if self.high:
            large = [_LARGE if len(free) == 1 else _LARGE_OF_MANY + 1009 * i for i in range(len(free))]
            found.append({size.symbol: self._fit(size, end if size.upper is None else size.upper)
                          for size, end in zip(free, large, strict=True)})
        return [{symbol: case.get(self.root(symbol), self.sizes[self.root(symbol)].hint) for symbol in self.sizes}
                for case in found]

    def _fit(self, size: Size, value: int, up: bool = False) -> int:
        return value + (-value % size.step if up else -(value % size.step))

    def _between(self, size: Size, k: int) -> int:
        """A value within the range that is unlike the others."""
        step = size.step
        value = _PRIMES[k % len(_PRIMES)] * step
        if size.upper is None:
            return value if value >= size.lower else size.lower + value + (-size.lower % step)
        if size.lower <= value <= size.upper:
            return value
        span = max(size.upper - max(size.lower, 2), 0)
        return self._fit(size, max(size.lower, min(2, size.upper)) + (value % (span + 1)), up=False) or size.hint

    def _in_row(self, size: Size, i: int, k: int) -> int:
        """The value of a size in the k-th of the cases that follow each other."""
        start = max(size.lower, 401 + 197 * i, size.hint)
        if size.upper is not None:
            start = max(size.lower, min(start, size.upper - self.row + 1))
        value = start + k
        return self._fit(size, value if size.upper is None else min(value, size.upper), up=size.upper is None)

    @property
    def is_low(self) -> int:
        """The number of the case at the lower end; -1 if there is none."""
        if not self.free:
            return -1
        return 1 + max(3, len(self.free) + 2)

    def lowered(self) -> Plan | None:
        """With a larger lower end; None if there is none below the examples."""
        if self.low + 1 >= len(_LOWS) or all(_LOWS[self.low] >= size.hint for size in self.free):
            return None
        return replace(self, low=self.low + 1)

    @property
    def least(self) -> int:
        """The lower end that was tried."""
        return _LOWS[self.low]


def holds_between(relation: Relation, symbol: str, size: Size) -> tuple[int, int | None]:
    """The values around the example for which a relation about one size holds, without a gap."""
    def good(value: int) -> bool:
        try:
            return relation.at({symbol: value})
        except ZeroDivisionError:
            return False
    lower = upper = size.hint
    step = size.step
    while lower - step >= max(size.lower, 0) and good(lower - step):
        lower -= step
    far = size.hint + _SCANNED * step
    end = far if size.upper is None else min(size.upper, far)
    while upper + step <= end and good(upper + step):
        upper += step
    if lower - step < max(size.lower, 0):
        lower = size.lower
    if upper + step <= end:
        return lower, upper
    if end < far:
        return lower, size.upper
    for power in range(13, 40):
        value = size.hint + step * (1 << power)
        if size.upper is not None and value > size.upper:
            break
        if not good(value):
            low, high = upper, value  # the end lies between
            while high - low > step:
                middle = low + (high - low) // (2 * step) * step
                low, high = (middle, high) if good(middle) else (low, middle)
            return lower, low
    return lower, size.upper


def violated(relation: Relation, sizes: list[Size]) -> bool:
    """Does a relation fail somewhere in the ranges (from 2 on, as PyTorch counts)?"""
    names = sorted(relation.symbols)
    by_name = {size.symbol: size for size in sizes}
    if any(name not in by_name for name in names):
        return False
    if len(names) == 1:
        size = by_name[names[0]]
        lower, upper = holds_between(relation, names[0], size)
        return lower > max(size.lower, 2) or upper is not None and (size.upper is None or upper < size.upper)
    for k in range(1000):
        values: dict[str, int] = {}
        for i, name in enumerate(names):
            size = by_name[name]
            low = max(size.lower, 2)
            top = size.upper if size.upper is not None else low + (257 if k % 2 else 4099)
            value = low + (k * (2 * i + 1) * 2654435761 >> (3 + i)) % max(top - low + 1, 1)
            values[name] = value + -value % size.step
        try:
            if not relation.at(values):
                return True
        except ZeroDivisionError:
            return True
    return False

