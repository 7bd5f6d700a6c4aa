"""Sizes that stand for any: what is computed of them is written down, and what is asked of them is a condition.

The passes compute with sizes and ask questions of them. Given `Symbol`s in their place they do so all the same, and the
`Trace` is left with a Python function that says, for other sizes, whether every question would be answered alike, and
if so what would come out. So a plan of one batch becomes that of the next by arithmetic (targets/template.py).

A Symbol is no int, so nothing takes its value in silence: whoever needs one (`range`, an index, a text) asks for it,
and that it is this value becomes a condition. All have one hash, so sets and dicts ask, too. Only functions that cache
what they return must not be given Symbols (`row_major` is for that). What gives numbers that are only handed on (how
work is cut into tiles) is `called`: whatever it asks, it is asked again.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from facula.engine.compiler.fixed import ANY_HASH, Fixed, fixed
from facula.engine.graph.node import contiguous_strides

F = TypeVar("F", bound=Callable[..., Any])
_NUMBERS = frozenset((int, Fixed, float, bool))
MOST_LINES = 30_000  # of a trace's function: with more it costs more than it saves


SPACE: dict[str, Any] = {"floor": math.floor, "ceil": math.ceil}  # what a trace's function calls by name


class Untraceable(Exception):
    """No template can be made of this."""


class NotPrinted(Untraceable):
    """There is a kernel to be printed, which none is of symbols."""


class Constants(dict[str, Any]):
    """What is neither number nor tuple, by its name in a function."""

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[int, str] = {}  # by id


class Trace:
    """The function that is being written, of `q`, the integers that the first symbols stand for."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.known: dict[str, Symbol] = {}  # what has been computed, by its text
        self.asked: set[str] = set()
        self.answers: dict[Any, Any] = {}  # what each operation has given: most are done again
        self.factors: dict[str, Symbol] = {}  # what is no product
        self.constants = Constants()  # of the function
        self.open = True

    def symbol(self, place: int, value: int, least: int = 2) -> Symbol:
        """The one for an integer of `q`, which is `least` at least or -`least` at most, as `value` is; 0: whatever."""
        found = Symbol(self, f"q{place}", value)
        found.least = least if value > 0 else 0
        return found

    def made(self, text: str, value: Any) -> Symbol:
        found = self.known.get(text)
        if found is None:
            found = self.known[text] = Symbol(self, f"t{len(self.known)}", value)
            self._line(f"{found.name} = {text}")
        return found

    def holds(self, text: str) -> None:
        if text not in self.asked:
            self.asked.add(text)
            self._line(f"if not {text}: return None")

    def _line(self, text: str) -> None:
        if len(self.lines) >= MOST_LINES:
            raise Untraceable("too many questions")
        self.lines.append(text)

    def finished(self, count: int, result: str) -> Callable[..., Any]:
        """f(q) of `count` integers: what the text `result` gives, or None where a condition does not hold. From now on
        symbols are numbers."""
        self.open = False
        names = ", ".join([f"q{k}" for k in range(count)])
        body = "\n    ".join([f"{names}, = q" if count else "pass", *self.lines, f"return {result}"])
        space = {**SPACE, **self.constants}
        exec(f"def at(q):\n    {body}", space)
        found: Callable[..., Any] = space["at"]
        return found


def text_of(value: Any, constants: Constants) -> str:
    """`value` in Python; what is neither number nor tuple is one of the `constants`."""
    if type(value) is Symbol:
        return value.name
    if type(value) in (tuple, list):
        parts = "".join([text_of(v, constants) + ", " for v in value])
        return f"({parts})" if type(value) is tuple else f"[{parts}]"
    if value is None or type(value) in (int, Fixed, bool, str):
        return repr(value)
    if type(value) is float and math.isfinite(value):
        return repr(value)
    name = constants.names.get(id(value))
    if name is None:
        name = constants.names[id(value)] = f"c{len(constants)}"
        constants[name] = value
    return name


def called(function: Callable[..., Any], count: int, *given: Any) -> Any:
    """function(*given), of symbols too: asked again for other sizes, so what it asks itself is no condition. It gives
    a tuple of `count`, each of which is a symbol then; or something (0) that is to be handed on, not looked at. It
    must depend on nothing else."""
    if not tracing:
        return function(*given)
    value = function(*map(_plain, given))
    if not any(type(x) is Symbol for x in given):
        return value
    trace = tracing[-1]
    name, *names = [text_of(x, trace.constants) for x in (function, *given)]
    found = trace.made(f"{name}({', '.join(names)})", value)
    return tuple([trace.made(f"{found.name}[{k}]", found.value[k]) for k in range(count)]) if count else found


def _plain(value: Any) -> Any:
    return value.value if type(value) is Symbol else int(value) if type(value) is Fixed else value


def numbers_of(values: Sequence[Any]) -> list[Any]:
    """What the symbols among them stand for this time, which asks nothing."""
    return [_plain(value) for value in values]


def _name(value: Any) -> str:
    return value.name if type(value) is Symbol else repr(value)


def _parts(value: Any) -> tuple[int, tuple[str, ...]]:
    """A product: its number, and its factors."""
    return value.parts if type(value) is Symbol else (value, ())


def _product(trace: Trace, number: int, factors: tuple[str, ...], value: int, least: int) -> Any:
    if not factors or not number:
        return fixed(number)
    if number == 1 and len(factors) == 1:
        return trace.factors[factors[0]]
    found = trace.made(" * ".join([*([str(number)] if number != 1 else ()), *factors]), value)
    found.parts, found.least = (number, factors), least
    return found


def _quotient(a: Any, b: Any) -> tuple[int, tuple[str, ...]] | None:
    """a / b as a product, where it is one whatever the sizes."""
    (m, over), (n, under) = _parts(a), _parts(b)
    if not n or m % n:
        return None
    left = list(over)
    for factor in under:
        if factor not in left:
            return None
        left.remove(factor)
    return m // n, tuple(left)


def _least(trace: Trace, number: int, factors: tuple[str, ...]) -> int:
    """A bound from below of a product; 0 if there is none."""
    for factor in factors:
        number *= trace.factors[factor].least
    return max(number, 0)


def _of_integers(a: Any, b: Any) -> bool:
    return type(a.value if type(a) is Symbol else a) is int and type(b.value if type(b) is Symbol else b) is int


def _remembered(sign: str, of: Callable[[Any, Any], Any]) -> Any:
    """A method of two numbers, whose answer of each two is kept while the trace is open. `of` gives it otherwise."""
    def method(self: Symbol, other: Any) -> Any:
        trace = self.trace
        if type(other) is Symbol:
            key = sign, self.name, other.name
        elif type(other) in _NUMBERS:
            if type(other) is Fixed:
                other = int(other)
            key = sign, self.name, other
        else:
            return NotImplemented
        if not trace.open:
            return of(self, other)
        found = trace.answers.get(key, trace)
        if found is trace or type(other) is float:  # 1.0 is not 1
            found = trace.answers[key] = of(self, other)
        return found
    return method


def _times(self: Symbol, other: Any) -> Any:
    value = self.value * _plain(other)
    trace = self.trace
    if not trace.open:
        return value
    if _of_integers(self, other):
        (m, over), (n, under) = self.parts, _parts(other)
        factors = tuple(sorted(over + under))
        return _product(trace, m * n, factors, value, _least(trace, m * n, factors))
    return trace.made(" * ".join(sorted([self.name, _name(other)])), value)


def _divided(sign: str, of: Callable[[Any, Any], Any], swapped: bool = False) -> Any:
    def method(self: Symbol, other: Any) -> Any:
        a, b = (other, self) if swapped else (self, other)
        value = of(_plain(a), _plain(b))
        trace = self.trace
        if not trace.open:
            return value
        if _of_integers(a, b):
            exact = _quotient(a, b)
            if exact is not None:
                return _product(trace, *exact, value, _least(trace, *exact)) if sign == "//" else 0
            if type(a) is not Symbol and type(b) is Symbol and 0 <= a < b.least:
                return 0 if sign == "//" else a
        return trace.made(f"{_name(a)} {sign} {_name(b)}", value)
    return _remembered(sign + "r" * swapped, method)


def _binary(sign: str, of: Callable[[Any, Any], Any], swapped: bool = False, commutes: bool = False) -> Any:
    def method(self: Symbol, other: Any) -> Any:
        a, b = (_plain(other), self.value) if swapped else (self.value, _plain(other))
        value = of(a, b)
        if not self.trace.open:
            return value
        if sign == "-" and type(other) is Symbol and other.name == self.name and type(self.value) is int:
            return 0
        if type(other) is int and other == 0 and type(self.value) is int \
                and (sign == "+" or sign == "-" and not swapped):
            return self
        left, right = (_name(other), self.name) if swapped else (self.name, _name(other))
        if commutes and right < left:
            left, right = right, left
        made = self.trace.made(f"{left} {sign} {right}", value)
        if sign == "+" and _of_integers(self, other):
            least = other.least if type(other) is Symbol else other
            made.least = self.least + least if self.least > 0 and least > 0 else 0
        return made
    return _remembered(sign + "r" * swapped, method)


def _question(sign: str, opposite: str, of: Callable[[Any, Any], bool]) -> Any:
    def method(self: Symbol, other: Any) -> Any:
        name = _name(other)
        answer = of(self.value, _plain(other))
        if self.trace.open and name != self.name and not _settled(self, other):
            self.trace.holds(f"{self.name} {sign if answer else opposite} {name}")
        return answer
    return _remembered(sign, method)


def _settled(a: Symbol, b: Any) -> bool:
    """Is it known for all sizes which one is larger?"""
    if not _of_integers(a, b):
        return False
    if type(b) is not Symbol:
        return bool(a.least > b)
    for one, other in ((a, b), (b, a)):
        ratio = _quotient(one, other)
        if ratio is not None and other.least > 0 and _least(a.trace, *ratio) > 1:
            return True
    return False


def _unary(form: str, of: Callable[[Any], Any]) -> Any:
    def method(self: Symbol) -> Any:
        value = of(self.value)
        if not self.trace.open:
            return value
        if of is abs and self.least > 0:
            return self
        return self.trace.made(form.format(self.name), value)
    return method


def _value(of: Callable[[Any], Any]) -> Any:
    def method(self: Symbol, *more: Any) -> Any:
        if self.trace.open:
            self.trace.holds(f"{self.name} == {self.value!r}")
        return of(self.value, *more)
    return method


class Symbol:
    """A number of a trace: `value` this time, `name` in its function."""

    __slots__ = ("trace", "name", "value", "parts", "least")

    def __init__(self, trace: Trace, name: str, value: Any) -> None:
        self.trace = trace
        self.name = name
        self.value = value
        self.parts: tuple[int, tuple[str, ...]] = 1, (name,)  # a number, and what it is multiplied with
        self.least = 0  # it is that much, whatever the sizes; 0: nobody knows
        trace.factors[name] = self

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # for isinstance
        return type(self.value)

    __add__, __radd__ = _binary("+", operator.add, commutes=True), _binary("+", operator.add, True, True)
    __mul__ = __rmul__ = _remembered("*", _times)
    __sub__, __rsub__ = _binary("-", operator.sub), _binary("-", operator.sub, True)
    __floordiv__, __rfloordiv__ = _divided("//", operator.floordiv), _divided("//", operator.floordiv, True)
    __truediv__, __rtruediv__ = _binary("/", operator.truediv), _binary("/", operator.truediv, True)
    __mod__, __rmod__ = _divided("%", operator.mod), _divided("%", operator.mod, True)
    __and__, __rand__ = _binary("&", operator.and_), _binary("&", operator.and_, True)
    __or__, __ror__ = _binary("|", operator.or_), _binary("|", operator.or_, True)
    __lshift__, __rlshift__ = _binary("<<", operator.lshift), _binary("<<", operator.lshift, True)
    __rshift__, __rrshift__ = _binary(">>", operator.rshift), _binary(">>", operator.rshift, True)
    __abs__ = _unary("abs({})", abs)
    __floor__, __ceil__ = _unary("floor({})", math.floor), _unary("ceil({})", math.ceil)
    __eq__, __ne__ = _question("==", "!=", operator.eq), _question("!=", "==", operator.ne)
    __lt__, __ge__ = _question("<", ">=", operator.lt), _question(">=", "<", operator.ge)
    __gt__, __le__ = _question(">", "<=", operator.gt), _question("<=", ">", operator.le)
    __index__, __int__, __float__ = _value(operator.index), _value(int), _value(float)
    __str__, __format__, __round__ = _value(str), _value(format), _value(round)

    def __neg__(self) -> Any:
        return self * -1

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __bool__(self) -> bool:
        return bool(self != 0)

    def __hash__(self) -> int:
        """One for all, so that those in one dict or set are compared; 0 and 1 are met there as numbers."""
        if not self.trace.open:
            return hash(self.value)
        if -1 < self.value < 2:
            self.trace.holds(f"{self.name} == {self.value}")
            return hash(self.value)
        if self.least < 2:
            self.trace.holds(f"{self.name} not in (0, 1)")
        return ANY_HASH

    def __repr__(self) -> str:  # for messages
        return repr(self.value)


tracing: list[Trace] = []  # the one that is open, if any


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """`contiguous_strides`, of symbols too."""
    return contiguous_strides.__wrapped__(shape) if tracing else contiguous_strides(shape)


def remembered(function: F) -> F:
    """`function`, which follows from its arguments alone (numbers, and tuples of these), with its answers: those of
    numbers in a table, those of symbols with their trace."""
    of_numbers = functools.lru_cache(4096)(function)

    @functools.wraps(function)
    def asked(*given: Any) -> Any:
        if not tracing:
            return of_numbers(*given)
        answers = tracing[-1].answers
        key: Any = (function, _key_of(given))
        found = answers.get(key, tracing)  # which is no answer
        if found is tracing:
            found = answers[key] = function(*given)
        return found
    return asked  # type: ignore[return-value]


def _key_of(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple([value.name if type(value) is Symbol else int(value) if type(value) is Fixed else
                  _key_of(value) if isinstance(value, tuple) else value for value in values])
