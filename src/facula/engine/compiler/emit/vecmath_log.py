"""Logarithms: log, log2, log10, log1p.

    x = 2**k (1 + f),   log(x) = k log(2) + log(1 + f)

float32 takes f in [-1/3, 1/3) and a polynomial in f. float64 takes 1 + f in [sqrt(1/2), sqrt(2)) and one in
s = f / (2 + f), as log(1 + f) = 2 atanh(s): the division costs less than the ten more terms. The leading
term f stays apart and is added last (after fdlibm's e_log.c), which keeps the error near half an ulp.
"""

from __future__ import annotations

from collections.abc import Callable

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


def _whole_range(b: Lanes, x: Value, name: str, formula: Callable[[Lanes, Value, Value], Value]) -> Value:
    """formula(f, k) for positive normal x. All others (the range check is one unsigned comparison) are left
    to the function `name`, which is called: half as fast, and rarely needed."""
    k, f = split(b, x)
    y = formula(b, f, b.to_real(k))
    smallest = 1 << b.mantissa  # bits of the smallest normal number
    infinite = (2 * b.bias + 1) << b.mantissa
    unusual = (b.bits_of(x) - smallest).above(infinite - smallest - 1)
    return b.rarely(unusual, (y,), lambda: (b.call(name, x),))[0]


def _with_special(formula: Callable[[Lanes, Value, Value], Value]) -> Callable[[Lanes, Value], Value]:
    """The logarithm for every x: denormals are scaled, special values selected."""
    def special(b: Lanes, x: Value) -> Value:
        normal, shift = normalised(b, x)
        k, f = split(b, normal)
        return _special(b, x, formula(b, f, b.to_real(k) + shift))
    return special


def _natural(b: Lanes, f: Value, k: Value) -> Value:
    """log(2**k (1 + f))."""
    high, low = c.LN2_F32 if b.single else c.LN2_F64
    return b.fma(k, high, f + b.fma(k, low, log_of_one_plus(b, f)))


def _in_base(b: Lanes, f: Value, k: Value, factor: tuple[float, float], unit: tuple[float, float]) -> Value:
    """In another base: `factor` is 1/log(base), `unit` the logarithm of 2, both in two parts."""
    rest = log_of_one_plus(b, f)
    high = f + rest
    missing = (f - high) + rest
    main = high * factor[0]
    low = b.fma(high, factor[0], -main) + b.fma(high, factor[1], missing * factor[0])
    if unit[1]:
        low = b.fma(k, unit[1], low)
    whole = k * unit[0]
    # whole is 0 or the larger, so this two-sum is exact (Dekker); exact results stay exact: log2(8) = 3
    total = whole + main
    return total + (low + ((whole - total) + main))


def _base_2(b: Lanes, f: Value, k: Value) -> Value:
    return _in_base(b, f, k, c.INVERSE_LN2_F32 if b.single else c.INVERSE_LN2_F64, (1.0, 0.0))


def _base_10(b: Lanes, f: Value, k: Value) -> Value:
    return _in_base(b, f, k, c.INVERSE_LN10_F32 if b.single else c.INVERSE_LN10_F64,
                    c.LOG10_2_F32 if b.single else c.LOG10_2_F64)


def log(b: Lanes, x: Value) -> Value:
    return _whole_range(b, x, "log_special", _natural)


def log2(b: Lanes, x: Value) -> Value:
    return _whole_range(b, x, "log2_special", _base_2)


def log10(b: Lanes, x: Value) -> Value:
    return _whole_range(b, x, "log10_special", _base_10)


log_special, log2_special, log10_special = map(_with_special, (_natural, _base_2, _base_10))


def log1p(b: Lanes, x: Value) -> Value:
    k, f = _split_one_plus(b, x, x + 1.0)
    y = b.select(x.eq(0.0), x, _natural(b, f, b.to_real(k)))  # -0
    # 2**-k must be a normal number, too
    unusual = ~(x > -1.0) | (x > 2.0 ** (b.bias - 27))
    return b.rarely(unusual, (y,), lambda: (b.call("log1p_special", x),))[0]


def log1p_special(b: Lanes, x: Value) -> Value:
    """Numbers that 1 is nothing to, and -1, -inf, inf, NaN."""
    y = b.call("log_special", x)
    y = b.select(x.eq(-1.0), float("-inf"), y)
    return b.select(x < -1.0, float("nan"), y)


def _split_one_plus(b: Lanes, x: Value, y: Value) -> tuple[Value, Value]:
    """(k, f) of 1 + x, y being 1 + x rounded: f = 2**-k x + (2**-k - 1), one fma, loses nothing of a small
    x.
    """
    lowest = _LOWEST_SINGLE if b.single else _LOWEST_DOUBLE
    k = (b.bits_of(y) - lowest) >> b.mantissa
    power = b.from_bits(b.int(b.bias << b.mantissa) - (k << b.mantissa))
    return k, b.fma(x, power, power - 1.0)


def log_of_sum(b: Lanes, high: Value, low: Value) -> Value:
    """log(1 + high + low) for 0 <= high < 2**(bias - 27) and a low that is a rounding error of high."""
    k, f = _split_one_plus(b, high, high + 1.0)
    exponent = b.to_real(k)
    power = b.from_bits(b.int(b.bias << b.mantissa) - (k << b.mantissa))
    tail = low * power * (1.0 - f)  # log's slope, 1/(1 + f), to the few bits that matter
    ln2, ln2_low = c.LN2_F32 if b.single else c.LN2_F64
    rest = b.fma(exponent, ln2_low, log_of_one_plus(b, f) + tail)
    return b.fma(exponent, ln2, f + rest)
