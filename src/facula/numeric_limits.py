"""`finfo` and `iinfo`: the numeric limits of a dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula import dtypes
from facula.defaults import get_default_dtype
from facula.dtypes import dtype

# The smallest power of ten that a decimal of `digits10` digits resolves; bfloat16's is torch's own.
_RESOLUTION = {"float16": 1e-3, "bfloat16": 1e-2, "float32": 1e-6, "float64": 1e-15}
# The distance from 1 to the next number, the largest number, the smallest normal one. Sources: Open Compute Project,
# "8-bit Floating Point Specification" (2023) and "Microscaling Formats" (2023); Noune et al., "8-bit numerical formats
# for deep neural networks" (2022) for those without a negative zero.
_EIGHT_BITS = {"float8_e4m3fn": (2.0**-3, 448.0, 2.0**-6), "float8_e5m2": (2.0**-2, 57344.0, 2.0**-14),
               "float8_e4m3fnuz": (2.0**-3, 240.0, 2.0**-7), "float8_e5m2fnuz": (2.0**-2, 57344.0, 2.0**-15),
               "float8_e8m0fnu": (1.0, 2.0**127, 2.0**-127)}
_PYTHON_TYPES = {float: dtypes.float64, complex: dtypes.complex128, int: dtypes.int64, bool: dtypes.bool_}


def _check(name: str, type_: Any) -> dtype:
    type_ = _PYTHON_TYPES.get(type_, type_) if isinstance(type_, type) else type_
    if not isinstance(type_, dtype):
        kind = type(type_).__name__
        raise TypeError(f"{name}(): argument 'type' (position 1) must be torch.dtype, not {kind}")
    if type_.name.startswith("q") or type_.name.startswith("float4"):
        type_.category  # noqa: B018  # refuses: torch has no limits of these either
    return type_


class finfo:
    """Limits of a floating-point type (for a complex type: of its parts).

    `bits`, `eps` (distance from 1 to the next number), `max`, `min`, `tiny` = `smallest_normal`, `resolution`
    and `dtype` (a string). Without an argument: of the default dtype. TypeError for other types.

    Example:
        >>> import facula
        >>> from facula.numeric_limits import finfo
        >>> finfo(facula.float32).eps
        1.1920928955078125e-07
    """

    __slots__ = ("bits", "eps", "max", "min", "smallest_normal", "tiny", "resolution", "dtype")

    def __init__(self, type: Any = None) -> None:
        if type is None:
            type = get_default_dtype()
        of = _check("finfo", type)
        if not (of.is_floating_point or of.is_complex):
            raise TypeError("torch.finfo() requires a floating point input type. "
                            "Use torch.iinfo to handle 'torch.finfo'")
        of = dtypes.float16 if of.name == "complex32" else of.to_real()
        self.dtype = of.name
        self.bits = of.itemsize * 8
        self.resolution = _RESOLUTION.get(of.name, 1.0)
        if of.name in _EIGHT_BITS:
            self.eps, self.max, self.tiny = _EIGHT_BITS[of.name]
        elif of is dtypes.bfloat16:  # float32's exponents with 8 bits of precision
            self.eps = 2.0**-7
            self.max = (2.0 - 2.0**-7) * 2.0**127
            self.tiny = 2.0**-126
        else:
            limits: Any = np.finfo(of.numpy)
            self.eps, self.max, self.tiny = float(limits.eps), float(limits.max), float(limits.tiny)
        self.min = -self.max if of.is_signed else self.tiny
        self.smallest_normal = self.tiny

    def __repr__(self) -> str:
        return (f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, "
                f"eps={self.eps:g}, smallest_normal={self.smallest_normal:g}, "
                f"tiny={self.tiny:g}, dtype={self.dtype})")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, finfo) and self.dtype == other.dtype

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> Any:
        return finfo, (getattr(dtypes, self.dtype),)


class iinfo:
    """Limits of an integer type: `bits`, `max`, `min` and `dtype` (a string). TypeError for other types.

    Example:
        >>> import facula
        >>> from facula.numeric_limits import iinfo
        >>> iinfo(facula.int8).max
        127
    """

    __slots__ = ("bits", "max", "min", "dtype")

    def __init__(self, type: Any) -> None:
        of = _check("iinfo", type)
        if of.is_floating_point or of.is_complex:
            raise TypeError("torch.iinfo() requires an integer input type. "
                            "Use torch.finfo to handle 'torch.iinfo'")
        if of is dtypes.bool_:
            raise TypeError("torch.bool is not supported by torch.iinfo")
        self.dtype = of.name
        self.bits = of.itemsize * 8
        self.max = (1 << (self.bits - of.is_signed)) - 1
        self.min = -self.max - 1 if of.is_signed else 0

    def __repr__(self) -> str:
        return f"iinfo(min={float(self.min):g}, max={float(self.max):g}, dtype={self.dtype})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, iinfo) and self.dtype == other.dtype

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> Any:
        return iinfo, (getattr(dtypes, self.dtype),)
