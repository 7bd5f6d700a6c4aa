"""Forward mode by hand: dual tensors within a `dual_level`. `facula.func.jvp` does the same for a function."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

from facula._tensor.handle import Tensor
from facula._tensor.reading import read
from facula.dtypes import FLOAT
from facula.transforms.crossing import enter_dual, leave_dual
from facula.transforms.forward import Forward
from facula.transforms.levels import level_of
from facula.undisturbed import undisturbed

UnpackedDualTensor = namedtuple("UnpackedDualTensor", ["primal", "tangent"])

_levels: list[Forward] = []


def enter_dual_level() -> int:
    """Open a level, within which tensors may have tangents. RuntimeError if there is one: they do not nest."""
    if _levels:
        raise RuntimeError("Nested forward mode AD is not supported at the moment")
    level = Forward()
    try:
        level.__enter__()
        _levels.append(level)
        return 0
    except BaseException:
        del _levels[:]
        if level.active:
            level.__exit__()
        raise


def exit_dual_level(*, level: int | None = None) -> None:
    """Close the level: tensors lose their tangents."""
    if not _levels or level not in (None, 0):
        raise RuntimeError("Trying to exit a forward AD level that was not the last one that was created. This is not "
                           "supported.")
    _close(_levels[-1])


@undisturbed
def _close(level: Forward) -> None:
    try:
        level.__exit__()
    finally:
        del _levels[:]


class dual_level:
    """A level of forward mode, as a context manager.

    Example:
        >>> import facula
        >>> from facula.autograd import forward_ad
        >>> with forward_ad.dual_level():
        ...     x = forward_ad.make_dual(facula.tensor([1.0, 2.0]), facula.tensor([1.0, 0.0]))
        ...     forward_ad.unpack_dual(x * x).tangent
        tensor([2., 0.])
    """

    def __enter__(self) -> int:
        if _levels:
            return enter_dual_level()  # says what is wrong
        try:
            return enter_dual_level()
        except BaseException:
            if _levels:
                _close(_levels[-1])
            raise

    @undisturbed
    def __exit__(self, *exc: object) -> None:
        if _levels:
            _close(_levels[-1])
        else:
            exit_dual_level()  # says what is wrong


def make_dual(tensor: Any, tangent: Any, *, level: int | None = None) -> Tensor:
    """A tensor with the value of `tensor` and this tangent: same shape and dtype, floating point or complex."""
    if not _levels:
        raise RuntimeError("Trying to create a dual Tensor for forward AD but no level exists, make sure to "
                           "enter_dual_level() first.")
    if not isinstance(tensor, Tensor) or tensor.dtype.category < FLOAT:
        raise ValueError("Expected primal to be floating point or complex, but got: "
                         f"{getattr(tensor, 'dtype', tensor)}")
    if not isinstance(tangent, Tensor) or tangent.dtype.category < FLOAT:
        raise ValueError("Expected tangent to be floating point or complex, but got: "
                         f"{getattr(tangent, 'dtype', tangent)}")
    if tensor.shape != tangent.shape:
        raise RuntimeError("Trying to set a forward gradient that has a different size than that of the original "
                           f"Tensor, this is not supported. Tensor is of size {list(tensor.shape)} while the given "
                           f"forward gradient is of size {list(tangent.shape)}.")
    if tangent.dtype.is_complex and not tensor.dtype.is_complex:
        raise RuntimeError(f"Expected tangent to have the dtype of primal, got {tangent.dtype} and {tensor.dtype}")
    if level_of(read(tensor)) is _levels[-1]:
        raise RuntimeError("Making a dual Tensor based on a Tensor that already has a forward gradient at the same "
                           "level 0 is not supported.")
    return enter_dual(tensor, tangent if tensor.dtype is tangent.dtype else tangent.to(tensor.dtype), _levels[-1])


def unpack_dual(tensor: Any, *, level: int | None = None) -> UnpackedDualTensor:
    """(primal, tangent) of a tensor; its tangent is None if it has none, or outside every level."""
    if not _levels:
        return UnpackedDualTensor(tensor, None)
    return UnpackedDualTensor(*leave_dual(tensor, _levels[-1]))
