"""Dtypes and arguments that elementwise operations refuse, in torch's words."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

from facula._tensor.handle import Tensor
from facula.ops.promotion import result_dtype
from facula.ops.registry import DTYPE_NAMES


def dtype_word(x: Any) -> str:
    """The dtype of an operand as torch writes it: Float, Long, ..."""
    return DTYPE_NAMES[x.dtype.name] if isinstance(x, Tensor) else type(x).__name__


def result_word(*operands: Any) -> str:
    """The dtype to which the operands are promoted, as torch writes it."""
    return DTYPE_NAMES[result_dtype(operands).name]


def refuse_complex(kernel: str, *operands: Any) -> None:
    """Raise what torch raises where its `kernel` has no complex numbers."""
    for x in operands:
        if isinstance(x, complex) or isinstance(x, Tensor) and x.dtype.is_complex:
            raise NotImplementedError(f"\"{kernel}\" not implemented for "
                                      f"'{result_word(*operands)}'")


def refuse_unless_floating(kernel: str, x: Tensor) -> None:
    """Raise what torch raises where its `kernel` has floating point numbers only."""
    if not x.dtype.is_floating_point:
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{dtype_word(x)}'")


def refuse_mixed(x: Tensor, other: Tensor) -> None:
    """Raise what torch raises where two operands have to have one dtype, which nothing promotes."""
    if x.dtype is not other.dtype:
        raise RuntimeError(f"expected scalar type {dtype_word(x)} but found {dtype_word(other)}")


def refuse_unordered(name: str, *operands: Any) -> None:
    """As `refuse_complex`, in the words for what needs an order, which complex numbers lack."""
    for x in operands:
        if isinstance(x, complex) or isinstance(x, Tensor) and x.dtype.is_complex:
            raise RuntimeError(f"{name} not implemented for complex tensors.")


def real_only(name: str, body: Callable[..., Tensor], count: int = 0) -> Callable[..., Tensor]:
    """`body` of two operands, refusing complex ones, and (see `of_tensors`) numbers for the first `count` of them."""
    kernel = f"{name}_cpu"

    def two(input: Any, other: Any) -> Tensor:
        if count:
            want_operands(name, *(input, other)[:count])
        refuse_complex(kernel, input, other)
        return body(input, other)
    two.__name__ = name
    two.types, two.formulas = getattr(body, "types", None), getattr(body, "formulas", ())  # type: ignore[attr-defined]
    return two


def of_reals(body: Callable[..., Tensor], error: Exception) -> Callable[..., Tensor]:
    """`body` of one tensor, which raises `error` (its type and words) for complex numbers."""
    def one(input: Tensor) -> Tensor:
        if isinstance(input, Tensor) and input.dtype.is_complex:
            raise type(error)(*error.args)
        return body(input)
    one.__name__ = body.__name__
    one.types, one.formulas = getattr(body, "types", None), getattr(body, "formulas", ())  # type: ignore[attr-defined]
    return one


def want_operands(what: str, *operands: Any, names: tuple[str, ...] = ("input", "other")) -> None:
    """Operands are tensors: an operation that has no form for a number in their place."""
    for k, x in enumerate(operands):
        if not isinstance(x, Tensor):
            raise TypeError(f"{what}(): argument '{names[k]}' (position {k + 1}) must be Tensor, not "
                            f"{type(x).__name__}")


def of_tensors(name: str, body: Callable[..., Tensor], count: int = 2) -> Callable[..., Tensor]:
    """`body` of two operands, refusing a number for the first `count` of them: there is no such overload in torch."""
    def two(input: Any, other: Any) -> Tensor:
        if not isinstance(input, Tensor) or count == 2 and not isinstance(other, Tensor):
            want_operands(name, *(input, other)[:count])
        return body(input, other)
    two.__name__ = name
    two.__doc__ = body.__doc__ if isinstance(body, FunctionType) else None
    two.types, two.formulas = getattr(body, "types", None), getattr(body, "formulas", ())  # type: ignore[attr-defined]
    return two


def check_operands(what: str, *operands: Any) -> None:
    """Operands are tensors and numbers."""
    for k, x in enumerate(operands):
        if not isinstance(x, (Tensor, int, float, complex)) and not hasattr(x, "__float__"):
            raise TypeError(f"{what}(): argument '{('input', 'other')[k]}' (position {k + 1}) must "
                            f"be Tensor, not {type(x).__name__}")
