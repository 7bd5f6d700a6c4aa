"""Nested sequences of numbers as arrays: their shape, the dtype that torch infers, and what it refuses.

The shape is that of the first elements, down to the first tensor: a tensor among numbers is a number, of whatever
shape it is, as long as it has one element. (An array has its own dimensions there.)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from facula import defaults
from facula._tensor.handle import Tensor
from facula.dtypes import FLOAT, PROMOTION, bool_, dtype, from_numpy_dtype, int64, uint8

_NUMBERS = frozenset((int, float, bool, complex))
_SEQUENCES = frozenset((list, tuple))
_DEEPEST = 64  # dimensions: what is nested deeper contains itself
_LONG_LONG = "Overflow when unpacking long long"


def elements(data: Any, of: dtype | None) -> tuple[np.ndarray, dtype]:
    """`data`, no array, as an array of numbers that a tensor of that dtype may be made of; without `of`, of the dtype
    that they have. TypeError, ValueError and RuntimeError as torch raises them."""
    if isinstance(data, (str, bytes)):
        raise TypeError(f"new(): invalid data type '{type(data).__name__}'")
    if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        if hasattr(data, "__array__"):
            values = np.asarray(data)
            return values, of or from_numpy_dtype(values.dtype)
        for convert in ("__index__", "__float__"):
            if hasattr(data, convert):
                value = getattr(data, convert)()
                own = int64 if convert == "__index__" else defaults.get_default_dtype()
                return np.asarray(value), of or own
        raise RuntimeError(f"Could not infer dtype of {type(data).__name__}")
    array = _of_numbers(data)
    if array is None:
        shape = _shape(data)
        if of is None:
            found: set[dtype] = set()
            _infer(data, 0, found)
            of = _common(found)
        array = _as_array(_walk(data, 0, shape, of), of)
    elif of is None:
        kind = array.dtype.kind
        of = {"b": bool_, "i": int64, "c": defaults.get_default_dtype().to_complex()}.get(kind) if array.size else None
        of = of or defaults.get_default_dtype()
    _refuse(array, of)
    return array, of


def _of_numbers(data: Any) -> np.ndarray | None:
    """`data` as NumPy sees it, if all that is in it are Python's own numbers, and small enough."""
    found = _kinds(data, 0)
    if found is None:
        return None
    try:
        array = np.array(data)
    except (ValueError, OverflowError):
        return None
    kind = array.dtype.kind
    if kind in "bic":
        return array
    if kind != "f" or int in found and array.size and not np.abs(array).max() < 2.0**63:
        return None  # 2**63 among whole numbers: NumPy makes other types of them than torch
    return array


def _kinds(data: Any, depth: int) -> set[type] | None:
    """The types of the numbers in lists and tuples; None if there is anything else."""
    if type(data) not in _SEQUENCES or depth > _DEEPEST:
        return None
    kinds = set(map(type, data))
    if kinds <= _NUMBERS:
        return kinds
    if not kinds <= _SEQUENCES:
        return None
    found: set[type] = set()
    for item in data:
        below = _kinds(item, depth + 1)
        if below is None:
            return None
        found |= below
    return found


def fits(value: float, of: dtype) -> None:
    """Refuse a number that an integer dtype has not. RuntimeError."""
    if of.category >= FLOAT or of is bool_:
        return
    bits = 8 * of.itemsize
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if of.is_signed else (0, (1 << bits) - 1)
    if of is uint8 and type(value) is int:
        low = -high  # -1 is 255, as in C
    if not low <= value <= (float(high) if type(value) is float else high):
        name = {"uint8": "uint8_t", "int8": "int8_t", "int16": "int16_t", "int32": "int"}.get(of.name, "int64_t")
        raise RuntimeError(f"value cannot be converted to type {name} without overflow")


def _refuse(array: np.ndarray, of: dtype) -> None:
    """Raise what torch raises where these numbers are to become elements of that dtype."""
    kind = array.dtype.kind
    if of.category > FLOAT or of is bool_ or not array.size:
        return
    if kind == "c":
        raise TypeError(
            "must be real number, not complex"
            if of.category == FLOAT
            else "'complex' object cannot be interpreted as an integer"
        )
    if of.category < FLOAT and (kind == "f" or kind == "i" and of is not int64):
        for value in (array.min(), array.max()):  # NaN is either's
            fits(value.item(), of)


def _common(found: set[dtype]) -> dtype:
    if not found:
        return defaults.get_default_dtype()
    of = found.pop()
    for other in found:
        of = PROMOTION[of, other]
    return of


def _shape(data: Any) -> list[int]:
    shape: list[int] = []
    while (
        not isinstance(data, (str, bytes, Tensor, set, frozenset))
        and hasattr(data, "__len__")
        and not (isinstance(data, (np.ndarray, np.generic)) and not data.shape)
    ):
        if isinstance(data, dict):
            raise RuntimeError("Could not infer dtype of dict")
        shape.append(len(data))
        if not shape[-1] or len(shape) > 128:
            break
        data = data[0]
    return shape


def _infer(data: Any, depth: int, found: set[dtype]) -> None:
    """The dtypes of all that is in `data`. RuntimeError of what has none."""
    if isinstance(data, Tensor):
        found.add(data.dtype)
    elif isinstance(data, (np.ndarray, np.generic)):
        found.add(from_numpy_dtype(data.dtype))
    elif isinstance(data, bool):
        found.add(bool_)
    elif isinstance(data, int):
        found.add(int64)
    elif isinstance(data, float):
        found.add(defaults.get_default_dtype())
    elif isinstance(data, complex):
        found.add(defaults.get_default_dtype().to_complex())
    elif isinstance(data, (str, bytes)):
        raise _no_text(data, depth)
    elif isinstance(data, (dict, set, frozenset)) or depth > 2 * _DEEPEST:
        raise RuntimeError(f"Could not infer dtype of {type(data).__name__}")
    elif hasattr(data, "__len__"):
        for item in data:
            _infer(item, depth + 1, found)
    elif hasattr(data, "__float__"):
        found.add(defaults.get_default_dtype())
    else:
        raise RuntimeError(f"Could not infer dtype of {type(data).__name__}")


def _no_text(data: Any, depth: int) -> Exception:
    return (
        ValueError(f"too many dimensions '{type(data).__name__}'")
        if depth
        else TypeError(f"new(): invalid data type '{type(data).__name__}'")
    )


def _walk(data: Any, dim: int, shape: list[int], of: dtype) -> Any:
    """`data` as nested lists of numbers."""
    if dim == len(shape):
        return _number(data, of)
    if isinstance(data, (str, bytes)):
        raise TypeError(f"new(): invalid data type '{type(data).__name__}'")
    if not hasattr(data, "__len__") or isinstance(data, (Tensor, np.ndarray)) and not data.shape:
        raise TypeError("not a sequence")
    if len(data) != shape[dim]:
        raise ValueError(f"expected sequence of length {shape[dim]} at dim {dim} (got {len(data)})")
    if isinstance(data, (Tensor, np.ndarray)) and list(data.shape) == shape[dim:]:
        return data.tolist()
    return [_walk(item, dim + 1, shape, of) for item in data]


def _number(data: Any, of: dtype) -> Any:
    if isinstance(data, Tensor):
        whole = of.category < FLOAT
        if whole and (data.numel() != 1 or data.dtype.category >= FLOAT):
            raise TypeError("only integer tensors of a single element can be converted to an index")
        if data.numel() != 1:
            raise ValueError("only one element tensors can be converted to Python scalars")
        if data.dtype.is_complex and not of.is_complex:
            raise RuntimeError("value cannot be converted to type double without overflow")
        return data.item()
    if isinstance(data, np.ndarray) and data.shape:
        raise TypeError("only 0-dimensional arrays can be converted to Python scalars")
    if isinstance(data, (np.ndarray, np.generic)):
        return data.item()
    if isinstance(data, (bool, int, float, complex)):
        return data
    if isinstance(data, (str, bytes)):
        raise ValueError(f"too many dimensions '{type(data).__name__}'")
    if hasattr(data, "__float__"):
        return float(data)
    if hasattr(data, "__len__"):
        raise TypeError(f"'{type(data).__name__}' object cannot be interpreted as an integer")
    raise RuntimeError(f"Could not infer dtype of {type(data).__name__}")


def _as_array(plain: Any, of: dtype) -> np.ndarray:
    """Nested lists of numbers as an array. Whole numbers are exact, and not beyond int64 unless they become floats."""
    if of.category >= FLOAT:
        array = np.array(plain)
        return array if array.dtype.kind in "biufc" else np.array(plain, np.float64)
    numbers = np.array(plain, object)
    if any(type(x) in (float, complex) for x in numbers.flat):
        return np.array(plain)
    try:
        return numbers.astype(np.int64)
    except OverflowError:
        raise ValueError(_LONG_LONG) from None
