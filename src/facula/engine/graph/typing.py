"""Types of the expressions in a formula: one set of rules for the compiler and the interpreter.

Tensor operands have their own dtype, literals and run-time scalars adopt that of the operands they
stand beside. So the same (interned) literal may have several types: what is typed is a use, not an
object.
"""

from __future__ import annotations

from facula.dtypes import BOOL, FLOAT, PROMOTION, bool_, dtype, float32, float64, int64
from facula.engine.graph.expr import COMPARISONS, Expr
from facula.engine.graph.node import Formula

_FLOAT_ONLY = frozenset((
    "div", "sqrt", "rsqrt", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos",
    "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh",
    "erf", "erfc", "erfinv", "lgamma", "digamma", "copysign", "nextafter", "hypot"))
_INTEGER_ONLY = frozenset(("lshift", "rshift"))


def natural_types(
    formula: Formula, operands: tuple[dtype, ...], result: dtype
) -> dict[Expr, dtype | None]:
    """The type of every subexpression by itself; None for one of literals and scalars alone."""
    types: dict[Expr, dtype | None] = {}
    for e in formula.order:
        types[e] = _natural(e, types, operands, result)
    return types


def _natural(
    e: Expr, types: dict[Expr, dtype | None], operands: tuple[dtype, ...], result: dtype
) -> dtype | None:
    fn = e.fn
    if fn == "in":
        assert isinstance(e.value, int)
        return operands[e.value]
    if fn in ("lit", "scalar"):
        return None
    if fn == "cast":
        assert isinstance(e.value, dtype)
        return e.value
    if fn in ("index", "random_bits"):
        return int64
    if fn in COMPARISONS:
        return bool_
    return _common(e, types, result)


def _common(e: Expr, types: dict[Expr, dtype | None], result: dtype) -> dtype | None:
    """The type in which `e` computes: that of its arguments together."""
    found: dtype | None = None
    for a in e.args[1:] if e.fn == "where" else e.args:
        t = types[a]
        if t is not None:
            found = t if found is None else PROMOTION[found, t]
    if found is not None and found.category < FLOAT:
        if e.fn in _FLOAT_ONLY or any(
                a.fn == "lit" and isinstance(a.value, float) and a.value % 1 for a in e.args):
            return result if result.category == FLOAT else float32
        if e.fn in _INTEGER_ONLY and found.category == BOOL:
            return int64
    return found


def argument_types(
    e: Expr, want: dtype, types: dict[Expr, dtype | None], result: dtype
) -> tuple[dtype, ...]:
    """The types that the arguments of `e` are converted to, when `e` itself is wanted as `want`."""
    if e.fn == "cast":
        own = types[e.args[0]]
        return (own if own is not None else want,)
    if e.fn == "random_bits":
        return (int64, int64)
    inner = _common(e, types, result)
    if inner is None:  # numbers alone
        inner = float64 if e.fn in COMPARISONS else want
    if e.fn == "where":
        return (bool_, inner, inner)
    return (inner,) * len(e.args)


def own_type(e: Expr, arguments: tuple[dtype, ...]) -> dtype:
    """The type of what an inner `e` gives for arguments of the types `argument_types` asks for."""
    if e.fn == "cast":
        assert isinstance(e.value, dtype)
        return e.value
    return bool_ if e.fn in COMPARISONS else arguments[-1]
