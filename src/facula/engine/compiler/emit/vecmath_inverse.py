"""Inverse trigonometric, hyperbolic and inverse hyperbolic functions, and hypot."""

from __future__ import annotations

import math

from facula.engine.compiler.emit import vecmath_coefficients as c
from facula.engine.compiler.emit.vecmath_exp import reduce_parts
from facula.engine.compiler.emit.vecmath_lanes import Lanes, Value
from facula.engine.compiler.emit.vecmath_log import log_of_sum

INF = float("inf")
HALF_PI_SINGLE = (c.PI_F32[0] / 2, c.PI_F32[1] / 2)
HALF_PI_DOUBLE = (c.PI_F64[0] / 2, c.PI_F64[1] / 2)


def _half_pi(b: Lanes) -> tuple[float, float]:
    return HALF_PI_SINGLE if b.single else HALF_PI_DOUBLE


def _turned_atan(b: Lanes, z: Value, turn: Value, base: Value, base_low: Value) -> Value:
    """base + atan(z) for 0 <= z <= 1, or base - atan(z) in the lanes of `turn`; base is 0 or more than 1."""
    square = z * z
    z = b.select(turn, -z, z)
    rest = square * z * b.polynomial(square, c.ATAN_F32 if b.single else c.ATAN_F64)
    # z itself is taken off first and what that rounds is kept, so only the last sum rounds at full size
    main = base + z
    error = (base - main) + z
    return main + (rest + (error + base_low))


def atan(b: Lanes, x: Value) -> Value:
    a = b.abs(x)
    steep = a > 1.0
    z = b.select(steep, 1.0, a) / b.select(steep, a, b.real(1.0))
    high, low = (b.select(steep, part, b.real(0.0)) for part in _half_pi(b))
    return b.copysign(_turned_atan(b, z, steep, high, low), x)


def atan2(b: Lanes, y: Value, x: Value) -> Value:
    """The angle of the point (x, y): base +- atan(smaller / larger), base a multiple of pi/2."""
    rise, run = b.abs(y), b.abs(x)
    steep = rise > run
    larger, smaller = b.select(steep, rise, run), b.select(steep, run, rise)
    z = smaller / larger
    # inf/inf are the diagonals; of 0/0 the signs decide
    z = b.select(smaller.eq(larger), b.select(larger.eq(0.0), b.real(0.0), 1.0), z)
    backwards = b.bits_of(x) < 0
    high, low = _half_pi(b)
    base = b.select(steep, high, b.select(backwards, 2 * high, b.real(0.0)))
    base_low = b.select(steep, low, b.select(backwards, 2 * low, b.real(0.0)))
    return b.copysign(_turned_atan(b, z, steep ^ backwards, base, base_low), y)


def _asin_rest(b: Lanes, square: Value) -> Value:
    """(asin(x) - x) / x for x**2 = square <= 1/4."""
    return square * b.polynomial(square, c.ASIN_F32 if b.single else c.ASIN_F64)


def asin(b: Lanes, x: Value) -> Value:
    """x + x**3 P below 1/2; above pi/2 - 2 asin(sqrt((1 - x)/2)). nan beyond 1, from the root."""
    a = b.abs(x)
    small = a < 0.5
    square = b.select(small, a * a, 0.5 - a * 0.5)
    z = b.select(small, a, b.sqrt(square))
    rest = _asin_rest(b, square)
    high, low = _half_pi(b)
    y = b.fma(z, rest, z)
    # pi/2 - 2 z is exact within a factor of two, so take z off first
    folded = high - z * 2.0
    error = (high - folded) - z * 2.0
    far = folded + (b.fma(z * rest, -2.0, error) + low)
    return b.copysign(b.select(small, y, far), x)


def acos(b: Lanes, x: Value) -> Value:
    a = b.abs(x)
    small = a < 0.5
    square = b.select(small, a * a, 0.5 - a * 0.5)
    z = b.select(small, x, b.sqrt(square))
    rest = z * _asin_rest(b, square)
    high, low = _half_pi(b)
    middle = high - (z + (rest - low))
    near = (z + rest) * 2.0  # x near 1
    far = (high - (z + (rest - low))) * 2.0  # x near -1
    return b.select(small, middle, b.select(x < 0.0, far, near))


def _hyperbolic(b: Lanes, x: Value) -> tuple[Value, Value, Value, Value]:
    """(cosh(r) - 1, sinh(r), up, down) with |x| = n log(2) + r and 2**(n-2), 2**(-n-2)."""
    a = b.at_most(b.abs(x), b.pick(89.6, 710.6))
    r, k = reduce_parts(b, a)
    square = r * r
    cosine = square * b.polynomial(square, c.COSH_F32 if b.single else c.COSH_F64)
    sine = b.fma(square * r, b.polynomial(square, c.SINH_F32 if b.single else c.SINH_F64), r)
    up = b.from_bits((k + (b.bias - 2)) << b.mantissa)
    k = b.select(k > 60, 60, k)  # so small beside the other that it need only be a normal number
    down = b.from_bits((b.bias - 2 - k) << b.mantissa)
    return cosine, sine, up, down


def sinh(b: Lanes, x: Value) -> Value:
    """(2**(n-1) - 2**(-n-1)) cosh(r) + (2**(n-1) + 2**(-n-1)) sinh(r): no division, and sinh(r) when n = 0.

    Everything is halved until the end: at the upper end 2**(n-1) is no number any more.
    """
    cosine, sine, up, down = _hyperbolic(b, x)
    even, odd = up - down, up + down
    y = (even + b.fma(even, cosine, odd * sine)) * 2.0
    y = b.select(b.abs(x) < 2.0 ** -(b.mantissa // 2 + 3), b.abs(x), y)  # denormals don't survive the halving
    return b.copysign(y, x)


def cosh(b: Lanes, x: Value) -> Value:
    cosine, sine, up, down = _hyperbolic(b, x)
    even, odd = up - down, up + down
    return (odd + b.fma(odd, cosine, even * sine)) * 2.0


def _log_of_twice(b: Lanes, x: Value) -> Value:
    return b.call("log", x) + math.log(2.0)


def asinh(b: Lanes, x: Value) -> Value:
    """log(1 + t), t = |x| + x**2 / (1 + sqrt(1 + x**2)), t in two parts; log(2 |x|) for large x."""
    a = b.abs(x)
    large = a > 2.0 ** 28
    small = b.select(large, 1.0, a)
    square = small * small
    addend = square / (b.sqrt(square + 1.0) + 1.0)
    t = small + addend
    y = log_of_sum(b, t, (small - t) + addend)
    y = b.rarely(~(a <= 2.0 ** 28), (y,), lambda: (_log_of_twice(b, a),))[0]
    return b.copysign(y, x)


def acosh(b: Lanes, x: Value) -> Value:
    """log(1 + t), t = z + sqrt(z (z + 2)), z = x - 1 (exact where it matters)."""
    z = b.at_most(x, 2.0 ** 28) - 1.0
    product = z * z
    under = b.fma(z, 2.0, product)
    under_low = b.fma(z, 2.0, -under) + product + b.fma(z, z, -product)
    root = b.sqrt(under)
    # one Newton step gives the root's missing part; 0/0 at x = 1
    root_low = (b.fma(-root, root, under) + under_low) / (root * 2.0)
    root_low = b.select(z > 0.0, root_low, 0.0)
    t = z + root
    # the larger of z and root is root for z < 2, say; a two-sum (Knuth) needs no order
    from_z = t - root
    low = (z - from_z) + (root - (t - from_z)) + root_low
    y = log_of_sum(b, t, low)
    y = b.rarely(~(x <= 2.0 ** 28), (y,), lambda: (_log_of_twice(b, x),))[0]
    return b.select(x < 1.0, float("nan"), y)


def atanh(b: Lanes, x: Value) -> Value:
    """log(1 + t) / 2, t = 2 |x| + 2 x**2 / (1 - |x|)."""
    a = b.abs(x)
    inside = b.select(a < 1.0, a, 0.0)
    twice = inside * 2.0
    addend = twice * inside / (1.0 - inside)
    t = twice + addend
    from_twice = t - addend
    low = (twice - from_twice) + (addend - (t - from_twice))
    y = log_of_sum(b, t, low) * 0.5
    y = b.select(a < 2.0 ** -28, a, y)  # denormals
    y = b.select(a.eq(1.0), INF, b.select(a < 1.0, y, float("nan")))
    return b.copysign(y, x)


def hypot(b: Lanes, x: Value, y: Value) -> Value:
    """sqrt(x**2 + y**2) without overflow on the way; inf if either is, even beside NaN."""
    a, d = b.abs(x), b.abs(y)
    if b.single:
        wide = b.double()
        u, v = b.widen(a), b.widen(d)
        z = b.narrow(wide.sqrt(wide.fma(u, u, v * v)))
    else:
        larger = b.select(a > d, a, d)
        huge, tiny = larger > 2.0 ** 500, larger < 2.0 ** -400
        down = b.select(huge, 2.0 ** -600, b.select(tiny, 2.0 ** 600, b.real(1.0)))
        up = b.select(huge, 2.0 ** 600, b.select(tiny, 2.0 ** -600, b.real(1.0)))
        u, v = a * down, d * down
        u, v = b.select(u > v, u, v), b.select(u > v, v, u)
        z = b.sqrt(b.fma(u, u, v * v)) * up
    return b.select(a.eq(INF) | d.eq(INF), INF, z)
