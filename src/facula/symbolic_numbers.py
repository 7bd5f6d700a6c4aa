"""`SymInt`, `SymFloat`, `SymBool`: numbers that a captured program (`facula.export`) knows only when it runs.

Outside of a capture sizes are Python's numbers, and the functions `sym_...` do with these what they do in PyTorch.
Within one, a size that is left open is a SymInt: it has a value in each of the cases that are tried, a formula
(`symbolic_expressions.py`), and what is computed with it becomes part of the graph. A question that Python needs an
answer to (`if n > 4:`) is a *guard*: the capture keeps it, and has it checked.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from typing import Any

from facula import absent
from facula.symbolic_expressions import Expression, Relation, of


class _Symbolic:
    """A number that is open. `recorder` is the capture that it belongs to, `values` what it is in each of its cases,
    `formula` an Expression (of a SymBool a Relation) or None, `recipe` how the graph comes by it."""

    __slots__ = ("recorder", "values", "formula", "recipe", "node")

    def __init__(self, recorder: Any, values: tuple[Any, ...], formula: Any, recipe: Any) -> None:
        self.recorder, self.values, self.formula, self.recipe = recorder, values, formula, recipe
        self.node: Any = None

    def __repr__(self) -> str:
        return str(self.formula) if self.formula is not None else f"u({self.values[0]})"

    def __bool__(self) -> bool:
        if isinstance(self, SymBool):
            return bool(self.recorder.guard(self))
        answer: Any = self != 0  # type: ignore[comparison-overlap]
        return bool(answer)

    def __hash__(self) -> int:
        raise TypeError("unhashable type: non-nested SymInt")

    def __deepcopy__(self, memo: Any) -> Any:
        return self

    def __reduce__(self) -> Any:
        raise TypeError(f"a {type(self).__name__} belongs to the capture of one program, and cannot be pickled")


def _combined(name: str, function: Callable[..., Any], a: Any, b: Any) -> Any:
    """`function(a, b)`, one of which is symbolic."""
    given = a if isinstance(a, _Symbolic) else b
    for x in (a, b):
        if not isinstance(x, (_Symbolic, int, float)):
            return NotImplemented
    count = len(given.values)
    left = a.values if isinstance(a, _Symbolic) else (a,) * count
    right = b.values if isinstance(b, _Symbolic) else (b,) * count
    values = tuple([function(x, y) for x, y in zip(left, right, strict=True)])
    return _made(given.recorder, values, _formula(name, a, b), (function, a, b))


def _formula(name: str, a: Any, b: Any) -> Any:
    """The formula of a result; None where there is none."""
    sides = []
    for x in (a, b):
        if isinstance(x, (SymInt, SymBool)):
            x = x.formula
        elif type(x) is int:
            x = Expression.number(x)
        if not isinstance(x, Expression):
            return None
        sides.append(x)
    left, right = sides
    try:
        if name in ("add", "sub", "mul"):
            return getattr(operator, name)(left, right)
        if name in ("floordiv", "mod", "max", "min"):
            return of(name, left, right)
        if name == "pow" and (right.constant or 0) in (1, 2, 3):
            found = left
            for _ in range(int(right.constant or 0) - 1):
                found = found * left
            return found
        if name in ("eq", "ne", "lt", "le", "gt", "ge"):
            return Relation(name, left, right)
    except OverflowError:
        pass
    return None


def _made(recorder: Any, values: tuple[Any, ...], formula: Any, recipe: Any) -> Any:
    """The result as what it is: a plain number where its formula says that it is always the same."""
    first = values[0]
    if isinstance(formula, Expression) and formula.constant is not None:
        return formula.constant
    if isinstance(formula, Relation):
        difference = (formula.left - formula.right).constant
        if difference is not None:
            return Relation(formula.name, Expression.number(difference), Expression.number(0)).at({})
    kind = SymBool if isinstance(first, bool) else SymFloat if isinstance(first, float) else SymInt
    return kind(recorder, values, formula, recipe)


def _binary(name: str) -> tuple[Any, Any]:
    function = getattr(operator, name)

    def forward(self: Any, other: Any) -> Any:
        return _combined(name, function, self, other)

    def reflected(self: Any, other: Any) -> Any:
        return _combined(name, function, other, self)
    return forward, reflected


class SymInt(_Symbolic):
    """An integer that is open: a size. Arithmetic gives others, comparison gives SymBools; `int(n)` makes the capture
    hold for this one value alone."""

    __slots__ = ()

    def __index__(self) -> int:
        return int(self.recorder.specialise(self))

    __int__ = __index__

    def __float__(self) -> float:
        return float(self.recorder.specialise(self))

    def __round__(self, digits: Any = None) -> Any:
        return self

    def __trunc__(self) -> Any:
        return self

    __floor__ = __ceil__ = __pos__ = __trunc__

    def __neg__(self) -> Any:
        return _combined("mul", operator.mul, self, -1)

    def __abs__(self) -> Any:
        return self if _combined("ge", operator.ge, self, 0) else -self


class SymFloat(_Symbolic):
    """A float that is open: what is computed of sizes by `/`, say."""

    __slots__ = ()

    def __float__(self) -> float:
        return float(self.recorder.specialise(self))

    def __int__(self) -> int:
        return int(self.recorder.specialise(self))

    def __trunc__(self) -> Any:
        return _unary(math.trunc, self)

    def __floor__(self) -> Any:
        return _unary(math.floor, self)

    def __ceil__(self) -> Any:
        return _unary(math.ceil, self)

    def __neg__(self) -> Any:
        return _combined("mul", operator.mul, self, -1.0)


class SymBool(_Symbolic):
    """The answer to a question about sizes. `if answer:` is a guard."""

    __slots__ = ()

    def __int__(self) -> int:
        return int(bool(self))

    __index__ = __int__


for _name in ("add", "sub", "mul", "floordiv", "mod", "truediv", "pow"):
    _forward, _reflected = _binary(_name)
    for _kind in (SymInt, SymFloat):
        setattr(_kind, f"__{_name}__", _forward)
        setattr(_kind, f"__r{_name}__", _reflected)
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    for _kind in (SymInt, SymFloat):
        setattr(_kind, f"__{_name}__", _binary(_name)[0])


def _unary(function: Callable[[Any], Any], a: Any) -> Any:
    return _made(a.recorder, tuple([function(v) for v in a.values]), None, (function, a))


def sym_int(a: Any) -> Any:
    """`int(a)`: rounded towards zero.

    Example:
        >>> import facula
        >>> facula.sym_int(-2.5)
        -2
    """
    if isinstance(a, SymInt):
        return a
    return _unary(math.trunc, a) if isinstance(a, SymFloat) else int(math.trunc(a))


def sym_float(a: Any) -> Any:
    """`float(a)`."""
    if isinstance(a, SymFloat):
        return a
    return _unary(float, a) if isinstance(a, SymInt) else float(a)


def sym_not(a: Any) -> Any:
    """`not a`."""
    if isinstance(a, SymBool):
        formula = a.formula.opposite() if isinstance(a.formula, Relation) else None
        return _made(a.recorder, tuple([not v for v in a.values]), formula, (operator.not_, a))
    return not a


def _of_two(name: str, function: Callable[..., Any], a: Any, b: Any) -> Any:
    if isinstance(a, _Symbolic) or isinstance(b, _Symbolic):
        found = _combined(name, function, a, b)
        if found is NotImplemented:
            raise TypeError(f"sym_{name}: numbers are expected, got {type(a).__name__} and {type(b).__name__}")
        return found
    return float(function(a, b)) if isinstance(a, float) or isinstance(b, float) else function(a, b)


def sym_max(a: Any, b: Any) -> Any:
    """The greater of two numbers, a float if one of them is.

    Example:
        >>> import facula
        >>> facula.sym_max(1, 2), facula.sym_max(3, 1.0)
        (2, 3.0)
    """
    return _of_two("max", max, a, b)


def sym_min(a: Any, b: Any) -> Any:
    """The lesser of two numbers, a float if one of them is."""
    return _of_two("min", min, a, b)


def sym_ite(b: Any, t: Any, f: Any) -> Any:
    """`t` if `b`, else `f`."""
    return t if b else f


def sym_sum(args: Iterable[Any]) -> Any:
    """The sum of numbers."""
    return sum(args)


def sym_fresh_size(expr: Any) -> Any:
    """Not in Facula: sizes that depend on data are not captured."""
    raise absent.refusal("torch.sym_fresh_size", "sizes that depend on data are not captured")


def _root(name: str) -> Callable[[Any], Any]:
    function: Callable[[Any], float] = getattr(math, name)

    def of_number(a: Any) -> Any:
        return _unary(function, a) if isinstance(a, _Symbolic) else function(a)
    of_number.__name__, of_number.__doc__ = f"_sym_{name}", f"`math.{name}(a)`."
    return of_number


_sym_sqrt = sym_sqrt = _root("sqrt")
