"""What may not be written: leaves, views of two modes, memory that is read at the same time. As PyTorch raises it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from facula._tensor.handle import Tensor
from facula._tensor.layout import partly_shared, shared
from facula._tensor.tape import of_two_modes
from facula.autograd.graph import mode


def refuse_write(t: Tensor) -> None:
    """Raise what PyTorch raises if `t`, which is to be written, is an inference tensor, outside of inference mode."""
    if t._inference and not mode.inference:
        raise RuntimeError(
            "Inplace update to inference tensor outside InferenceMode is not allowed.You can make a clone to get a "
            "normal tensor before doing inplace update.See https://github.com/pytorch/rfcs/pull/17 for more details.")


def onto_itself(t: Tensor, src: Tensor) -> bool:
    """Is `src`, off the tape, the same elements at the same places as `t`? Copying it there does nothing, and is not
    refused where `t` is expanded."""
    return src._storage is t._storage is not None and not t._rg and not src._rg and src.dtype is t.dtype \
        and (src.shape, src._strides, src._offset) == (t.shape, t._strides, t._offset)


def refuse_leaf(t: Tensor) -> None:
    """RuntimeError if `t`, or what it is a view of, is a leaf that requires a gradient: for writes on the tape."""
    base = t._base
    if base is None:
        if t._rg and t._grad_fn is None:
            raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
        return
    if t._grad_version < -1:
        raise of_two_modes(t, "is being")
    if base._grad_fn is None and (t._rg or base._rg):
        raise RuntimeError("a view of a leaf Variable that requires grad is being used in an in-place operation.")


_SHARED = ("unsupported operation: some elements of the input tensor and the written-to tensor refer to a single "
           "memory location. Please clone() the tensor before performing the operation.")


def refuse_overlap(t: Tensor, operands: Iterable[Any]) -> None:
    """Raise what PyTorch raises where `t`, which is to be written, and an operand share a part of their memory. (What
    is written would be right, as everything is read first; but the program would not run anywhere else.)"""
    storage = t._storage
    for x in operands:
        if isinstance(x, Tensor) and x._storage is storage and x is not t and x.dtype is t.dtype and partly_shared(
                t.shape, t._strides, t._offset, x.shape, x._strides, x._offset):
            raise RuntimeError(_SHARED)


def refuse_repeats(t: Tensor) -> None:
    if t._storage is not None and 0 not in t.shape \
            and any(not k and n > 1 for k, n in zip(t._strides, t.shape, strict=True)):
        raise RuntimeError("unsupported operation: more than one element of the written-to tensor refers to a single "
                           "memory location. Please clone() the tensor before performing the operation.")


def refuse_itself(t: Tensor, operands: Iterable[Any]) -> None:
    """The same for an operand that is `t`, or all of its memory; and `t` must not repeat its own elements."""
    storage = t._storage
    refuse_repeats(t)
    for x in operands:
        if x is t or storage is not None and isinstance(x, Tensor) and x._storage is storage and (
                x.shape, x._strides, x._offset) == (t.shape, t._strides, t._offset):
            raise RuntimeError(_SHARED)


def refuse_shared(t: Tensor, operands: Iterable[Any]) -> None:
    """`refuse_overlap` where an operand may not be the tensor that is written, either: what is written is not at the
    place of what is read."""
    storage = t._storage
    for x in operands:
        if isinstance(x, Tensor) and (x is t and 0 not in t.shape or x._storage is storage is not None
                                      and x.dtype is t.dtype and shared(
                                          t.shape, t._strides, t._offset, x.shape, x._strides, x._offset)):
            raise RuntimeError(_SHARED)
