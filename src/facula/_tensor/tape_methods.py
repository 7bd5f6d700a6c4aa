"""A tensor's part in autograd: `grad`, `requires_grad`, `grad_fn`, `data`, hooks and `backward`."""

from __future__ import annotations

import sys
from typing import Any

import facula.autograd.backward  # noqa: F401
from facula._tensor.handle import Tensor, alias, device_of, is_meta, share
from facula._tensor.state import prop
from facula._tensor.tape import refresh
from facula.autograd.graph import mode
from facula.dtypes import CPP_NAMES, FLOAT
from facula.engine.graph.node import contiguous_strides
from facula.errors import warn
from facula.ops.registry import DTYPE_NAMES, method
from facula.size import Size

tape = sys.modules["facula.autograd.backward"]  # `autograd.backward` is the function of that name


def _get_grad(self: Tensor) -> Any:
    grad = self._grad
    if grad is None and self._grad_fn is not None and not self._retains:
        warn("The .grad attribute of a Tensor that is not a leaf Tensor is being "
             "accessed. Its .grad attribute won't be populated during "
             "autograd.backward(). If you indeed want the .grad field to be populated for "
             "a non-leaf Tensor, use .retain_grad() on the non-leaf Tensor. If you access "
             "the non-leaf Tensor by mistake, make sure you access the leaf Tensor "
             "instead. See github.com/pytorch/pytorch/pull/30531 for more informations.",
             UserWarning)
    return grad


def _set_grad(self: Tensor, grad: Any) -> None:
    if grad is not None:
        if not isinstance(grad, Tensor):
            raise TypeError("assigned grad expected to be a Tensor or None but got grad of type "
                            f"{type(grad).__name__}")
        if grad is self:
            raise RuntimeError("can't assign Variable as its own grad")
        if grad.dtype is not self.dtype:
            raise RuntimeError("attempting to assign a gradient with dtype "
                               f"'{CPP_NAMES[grad.dtype.name]}' to a tensor with grad_dtype "
                               f"'{DTYPE_NAMES[self.dtype.name]}'. The gradient must match the "
                               "tensor's grad_dtype (defaults to the tensor's dtype). You can set "
                               "the tensor's grad_dtype attribute with a specific dtype, or None "
                               "to allow any dtype.")
        if device_of(grad) is not device_of(self):
            raise RuntimeError("attempting to assign a gradient with device type "
                               f"'{grad.device}' to a tensor with device type '{self.device}'. "
                               "Please ensure that the gradient and the tensor are on the same "
                               "device")
        if grad.shape != self.shape:
            raise RuntimeError(f"attempting to assign a gradient of size '{list(grad.shape)}' to a "
                               f"tensor of size '{list(self.shape)}'. Please ensure that the "
                               "gradient and the tensor are the same size")
    self._grad = grad


def _del_grad(self: Tensor) -> None:
    self._grad = None


prop("grad", _get_grad, _set_grad, _del_grad)


def _get_grad_fn(self: Tensor) -> Any:
    if self._base is not None:
        refresh(self)
    return self._grad_fn


def _is_leaf(self: Tensor) -> bool:
    if self._base is not None:
        refresh(self)
    return self._grad_fn is None


def _get_requires_grad(self: Tensor) -> bool:
    base = self._base
    if base is None:
        return self._rg
    if self._grad_version < -1:  # made where nothing was recorded: its place is beside its base's
        return self._rg or base._rg
    refresh(self)
    return self._rg


@method
def _is_view(self: Tensor) -> bool:
    """Does a gradient of this tensor go through another whose elements it shares?"""
    return self._base is not None


@method
def requires_grad_(self: Tensor, requires_grad: bool = True) -> Tensor:
    """Record what happens to this tensor (or not) for `backward`."""
    if not requires_grad and self._grad_fn is not None:
        raise RuntimeError("you can only change requires_grad flags of leaf variables. If you want "
                           "to use a computed variable in a subgraph that doesn't require "
                           "differentiation use var_no_grad = var.detach().")
    if requires_grad and self.dtype.category < FLOAT:
        raise RuntimeError("only Tensors of floating point dtype can require gradients")
    if requires_grad and self._inference and not mode.inference:
        raise RuntimeError("Setting requires_grad=True on inference tensor outside InferenceMode "
                           "is not allowed.")
    self._rg = bool(requires_grad)
    return self


def _set_requires_grad(self: Tensor, value: Any) -> None:
    if not isinstance(value, (bool, int)):
        raise RuntimeError("requires_grad must be a bool")
    requires_grad_(self, bool(value))


def _set_grad_fn(self: Tensor, value: Any) -> None:
    if value is not None:
        raise RuntimeError("cannot set grad_fn")
    self._grad_fn = None


prop("grad_fn", _get_grad_fn, _set_grad_fn)
prop("is_leaf", _is_leaf)
prop("requires_grad", _get_requires_grad, _set_requires_grad)


def _get_data(self: Tensor) -> Tensor:
    shape = _SHAPE.__get__(self)
    if self._storage is None:
        return alias(self, shape, contiguous_strides(shape), 0)
    return alias(self, shape, self._strides, self._offset)


_SHAPE = Tensor.__dict__["shape"]


def take_over(self: Tensor, other: Tensor) -> None:
    """`self` becomes another name for the memory of `other`; its place in autograd stays."""
    storage = share(other)
    self._storage = storage
    self._node = None
    _SHAPE.__set__(self, tuple.__new__(Size, _SHAPE.__get__(other)))
    self.dtype = other.dtype
    self._strides = other._strides
    self._offset = other._offset
    self._cached = None
    self._seen = -1


def _set_data(self: Tensor, data: Any) -> None:
    if not isinstance(data, Tensor):
        raise TypeError(f"Variable data has to be a tensor, but got {type(data).__name__}")
    if self._rg and data.dtype.category < FLOAT:
        raise RuntimeError("data set to a tensor that requires gradients must be floating point or "
                           "complex dtype")
    if is_meta(self) is not is_meta(data):
        raise RuntimeError("Attempted to call `variable.set_data(tensor)`, but `variable` and "
                           "`tensor` have incompatible tensor type.")
    if data._storage is None or data._storage is not self._storage \
            or data.shape != self.shape or data._strides != self._strides \
            or data._offset != self._offset or data.dtype is not self.dtype:
        take_over(self, data)  # otherwise it is the end of `t.data -= x`


prop("data", _get_data, _set_data)


method(tape.register_hook)
method(tape.retain_grad)
method(tape.register_post_accumulate_grad_hook)


@method
def backward(self: Tensor, gradient: Any = None, retain_graph: bool | None = None,
             create_graph: bool = False, inputs: Any = None) -> None:
    """Gradients of this tensor for the leaves it was computed from, added to their `.grad`."""
    tape.backward(self, gradient, retain_graph, create_graph, inputs=inputs)
