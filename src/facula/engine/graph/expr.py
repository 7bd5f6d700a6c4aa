"""Scalar expressions: the formulas that pointwise operations are.

An `Expr` is an interned, immutable tree (a DAG, since equal subtrees are one object). Leaves:

    ("in", i)      element of the i-th tensor operand
    ("scalar", i)  the i-th Python number given at the call; a run-time argument, never compiled in
    ("lit", v)     a number that belongs to the formula
    ("index", d)   int64 coordinate of the element along loop dimension d

Inner nodes apply one of `SCALAR_FUNCTIONS` to arguments; "cast" carries its dtype in `value`.

Typing (engine/graph/typing.py): literals and scalars take the type of the operands they stand beside;
comparisons give bool; float16 and bfloat16 compute in float32.
"""

from __future__ import annotations

from collections.abc import Callable

from facula.dtypes import dtype

# name -> number of arguments. The closed vocabulary of scalar arithmetic: the interpreter has one NumPy
# line for each, the emitter one row, ops/elementwise/derivatives.py one derivative.
SCALAR_FUNCTIONS: dict[str, int] = {
    # arithmetic. div is for floats; floordiv rounds to -inf (Python), truncdiv to zero; remainder has the
    # divisor's sign (Python), fmod the dividend's (C). maximum/minimum give NaN if either is NaN.
    "add": 2, "sub": 2, "mul": 2, "div": 2, "neg": 1, "abs": 1, "sign": 1, "floordiv": 2, "truncdiv": 2,
    "remainder": 2, "fmod": 2, "maximum": 2, "minimum": 2,
    # rounding of floats; round is half to even
    "floor": 1, "ceil": 1, "trunc": 1, "round": 1,
    # powers and logarithms of floats; pow also of integers (exponent >= 0)
    "sqrt": 1, "rsqrt": 1, "pow": 2, "exp": 1, "exp2": 1, "expm1": 1, "log": 1, "log2": 1, "log10": 1,
    "log1p": 1,
    # trigonometric and hyperbolic
    "sin": 1, "cos": 1, "tan": 1, "asin": 1, "acos": 1, "atan": 1, "atan2": 2, "sinh": 1, "cosh": 1,
    "tanh": 1, "asinh": 1, "acosh": 1, "atanh": 1,
    # special functions
    "erf": 1, "erfc": 1, "erfinv": 1, "lgamma": 1, "digamma": 1,
    # comparison (result bool), selection, classification
    "eq": 2, "ne": 2, "lt": 2, "le": 2, "gt": 2, "ge": 2, "where": 3, "isnan": 1, "isinf": 1, "signbit": 1,
    "copysign": 2, "nextafter": 2, "hypot": 2,
    # bits: logical on bool, bitwise on integers; shifts of integers
    "and": 2, "or": 2, "xor": 2, "not": 1, "lshift": 2, "rshift": 2,
    # conversion; `value` is the dtype
    "cast": 1,
    # 32 random bits (as int64 in [0, 2**32)) from a 64-bit counter and a 64-bit key: Philox4x32-10, word 0
    "random_bits": 2,
}
COMPARISONS = frozenset(("eq", "ne", "lt", "le", "gt", "ge", "isnan", "isinf", "signbit"))
LEAVES = frozenset(("in", "scalar", "lit", "index"))


class Expr:
    """A node of a scalar formula. Make them with `make`, or with Python's operators on other Exprs."""

    __slots__ = ("fn", "args", "value")

    fn: str
    args: tuple[Expr, ...]
    value: object

    def __repr__(self) -> str:
        return _text(self, [1000])

    def __add__(self, other: Expr | float) -> Expr:
        return make("add", self, wrap(other))

    def __radd__(self, other: float) -> Expr:
        return make("add", wrap(other), self)

    def __sub__(self, other: Expr | float) -> Expr:
        return make("sub", self, wrap(other))

    def __rsub__(self, other: float) -> Expr:
        return make("sub", wrap(other), self)

    def __mul__(self, other: Expr | float) -> Expr:
        return make("mul", self, wrap(other))

    def __rmul__(self, other: float) -> Expr:
        return make("mul", wrap(other), self)

    def __truediv__(self, other: Expr | float) -> Expr:
        return make("div", self, wrap(other))

    def __rtruediv__(self, other: float) -> Expr:
        return make("div", wrap(other), self)

    def __neg__(self) -> Expr:
        return make("neg", self)

    def __lt__(self, other: Expr | float) -> Expr:
        return make("lt", self, wrap(other))

    def __le__(self, other: Expr | float) -> Expr:
        return make("le", self, wrap(other))

    def __gt__(self, other: Expr | float) -> Expr:
        return make("gt", self, wrap(other))

    def __ge__(self, other: Expr | float) -> Expr:
        return make("ge", self, wrap(other))

    def __and__(self, other: Expr) -> Expr:
        return make("and", self, wrap(other))

    def __or__(self, other: Expr) -> Expr:
        return make("or", self, wrap(other))

    def __invert__(self) -> Expr:
        return make("not", self)


def _text(e: Expr, left: list[int]) -> str:
    """`e` written out, as far as terms are `left`: a term that is shared stands wherever it is read, so that thirty
    terms may write out as a thousand million."""
    left[0] -= 1
    if e.fn == "lit":
        return repr(e.value)
    if e.fn in LEAVES:
        return f"{e.fn}{e.value}"
    if left[0] < 0:
        return "..."
    inner = ", ".join([_text(a, left) for a in e.args])
    return f"{e.fn}<{e.value!r}>({inner})" if e.value is not None else f"{e.fn}({inner})"


_interned: dict[tuple[object, ...], Expr] = {}


def make(fn: str, *args: Expr, value: object = None) -> Expr:
    """The expression `fn(*args)`; the same object for the same structure."""
    # repr distinguishes 0.0 from -0.0, 1 from 1.0 from True, and makes NaN equal to itself
    key = (fn, *map(id, args), repr(value) if type(value) in (int, float, bool, complex) else value)
    found = _interned.get(key)
    if found is None:
        if fn not in LEAVES and SCALAR_FUNCTIONS[fn] != len(args):
            raise TypeError(f"{fn} takes {SCALAR_FUNCTIONS[fn]} arguments, got {len(args)}")
        found = Expr()
        found.fn, found.args, found.value = fn, args, value
        _interned[key] = found  # also keeps args alive, so their ids stay unique
    return found


def wrap(x: Expr | float) -> Expr:
    """A Python number as a literal; an Expr as it is."""
    return x if isinstance(x, Expr) else make("lit", value=x)


def operand(i: int) -> Expr:
    """The element of the i-th tensor operand."""
    return make("in", value=i)


def scalar(i: int) -> Expr:
    """The i-th Python number of the call."""
    return make("scalar", value=i)


def cast(x: Expr, to: dtype) -> Expr:
    return make("cast", x, value=to)


def where(condition: Expr, a: Expr | float, b: Expr | float) -> Expr:
    return make("where", condition, wrap(a), wrap(b))


def function(name: str) -> Callable[..., Expr]:
    """`function("exp")(x)` is the expression exp(x)."""
    def apply(*args: Expr | float) -> Expr:
        return make(name, *map(wrap, args))
    apply.__name__ = name
    return apply


def substitute(expr: Expr, table: dict[Expr, Expr]) -> Expr:
    """`expr` with the leaves (or subtrees) in `table` replaced."""
    done = dict(table)
    for node in postorder(expr):
        if node not in done:
            args = tuple(done[a] for a in node.args)
            done[node] = node if args == node.args else make(node.fn, *args, value=node.value)
    return done[expr]


def postorder(expr: Expr) -> list[Expr]:
    """Every distinct node of `expr`, arguments before their users (iterative)."""
    order: list[Expr] = []
    seen: set[Expr] = set()
    stack: list[tuple[Expr, bool]] = [(expr, False)]
    while stack:
        node, ready = stack.pop()
        if ready:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((a, False) for a in reversed(node.args))
    return order
