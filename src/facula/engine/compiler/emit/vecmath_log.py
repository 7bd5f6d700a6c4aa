"""Logarithms: log, log2, log10, log1p.

    x = 2**k (1 + f),   log(x) = k log(2) + log(1 + f)

float32 takes f in [-1/3, 1/3) and a polynomial in f. float64 takes 1 + f in [sqrt(1/2), sqrt(2)) and one in
s = f / (2 + f), as log(1 + f) = 2 atanh(s): the division costs less than the ten more terms. The leading term f
stays apart and is added last (after fdlibm's e_log.c), which keeps the error near half an ulp.
"""

from __future__ import annotations

from facula.engine.compiler.emit import vecmath_coefficients as c
from facula.engine.compiler.emit.vecmath_lanes import Lanes, Value

_LOWEST_SINGLE = 0x3F2AAAAB  # bits of 2/3
_LOWEST_DOUBLE = 0x3FE6A09E667F3BCD  # bits of sqrt(1/2)


def split(b: Lanes, x: Value) -> tuple[Value, Value]:
    """(k, f) of a positive normal x: the exponent as an integer, and f with x = 2**k (1 + f)."""
    lowest = _LOWEST_SINGLE if b.single else _LOWEST_DOUBLE
    bits = b.bits_of(x)
    k = (bits - lowest) >> b.mantissa
    return k, b.from_bits(bits - (k << b.mantissa)) - 1.0


def log_of_one_plus(b: Lanes, f: Value) -> Value:
    """log(1 + f) - f for a reduced f."""
    if b.single:
        return f * f * b.fma(f, b.polynomial(f, c.LOG_SINGLE_F32), -0.5)
    half_square = f * f * 0.5
    s = f / (f + 2.0)
    z = s * s
    series = z * b.polynomial(z, c.LOG_DOUBLE_F64)
    return b.fma(s, half_square + series, -half_square)


def normalised(b: Lanes, x: Value) -> tuple[Value, Value]:
    """x with denormals scaled up, and what that adds to the exponent (as a real)."""
    tiny = x < 2.0 ** (1 - b.bias)
    up = b.mantissa + 2
    return b.select(tiny, x * 2.0 ** up, x), b.select(tiny, b.real(-up), b.real(0.0))


def _special(b: Lanes, x: Value, y: Value) -> Value:
    """log's values outside the positive numbers: log(0) = -inf, log(negative) = nan, log(inf) = inf."""
    y = b.select(x < float("inf"), y, x)  # inf and NaN are their own logarithms
    y = b.select(x < 0.0, float("nan"), y)
    return b.select(x.eq(0.0), float("-inf"), y)


def log(b: Lanes, x: Value) -> Value:
    normal, shift = normalised(b, x)
    k, f = split(b, normal)
    exponent = b.to_real(k) + shift
    high, low = c.LN2_F32 if b.single else c.LN2_F64
    y = b.fma(exponent, high, f + b.fma(exponent, low, log_of_one_plus(b, f)))
    return _special(b, x, y)


def _in_base(b: Lanes, x: Value, factor: tuple[float, float], unit: tuple[float, float]) -> Value:
    """log(x) in another base: `factor` is 1/log(base), `unit` the logarithm of 2, both in two parts."""
    normal, shift = normalised(b, x)
    k, f = split(b, normal)
    exponent = b.to_real(k) + shift
    rest = log_of_one_plus(b, f)
    h = f + rest
    l = (f - h) + rest
    main = h * factor[0]
    low = b.fma(h, factor[0], -main) + b.fma(h, factor[1], l * factor[0])
    if unit[1]:
        low = b.fma(exponent, unit[1], low)
    whole = exponent * unit[0]
    # whole is 0 or the larger, so this two-sum is exact (Dekker); exact results stay exact: log2(8) = 3
    total = whole + main
    low = low + ((whole - total) + main)
    return _special(b, x, total + low)


def log2(b: Lanes, x: Value) -> Value:
    return _in_base(b, x, c.INVERSE_LN2_F32 if b.single else c.INVERSE_LN2_F64, (1.0, 0.0))


def log10(b: Lanes, x: Value) -> Value:
    return _in_base(b, x, c.INVERSE_LN10_F32 if b.single else c.INVERSE_LN10_F64,
                    c.LOG10_2_F32 if b.single else c.LOG10_2_F64)


def log1p(b: Lanes, x: Value) -> Value:
    """k from 1 + x rounded; then f = 2**-k x + (2**-k - 1), one fma, which loses nothing of a small x."""
    lowest = _LOWEST_SINGLE if b.single else _LOWEST_DOUBLE
    # 2**-k must be a normal number: numbers that 1 is nothing to are brought down first
    down = b.pick(64.0, 512.0)
    huge = x > 2.0 ** (b.bias - b.pick(27.0, 23.0))
    scaled = b.select(huge, x * 2.0 ** -down, x)
    k = (b.bits_of(scaled + 1.0) - lowest) >> b.mantissa
    power = b.from_bits(b.int(b.bias << b.mantissa) - (k << b.mantissa))
    f = b.fma(scaled, power, power - 1.0)
    exponent = b.to_real(k) + b.select(huge, b.real(down), b.real(0.0))
    high, low = c.LN2_F32 if b.single else c.LN2_F64
    y = b.fma(exponent, high, f + b.fma(exponent, low, log_of_one_plus(b, f)))
    y = b.select(x < float("inf"), y, x)
    y = b.select(x < -1.0, float("nan"), y)
    y = b.select(x.eq(-1.0), float("-inf"), y)
    return b.select(x.eq(0.0), x, y)  # -0
