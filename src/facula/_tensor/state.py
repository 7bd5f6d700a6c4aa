"""What a tensor is: its shape, place and memory, and what may be asked about its elements."""

from __future__ import annotations

from typing import Any

import facula._tensor.inference
import facula.autograd.backward  # noqa: F401
from facula import devices, layouts
from facula._tensor.cells import OUTSIDE
from facula._tensor.handle import Tensor, device_of, is_meta, share, strides_of
from facula._tensor.outside import address
from facula._tensor.tape import attach
from facula.autograd.graph import Rule
from facula.engine.graph.node import contiguous_strides, size_of
from facula.engine.realize import realize
from facula.errors import warn
from facula.ops.create import pinned
from facula.ops.registry import also, method

_CPU = devices.CPU


def prop(name: str, get: Any, put: Any = None, delete: Any = None) -> None:
    setattr(Tensor, name, property(get, put, delete))


prop("device", device_of)
prop("layout", lambda self: layouts.strided)
prop("ndim", lambda self: len(self.shape))
prop("itemsize", lambda self: self.dtype.itemsize)
prop("nbytes", lambda self: size_of(self.shape) * self.dtype.itemsize)
prop("is_cpu", lambda self: device_of(self) is _CPU)
prop("is_privateuseone", lambda self: devices.kind_of(device_of(self).type) == devices.CUSTOM)
prop("is_meta", is_meta)
for _name in ("cuda", "xpu", "mps", "xla", "vulkan", "ipu", "maia", "mtia", "hpu"):
    prop("is_" + _name, lambda self, kind=_name: device_of(self).type == kind)
for _name in ("is_sparse", "is_sparse_csr", "is_quantized", "is_mkldnn", "is_nested", "is_ort"):
    prop(_name, lambda self: False)
prop("names", lambda self: (None,) * len(self.shape))
prop("name", lambda self: None)
prop("output_nr", lambda self: self._output_nr)
prop("retains_grad", lambda self: bool(self._retains))


def _version(self: Tensor) -> int:
    if self._inference:
        raise RuntimeError("Inference tensors do not track version counter.")
    return (self._storage.version if self._storage is not None else self._seen) % OUTSIDE  # type: ignore[no-any-return]


prop("_version", _version)
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
        if n == 0 and dim in (0, -1):
            raise IndexError("Dimension specified as 0 but tensor has no dimensions") from None
        raise IndexError(f"Dimension out of range (expected to be in range of [{-(n or 1)}, "
                         f"{(n or 1) - 1}], but got {dim})") from None


@method
def dim(self: Tensor) -> int:
    """The number of dimensions."""
    return len(self.shape)


also(dim, "Tensor.ndimension")


@method
def numel(self: Tensor) -> int:
    """The number of elements."""
    return size_of(self.shape)


also(numel, "Tensor.nelement")


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
    """The address of the first element, 0 of a meta tensor and of one without elements. What is pending is computed.

    The address is the tensor's own and stays while nobody gives it other memory (`set_`, `resize_`, `.data =`): values
    that are written go there. Whoever has it may read and write at any time, so whatever touches the memory is
    computed at its call from now on.
    """
    if is_meta(self) or 0 in self.shape:
        return 0
    if device_of(self) is not _CPU:  # nobody writes there by an address
        return realize(self._node or self._storage.node).ptr + storage_offset(self) * self.dtype.itemsize
    return address(share(self), self) + storage_offset(self) * self.dtype.itemsize


@method
def get_device(self: Tensor) -> int:
    """The index of the device; -1: the cpu has no number."""
    index = device_of(self).index
    return -1 if index is None else index


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
    """Are the elements in memory that an accelerator reads in its own time?"""
    if device is not None:
        warn("The argument 'device' of Tensor.is_pinned() is deprecated. Please do not pass this argument.")
    return pinned.memory_of(self) is not None


@method
def pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """A copy in memory that the accelerator reads in its own time, so that `.to(..., non_blocking=True)` does not wait;
    the tensor itself if it is there already. RuntimeError if there is no accelerator, or if it is not on the cpu."""
    if device is not None:
        warn("The argument 'device' of Tensor.pin_memory() is deprecated. Please do not pass this argument.")
    if pinned.memory_of(self) is not None:
        return self
    return attach(pinned.pinned(self, None if device is None else devices.device(device)), _PINNED, (self,))


_PINNED = Rule("PinMemoryBackward0", lambda ctx, g: (g,))


@method
def is_same_size(self: Tensor, other: Tensor) -> bool:
    """Do the shapes agree?"""
    return self.shape == other.shape


@method
def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Do both have the same memory, shape and strides?"""
    return (self is tensor or self._storage is not None and self._storage is tensor._storage
            and self.shape == tensor.shape and self._strides == tensor._strides
            and self._offset == tensor._offset)


@method
def is_nonzero(self: Tensor) -> bool:
    """Is the only element not 0?"""
    return bool(self)


@method
def is_distributed(self: Tensor) -> bool:
    """False."""
    return False


@method
def dim_order(self: Tensor, **options: Any) -> tuple[int, ...]:
    """The dimensions from the one with the largest stride to the one with the smallest."""
    strides = strides_of(self)
    return tuple(sorted(range(len(strides)), key=lambda d: -strides[d]))


def _itself(self: Tensor) -> Tensor:
    return self


also(_itself, "Tensor.resolve_conj", "Tensor.resolve_neg")


@method
def to_dense(self: Tensor, dtype: Any = None, *, masked_grad: bool = True) -> Tensor:
    """The tensor itself, which is dense, as elements of `dtype`."""
    return self if dtype is None else self.to(dtype)  # type: ignore[attr-defined, no-any-return]


also(data_ptr, "Tensor.const_data_ptr")


@method
def sum_to_size(self: Tensor, *sizes: Any, size: Any = None) -> Tensor:
    """The sum over the dimensions along which `size` would be broadcast to give this shape."""
    from facula.ops.create.creation import sizes_of
    from facula.ops.elementwise.pointwise import sum_to

    shape = sizes_of(sizes if size is None else (size,), "sum_to_size")
    own = tuple(self.shape)
    pairs = zip(reversed(shape), reversed(own), strict=False)
    if len(shape) > len(own) or any(n not in (1, have) for n, have in pairs):
        raise RuntimeError(f"size {{{list(shape)}}} is not expandable to size {{{list(own)}}}.")
    return sum_to(self, shape) if shape else self.sum()  # of one element too: integers become int64


def _reversed(self: Tensor) -> Tensor:
    return self.flip(0) if self.shape else self


Tensor.__reversed__ = _reversed  # type: ignore[attr-defined]
