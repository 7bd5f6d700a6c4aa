"""Exponentials: exp, exp2, expm1, and tanh which is made of one.

    x = n log(2) + r,  |r| <= log(2)/2      (Cody & Waite: log(2) in two parts, so that r keeps its bits)
    exp(x) = 2**n * (1 + r + r**2 Q(r))

n is rounded and made an integer by one addition: `x / log(2) + 1.5 * 2**23` has n in its low bits.
"""

from __future__ import annotations

from facula.engine.compiler.emit import vecmath_coefficients as c
from facula.engine.compiler.emit.vecmath_lanes import Lanes, Value

LOG2_E = 1.4426950408889634


def magic(b: Lanes, offset: int) -> float:
    """1.5 * 2**mantissa + offset: adding it leaves round(x) + offset in the low bits of the sum."""
    return 1.5 * 2.0 ** b.mantissa + offset


def reduce(b: Lanes, x: Value, offset: int) -> tuple[Value, Value]:
    """(r, k): x = n log(2) + r, and n + offset in the low bits of the integer k."""
    shifted = b.fma(x, LOG2_E, magic(b, offset))
    n = shifted - magic(b, offset)
    high, low = c.LN2_F32 if b.single else c.LN2_F64
    r = b.fma(n, -low, b.fma(n, -high, x))
    return r, b.bits_of(shifted)


def reduce_parts(b: Lanes, x: Value) -> tuple[Value, Value]:
    """(r, n): x = n log(2) + r with n as an integer."""
    r, k = reduce(b, x, 0)
    return r, k - b.bits_of(b.real(magic(b, 0)))


def scale(b: Lanes, p: Value, k: Value) -> Value:
    """p * 2**(k - 2 bias), in two exact steps and a rounded one: the whole range, denormals included.

    n = a + b with a = floor(n/2), so neither power leaves the normal numbers. The bias is in k already, and
    whatever stands above the exponent's bits leaves with the shift. `Lanes.times_power` gives the same bits.
    """
    half = k.shr(1)
    return p * b.from_bits(half << b.mantissa) * b.from_bits((k - half) << b.mantissa)


def exp(b: Lanes, x: Value) -> Value:
    # beyond these the result is inf or 0 whatever n is, and n must fit the trick above; NaN passes through
    x = b.at_least(b.at_most(x, b.pick(89.0, 710.0)), b.pick(-104.0, -746.0))
    r, k = reduce(b, x, 2 * b.bias)
    q = b.polynomial(r, c.EXP_F32 if b.single else c.EXP_F64)
    p = b.fma(r * r, q, r) + 1.0
    if b.scales:
        return b.times_power(p, b.from_bits(k) - magic(b, 2 * b.bias))
    return scale(b, p, k)


def exp2(b: Lanes, x: Value) -> Value:
    x = b.at_least(b.at_most(x, b.pick(129.0, 1025.0)), b.pick(-151.0, -1076.0))
    shift = magic(b, 2 * b.bias)
    shifted = x + shift
    r = x - (shifted - shift)  # exact
    p = b.fma(r, b.polynomial(r, c.EXP2_F32 if b.single else c.EXP2_F64), 1.0)
    if b.scales:
        return b.times_power(p, shifted - shift)
    return scale(b, p, b.bits_of(shifted))


def _expm1_parts(b: Lanes, x: Value, offset: int) -> tuple[Value, Value]:
    """(p, s): expm1(r) and 2**(n + offset)."""
    r, k = reduce(b, x, b.bias + offset)
    p = b.fma(r * r, b.polynomial(r, c.EXPM1_F32 if b.single else c.EXPM1_F64), r)
    return p, b.from_bits(k << b.mantissa)


def expm1(b: Lanes, x: Value) -> Value:
    """2**n expm1(r) + (2**n - 1), halved until the end so that n = 128 does not overflow early."""
    clamped = b.at_least(b.at_most(x, b.pick(89.0, 710.0)), b.pick(-20.0, -40.0))
    p, half = _expm1_parts(b, clamped, -1)
    y = b.fma(p, half, half - 0.5) * 2.0
    # keeps -0, and the last bit of denormals, which the halving would drop
    return b.select(b.abs(x) < 2.0 ** -(b.mantissa + 2), x, y)


def tanh(b: Lanes, x: Value) -> Value:
    """E / (E + 2) with E = expm1(2 |x|); where E is small as E/2 - E/2 * that, which weighs its error less.
    """
    doubled = b.at_most(b.abs(x), b.pick(10.0, 20.0)) * 2.0
    p, power = _expm1_parts(b, doubled, 0)
    e = b.fma(p, power, power - 1.0)
    quotient = e / (e + 2.0)
    half = e * 0.5
    return b.copysign(b.select(e < 1.0, b.fma(half, -quotient, half), quotient), x)
