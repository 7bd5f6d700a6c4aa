"""Which dtype a result has: torch's type promotion, of tensors and of Python's numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from facula import defaults
from facula._tensor.handle import Tensor
from facula.dtypes import BOOL, COMPLEX, FLOAT, PROMOTION, SIGNED, bool_, complex64, dtype, float32, int64

_CATEGORY_OF = {bool: BOOL, int: SIGNED, float: FLOAT, complex: COMPLEX}
_PYTHON_OF = {BOOL: bool, 1: int, SIGNED: int, FLOAT: float, COMPLEX: complex}


def result_dtype(operands: tuple[Any, ...]) -> dtype:
    """torch's type promotion: dimensioned tensors, then 0-d tensors, then Python numbers; a lower class counts
    only if its category is higher."""
    best: list[dtype | None] = [None, None, None]
    for x in operands:
        if isinstance(x, Tensor):
            level, of = (0 if len(x.shape) else 1), x.dtype
        else:
            kind = _CATEGORY_OF.get(type(x))
            if kind is None:
                kind = category_of_number(x)
            level = 2
            of = (bool_, int64, int64, defaults.get_default_dtype(),
                  defaults.get_default_dtype().to_complex())[kind]
        old = best[level]
        best[level] = of if old is None else PROMOTION[old, of]
    result: dtype | None = None
    for of in best:  # type: ignore[assignment]
        if of is None:
            continue
        if result is None:
            result = of
        elif of.category > result.category and not (of.category == SIGNED and result.category == 1):
            if of.category == COMPLEX and result.category == FLOAT:
                result = PROMOTION[result, complex64]
            else:
                result = of
    assert result is not None
    return result


def plain_number(x: Any) -> Any:
    """A number, NumPy's or of a tensor without dimensions, too, as Python's. TypeError: it is none."""
    if type(x) in _CATEGORY_OF:
        return x
    if isinstance(x, np.generic) or isinstance(x, Tensor) and not x.shape:
        x = x.item()
    kind = category_of_number(x)
    return x if type(x) in _CATEGORY_OF else _PYTHON_OF[kind](x)


def category_of_number(x: Any) -> int:
    import numbers

    if isinstance(x, (bool, np.bool_)):
        return BOOL
    if isinstance(x, numbers.Integral):
        return SIGNED
    if isinstance(x, numbers.Real):
        return FLOAT
    if isinstance(x, numbers.Complex):
        return COMPLEX
    raise TypeError(f"expected a Tensor or a number, got {type(x).__name__}")


def number_for(x: Any, of: dtype) -> Any:
    """A number in the type in which a formula over `of` takes its scalars: what is too large wraps, as in C."""
    if type(x) not in _CATEGORY_OF:
        x = plain_number(x)
    if of.category == COMPLEX:
        return complex(x)
    if of.category == FLOAT:
        return float(x)
    if of.category == BOOL:
        return bool(x)
    n = int(x)
    if not -(1 << 63) <= n < 1 << 63:
        if not isinstance(x, int):
            raise RuntimeError(f"value cannot be converted to type {of.name}_t without overflow: {x}")
        if n < 0 or n >= 1 << 64:
            raise OverflowError("int too big to convert")
        n -= 1 << 64
    return n


def c_number(of: dtype) -> str:
    """The dtype by its name in C, as torch writes it."""
    return _C_NUMBERS.get(of.name, of.name + "_t")


def scalar_value(x: Any, of: dtype) -> Any:
    """A number to be written into a tensor of dtype `of`, which has to be able to hold it."""
    x = plain_number(x)
    if isinstance(x, int) and not -1 << 63 <= x < 1 << 64:
        raise OverflowError("int too big to convert")
    if of.category == COMPLEX or of.category == BOOL:
        return number_for(x, of)
    if isinstance(x, complex):
        fits = not x.imag
        x = x.real if fits else x
    else:
        fits = True
    if fits and of.category == FLOAT:  # half types become infinite, as in torch
        fits = of is not float32 or not math.isfinite(x) or -_FLOAT32_MAX <= x <= _FLOAT32_MAX
    elif fits:
        info = np.iinfo(of.numpy)
        # -1 is 255, as in C
        least = -info.max if info.min == 0 and isinstance(x, int) else info.min
        fits = math.isfinite(x) and least <= x <= info.max
    if not fits:
        raise RuntimeError(f"value cannot be converted to type {c_number(of)} without overflow")
    return number_for(x, of)


_FLOAT32_MAX = float(np.finfo(np.float32).max)
_C_NUMBERS = {"float32": "float", "float64": "double", "int32": "int", "float16": "c10::Half",
              "bfloat16": "c10::BFloat16"}
