"""Formulas of sizes: what a captured program knows of a length that is open (`facula.export`).

An `Expression` is a polynomial with integer coefficients of symbols (`s0`) and of the functions that are no polynomials
(`//`, `%`, the larger, the smaller). A `Relation` is what was asked about two of them.

Example:
    >>> from facula.symbolic_expressions import Expression, Relation
    >>> b = Expression.symbol("b")
    >>> print(b * 2 + b + 1, (b * 4) // 2, b // 3)
    3*b + 1 2*b b//3
    >>> Relation("ge", b * 2, Expression.number(6)).at({"b": 3})
    True
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["Expression", "Relation", "Symbol", "ValueRanges"]

_MOST_TERMS = 64  # of a product: beyond that a formula is given up
_FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "floordiv": operator.floordiv, "mod": operator.mod, "max": max, "min": min}
_RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")}
_SIGNS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_OPPOSITE = {"eq": "ne", "ne": "eq", "lt": "ge", "ge": "lt", "gt": "le", "le": "gt"}


class Symbol:
    """The name of a size. Two of one name are equal."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Symbol) and other.name == self.name

    def __hash__(self) -> int:
        return hash(("symbol", self.name))

    def __repr__(self) -> str:
        return self.name


class ValueRanges:
    """The integers from `lower` to `upper`, which is None where there is no end."""

    __slots__ = ("lower", "upper")

    def __init__(self, lower: int, upper: int | None) -> None:
        self.lower, self.upper = lower, upper

    def __contains__(self, value: int) -> bool:
        return self.lower <= value and (self.upper is None or value <= self.upper)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ValueRanges) and (self.lower, self.upper) == (other.lower, other.upper)

    def __hash__(self) -> int:
        return hash((self.lower, self.upper))

    def __repr__(self) -> str:
        return f"VR[{self.lower}, {'int_oo' if self.upper is None else self.upper}]"


# Symbols by name, functions as (name, expression, expression).
_Atom = Any
_Terms = dict[tuple[_Atom, ...], int]


class Expression:
    """A formula. Immutable; equal formulas are equal objects as far as the form of a polynomial tells."""

    __slots__ = ("terms",)

    def __init__(self, terms: _Terms) -> None:
        self.terms = {atoms: factor for atoms, factor in sorted(terms.items(), key=_order) if factor}

    @staticmethod
    def number(value: int) -> Expression:
        """A constant."""
        return Expression({(): value})

    @staticmethod
    def symbol(name: str) -> Expression:
        """A size of that name."""
        return Expression({(name,): 1})

    @property
    def constant(self) -> int | None:
        """The number that it is; None if it has symbols."""
        if not self.terms:
            return 0
        return self.terms[()] if len(self.terms) == 1 and () in self.terms else None

    @property
    def only(self) -> str | None:
        """The symbol that it is; None of anything else."""
        found = list(self.terms)
        if len(found) == 1 and len(found[0]) == 1 and self.terms[found[0]] == 1 and isinstance(found[0][0], str):
            return found[0][0]
        return None

    @property
    def symbols(self) -> frozenset[str]:
        """The names in it."""
        return frozenset(_names(self))

    def at(self, values: Mapping[str, int]) -> int:
        """Its value. ZeroDivisionError; KeyError for a symbol that has none."""
        total = 0
        for atoms, factor in self.terms.items():
            for atom in atoms:
                factor *= values[atom] if isinstance(atom, str) else \
                    _FUNCTIONS[atom[0]](atom[1].at(values), atom[2].at(values))
            total += factor
        return total

    def with_values(self, values: Mapping[str, Expression]) -> Expression:
        """With formulas for some of its symbols."""
        total = Expression({})
        for atoms, factor in self.terms.items():
            part = Expression.number(factor)
            for atom in atoms:
                part = part * (values.get(atom, Expression.symbol(atom)) if isinstance(atom, str) else
                               of(atom[0], atom[1].with_values(values), atom[2].with_values(values)))
            total = total + part
        return total

    def __add__(self, other: Expression | int) -> Expression:
        terms = dict(self.terms)
        for atoms, factor in _of(other).terms.items():
            terms[atoms] = terms.get(atoms, 0) + factor
        return Expression(terms)

    def __sub__(self, other: Expression | int) -> Expression:
        return self + _of(other) * -1

    def __mul__(self, other: Expression | int) -> Expression:
        terms: _Terms = {}
        right = _of(other).terms
        if len(self.terms) * len(right) > _MOST_TERMS:
            raise OverflowError("a formula of too many terms")
        for a, f in self.terms.items():
            for b, g in right.items():
                atoms = tuple(sorted((*a, *b), key=_text))
                terms[atoms] = terms.get(atoms, 0) + f * g
        return Expression(terms)

    def __floordiv__(self, other: Expression | int) -> Expression:
        return of("floordiv", self, _of(other))

    def __mod__(self, other: Expression | int) -> Expression:
        return of("mod", self, _of(other))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(tuple(self.terms.items()))

    def __repr__(self) -> str:
        found = ""
        for atoms, factor in self.terms.items():
            parts = [_text(atom) for atom in atoms]
            if not parts or abs(factor) != 1:
                parts.insert(0, str(abs(factor)))
            if len(parts) > 1:
                parts = [f"({part})" if "//" in part else part for part in parts]
            sign = "-" if factor < 0 else "+"
            found += (f" {sign} " if found else "-" if factor < 0 else "") + "*".join(parts)
        return found or "0"

    def dumped(self) -> list[Any]:
        """As lists, for JSON."""
        return [[factor, [a if isinstance(a, str) else [a[0], a[1].dumped(), a[2].dumped()] for a in atoms]]
                for atoms, factor in self.terms.items()]

    @staticmethod
    def loaded(found: Any, depth: int = 0) -> Expression:
        """Of such lists. ValueError of anything else."""
        if depth > 20 or not isinstance(found, list) or len(found) > _MOST_TERMS:
            raise ValueError("no formula of a size")
        terms: _Terms = {}
        for term in found:
            if not (isinstance(term, list) and len(term) == 2 and type(term[0]) is int and isinstance(term[1], list)
                    and len(term[1]) <= 16):
                raise ValueError("no term of a formula")
            atoms: list[_Atom] = []
            for atom in term[1]:
                if isinstance(atom, str) and atom.isidentifier():
                    atoms.append(atom)
                elif isinstance(atom, list) and len(atom) == 3 and atom[0] in _FUNCTIONS:
                    atoms.append((atom[0], Expression.loaded(atom[1], depth + 1),
                                  Expression.loaded(atom[2], depth + 1)))
                else:
                    raise ValueError("no part of a formula")
            terms[tuple(sorted(atoms, key=_text))] = term[0]
        return Expression(terms)


def of(function: str, a: Expression, b: Expression) -> Expression:
    """`a // b`, `a % b`, the larger or the smaller of the two."""
    one, other = a.constant, b.constant
    if one is not None and other is not None and (other or function in ("max", "min")):
        return Expression.number(_FUNCTIONS[function](one, other))
    if a == b and function in ("max", "min"):
        return a
    if other and function in ("floordiv", "mod"):
        whole = {atoms: factor // other for atoms, factor in a.terms.items() if factor % other == 0}
        rest = {atoms: factor for atoms, factor in a.terms.items() if factor % other}
        if not rest or list(rest) == [()] and 0 <= rest[()] < other:
            return Expression(whole) if function == "floordiv" else Expression(rest)
    return Expression({((function, a, b),): 1})


def _of(value: Expression | int) -> Expression:
    return value if isinstance(value, Expression) else Expression.number(value)


def _names(found: Expression) -> Iterator[str]:
    for atoms in found.terms:
        for atom in atoms:
            if isinstance(atom, str):
                yield atom
            else:
                yield from _names(atom[1])
                yield from _names(atom[2])


def _text(atom: _Atom) -> str:
    if isinstance(atom, str):
        return atom
    name, a, b = atom
    if name in ("max", "min"):
        return f"{name.capitalize()}({a}, {b})"
    sides = [f"({side})" if len(side.terms) > 1 or any(len(t) > 1 for t in side.terms) else str(side)
             for side in (a, b)]
    return f"{sides[0]}//{sides[1]}" if name == "floordiv" else f"Mod({a}, {b})"


def _order(term: tuple[tuple[_Atom, ...], int]) -> tuple[int, str]:
    return -len(term[0]), " ".join(_text(atom) for atom in term[0])


class Relation:
    """A question about two formulas: `eq`, `ne`, `lt`, `le`, `gt` or `ge`."""

    __slots__ = ("name", "left", "right")

    def __init__(self, name: str, left: Expression, right: Expression) -> None:
        if name not in _RELATIONS:
            raise ValueError(f"no relation: {name!r}")
        self.name, self.left, self.right = name, left, right

    @property
    def symbols(self) -> frozenset[str]:
        """The names on both sides."""
        return self.left.symbols | self.right.symbols

    def at(self, values: Mapping[str, int]) -> bool:
        """Does it hold?"""
        return bool(_RELATIONS[self.name](self.left.at(values), self.right.at(values)))

    def opposite(self) -> Relation:
        """What holds where this does not."""
        return Relation(_OPPOSITE[self.name], self.left, self.right)

    def shown(self, names: Mapping[str, str]) -> str:
        """As text, with other names for the symbols."""
        return f"{_renamed(self.left, names)} {_SIGNS[self.name]} {_renamed(self.right, names)}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Relation) and (self.name, self.left, self.right) == (
            other.name, other.left, other.right)

    def __hash__(self) -> int:
        return hash((self.name, self.left, self.right))

    def __repr__(self) -> str:
        if self.name in ("eq", "ne"):
            return f"{self.name.capitalize()}({self.left}, {self.right})"
        return f"{self.left} {_SIGNS[self.name]} {self.right}"


def _renamed(found: Expression, names: Mapping[str, str]) -> str:
    return str(found.with_values({old: Expression.symbol(new) for old, new in names.items()}))
