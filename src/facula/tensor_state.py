"""Properties of Tensor: shape, place and memory; and its part in autograd."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import facula.autograd.backward  # noqa: F401
from facula import devices, layouts
from facula.autograd.graph import mode
from facula.dtypes import FLOAT, bool_, int64
from facula.engine.graph.node import contiguous_strides, size_of
from facula.engine.realize import realize
from facula.ops.registry import DTYPE_NAMES, METHODS, method
from facula.size import Size
from facula.tensor import Tensor, alias, is_meta, refresh, share, strides_of

_CPU = devices.CPU
tape = sys.modules["facula.autograd.backward"]  # `autograd.backward` is the function of that name


def prop(name: str, get: Any, put: Any = None, delete: Any = None) -> None:
    setattr(Tensor, name, property(get, put, delete))


prop("device", lambda self: devices.META if is_meta(self) else _CPU)
prop("layout", lambda self: layouts.strided)
prop("ndim", lambda self: len(self.shape))
prop("itemsize", lambda self: self.dtype.itemsize)
prop("nbytes", lambda self: size_of(self.shape) * self.dtype.itemsize)
prop("is_cpu", lambda self: not is_meta(self))
prop("is_meta", is_meta)
for _name in ("is_cuda", "is_sparse", "is_sparse_csr", "is_quantized", "is_mkldnn", "is_xpu", "is_mps", "is_xla",
              "is_vulkan", "is_nested", "is_ipu", "is_maia", "is_ort", "is_mtia", "is_hpu"):
    prop(_name, lambda self: False)
prop("names", lambda self: (None,) * len(self.shape))
prop("name", lambda self: None)
prop("output_nr", lambda self: self._output_nr)
prop("retains_grad", lambda self: bool(self._retains))
prop("_version", lambda self: self._storage.version if self._storage is not None else self._seen)
prop("_cdata", id)
prop("_backward_hooks", lambda self: self._hooks)


@method
def size(self: Tensor, dim: int | None = None) -> Any:
    """The shape, or the length of one dimension."""
    if dim is None:
        return self.shape
    try:
        return self.shape[dim]
    except IndexError:
        n = len(self.shape)
        raise IndexError(f"Dimension out of range (expected to be in range of [{-(n or 1)}, {(n or 1) - 1}], but got "
                         f"{dim})" if n else "Dimension specified as 0 but tensor has no dimensions"
                         if dim in (0, -1) else f"Dimension out of range (expected to be in range of [-1, 0], but got "
                         f"{dim})") from None


@method
def dim(self: Tensor) -> int:
    """The number of dimensions."""
    return len(self.shape)


Tensor.ndimension = dim  # type: ignore[attr-defined]


@method
def numel(self: Tensor) -> int:
    """The number of elements."""
    return size_of(self.shape)


Tensor.nelement = numel  # type: ignore[attr-defined]


@method
def stride(self: Tensor, dim: int | None = None) -> Any:
    """Steps in memory between neighbours along each dimension, in elements; or along one."""
    strides = strides_of(self)
    return tuple(strides) if dim is None else strides[dim]


@method
def storage_offset(self: Tensor) -> int:
    """Where in its storage the tensor begins, in elements."""
    return self._offset if self._storage is not None else 0


@method
def element_size(self: Tensor) -> int:
    """Bytes of one element."""
    return self.dtype.itemsize


@method
def is_contiguous(self: Tensor, *, memory_format: Any = layouts.contiguous_format) -> bool:
    """Do the elements lie in memory one after the other?"""
    shape = self.shape
    if memory_format is layouts.contiguous_format:
        if self._storage is None or self._strides == contiguous_strides(shape) or 0 in shape:
            return True
        order = range(len(shape))
    elif memory_format is layouts.channels_last:
        if len(shape) != 4:
            return False
        order = (0, 2, 3, 1)  # type: ignore[assignment]
    elif memory_format is layouts.channels_last_3d:
        if len(shape) != 5:
            return False
        order = (0, 2, 3, 4, 1)  # type: ignore[assignment]
    else:
        raise RuntimeError("preserve memory format is unsupported by the contiguous operator")
    strides, step = strides_of(self), 1
    for d in reversed(order):
        if shape[d] != 1:
            if strides[d] != step:
                return False
            step *= shape[d]
    return True


@method
def data_ptr(self: Tensor) -> int:
    """The address of the first element, 0 of a meta tensor; computes what is pending."""
    if is_meta(self):
        return 0
    if self._node is not None and 0 not in self.shape:
        return realize(self._node).ptr
    array = self._memory()[1]
    if not size_of(self.shape):
        return 0
    return int(array.__array_interface__["data"][0]) + storage_offset(self) * self.dtype.itemsize


@method
def get_device(self: Tensor) -> int:
    """-1: the cpu has no number."""
    return -1


@method
def is_floating_point(self: Tensor) -> bool:
    """Are the elements floating-point numbers?"""
    return self.dtype.is_floating_point


@method
def is_complex(self: Tensor) -> bool:
    """Are the elements complex numbers?"""
    return self.dtype.is_complex


@method
def is_signed(self: Tensor) -> bool:
    """Can the elements be negative?"""
    return self.dtype.is_signed


@method
def is_conj(self: Tensor) -> bool:
    """False: conjugates are computed."""
    return False


@method
def is_neg(self: Tensor) -> bool:
    """False: negatives are computed."""
    return False


@method
def is_inference(self: Tensor) -> bool:
    """Was the tensor made in inference mode?"""
    return bool(self._inference)


@method
def is_shared(self: Tensor) -> bool:
    """False: memory is not shared between processes."""
    return False


@method
def share_memory_(self: Tensor) -> Tensor:
    """The tensor itself: processes get copies."""
    return self


@method
def is_pinned(self: Tensor, device: Any = None) -> bool:
    """False: there is no accelerator to pin memory for."""
    return False


@method
def pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """An error, as in torch without an accelerator."""
    raise RuntimeError("Cannot access accelerator device when none is available.")


@method
def is_same_size(self: Tensor, other: Tensor) -> bool:
    """Do the shapes agree?"""
    return self.shape == other.shape


@method
def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Do both have the same memory, shape and strides?"""
    return (self is tensor or self._storage is not None and self._storage is tensor._storage
            and self.shape == tensor.shape and self._strides == tensor._strides and self._offset == tensor._offset)


@method
def is_nonzero(self: Tensor) -> bool:
    """Is the only element not 0?"""
    return bool(self)


@method
def is_coalesced(self: Tensor) -> bool:
    """An error: the tensor is dense."""
    raise RuntimeError("is_coalesced expected sparse coordinate tensor layout but got Strided")


@method
def is_distributed(self: Tensor) -> bool:
    """False."""
    return False


@method
def dim_order(self: Tensor, **options: Any) -> tuple[int, ...]:
    """The dimensions from the one with the largest stride to the one with the smallest."""
    strides = strides_of(self)
    return tuple(sorted(range(len(strides)), key=lambda d: -strides[d]))


def _itself(self: Tensor, *args: Any, **options: Any) -> Tensor:
    return self


for _name in ("resolve_conj", "resolve_neg", "to_dense", "coalesce"):
    METHODS[_name] = _itself
    setattr(Tensor, _name, _itself)
Tensor.const_data_ptr = data_ptr  # type: ignore[attr-defined]


@method
def sum_to_size(self: Tensor, *size: Any) -> Tensor:
    """The sum over the dimensions along which `size` would have to be broadcast to give this shape."""
    from facula.ops.creation import sizes_of
    from facula.ops.pointwise import sum_to
    out = sum_to(self, sizes_of(size, "sum_to_size"))
    return out.to(int64) if out.dtype is bool_ else out  # a sum, even of one


def _reversed(self: Tensor) -> Tensor:
    return self.flip(0) if self.shape else self


Tensor.__reversed__ = _reversed  # type: ignore[attr-defined]


class UntypedStorage:
    """A tensor's memory as bytes."""

    def __init__(self, owner: Tensor) -> None:
        share(owner)
        self._tensor = owner
        self._storage = owner._storage
        self._bytes: int = size_of(self._storage.node.shape) * self._storage.node.dtype.itemsize
        self.device = owner.device

    def data_ptr(self) -> int:
        return 0 if self.device is devices.META else int(self._storage.memory().__array_interface__["data"][0])

    def nbytes(self) -> int:
        return self._bytes

    size = __len__ = nbytes

    def element_size(self) -> int:
        return 1

    def tolist(self) -> list[int]:
        import numpy as np
        return self._storage.memory().view(np.uint8).tolist()  # type: ignore[no-any-return]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntypedStorage) and self._storage is other._storage

    def __hash__(self) -> int:
        return id(self._storage)

    @property
    def _cdata(self) -> int:
        return id(self._storage)

    def is_shared(self) -> bool:
        return False

    def share_memory_(self) -> UntypedStorage:
        return self


class TypedStorage(UntypedStorage):
    """A tensor's memory as elements of its dtype."""

    @property
    def dtype(self) -> Any:
        return self._tensor.dtype

    def element_size(self) -> int:
        return self._tensor.dtype.itemsize

    def size(self) -> int:
        return self._bytes // self._tensor.dtype.itemsize

    __len__ = size

    def tolist(self) -> list[Any]:
        return self._tensor._memory()[1].tolist()  # type: ignore[no-any-return]

    def __getitem__(self, index: int) -> Any:
        return self._tensor._memory()[1][index].item()

    def untyped(self) -> UntypedStorage:
        return UntypedStorage(self._tensor)


@method
def untyped_storage(self: Tensor) -> UntypedStorage:
    """The memory as bytes."""
    return UntypedStorage(self)


@method
def storage(self: Tensor) -> TypedStorage:
    """The memory as elements."""
    return TypedStorage(self)


Tensor._typed_storage = storage  # type: ignore[attr-defined]


# ---- autograd -------------------------------------------------------------------------------------------


_CPP = {"float64": "double", "float32": "float", "float16": "c10::Half", "bfloat16": "c10::BFloat16",
        "int64": "long int", "int32": "int", "int16": "short int", "int8": "signed char", "uint8": "unsigned char",
        "bool": "bool", "complex64": "c10::complex<float>", "complex128": "c10::complex<double>"}


def _get_grad(self: Tensor) -> Any:
    grad = self._grad
    if grad is None and self._grad_fn is not None and not self._retains:
        warnings.warn(
            "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad attribute "
            "won't be populated during autograd.backward(). If you indeed want the .grad field to be populated "
            "for a non-leaf Tensor, use .retain_grad() on the non-leaf Tensor. If you access the non-leaf "
            "Tensor by mistake, make sure you access the leaf Tensor instead. See "
            "github.com/pytorch/pytorch/pull/30531 for more informations.",
            UserWarning,
            stacklevel=2,
        )
    return grad


def _set_grad(self: Tensor, grad: Any) -> None:
    if grad is not None:
        if not isinstance(grad, Tensor):
            raise TypeError(f"assigned grad expected to be a Tensor or None but got grad of type {type(grad).__name__}")
        if grad is self:
            raise RuntimeError("can't assign Variable as its own grad")
        if grad.dtype is not self.dtype:
            raise RuntimeError(f"attempting to assign a gradient with dtype '{_CPP[grad.dtype.name]}' to a tensor with "
                               f"grad_dtype '{DTYPE_NAMES[self.dtype.name]}'. The gradient must match the tensor's "
                               "grad_dtype (defaults to the tensor's dtype). You can set the tensor's grad_dtype "
                               "attribute with a specific dtype, or None to allow any dtype.")
        if is_meta(grad) is not is_meta(self):
            raise RuntimeError(f"attempting to assign a gradient with device type '{grad.device}' to a tensor with "
                               f"device type '{self.device}'. Please ensure that the gradient and the tensor are on "
                               "the same device")
        if grad.shape != self.shape:
            raise RuntimeError(
                f"attempting to assign a gradient of size '{list(grad.shape)}' to a tensor of size "
                f"'{list(self.shape)}'. Please ensure that the gradient and the tensor are the same size"
            )
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
    if self._base is not None:
        refresh(self)
    return self._rg


@method
def requires_grad_(self: Tensor, requires_grad: bool = True) -> Tensor:
    """Record what happens to this tensor (or not) for `backward`."""
    if not requires_grad and self._grad_fn is not None:
        raise RuntimeError("you can only change requires_grad flags of leaf variables. If you want to use a computed "
                           "variable in a subgraph that doesn't require differentiation use var_no_grad = "
                           "var.detach().")
    if requires_grad and self.dtype.category < FLOAT:
        raise RuntimeError("only Tensors of floating point dtype can require gradients")
    if requires_grad and self._inference and not mode.inference:
        raise RuntimeError("Setting requires_grad=True on inference tensor outside InferenceMode is not allowed.")
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
    return alias(
        self,
        shape,
        contiguous_strides(shape) if self._storage is None else self._strides,
        self._offset if self._storage is not None else 0,
    )


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
        raise RuntimeError("data set to a tensor that requires gradients must be floating point or complex dtype")
    if is_meta(self) is not is_meta(data):
        raise RuntimeError("Attempted to call `variable.set_data(tensor)`, but `variable` and `tensor` have "
                           "incompatible tensor type.")
    if data._storage is None or data._storage is not self._storage or data.shape != self.shape \
            or data._strides != self._strides or data._offset != self._offset or data.dtype is not self.dtype:
        take_over(self, data)  # otherwise it is the end of `t.data -= x`


prop("data", _get_data, _set_data)


method(tape.register_hook)
method(tape.retain_grad)
method(tape.register_post_accumulate_grad_hook)


@method
def backward(self: Tensor, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
             inputs: Any = None) -> None:
    """Gradients of this tensor with respect to the leaves it was computed from, added to their `.grad`."""
    tape.backward(self, gradient, retain_graph, create_graph, inputs=inputs)
