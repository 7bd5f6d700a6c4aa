"""Arithmetic that NumPy lacks: fused multiply-add, and the two 16-bit float types.

PyTorch's CPU kernels are compiled for machines with a fused multiply-add, and the compiler uses it
wherever a product meets a sum. To get the same last bit, the same places here round once too.
"""

from __future__ import annotations

import numpy as np

from facula.dtypes import bfloat16, dtype, float16, float32, float64

_SPLIT = 134217729.0  # 2**27 + 1: halves a float64 into two of 26 bits (Veltkamp)


def fma(a: np.ndarray, b: float, c: float) -> np.ndarray:
    """a * b + c with one rounding, in the type of `a` (float32 or float64).

    float32: the product is exact in float64. A double rounding differs from the true result about once
    in 2**29. float64: exact product and sum in two parts each (Dekker, Knuth), to the same effect.
    """
    if c == 0.0:
        product: np.ndarray = a * a.dtype.type(b)
        product += a.dtype.type(0)  # -0.0 + 0.0 is 0.0
        return product
    if a.dtype == np.float32:
        return (a.astype(np.float64) * float(np.float32(b)) + float(np.float32(c))).astype(np.float32)
    if b == 1.0:
        return a + c
    product = a * b
    a_high = a * _SPLIT
    a_high -= a_high - a
    b_high = b * _SPLIT
    b_high -= b_high - b
    a_low, b_low = a - a_high, b - b_high
    error = a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)
    total = product + c
    shift = total - product
    return total + (((product - (total - shift)) + (c - shift)) + error)


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    """float32 to bfloat16 bit patterns (uint16), to nearest, ties to even; a NaN becomes the quiet NaN."""
    bits = x.view(np.uint32)
    rounded = ((bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))) >> np.uint32(16))
    return np.where(np.isnan(x), np.uint16(0x7FC0), rounded.astype(np.uint16))


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """bfloat16 bit patterns (uint16) to float32."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def to_dtype(x: np.ndarray, to: dtype) -> np.ndarray:
    """`x` in the elements of `to`, converted as C++ converts: 16-bit floats by way of float32."""
    if to is bfloat16:
        return to_bfloat16(x.astype(np.float32))
    if to is float16:
        with np.errstate(over="ignore"):
            return x.astype(np.float32).astype(np.float16)
    with np.errstate(over="ignore", invalid="ignore"):
        return x.astype(to.numpy, copy=False)


def round_number(x: float, to: dtype) -> float:
    """The Python number `x` rounded to the precision of `to`."""
    if to is float64:
        return float(x)
    with np.errstate(over="ignore"):
        if to in (float32, float16):
            return float(to.numpy.type(x))
        return float(from_bfloat16(to_bfloat16(np.array([x], np.float32)))[0])
