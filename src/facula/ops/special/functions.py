"""Special functions: `facula.special`, and those of them that have a name at the root.

What is a formula of scalars is one; Bessel, zeta and incomplete gamma functions are computed by the host, in
double precision, each with its slope written with operations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from facula._tensor.handle import Tensor, new
from facula._tensor.tape import attach
from facula.autograd.graph import Rule
from facula.dtypes import float64
from facula.engine.graph.expr import function, operand, where
from facula.engine.session import session
from facula.ops.casting import constant, to_dtype
from facula.ops.create.creation import arange
from facula.ops.elementwise import (
    rounding,  # noqa: F401  (functions of theirs are named here too)
    transcendental,  # noqa: F401  (functions of theirs are named here too)
)
from facula.ops.elementwise.derivatives import slopes
from facula.ops.elementwise.kinds import Binary, unary
from facula.ops.elementwise.pointwise import sum_to
from facula.ops.elementwise.refusals import of_tensors
from facula.ops.elementwise.rounding import sgn
from facula.ops.elementwise.transcendental import exp, plain_digamma, plain_lgamma
from facula.ops.index.masking import where as choose
from facula.ops.registry import FUNCTIONS, also, op
from facula.ops.special.host_functions import ROUTINES, floating, floating_pair, host, routine
from facula.ops.type_rules import PROMOTED_FLOATING

# ---- names that are elsewhere already ---------------------------------------------------------------------

for _name, _root in (("expit", "sigmoid"), ("logit", "logit"), ("gammaln", "lgamma"), ("digamma", "digamma"),
                     ("psi", "digamma"), ("erf", "erf"), ("erfc", "erfc"), ("erfinv", "erfinv"), ("exp2", "exp2"),
                     ("expm1", "expm1"), ("log1p", "log1p"), ("sinc", "sinc"), ("round", "round"),
                     ("xlogy", "xlogy"), ("logsumexp", "logsumexp"), ("softmax", "softmax"),
                     ("log_softmax", "log_softmax")):
    also(FUNCTIONS[_root], "special." + _name)

# ---- formulas ---------------------------------------------------------------------------------------------

_log, _log1p, _erf, _erfc, _eq, _lt, _gt, _isnan, _isinf = (function(n) for n in (
    "log", "log1p", "erf", "erfc", "eq", "lt", "gt", "isnan", "isinf"))


def _entr(x: Any) -> Any:
    positive = _gt(x, 0.0)
    return where(_isnan(x), x, where(positive, -x * _log(where(positive, x, 1.0)), where(_eq(x, 0.0), 0.0, -math.inf)))


def _xlog1py(x: Any, y: Any) -> Any:
    return where(_isnan(y), y, where(_eq(x, 0.0), 0.0, x * _log1p(y)))  # as in xlogy


_entropy = unary("entr", _entr)
slopes[_entropy.formula] = (-_log(operand(0)) - 1.0,)  # type: ignore[attr-defined]
op(_entropy, namespace="special", method=False, out=True)
op(unary("ndtr", lambda x: 0.5 * _erfc(x * -0.7071067811865476)), namespace="special", method=False, out=True)
op(Binary("xlog1py", _xlog1py, "float", "same", lambda x, y: (
       where(_eq(x, 0.0) & (y <= -1.0), 0.0, _log1p(y)), x / (y + 1.0))).__call__,
   name="xlog1py", namespace="special", method=False, out=True, types=PROMOTED_FLOATING)


# ---- functions on the host --------------------------------------------------------------------------------

def _smooth(name: str, slope: Callable[..., Tensor], root: bool = False, doc: str = "", cancels: bool = False) -> Any:
    """A function of one tensor, its values from the host; `slope(x, result)` is its derivative. `cancels`: a difference
    of what may be almost alike, which is taken in doubles."""
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
        x, out = ctx.saved
        if not cancels or x.dtype is float64:
            return (g * slope(x, out),)
        wide = to_dtype(x, float64)
        return (g * to_dtype(slope(wide, body(wide)), x.dtype),)

    rule = Rule(name.title().replace("_", "") + "Backward0", backward)

    def body(input: Tensor) -> Tensor:
        x = floating(input, name)
        out = host(name, x)
        return attach(out, rule, (x,), (x, out))
    body.__name__ = body.__qualname__ = name
    body.__doc__ = doc
    if root:
        return op(body, inplace=True, out=True, also=("special." + name,))
    return op(body, namespace="special", method=False, out=True)


def _sum(term: Any, ratio: Callable[[int], Any], count: int) -> Any:
    """term * (1 + ratio(1) + ratio(1) * ratio(2) + ...)"""
    total = np.array(term)
    for k in range(1, count):
        term = term * ratio(k)
        total = total + term
    return total


def _bessel_i(order: int, x: Any) -> Any:
    """exp(-|x|) I_order(x): the power series up to 25, the expansion for large arguments from there."""
    size = np.abs(x)
    small, large = np.minimum(size, 25.0), np.maximum(size, 25.0)
    square = small * small / 4
    near = _sum((small / 2) ** order, lambda k: square / (k * (k + order)), 70) * np.exp(-small)
    far = _sum(np.ones_like(size), lambda k: -(4.0 * order ** 2 - (2 * k - 1) ** 2) / (8 * k * large), 30)
    out = np.where(size <= 25, near, far / np.sqrt(2 * np.pi * large))
    return np.where(np.isnan(x), x, np.where(x < 0, (-1) ** order * out, out))


@routine
def i0e(x: Any) -> Any:
    return _bessel_i(0, x)


@routine
def i1e(x: Any) -> Any:
    return _bessel_i(1, x)


@routine
def i0(x: Any) -> Any:
    return np.where(np.isinf(x), np.inf, _bessel_i(0, x) * np.exp(np.abs(x)))


@routine
def i1(x: Any) -> Any:
    return np.where(np.isinf(x), x, _bessel_i(1, x) * np.exp(np.abs(x)))


_ERFC = (-1.3026537197817094, 6.4196979235649026e-1, 1.9476473204185836e-2, -9.561514786808631e-3,
         -9.46595344482036e-4, 3.66839497852761e-4, 4.2523324806907e-5, -2.0278578112534e-5, -1.624290004647e-6,
         1.303655835580e-6, 1.5626441722e-8, -8.5238095915e-8, 6.529054439e-9, 5.059343495e-9, -9.91364156e-10,
         -2.27365122e-10, 9.6467911e-11, 2.394038e-12, -6.886027e-12, 8.94487e-13, 3.13092e-13, -1.12708e-13,
         3.81e-16, 7.106e-15, -1.523e-15, -9.4e-17, 1.21e-16, -2.8e-17)


@routine
def erfcx(x: Any) -> Any:
    """exp(x^2) erfc(x): a Chebyshev series in 2 / (2 + |x|); where x is large, the continued fraction's start."""
    z = np.abs(x)
    t = 2 / (2 + z)
    y = 4 * t - 2
    d = dd = np.zeros_like(z)
    for c in _ERFC[:0:-1]:
        d, dd = y * d - dd + c, d
    positive = t * np.exp(0.5 * (_ERFC[0] + y * d) - dd)
    inverse = 1 / np.maximum(z, 30.0) ** 2
    far = (1 - inverse / 2 * (1 - 1.5 * inverse * (1 - 2.5 * inverse))) / (np.maximum(z, 30.0) * math.sqrt(math.pi))
    positive = np.where(z > 30, far, positive)
    return np.where(np.isnan(x), x, np.where(x < 0, 2 * np.exp(z * z) - positive, positive))


@routine
def log_ndtr(x: Any) -> Any:
    t = x * 0.7071067811865476
    left = np.log(erfcx(-np.minimum(t, 0)) / 2) - t * t
    right = -np.maximum(t, -1.0)
    tail = np.exp(-right * right) * erfcx(np.abs(right)) / 2
    return np.where(x < -1, left, np.log1p(-np.where(right < 0, tail, 1 - tail)))


@routine
def ndtri(p: Any) -> Any:
    """The inverse of ndtr: a first guess for the smaller tail, then Newton's steps on the tail's logarithm."""
    tail = np.minimum(p, 1 - p)
    level = np.log(np.maximum(tail, 5e-324))
    r = np.sqrt(-2 * level)
    x = -(r - (2.515517 + 0.802853 * r + 0.010328 * r * r)
          / (1 + 1.432788 * r + 0.189269 * r * r + 0.001308 * r ** 3))
    for _ in range(4):  # d log ndtr = exp(-x^2 / 2) / (sqrt(2 pi) ndtr) = sqrt(2 / pi) / erfcx(-x / sqrt(2))
        slope = math.sqrt(2 / math.pi) / erfcx(-x * 0.7071067811865476)
        x = x - (log_ndtr(x) - level) / slope
    x = np.where(p > 0.5, -x, x)
    x = np.where(p == 0.5, 0.0, x)
    return np.where((p < 0) | (p > 1) | np.isnan(p), np.nan,
                    np.where(p == 0, -np.inf, np.where(p == 1, np.inf, x)))


_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798,
              -174611 / 330, 854513 / 138)


@routine
def zeta(s: Any, q: Any) -> Any:
    """Hurwitz's zeta: terms until q is past 10, then Euler and Maclaurin's correction."""
    s, q = np.broadcast_arrays(s, q)
    lowest = float(np.min(np.where(np.isfinite(q), q, 10.0), initial=10.0))
    if lowest < -1e5:
        raise NotImplementedError(f"zeta: arguments below -100000 are not implemented, got {lowest:g}")
    total = np.zeros(s.shape)
    at = np.array(q)
    for _ in range(max(0, math.ceil(10 - lowest)) + 1):
        more = at < 10
        total = np.where(more, total + np.sign(at) ** np.where(s % 2 == 1, 1, 2) * np.abs(at) ** -s, total)
        at = np.where(more, at + 1, at)
    total = total + at ** (1 - s) / (s - 1) + 0.5 * at ** -s
    factor = s * at ** (-s - 1)
    fact = 2.0
    for j, b in enumerate(_BERNOULLI, 1):
        total = total + b / fact * factor
        factor = factor * (s + 2 * j - 1) * (s + 2 * j) / at ** 2
        fact *= (2 * j + 1) * (2 * j + 2)
    total = np.where(np.isinf(at), 0.0, total)
    total = np.where(q <= 0, np.where(q == np.floor(q), np.inf, np.where(s == np.floor(s), total, np.nan)), total)
    return np.where(s < 1, np.nan, np.where(s == 1, np.inf, np.where(np.isnan(s + q), np.nan, total)))


@routine
def trigamma(x: Any) -> Any:
    """The derivative of digamma, reflected from the left half."""
    mirrored = np.where(x < 0.5, 1 - x, x)
    value = zeta(np.full(np.shape(x), 2.0), mirrored)
    return np.where(x < 0.5, (np.pi / np.sin(np.pi * x)) ** 2 - value, value)


_lgamma = np.frompyfunc(lambda v: math.inf if v <= 0 and v == math.floor(v) or math.isinf(v) else math.lgamma(v), 1, 1)


def _incomplete(a: Any, x: Any) -> tuple[Any, Any]:
    """The regularized incomplete gamma functions P and Q."""
    a, x = np.broadcast_arrays(a, x)
    good = (a > 0) & (x > 0) & np.isfinite(a) & np.isfinite(x)
    sa, sx = np.where(good, a, 1.0), np.where(good, x, 1.0)
    scale = np.exp(sa * np.log(sx) - sx - np.asarray(_lgamma(sa), np.float64))
    series = sx < sa + 1
    term = 1 / sa
    total = np.array(term)
    for k in range(1, 2000):
        term = np.where(series, term * sx / (sa + k), 0.0)
        total = total + term
        if np.all(np.abs(term) <= 1e-17 * np.abs(total)):
            break
    lower = total * scale
    b = sx + 1 - sa
    c = np.full(sx.shape, 1e300)
    d = 1 / np.where(b == 0, 1e-300, b)
    h = np.array(d)
    for k in range(1, 2000):  # Lentz's continued fraction
        an = -k * (k - sa)
        b = b + 2
        d = an * d + b
        d = 1 / np.where(np.abs(d) < 1e-300, 1e-300, d)
        c = b + an / c
        c = np.where(np.abs(c) < 1e-300, 1e-300, c)
        h = h * d * c
        if np.all(series | (np.abs(d * c - 1) < 1e-16)):
            break
    upper = h * scale
    p = np.where(series, lower, 1 - upper)
    q = np.where(series, 1 - lower, upper)
    zero = ((x == 0) & (a > 0)) | (np.isinf(a) & np.isfinite(x) & (x >= 0) & (a > 0))
    one = ((a == 0) & (x > 0)) | (np.isinf(x) & np.isfinite(a) & (a > 0) & (x > 0))
    bad = ~(good | zero | one)
    return (np.where(bad, np.nan, np.where(zero, 0.0, np.where(one, 1.0, p))),
            np.where(bad, np.nan, np.where(zero, 1.0, np.where(one, 0.0, q))))


ROUTINES["gammainc"] = lambda a, x: _incomplete(a, x)[0]
ROUTINES["gammaincc"] = lambda a, x: _incomplete(a, x)[1]


# ---- the operations ---------------------------------------------------------------------------------------

def _i0e_slope(x: Tensor, out: Tensor) -> Tensor:
    return _i1e(x) - sgn(x) * out  # type: ignore[no-any-return]


def _i1_slope(x: Tensor, out: Tensor) -> Tensor:
    near = x.abs() < 0.05
    return choose(near, _i1_slope_near(x), _i0(x) - out / x.masked_fill(near, 1))  # type: ignore[no-any-return]


def _i1_slope_near(x: Tensor) -> Tensor:
    """The derivative of i1 as a series, whose own derivatives are right at 0 too."""
    square = x * x
    return 0.5 + square * (3 / 16 + square * (5 / 384 + square * (7 / 18432 + square * (9 / 1474560))))


def _i1e_slope(x: Tensor, out: Tensor) -> Tensor:
    near = x.abs() < 0.05
    slope = choose(near, exp(-x.abs()) * _i1_slope_near(x), _i0e(x) - out / x.masked_fill(near, 1))
    return slope - sgn(x) * out  # type: ignore[no-any-return]


_i0: Any = _smooth("i0", lambda x, out: _i1(x), True, "The modified Bessel function of order 0.")
_i0e: Any = _smooth("i0e", _i0e_slope, doc="exp(-|x|) i0(x).", cancels=True)
_i1: Any = _smooth("i1", _i1_slope, doc="The modified Bessel function of order 1.", cancels=True)
_i1e: Any = _smooth("i1e", _i1e_slope, doc="exp(-|x|) i1(x).", cancels=True)
_erfcx: Any = _smooth("erfcx", lambda x, out: 2 * x * out - 2 / math.sqrt(math.pi), doc="exp(x^2) erfc(x).",
                      cancels=True)
_smooth("log_ndtr", lambda x, out: math.sqrt(2 / math.pi) / _erfcx(x * -0.7071067811865476),
        doc="The logarithm of ndtr.")
_smooth("ndtri", lambda x, out: math.sqrt(2 * math.pi) * exp(out * out * 0.5),
        doc="The inverse of ndtr.")


def _polygamma_backward(ctx: Any, g: Any) -> tuple[Any, ...]:
    n, x = ctx.saved
    return (g * polygamma(n + 1, x),)


_POLYGAMMA = Rule("PolygammaBackward0", _polygamma_backward)


def polygamma(n: int, input: Tensor) -> Tensor:
    """The n-th derivative of digamma."""
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    x = floating(input, "polygamma")
    if n == 0:
        return digamma(x)
    if n == 1:
        out = host("trigamma", x)
    else:
        order = new(constant(float(n + 1), (), x.dtype))
        out = host("zeta", order, x) * float((-1) ** (n + 1) * math.factorial(n))
    return attach(out.detach(), _POLYGAMMA, (x,), (n, x))


op(polygamma, method=False, out=True, also=("special.polygamma",))


@op(name="polygamma", function=False, inplace=True)
def _polygamma_method(self: Tensor, n: int) -> Tensor:
    return polygamma(n, self)


# digamma's slope is not a formula, so the operation gets a rule of its own
_DIGAMMA = Rule("DigammaBackward0", lambda ctx, g: (g * polygamma(1, ctx.saved[0]),))


def digamma(input: Tensor) -> Tensor:
    """The logarithmic derivative of the gamma function."""
    if not isinstance(input, Tensor) or session.traced is None and not (input._rg or input._base is not None):
        return plain_digamma(input)
    return attach(plain_digamma(input.detach()), _DIGAMMA, (input,), (input,))


op(digamma, inplace=True, out=True, also=("special.digamma", "special.psi"))

# nor is the slope of its slope: what lgamma's gradient calls is digamma with the rule above
_LGAMMA = Rule("LgammaBackward0", lambda ctx, g: (g * digamma(ctx.saved[0]),))


def lgamma(input: Tensor) -> Tensor:
    """The logarithm of the absolute value of the gamma function."""
    if not isinstance(input, Tensor) or session.traced is None and not (input._rg or input._base is not None):
        return plain_lgamma(input)
    x = floating(input, "lgamma")
    return attach(plain_lgamma(x.detach()), _LGAMMA, (x,), (x,))  # type: ignore[attr-defined]


op(lgamma, inplace=True, out=True, also=("special.gammaln",))


def _pair(name: str, values: str, second: Any, doc: str) -> Any:
    """A function of two operands that the host computes; `second` is its slope in the second."""
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, x = ctx.saved
        if ctx.needs[0]:
            raise NotImplementedError(f"the derivative of '{name}: input' is not implemented.")
        return None, sum_to(g * second(a, x), ctx.shapes[1])
    rule = Rule(name.title() + "Backward0", backward)

    def body(input: Any, other: Any) -> Tensor:
        a, x = floating_pair(input, other, name)
        return attach(host(values, a, x), rule, (a, x), (a, x))
    body.__name__ = body.__qualname__ = name
    body.__doc__ = doc
    return body


def _gamma_density(a: Tensor, x: Tensor) -> Tensor:
    return exp((a - 1) * x.log() - x - lgamma(a))


op(of_tensors("igamma", _pair("igamma", "gammainc", _gamma_density,
                              "The regularized lower incomplete gamma function.")),
   inplace=True, out=True, also=("special.gammainc",), types=PROMOTED_FLOATING)
op(of_tensors("igammac", _pair("igammac", "gammaincc", lambda a, x: -_gamma_density(a, x),
                               "The regularized upper incomplete gamma function.")),
   inplace=True, out=True, also=("special.gammaincc",), types=PROMOTED_FLOATING)
zeta_of: Any = op(_pair("zeta", "zeta", lambda s, q: -s * zeta_of(s + 1, q), "Hurwitz's zeta function."),
             namespace="special", method=False, out=True)


@op(inplace=True, out=True)
def mvlgamma(input: Tensor, p: int) -> Tensor:
    """The logarithm of the gamma function of p dimensions."""
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    x = floating(input, "mvlgamma")
    steps = arange(0, p, dtype=x.dtype, device=x.device) * -0.5
    return (lgamma(x.unsqueeze(-1) + steps).sum(-1)
            + p * (p - 1) / 4 * math.log(math.pi))


also(mvlgamma, "special.multigammaln")
