"""The formula of a size, from its value in every case.

What the sizes of results are follows from what operations say of tensors on "meta", not from rules of their own. Nearly
all are sums and products of the open sizes, or such divided by a stride: found by their values, which have no common
factors (`_cases.py`). A size without a formula is None: then questions about it are asked when the program runs.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, combinations_with_replacement

from facula.symbolic_expressions import Expression, of

_STRIDES = 33
_PARTS = 16


class Formulas:
    """Formulas of sizes over `cases` (values of every symbol), and those that were found already. `row`: how many of
    the cases have values that follow each other; of formulas with `//` it takes as many as the divisor."""

    def __init__(self, cases: list[dict[str, int]], row: int) -> None:
        self.cases, self.row = cases, row
        self.wanted = 0  # how many in a row would have told more
        self.known: dict[tuple[int, ...], Expression | None] = {}
        self.bases: dict[str, tuple[int, ...]] = {}
        self.parts: list[tuple[Expression, tuple[int, ...]]] = []  # what was found to be divided or bounded
        for name in cases[0]:
            values = tuple([case[name] for case in cases])
            if len(set(values)) > 1 and values not in self.bases.values():
                self.bases[name] = values
                self.known[values] = Expression.symbol(name)

    def of(self, values: tuple[int, ...]) -> Expression | None:
        """The formula that has these values."""
        if values not in self.known:
            found = self._found(values)
            if found is not None and any(found.at(case) != value for case, value in zip(self.cases, values,
                                                                                         strict=True)):
                found = None
            self.known[values] = found
            if found is not None and found.symbols and any(not isinstance(atom, str) for atoms in found.terms
                                                           for atom in atoms) and len(self.parts) < _PARTS:
                self.parts.append((found, values))
        return self.known[values]

    def _found(self, values: tuple[int, ...]) -> Expression | None:
        if len(set(values)) == 1:
            return Expression.number(values[0])
        return self._product(values) or self._linear(values) or self._of_part(values) or self._divided(values) \
            or self._bounded(values)

    def _product(self, values: tuple[int, ...]) -> Expression | None:
        """A number times sizes."""
        for degree in (1, 2, 3):
            for names in combinations_with_replacement(self.bases, degree):
                factor = None
                for k, value in enumerate(values):
                    product = 1
                    for name in names:
                        product *= self.bases[name][k]
                    if not product or value % product or factor not in (None, value // product):
                        break
                    factor = value // product
                else:
                    found = Expression.number(factor or 0)
                    for name in names:
                        found = found * Expression.symbol(name)
                    return found
        return None

    def _linear(self, values: tuple[int, ...]) -> Expression | None:
        """A sum of sizes, products of two among them, and a number."""
        single = list(self.bases.items())
        double = [(f"{a}*{b}", tuple([x * y for x, y in zip(self.bases[a], self.bases[b], strict=True)]))
                  for a, b in combinations_with_replacement(self.bases, 2)]
        for count in (1, 2, 3):
            for chosen in combinations(single + double, count):
                factors = _solved([column for _, column in chosen], values)
                if factors is not None:
                    found = Expression.number(factors[-1])
                    for (name, _), factor in zip(chosen, factors, strict=False):
                        part = Expression.number(factor)
                        for symbol in name.split("*"):
                            part = part * Expression.symbol(symbol)
                        found = found + part
                    return found
        return None

    def _of_part(self, values: tuple[int, ...]) -> Expression | None:
        """A multiple of what was divided before, and a number."""
        for part, column in self.parts:
            factors = _solved([column], values)
            if factors is not None:
                return part * factors[0] + factors[1]
        return None

    def _divided(self, values: tuple[int, ...]) -> Expression | None:
        """A size divided by a stride, rounded down: (a*s + b) // q + c."""
        for name, base in self.bases.items():
            for q in range(2, _STRIDES):
                for a in (1, -1) if q > 8 else (1, 2, 3, -1):
                    for b in range(q):
                        c = values[0] - (a * base[0] + b) // q
                        if all((a * s + b) // q + c == value for s, value in zip(base, values, strict=True)):
                            if len({s % q for s in base}) < q:  # another b would do as well
                                self.wanted = max(self.wanted, q)
                                return None
                            return of("floordiv", Expression.symbol(name) * a + b, Expression.number(q)) + c
        return None

    def _bounded(self, values: tuple[int, ...]) -> Expression | None:
        """A size, but not more (or less) than a number."""
        for name, base in self.bases.items():
            for function, end in (("min", max(values)), ("max", min(values))):
                pick = min if function == "min" else max
                for shift in {value - s for s, value in zip(base, values, strict=True) if value != end}:
                    if all(pick(s + shift, end) == value for s, value in zip(base, values, strict=True)):
                        return of(function, Expression.symbol(name) + shift, Expression.number(end))
        return None


def _solved(columns: list[tuple[int, ...]], values: tuple[int, ...]) -> list[int] | None:
    """Integers f and c with sum(f * column) + c = values in every case: by elimination, None if there are none."""
    width = len(columns) + 1
    if len(values) <= width:
        return None
    rows = [[Fraction(column[k]) for column in columns] + [Fraction(1), Fraction(values[k])] for k in range(width)]
    for at in range(width):
        pivot = next((k for k in range(at, len(rows)) if rows[k][at]), None)
        if pivot is None:
            return None
        rows[at], rows[pivot] = rows[pivot], rows[at]
        rows[at] = [x / rows[at][at] for x in rows[at]]
        for k, row in enumerate(rows):
            if k != at and row[at]:
                rows[k] = [x - row[at] * y for x, y in zip(row, rows[at], strict=True)]
    if any(row[-1].denominator != 1 for row in rows):
        return None
    found = [int(row[-1]) for row in rows]
    for k, value in enumerate(values):
        if sum(factor * column[k] for factor, column in zip(found, columns, strict=False)) + found[-1] != value:
            return None
    return found if any(found[:-1]) else None
