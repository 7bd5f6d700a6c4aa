"""float32 log, sin and cos that round as PyTorch's do in `randn`.

PyTorch fills float32 normals with the Cephes approximations (S. Moshier, netlib.org/cephes, single/logf.c
and single/sinf.c) on AVX2 registers. Their values differ from the correctly rounded ones in the last bit
every few numbers, so to reproduce `randn` exactly the same polynomials must be evaluated, in the same order,
with a fused multiply-add in the same places. Each step is done in float64, where the product of two
float32 numbers is exact, and rounded to float32.
"""

from __future__ import annotations

import numpy as np

F32, F64 = np.float32, np.float64


def _f32(*values: float) -> tuple[np.float64, ...]:
    return tuple(F64(F32(v)) for v in values)


LOG = _f32(7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
            -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1)
LN2_LOW, LN2_HIGH = _f32(-2.12194440e-4, 0.693359375)
SQRT_HALF = F32(0.707106781186547524)
PI_OVER_4 = _f32(-0.78515625, -2.4187564849853515625e-4, -3.77489497744594108e-8)  # in three parts, negated
FOUR_OVER_PI = F32(1.27323954473516)
SIN = _f32(-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
COS = _f32(2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)


class Scratch:
    """Memory for `count` elements, so that the steps below allocate nothing and stay in the cache."""

    def __init__(self, count: int) -> None:
        self.narrow = np.empty(count, F32)
        self.wide = [np.empty(count, F64) for _ in range(5)]

    def first(self, count: int) -> tuple[np.ndarray, list[np.ndarray]]:
        return self.narrow[:count], [w[:count] for w in self.wide]


def _round(x: np.ndarray, narrow: np.ndarray) -> None:
    """x (float64, in place) to the nearest float32 number."""
    np.copyto(narrow, x, casting="same_kind")
    np.copyto(x, narrow)


def _fma(a: np.ndarray, b: np.ndarray | float, c: np.ndarray | float, narrow: np.ndarray) -> None:
    """a = a * b + c, rounded once (to within a double rounding in 2**29)."""
    np.multiply(a, b, out=a)
    np.add(a, c, out=a)
    _round(a, narrow)


def _polynomial(coefficients: tuple[np.float64, ...], x: np.ndarray, out: np.ndarray,
                narrow: np.ndarray) -> None:
    """Horner's scheme, a fused multiply-add a step."""
    np.multiply(x, coefficients[0], out=out)
    np.add(out, coefficients[1], out=out)
    _round(out, narrow)
    for c in coefficients[2:]:
        _fma(out, x, c, narrow)


def log(u: np.ndarray, scratch: Scratch) -> np.ndarray:
    """Natural logarithm of positive normal float32 numbers, as float64 with float32's precision."""
    narrow, (x, y, z, e, low) = scratch.first(u.size)
    fraction, exponent = np.frexp(u)
    small = fraction < SQRT_HALF
    np.copyto(e, exponent)
    e -= small
    np.copyto(x, fraction)
    np.copyto(y, np.where(small, fraction, F32(0)))
    x -= 1.0
    x += y  # exact: fraction or twice fraction, less one
    np.multiply(x, x, out=z)
    _round(z, narrow)
    _polynomial(LOG, x, y, narrow)
    y *= x
    _round(y, narrow)
    np.multiply(e, LN2_LOW, out=low)
    _round(low, narrow)
    y *= z
    y += low
    _round(y, narrow)
    z *= -0.5
    y += z
    _round(y, narrow)
    x += y
    _round(x, narrow)
    e *= LN2_HIGH
    x += e
    _round(x, narrow)
    return x


def times_sincos(radius: np.ndarray, theta: np.ndarray, scratch: Scratch) -> tuple[np.ndarray, np.ndarray]:
    """radius * sin(theta) and radius * cos(theta), float32, for theta in [0, 8192)."""
    narrow, (x, c, s, z, y) = scratch.first(theta.size)
    octant = ((theta * FOUR_OVER_PI).astype(np.int32) + 1) & -2
    np.copyto(y, octant)
    np.copyto(x, theta)
    for part in PI_OVER_4:
        x += y * part
        _round(x, narrow)
    np.multiply(x, x, out=z)
    _round(z, narrow)

    _polynomial(COS, z, c, narrow)
    c *= z
    _round(c, narrow)
    c *= z
    np.multiply(z, -0.5, out=y)
    c += y
    _round(c, narrow)
    c += 1.0
    _round(c, narrow)

    _polynomial(SIN, z, s, narrow)
    s *= z
    _round(s, narrow)
    s *= x
    s += x
    _round(s, narrow)

    swapped = (octant & 2) != 0
    sine = np.multiply(radius, np.where(swapped, c, s), dtype=F64).astype(F32)
    cosine = np.multiply(radius, np.where(swapped, s, c), dtype=F64).astype(F32)
    # the signs go straight to bit 31; radius is positive
    sine.view(np.int32)[...] ^= (octant & 4) << 29
    cosine.view(np.int32)[...] ^= (~(octant - 2) & 4) << 29
    return sine, cosine
