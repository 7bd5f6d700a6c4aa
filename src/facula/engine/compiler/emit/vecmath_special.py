"""The error function, its complement and its inverse; the logarithm of the gamma function, and its
derivative.
"""

from __future__ import annotations

import math

from facula.engine.compiler.emit import vecmath_coefficients as c
from facula.engine.compiler.emit.vecmath_exp import magic, reduce, scale
from facula.engine.compiler.emit.vecmath_lanes import Lanes, Value
from facula.engine.compiler.emit.vecmath_lookup import lookup
from facula.engine.compiler.emit.vecmath_trig import sin_polynomial

INF = float("inf")


def erf(b: Lanes, x: Value) -> Value:
    return _erf_by_table(b, x) if b.single else _erf_by_exp(b, x)


def _erf_by_table(b: Lanes, x: Value) -> Value:
    """A polynomial about the nearest of 16 points, whose coefficients are looked up."""
    centres, values, *coefficients = c.ERF_PIECES_F32
    a = b.at_most(b.abs(x), c.ERF_LIMIT)
    shifted = b.fma(a, c.ERF_STEPS, magic(b, 0))
    piece = b.bits_of(shifted)
    t = a - lookup(b, centres, piece)
    p = lookup(b, coefficients[-1], piece)
    for column in reversed(coefficients[:-1]):
        p = b.fma(p, t, lookup(b, column, piece))
    start = b.select(shifted.eq(magic(b, 0)), t, lookup(b, values, piece))
    return b.copysign(b.fma(t, p, start), x)


def _erf_by_exp(b: Lanes, x: Value) -> Value:
    """x + x P(x**2) below 1; above, 1 - exp(-Q(x)) with Q fitted to -log(erfc)."""
    a = b.at_most(b.abs(x), 5.95)  # 1 to the last bit from there on
    square = a * a
    small = b.fma(a, b.polynomial(square, c.ERF_SMALL_F64), a)
    q = b.polynomial(a, c.ERF_LARGE_F64)
    r, k = reduce(b, -q, b.bias)
    power = b.from_bits(k << b.mantissa)
    e = b.fma(r * r, b.polynomial(r, c.EXP_F64), r) + 1.0
    large = b.fma(-e, power, 1.0)
    return b.copysign(b.select(a < 1.0, small, b.select(a.isnan(), a, large)), x)


def erfc(b: Lanes, x: Value) -> Value:
    """exp(-x**2) P(t) / (1 + 2 |x|), t = (|x| - 3.75) / (|x| + 3.75); 1 - erf(x) below 3/4; 2 - erfc(-x).

    Shepherd & Laframboise (1981). x**2 and the quotient are carried in two parts: an error of x**2 would be
    one of the result, 700 times as large.
    """
    a = b.at_most(b.abs(x), b.pick(10.4, 28.0))
    t = (a - 3.75) / (a + 3.75)
    first, first_low, *coefficients = c.ERFC_F32 if b.single else c.ERFC_F64
    rest = b.fma(t, b.polynomial(t, coefficients), first_low)
    p = rest + first
    d = b.fma(a, 2.0, 1.0)
    inverse = 1.0 / d
    q = p * inverse
    d_low = 1.0 - (d - a * 2.0)
    q_low = (b.fma(-q, d_low, b.fma(-q, d, p)) + ((first - p) + rest)) * inverse
    h = a * a
    h_low = b.fma(a, a, -h)
    main, k = reduce(b, -h, 2 * b.bias)
    r = main - h_low
    missing = (main - r) - h_low
    grown = r + b.fma(r * r, b.polynomial(r, c.EXP_F32 if b.single else c.EXP_F64), missing)  # exp(r) - 1
    large = scale(b, b.fma(q, grown, q_low) + q, k)
    large = b.select(x < 0.0, 2.0 - large, large)
    # 1 - erf(x), with 1 - x exact from 1/2 on
    small = b.fma(-x, b.polynomial(x * x, c.ERF_SMALL_F32 if b.single else c.ERF_SMALL_F64), 1.0 - x)
    y = b.select(a < 0.75, small, large)
    return b.select(x.isnan(), x, y)


def erfinv(b: Lanes, x: Value) -> Value:
    """x P(w), w = -log(1 - x**2) (Giles, Approximating the erfinv function, 2011); nan beyond +-1."""
    w = -b.call("log", b.fma(-x, x, 1.0))
    y = b.polynomial(w - 3.125, c.ERFINV_CENTRE_F32 if b.single else c.ERFINV_CENTRE_F64)
    y = b.rarely(~(w < 6.25), (y,), lambda: (b.call("erfinv_tail", w),))[0]
    y = x * y
    return b.select(b.abs(x).eq(1.0), b.copysign(b.real(float("inf")), x), y)


def erfinv_tail(b: Lanes, w: Value) -> Value:
    root = b.sqrt(w)
    if b.single:  # 1 - x is 2**-24 or more, so root below 4
        return b.polynomial(root - 3.25, c.ERFINV_MIDDLE_F32)
    middle = b.polynomial(root - 3.25, c.ERFINV_MIDDLE_F64)
    return b.select(root < 4.0, middle, b.polynomial(root - 5.0, c.ERFINV_TAIL_F64))


def lgamma(b: Lanes, x: Value) -> Value:
    """log|gamma(x)|. Negative x by reflection, where the result is good to an ulp of the larger term only."""
    a = b.abs(x)
    y = b.call("lgamma_positive", a)
    return b.rarely(x < 0.0, (y,), lambda: (b.call("lgamma_reflected", a, y),))[0]


def lgamma_positive(b: Lanes, a: Value) -> Value:
    """From 8 Stirling's series; below, by recurrence to 2 + z, -3/4 <= z <= 1/2, and z P(z), exact zeros at
    1 and 2.
    """
    v = a
    product = b.real(1.0)
    for _ in range(6):  # 8 -> 2.5
        above = v >= 2.5
        v = b.select(above, v - 1.0, v)
        product = b.select(above, product * v, product)
    below, tiny = a < 1.25, a < 0.5
    z = b.select(tiny, a, b.select(below, a - 1.0, v - 2.0))  # no rounding in any of them
    product = b.select(below, b.select(tiny, a * (a + 1.0), a), product)
    large = a >= 8.0
    logarithm = b.call("log", b.select(large, a, product))
    small = b.fma(z, b.polynomial(z, c.LGAMMA_F64), b.select(below, -logarithm, logarithm))
    u = 1.0 / a
    series = b.fma(u, b.polynomial(u * u, c.STIRLING_F64), c.HALF_LOG_2PI_F64[0])
    return b.select(large, b.fma(a - 0.5, logarithm - 1.0, series), small)


def lgamma_reflected(b: Lanes, a: Value, y: Value) -> Value:
    """lgamma(-a) = log(pi / (a |sin(pi a)|)) - lgamma(a); inf at the whole numbers."""
    fraction = b.abs(a - b.rint(a))
    sine = _sin_pi(b, fraction)
    reflected = b.call("log", math.pi / (a * sine)) - y
    reflected = b.select(a < 2.0 ** -60, y, reflected)  # there the product would vanish
    return b.select(fraction.eq(0.0) | a.eq(INF), INF, reflected)


def _sin_pi(b: Lanes, fraction: Value) -> Value:
    """sin(pi fraction), |fraction| <= 1/2."""
    r = fraction * c.PI_F64[0]
    low = b.fma(fraction, c.PI_F64[0], -r) + fraction * c.PI_F64[1]
    return sin_polynomial(b, r, low)


def digamma(b: Lanes, x: Value) -> Value:
    """The derivative of lgamma. As in torch -+inf at +-0 and nan at the negative whole numbers."""
    y = b.call("digamma_positive", b.select(x < 0.0, 1.0 - x, x))
    y = b.rarely(x < 0.0, (y,), lambda: (b.call("digamma_reflected", -x, y),))[0]
    return b.select(x.eq(0.0), b.copysign(b.real(INF), -x), y)


def digamma_positive(b: Lanes, a: Value) -> Value:
    """From 8 the asymptotic series; below, by recurrence to [1, 2] and (x - x0) P(x), which keeps the zero.
    """
    v = a
    above_line, below_line = b.real(0.0), b.real(1.0)  # the sum of 1/v as one fraction: one division
    for _ in range(7):  # 8 -> 1
        above = v > 2.0
        v = b.select(above, v - 1.0, v)
        above_line = b.select(above, b.fma(above_line, v, below_line), above_line)
        below_line = b.select(above, below_line * v, below_line)
    below = a < 1.0
    v = b.select(below, a + 1.0, v)
    above_line = b.select(below, -1.0, above_line)
    below_line = b.select(below, a, below_line)
    zero, zero_low = c.DIGAMMA_ZERO_F64
    small = ((v - zero) - zero_low) * b.polynomial(v - 1.5, c.DIGAMMA_F64) + above_line / below_line
    u = 1.0 / a
    square = u * u
    rest = b.fma(square, b.polynomial(square, c.DIGAMMA_LARGE_F64), u * 0.5)
    large = b.call("log", a) - rest
    return b.select(a >= 8.0, large, small)


def digamma_reflected(b: Lanes, a: Value, y: Value) -> Value:
    """digamma(-a) = digamma(1 + a) + pi / tan(pi a), y being digamma(1 + a)."""
    fraction = a - b.rint(a)
    # tan(pi f) = sin / cos, and cos(pi f) = sin(pi (1/2 - |f|))
    cotangent = _sin_pi(b, 0.5 - b.abs(fraction)) / _sin_pi(b, fraction)
    reflected = b.fma(cotangent, math.pi, y)
    return b.select(fraction.eq(0.0) | ~(a < INF), float("nan"), reflected)
