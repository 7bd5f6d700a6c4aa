"""Elements in NumPy. Inside, a value of type `d` is an array of `d.compute.numpy`: the two 16-bit floats are float32
that hold only what 16 bits hold. `load` and `store` are the way in and out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.dtypes import COMPLEX, FLOAT, UNSIGNED, bfloat16, bool_, dtype, float16, float64, from_numpy_dtype, int64

Array = np.ndarray[Any, Any]
_COMPLEX128 = from_numpy_dtype(np.complex128)


def load(x: Array, d: dtype) -> Array:
    """From memory's format to the one computed with."""
    if d is bfloat16:
        return (x.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return x.astype(np.float32) if d is float16 else x


def store(x: Array, d: dtype) -> Array:
    """To memory's format; 16-bit floats are rounded to nearest, ties to even."""
    x = x.astype(d.compute.numpy, copy=False)
    if d is not bfloat16:
        return x.astype(d.numpy, copy=False)
    bits = np.ascontiguousarray(x).reshape(x.shape).view(np.uint32)
    near = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(x), np.uint16(0x7FC0), near.astype(np.uint16))


def convert(x: Array, source: dtype, to: dtype) -> Array:
    """Between types, with the results of x86: a float out of an integer's range gives the smallest number
    of the type converted through (int32 for the small ones), then its low bits."""
    if source is to:
        return x
    if source.category == COMPLEX and to.category != COMPLEX:
        if to is bool_:
            return np.asarray(x != 0)
        x, source = x.real, source.to_real()
    if to in (float16, bfloat16):
        return load(store(x.astype(np.float32), to), to)
    if source.category != FLOAT or to.category >= FLOAT or to is bool_:
        return x.astype(to.compute.numpy)
    through = np.int64 if to is int64 or to.category == UNSIGNED else np.int32
    limit = 2.0 ** (8 * np.dtype(through).itemsize - 1)
    fine = (x >= -limit) & (x < limit)
    whole = np.where(fine, np.where(fine, x, 0).astype(through), through(np.iinfo(through).min))
    return whole.astype(to.numpy)


def number(value: Any, to: dtype) -> Array:
    """A Python number as an element of `to`."""
    if to.category < FLOAT and to is not bool_ and isinstance(value, (bool, int)):
        bits = int(value) & 0xFFFFFFFFFFFFFFFF
        return np.asarray(np.array(bits, np.uint64).astype(to.numpy))
    if isinstance(value, complex):
        return convert(np.asarray(value, np.complex128), _COMPLEX128, to)
    if to.category >= FLOAT or to is bool_:
        return np.asarray(value).astype(to.compute.numpy)
    return convert(np.asarray(value, np.float64), float64, to)


def coordinate(shape: tuple[int, ...], dim: int) -> Array:
    """Positions along a dimension, ready to broadcast."""
    along = [1] * len(shape)
    along[dim] = shape[dim]
    return np.arange(shape[dim], dtype=np.int64).reshape(along)


def attributes(attrs: tuple[object, ...] | None) -> tuple[Any, ...]:
    """Those of a node that has to have some (or its numbers). Nodes come from files, too."""
    if attrs is None:
        raise TypeError("a node without its attributes")
    return attrs
