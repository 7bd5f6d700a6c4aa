"""`torch._assert`, an assertion that is recorded where the condition is a Proxy, and `torch._check` and its kin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula import overrides, symbolic_numbers
from facula._tensor.handle import Tensor


def _assert(condition: Any, message: str) -> None:
    """AssertionError with `message` unless `condition`.

    Example:
        >>> import facula
        >>> facula._assert(1 < 2, "numbers are in order")
    """
    if type(condition) is not Tensor and overrides.has_torch_function((condition,)):
        overrides.handle_torch_function(_assert, (condition,), condition, message)
        return
    assert condition, message


def _check_with(error_type: type[Exception], cond: Any, message: Callable[[], str] | None = None) -> None:
    """`error_type` with `message()` unless `cond`.

    Raises:
        TypeError: `cond` is no bool, or `message` no function.
    """
    if not isinstance(cond, (bool, symbolic_numbers.SymBool)):
        if isinstance(cond, Tensor):
            raise TypeError("cond must be a bool, but got a Tensor. For tensor conditions, use "
                            "torch._check_tensor_all() to assert that all elements are true.")
        raise TypeError(f"cond must be a bool, but got {type(cond)}")
    if cond:
        return
    if message is None:
        raise error_type("Expected cond to be True, but got False. (Could this error message be improved? If so, "
                         "please report an enhancement request to PyTorch.)")
    if not callable(message):
        raise TypeError("message must be a callable")
    raise error_type(str(message()))


def _check(cond: Any, message: Callable[[], str] | None = None) -> None:
    """RuntimeError with `message()` unless `cond`.

    Example:
        >>> import facula
        >>> facula._check(1 > 2, lambda: "numbers are out of order")
        Traceback (most recent call last):
        RuntimeError: numbers are out of order
    """
    _check_with(RuntimeError, cond, message)


def _check_index(cond: Any, message: Callable[[], str] | None = None) -> None:
    """IndexError with `message()` unless `cond`."""
    _check_with(IndexError, cond, message)


def _check_value(cond: Any, message: Callable[[], str] | None = None) -> None:
    """ValueError with `message()` unless `cond`."""
    _check_with(ValueError, cond, message)


def _check_type(cond: Any, message: Callable[[], str] | None = None) -> None:
    """TypeError with `message()` unless `cond`."""
    _check_with(TypeError, cond, message)


def _check_not_implemented(cond: Any, message: Callable[[], str] | None = None) -> None:
    """NotImplementedError with `message()` unless `cond`."""
    _check_with(NotImplementedError, cond, message)


def _check_is_size(i: Any, message: Callable[[], str] | None = None, *, max: int | None = None) -> None:
    """RuntimeError with `message()` unless `i` may be a size (and is `max` at most)."""
    _check(bool(i >= 0), message)
    if max is not None:
        _check(bool(i <= max), message)


def _check_tensor_all_with(error_type: type[Exception], cond: Any, message: Callable[[], str] | None = None) -> None:
    """`error_type` with `message()` unless all elements of a bool tensor are True.

    Raises:
        TypeError: `cond` is no bool tensor.
    """
    if not isinstance(cond, Tensor):
        raise TypeError(f"cond must be a tensor, but got {type(cond)}")
    if str(cond.dtype) != "torch.bool":
        raise TypeError(f"cond tensor must have dtype torch.bool, but got {cond.dtype}")
    _check_with(error_type, bool(cond.all().item()), message)


def _check_tensor_all(cond: Any, message: Callable[[], str] | None = None) -> None:
    """RuntimeError with `message()` unless all elements of a bool tensor are True."""
    _check_tensor_all_with(RuntimeError, cond, message)
