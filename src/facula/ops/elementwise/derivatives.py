"""Derivatives of scalar formulas, symbolically. `d[fn]` gives the partial derivatives of fn(a, b, ...).

Each entry gets the arguments and the result `r` as expressions, so that exp's derivative is exp's value.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from facula.engine.graph.expr import Expr, function, make, operand, postorder, substitute, where, wrap
from facula.engine.graph.node import Formula

F = {n: function(n) for n in (
    "exp", "log", "sin", "cos", "sqrt", "rsqrt", "sinh", "cosh", "pow", "eq", "ne", "sign", "where", "abs", "floordiv",
    "truncdiv", "and", "erfinv", "digamma", "copysign", "isnan", "trunc", "div")}
ONE, ZERO = wrap(1.0), wrap(0.0)
Partial = Callable[..., "tuple[Expr | None, ...]"]


def _max(a: Expr, b: Expr, r: Expr) -> tuple[Expr, Expr]:
    # torch shares the gradient where both are equal, and gives all of it to both where one is NaN
    return (where(a < b, 0.0, where(F["eq"](a, b), 0.5, 1.0)), where(b < a, 0.0, where(F["eq"](a, b), 0.5, 1.0)))


def _min(a: Expr, b: Expr, r: Expr) -> tuple[Expr, Expr]:
    return (where(a > b, 0.0, where(F["eq"](a, b), 0.5, 1.0)), where(b > a, 0.0, where(F["eq"](a, b), 0.5, 1.0)))


def _pow(a: Expr, b: Expr, r: Expr) -> tuple[Expr, Expr]:
    # at b == 0 the slope in a is 0 (not 0 * inf); at a == 0 the slope in b is 0 for b >= 0
    return (where(F["eq"](b, 0.0), 0.0, b * F["pow"](a, b - 1.0)),
            where(F["and"](F["eq"](a, 0.0), b >= 0.0), 0.0, r * F["log"](a)))


def _atan2(a: Expr, b: Expr, r: Expr) -> tuple[Expr, Expr]:
    square = a * a + b * b
    at_origin = F["eq"](square, 0.0)  # there is no slope: torch says 0
    return where(at_origin, 0.0, b / square), where(at_origin, 0.0, -a / square)


def _logistic(node: Expr) -> Expr | None:
    """v if `node` is 1 / (1 + exp(-v)). Its slope is r * (1 - r): by the chain rule, exp(-v) would overflow."""
    if node.fn != "div" or node.args[0].value != 1.0 or node.args[1].fn != "add":
        return None
    one, e = node.args[1].args
    return e.args[0].args[0] if one.value == 1.0 and e.fn == "exp" and e.args[0].fn == "neg" else None


d: dict[str, Partial] = {
    "add": lambda a, b, r: (ONE, ONE),
    "sub": lambda a, b, r: (ONE, wrap(-1.0)),
    "mul": lambda a, b, r: (b, a),
    "div": lambda a, b, r: (ONE / b, -(r / b)),
    "neg": lambda a, r: (wrap(-1.0),),
    "abs": lambda a, r: (F["sign"](a),),
    "sign": lambda a, r: (ZERO,), "floor": lambda a, r: (ZERO,), "ceil": lambda a, r: (ZERO,),
    "trunc": lambda a, r: (ZERO,), "round": lambda a, r: (ZERO,),
    "floordiv": lambda a, b, r: (ZERO, ZERO), "truncdiv": lambda a, b, r: (ZERO, ZERO),
    "remainder": lambda a, b, r: (ONE, -F["floordiv"](a, b)),
    "fmod": lambda a, b, r: (ONE, -F["trunc"](a / b)),
    "maximum": _max, "minimum": _min, "pow": _pow,
    "sqrt": lambda a, r: (0.5 / r,),
    "rsqrt": lambda a, r: (-0.5 * (r * (r * r)),),
    "exp": lambda a, r: (r,),
    "exp2": lambda a, r: (r * math.log(2.0),),
    "expm1": lambda a, r: (F["exp"](a),),  # not r + 1, which is 0 below -17
    "log": lambda a, r: (ONE / a,),
    "log2": lambda a, r: (ONE / (a * math.log(2.0)),),
    "log10": lambda a, r: (ONE / (a * math.log(10.0)),),
    "log1p": lambda a, r: (ONE / (a + 1.0),),
    "sin": lambda a, r: (F["cos"](a),),
    "cos": lambda a, r: (-F["sin"](a),),
    "tan": lambda a, r: (1.0 + r * r,),
    "asin": lambda a, r: (F["rsqrt"](1.0 - a * a),),
    "acos": lambda a, r: (-F["rsqrt"](1.0 - a * a),),
    "atan": lambda a, r: (1.0 / (a * a + 1.0),),
    "atan2": _atan2,
    "sinh": lambda a, r: (F["cosh"](a),),
    "cosh": lambda a, r: (F["sinh"](a),),
    "tanh": lambda a, r: (1.0 - r * r,),
    "asinh": lambda a, r: (F["rsqrt"](a * a + 1.0),),
    "acosh": lambda a, r: (F["rsqrt"](a * a - 1.0),),
    "atanh": lambda a, r: (1.0 / (1.0 - a * a),),
    "erf": lambda a, r: (2.0 / math.sqrt(math.pi) * F["exp"](-(a * a)),),
    "erfc": lambda a, r: (-2.0 / math.sqrt(math.pi) * F["exp"](-(a * a)),),
    "erfinv": lambda a, r: (math.sqrt(math.pi) / 2.0 * F["exp"](r * r),),
    "lgamma": lambda a, r: (F["digamma"](a),),
    "hypot": lambda a, b, r: (a / r, b / r),
    "nextafter": lambda a, b, r: (where(F["eq"](a, b), 0.0, 1.0), ZERO),  # torch's 0 where both are equal
    "copysign": lambda a, b, r: (where(F["eq"](a, 0.0), 0.0, r / a), ZERO),
    "where": lambda c, a, b, r: (None, where(c, 1.0, 0.0), where(c, 0.0, 1.0)),
}
FLAT = frozenset(("eq", "ne", "lt", "le", "gt", "ge", "isnan", "isinf", "signbit", "and", "or", "xor", "not",
                  "in", "scalar", "lit", "index", "random_bits"))


# Slopes of formulas for which the chain rule says something else than torch, at a kink or outside of the domain.
slopes: dict[Formula, tuple[Expr, ...]] = {}


class MissingDerivative(NotImplementedError):
    """A formula uses a scalar function whose derivative nobody has written."""


def vjp(formula: Formula, i: int) -> tuple[Formula | None, tuple[int, ...]]:
    """The formula of `g * d formula / d in_i`, and the operands it reads.

    Its operand 0 is g; then come the named operands in order, -1 standing for the formula's own result.
    None: the derivative is 1 (pass g on). Zero gives the literal 0 formula.
    """
    g, result = operand(1000), operand(1001)
    expr = formula.expr
    own = slopes.get(formula)
    if own is not None:
        return _read_by(formula, i, times(g, own[i]), g, result)
    grads: dict[Expr, Expr] = {expr: g}
    total: Expr | None = None
    target = operand(i)
    depends = set()
    for node in postorder(expr):
        if node is target or any(a in depends for a in node.args):
            depends.add(node)
    for node in reversed(postorder(expr)):
        seed = grads.get(node)
        if seed is None or node not in depends:
            continue
        if node is target:
            total = seed
            continue
        if node.fn in FLAT:
            continue
        arguments = node.args
        inner = _logistic(node)
        if inner is not None:
            r = result if node is expr else node
            arguments = (inner,)
            partials: tuple[Expr | None, ...] = (r * (1.0 - r),)
        elif node.fn == "cast":
            partials = (ONE,)
        else:
            if node.fn not in d:
                raise MissingDerivative(f"the derivative of {node.fn} is not implemented (in {formula.name})")
            partials = d[node.fn](*node.args, result if node is expr else node)
        if node.fn == "where":  # select, do not multiply: 0 * inf would poison the branch not taken
            c = node.args[0]
            terms: list[Expr | None] = [None, where(c, seed, 0.0), where(c, 0.0, seed)]
        else:
            terms = [None if p is None else times(seed, p) for p in partials]
        for arg, term in zip(arguments, terms, strict=False):
            if term is None or arg not in depends or term is ZERO:
                continue
            old = grads.get(arg)
            grads[arg] = term if old is None else _sum(old, term)
    if total is None:
        total = ZERO
    if total is g:
        return None, ()
    return _read_by(formula, i, total, g, result)


def _read_by(formula: Formula, i: int, total: Expr, g: Expr, result: Expr) -> tuple[Formula, tuple[int, ...]]:
    """The gradient `total` as a formula of its own, and the operands it reads."""
    operands = {e.value for e in postorder(total) if e.fn == "in" and isinstance(e.value, int)}
    used = sorted([k for k in operands if k < 1000])
    table = {g: operand(0)}
    if any(e is result for e in postorder(total)):
        used.append(-1)
    for place, k in enumerate(used):
        table[result if k == -1 else operand(k)] = operand(place + 1)
    return Formula(f"{formula.name}_grad{i}", substitute(total, table)), tuple(used)


def _sum(a: Expr, b: Expr) -> Expr:
    if a.fn == "where" and b.fn == "where" and a.args[0] is b.args[0]:  # masked alike: the sum is masked too
        for taken, masked in ((1, 2), (2, 1)):
            if a.args[masked] is ZERO and b.args[masked] is ZERO:
                both = _sum(a.args[taken], b.args[taken])
                return make("where", a.args[0], *((both, ZERO) if taken == 1 else (ZERO, both)))
    return a + b


def times(seed: Expr, p: Expr) -> Expr:
    if p is ONE:
        return seed
    if p is ZERO:
        return ZERO
    # What a branch not taken would make of a masked gradient (0 * inf) is masked too.
    if seed.fn == "where" and seed.args[2] is ZERO:
        return make("where", seed.args[0], times(seed.args[1], p), ZERO)
    if seed.fn == "where" and seed.args[1] is ZERO:
        return make("where", seed.args[0], ZERO, times(seed.args[2], p))
    if p.fn == "lit" and p.value == -1.0:
        return -seed
    if p.fn == "neg":
        return -times(seed, p.args[0])
    if p.fn == "where":  # a mask: select instead of multiplying
        a, b = (times(seed, x) for x in p.args[1:])
        return make("where", p.args[0], a, b)
    if p.fn == "div" and p.args[0] is ONE and _logistic(p) is None:
        return seed / p.args[1]
    return seed * p
