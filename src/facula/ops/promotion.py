"""Which dtype a result has: torch's type promotion, of tensors and of Python's numbers."""

from __future__ import annotations

from typing import Any

from facula import defaults
from facula._tensor.handle import Tensor
from facula.dtypes import BOOL, COMPLEX, FLOAT, PROMOTION, SIGNED, bool_, complex64, dtype, int64

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


def category_of_number(x: Any) -> int:
    import numbers

    import numpy as np
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
    """A Python number in the type in which a formula over `of` takes its scalars."""
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
