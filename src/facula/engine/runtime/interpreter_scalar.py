"""Scalar functions in NumPy: one row for each of SCALAR_FUNCTIONS (but `cast`).

The arguments of a function have one NumPy type, that in which it computes; the caller sets `np.errstate`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Row = Callable[..., Any]


def _by_kind(general: Row, of_bool: Row) -> Row:
    def row(*args: Array) -> Any:
        return (of_bool if args[0].dtype == np.bool_ else general)(*args)
    return row


def _whole(function: Row) -> Row:
    """A rounding: integers are their own."""
    def row(x: Array) -> Any:
        return x if x.dtype.kind in "biu" else function(x)
    return row


def _sign(x: Array) -> Any:
    """0 for 0, and for NaN as well, as torch has it."""
    if x.dtype.kind == "c":
        size = np.abs(x)
        return np.where(size == 0, x.dtype.type(0), x / np.where(size == 0, 1, size)).astype(x.dtype)
    if x.dtype == np.bool_:
        return x
    return (x > 0).astype(x.dtype) - (x < 0).astype(x.dtype)


def _truncdiv(a: Array, b: Array) -> Any:
    if a.dtype == np.bool_:
        return a & b
    if a.dtype.kind == "f":
        return np.trunc(a / b)
    return np.floor_divide(a - np.fmod(a, b), b)


def _remainder(a: Array, b: Array) -> Any:
    if a.dtype == np.bool_:
        return np.zeros_like(a & b)
    if a.dtype.kind != "f":
        return np.remainder(a, b)
    r = np.fmod(a, b)
    return np.where((r != 0) & ((r < 0) != (b < 0)), r + b, r)


def _maximum(a: Array, b: Array) -> Any:
    return np.where((a != a) | (a > b), a, b)


def _minimum(a: Array, b: Array) -> Any:
    return np.where((a != a) | (a < b), a, b)


def _pow(a: Array, b: Array) -> Any:
    if a.dtype == np.bool_:
        return a | ~b
    if a.dtype.kind in "fc":
        return np.power(a, b)
    one, zero = a.dtype.type(1), a.dtype.type(0)
    result = np.power(a, np.maximum(b, zero))
    if a.dtype.kind == "u":
        return result
    turned = np.where(b & one != 0, a, one)  # (-1) ** odd, even
    return np.where(b < 0, np.where(np.abs(a) == 1, turned, zero), result)


def _lshift(a: Array, b: Array) -> Any:
    fine = (b >= 0) & (b < 8 * a.dtype.itemsize)
    return np.where(fine, np.left_shift(a, np.where(fine, b, 0).astype(a.dtype)), a.dtype.type(0))


def _rshift(a: Array, b: Array) -> Any:
    """Beyond the width: the sign in every bit."""
    width = 8 * a.dtype.itemsize
    fine = (b >= 0) & (b < width)
    shifted = np.right_shift(a, np.where(fine, b, width - 1).astype(a.dtype))
    return np.where(fine, shifted, a.dtype.type(0)) if a.dtype.kind == "u" else shifted


def _exact(x: Array) -> tuple[Array, Array]:
    """x * x as two doubles, exactly but for underflow (Dekker 1971). Of numbers below 1e150."""
    high = x * 134217729.0  # 2 ** 27 + 1
    high = high - (high - x)
    low = x - high
    square = x * x
    return square, ((high * high - square) + 2.0 * high * low) + low * low


def _added(a: Array, b: Array) -> tuple[Array, Array]:
    """a + b as two doubles, exactly (Knuth, The Art of Computer Programming, 4.2.2)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _log1p(z: Array) -> Any:
    """log(1 + z). The real part of a complex one is half of log1p(2x + x^2 + y^2), where 2x and y^2 may cancel."""
    if z.dtype.kind != "c":
        return np.log1p(z)
    x, y = z.real.astype(np.float64), z.imag.astype(np.float64)
    plain = np.log1p(z)
    near = (np.abs(x) <= 2) & (np.abs(y) <= 2)
    x, y = np.where(near, x, 0.0), np.where(near, y, 0.0)
    (xx, xs), (yy, ys) = _exact(x), _exact(y)
    total, lost = _added(2.0 * x, yy)
    total, more = _added(total, xx)
    more = total + (lost + more + xs + ys)
    half = np.where(more < -0.5, np.log(np.hypot(1.0 + x, y)), 0.5 * np.log1p(more))
    return np.where(near, half + 1j * np.arctan2(y, 1.0 + x), plain).astype(z.dtype)


def _signbit(x: Array) -> Any:
    if x.dtype.kind == "f":
        return np.signbit(x)
    return np.less(x, 0) if x.dtype.kind == "i" else np.zeros(x.shape, bool)


def _each(function: Callable[[float], float]) -> Row:
    lifted = np.frompyfunc(function, 1, 1)

    def row(x: Array) -> Any:
        return np.asarray(lifted(np.asarray(x, np.float64)), np.float64)
    return row


def _lgamma_one(x: float) -> float:
    try:
        return math.lgamma(x)
    except (ValueError, OverflowError):  # a pole; beyond 2.5e305
        return math.inf


def _digamma_one(x: float) -> float:
    if x == 0:
        return math.copysign(math.inf, -x)
    if math.isinf(x):
        return x if x > 0 else math.nan
    result = 0.0
    if x < 0:
        if x == math.floor(x):
            return math.nan
        turn = math.fmod(x, 1.0)
        result = -math.pi / math.tan(math.pi * turn)
        x = 1.0 - x
    while x < 10.0:
        result -= 1.0 / x
        x += 1.0
    z = 1.0 / (x * x)
    series = 0.0
    for c in (1 / 12, -691 / 32760, 1 / 132, -1 / 240, 1 / 252, -1 / 120, 1 / 12):
        series = series * z + c
    return result + math.log(x) - 0.5 / x - z * series


def _erfinv_one(x: float) -> float:
    """Winitzki's approximation, then Halley's iteration; the tail by erfc, which keeps its digits."""
    size = abs(x)
    if not size < 1.0:
        return math.copysign(math.inf, x) if size == 1.0 else math.nan
    if size < 1e-9:
        return x * (math.sqrt(math.pi) / 2)
    log = math.log1p(-size * size)
    half = 2 / (math.pi * 0.147) + log / 2
    y = math.sqrt(max(math.sqrt(half * half - log / 0.147) - half, 0.0))
    for _ in range(4):
        off = math.erf(y) - size if size < 0.5 else (1.0 - size) - math.erfc(y)
        step = off / (2 / math.sqrt(math.pi) * math.exp(-y * y))
        y -= step / (1 + y * step)
    return math.copysign(y, x)


def _random_bits(counter: Array, key: Array) -> Any:
    """Word 0 of Philox4x32-10 with a 64-bit counter and a 64-bit key."""
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    counter, key = (np.asarray(a, np.int64).view(np.uint64) for a in np.broadcast_arrays(counter, key))
    word: list[Any] = [counter & low, counter >> half, np.zeros_like(counter), np.zeros_like(counter)]
    k0, k1 = key & low, key >> half
    for _ in range(10):
        p0, p1 = word[0] * np.uint64(0xD2511F53), word[2] * np.uint64(0xCD9E8D57)
        word = [(p1 >> half) ^ word[1] ^ k0, p1 & low, (p0 >> half) ^ word[3] ^ k1, p0 & low]
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & low, (k1 + np.uint64(0xBB67AE85)) & low
    return np.asarray(word[0]).astype(np.int64)


def _same(x: Array) -> Any:
    return x


FUNCTIONS: dict[str, Row] = {
    "add": np.add, "sub": _by_kind(np.subtract, np.logical_xor), "mul": np.multiply, "div": np.divide,
    "neg": _by_kind(np.negative, _same), "abs": np.abs, "sign": _sign,
    "floordiv": _by_kind(np.floor_divide, np.logical_and), "truncdiv": _truncdiv, "remainder": _remainder,
    "fmod": _by_kind(np.fmod, _remainder), "maximum": _maximum, "minimum": _minimum,
    "floor": _whole(np.floor), "ceil": _whole(np.ceil), "trunc": _whole(np.trunc), "round": _whole(np.rint),
    "sqrt": np.sqrt, "rsqrt": lambda x: x.dtype.type(1) / np.sqrt(x), "pow": _pow,
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1,
    "log": np.log, "log2": np.log2, "log10": np.log10, "log1p": _log1p,
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    "atan2": np.arctan2, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh,
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
    "erf": _each(math.erf), "erfc": _each(math.erfc), "erfinv": _each(_erfinv_one),
    "lgamma": _each(_lgamma_one), "digamma": _each(_digamma_one),
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal, "where": np.where, "isnan": lambda x: x != x, "isinf": np.isinf,
    "signbit": _signbit, "copysign": np.copysign, "nextafter": np.nextafter, "hypot": np.hypot,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.invert,
    "lshift": _lshift, "rshift": _rshift, "random_bits": _random_bits,
}
