"""x**y with C99's table of special values (annex F.9.4.4).

The magnitude is 2**(y log2|x|). The product may be as large as 1075, and every bit of its fraction goes into
the result, so log2 needs some 11 bits more than the format has: float32 computes in float64, float64 in
pairs of float64 (Dekker's and Knuth's exact sums and products, with fma).
"""

from __future__ import annotations

from facula.engine.compiler.emit import vecmath_coefficients as c
from facula.engine.compiler.emit.vecmath_exp import magic, scale
from facula.engine.compiler.emit.vecmath_lanes import Lanes, Value
from facula.engine.compiler.emit.vecmath_log import normalised, split

_TWO_THIRDS = 0x3FE5555555555555  # bits of 2/3 in float64
INF = float("inf")


def pow(b: Lanes, x: Value, y: Value) -> Value:
    a = b.abs(x)
    magnitude = _single(b, a, y) if b.single else _double(b, a, y)
    # y is an integer, and odd: halves of odd integers aren't integers; from 2**24 (2**53) on all are even
    whole = b.rint(y).eq(y)
    half = y * 0.5
    odd = whole & b.rint(half).ne(half)
    negative = b.bits_of(x) < 0
    # -0 and -inf follow the sign of odd powers, too; negative numbers have no other powers than whole ones
    z = b.select(negative & odd, -magnitude, magnitude)
    z = b.select((x < 0.0) & (x > -INF) & ~whole, float("nan"), z)
    # 1**y and x**0 are 1 even for NaN; (-1)**(+-inf) is 1
    one = x.eq(1.0) | y.eq(0.0) | (a.eq(1.0) & b.abs(y).eq(INF))
    return b.select(one, 1.0, z)


def _single(b: Lanes, a: Value, y: Value) -> Value:
    """|x|**y of float lanes through double: log2 to 36 bits, exp2 to 29."""
    wide = b.double()
    base, power = b.widen(a), b.widen(y)  # denormals are normal numbers there
    bits = wide.bits_of(base)
    k = (bits - _TWO_THIRDS) >> 52
    f = wide.from_bits(bits - (k << 52)) - 1.0
    logarithm = wide.fma(f, wide.polynomial(f, c.POW_LOG2_F64), wide.to_real(k))
    logarithm = wide.select(base.eq(0.0), -INF, logarithm)
    logarithm = wide.select(base < INF, logarithm, base)  # inf and NaN
    t = wide.at_least(wide.at_most(power * logarithm, 200.0), -200.0)
    shifted = t + magic(wide, wide.bias)
    r = t - (shifted - magic(wide, wide.bias))
    p = wide.polynomial(r, c.POW_EXP2_F64) * wide.from_bits(wide.bits_of(shifted) << 52)
    return b.narrow(p)  # rounds to float32's denormals, overflows to inf


def _double(b: Lanes, a: Value, y: Value) -> Value:
    """|x|**y of double lanes: exp of y log|x| in two doubles."""
    high, low = _log_pair(b, a)
    # y * (high + low), exact but for the last bits of low
    product = y * high
    rest = b.fma(y, high, -product) + y * low
    t = b.at_least(b.at_most(product, 710.0), -746.0)
    shifted = b.fma(t, c.INVERSE_LN2_F64[0], magic(b, 2 * b.bias))
    n = shifted - magic(b, 2 * b.bias)
    first = b.fma(n, -c.LN2_F64[0], t)  # exact
    # beyond the clamp, and for infinite logarithms, `rest` is no small correction (or is NaN): drop it
    rest = b.select(b.abs(product) < 750.0, rest, 0.0)
    r_low = b.fma(n, -c.LN2_F64[1], rest)
    r = first + r_low
    tail = (first - r) + r_low
    # exp(r + tail) = exp(r) + tail exp(r); adding tail (1 + r) is enough
    p = b.fma(r * r, b.polynomial(r, c.EXP_F64), b.fma(tail, r, tail)) + r + 1.0
    return scale(b, p, b.bits_of(shifted))


def _log_pair(b: Lanes, a: Value) -> tuple[Value, Value]:
    """log(a) as high + low with about 68 good bits; -inf, inf and NaN (in high) where log is."""
    normal, shift = normalised(b, a)
    k, f = split(b, normal)
    exponent = b.to_real(k) + shift
    # s + s_low = f / (2 + f): the quotient and what it misses
    d = f + 2.0
    d_low = f - (d - 2.0)
    s = f / d
    s_low = b.fma(-s, d_low, b.fma(-s, d, f)) / d
    # square, and cube / 3 with its error: 2/3 s**3 is too large for a single rounding
    z = s * s
    z_low = b.fma(s, s, -z) + 2.0 * s * s_low
    third, third_low = 2.0 / 3.0, 3.700743415417188e-17
    w = z * third
    w_low = b.fma(z, third, -w) + b.fma(z, third_low, z_low * third)
    series = z * z * b.polynomial(z, c.POW_LOG_F64)
    # inner = 2/3 z + z**2 P(z), in two parts
    inner = w + series
    inner_low = (w - inner) + series + w_low
    cube = s * inner
    cube_low = b.fma(s, inner, -cube) + b.fma(s, inner_low, s_low * inner)
    twice = s * 2.0
    # k log(2) + 2 s + cube, largest first
    whole = exponent * c.LN2_F64[0]
    whole_low = b.fma(exponent, c.LN2_F64[0], -whole) + exponent * c.LN2_F64[1]
    one = twice + cube
    one_low = (twice - one) + cube + (s_low * 2.0 + cube_low)
    total = whole + one
    rest = (whole - total) + one + (one_low + whole_low)  # whole is 0 or larger than one
    high = total + rest
    low = (total - high) + rest
    high = b.select(a.eq(0.0), -INF, high)
    high = b.select(a < INF, high, a)
    return high, b.select(b.abs(high) < INF, low, 0.0)
