"""How tensors leave: through Python's own `pickle` (to worker processes, into caches), and by DLPack.

A tensor is pickled as the array of its memory and how it lies in it, so that protocol 5 can pass that out of
band. What two tensors share is not kept; files do that (`facula.save`). By DLPack nothing is copied.
"""

from __future__ import annotations

import enum
from typing import Any

import numpy as np

from facula import dtypes
from facula.engine.graph.node import contiguous_strides

_DTYPES = {of.name: of for of in dtypes.ALL}


def reduce_tensor(tensor: Any) -> tuple[Any, ...]:
    """What `tensor.__reduce_ex__(protocol)` gives: a function, and the arguments it makes the tensor from."""
    if tensor.is_meta:
        return rebuild_meta_tensor, (type(tensor), tensor.dtype.name, tuple(tensor.shape), tuple(tensor.stride()),
                                     bool(tensor.requires_grad), _attributes(tensor))
    if not tensor.is_cpu:
        kept = (type(tensor), bool(tensor.requires_grad), _attributes(tensor))
        return rebuild_elsewhere, (str(tensor.device), *kept, *reduce_tensor(tensor.detach().cpu())[1])
    array = tensor._memory()[1]
    own = (type(tensor), array, tensor.dtype.name, tuple(tensor.shape), bool(tensor.requires_grad), _attributes(tensor))
    strides, offset = tuple(tensor.stride()), tensor.storage_offset()
    whole = not offset and array.size == tensor.numel() and strides == contiguous_strides(tensor.shape)
    return rebuild_tensor, own if whole else (*own, strides, offset)


def _attributes(tensor: Any) -> dict[str, Any]:
    own = getattr(tensor, "__dict__", {})
    return {name: value for name, value in own.items() if name[:1] != "_"}


def rebuild_tensor(cls: type, array: np.ndarray, dtype_name: str, shape: tuple[int, ...], requires_grad: bool,
                   state: dict[str, Any], strides: tuple[int, ...] | None = None, offset: int = 0) -> Any:
    """The tensor that `reduce_tensor` took apart. Without `strides` its elements are all of the array, row by row."""
    from facula._tensor.handle import Tensor
    if not array.flags.writeable:  # out-of-band buffers may be somebody else's
        array = array.copy()
    whole = Tensor._from_memory(array, _DTYPES[dtype_name])
    placed = whole.reshape(shape) if strides is None else whole.as_strided(shape, strides, offset)
    return _finished(placed, cls, requires_grad, state)


def rebuild_elsewhere(place: str, cls: type, requires_grad: bool, state: dict[str, Any], *arguments: Any) -> Any:
    """The tensor of another device that `reduce_tensor` took apart. Raises where there is no such device."""
    return _finished(rebuild_tensor(*arguments).to(place), cls, requires_grad, state)


def rebuild_meta_tensor(cls: type, dtype_name: str, shape: tuple[int, ...], strides: tuple[int, ...],
                        requires_grad: bool, state: dict[str, Any]) -> Any:
    """The meta tensor that `reduce_tensor` took apart."""
    from facula.ops.create.creation import empty_strided
    tensor = empty_strided(shape, strides, dtype=_DTYPES[dtype_name], device="meta")
    return _finished(tensor, cls, requires_grad, state)


def _finished(tensor: Any, cls: type, requires_grad: bool, state: dict[str, Any]) -> Any:
    from facula._tensor.handle import Tensor
    if cls is not Tensor:
        tensor = tensor.as_subclass(cls)
    for name, value in state.items():
        setattr(tensor, name, value)
    return tensor.requires_grad_() if requires_grad else tensor


class DLDeviceType(enum.IntEnum):
    """Kinds of memory, numbered as in `dlpack.h`."""

    kDLCPU = 1
    kDLCUDA = 2
    kDLCUDAHost = 3
    kDLOpenCL = 4
    kDLVulkan = 7
    kDLMetal = 8
    kDLVPI = 9
    kDLROCM = 10
    kDLROCMHost = 11
    kDLExtDev = 12
    kDLCUDAManaged = 13
    kDLOneAPI = 14
    kDLWebGPU = 15
    kDLHexagon = 16
    kDLMAIA = 17


def export_dlpack(tensor: Any, *, stream: Any = None, max_version: tuple[int, int] | None = None,
                  dl_device: tuple[int, int] | None = None, copy: bool | None = None) -> Any:
    """The capsule that `tensor.__dlpack__(...)` gives.

    BufferError for a tensor that requires grad or is not on the cpu, for bfloat16, and for another device.
    """
    if tensor.requires_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    if not tensor.is_cpu:
        raise BufferError(f"Cannot pack tensors on {tensor.device.type}")
    if tensor.dtype is dtypes.bfloat16:
        raise BufferError("Can't export bfloat16 tensors by DLPack, because NumPy has no such type; "
                          "use tensor.float(), or tensor.view(torch.int16) for the bits")
    if stream not in (None, -1):
        raise BufferError(f"stream must be None for tensors on the cpu, but got {stream!r}")
    if dl_device is not None and tuple(dl_device) != (DLDeviceType.kDLCPU, 0):
        raise BufferError(f"cannot export a tensor on the cpu to the DLPack device {tuple(dl_device)}")
    options: dict[str, Any] = {"max_version": max_version, "copy": copy}
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return tensor.numpy().__dlpack__(**given)
    except TypeError:  # NumPy before 2.1 knows the first version only, which says the same without flags
        if copy is not None:
            raise
        return tensor.numpy().__dlpack__()


def dlpack_device(tensor: Any) -> tuple[DLDeviceType, int]:
    """What `tensor.__dlpack_device__()` gives: (kind of memory, number)."""
    if not tensor.is_cpu:
        raise ValueError(f"Unknown device type {tensor.device.type} for Dlpack")
    return DLDeviceType.kDLCPU, 0
