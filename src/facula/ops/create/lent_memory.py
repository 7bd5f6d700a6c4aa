"""Memory that another library lends by DLPack, as a NumPy array."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula import dtypes
from facula.devices import parse_device
from facula.dtypes import dtype

_CPU_MEMORY = 1  # kDLCPU of dlpack.h


class _Capsule:
    """A bare capsule, as the object that the protocol asks for."""

    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CPU_MEMORY, 0


def import_array(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> tuple[np.ndarray, dtype]:
    """The memory of an object with `__dlpack__`, or of a capsule, as a NumPy array that shares it; its dtype."""
    is_capsule = type(ext_tensor).__name__ == "PyCapsule"
    if is_capsule and (device is not None or copy is not None):
        raise ValueError("device and copy kwargs not supported when ext_tensor is already a DLPack capsule.")
    if not is_capsule and not hasattr(ext_tensor, "__dlpack__"):
        raise AttributeError(f"'{type(ext_tensor).__name__}' object has no attribute '__dlpack__'")
    if device is not None:
        parse_device(device)
    source = _Capsule(ext_tensor) if is_capsule else ext_tensor
    kind = source.__dlpack_device__()[0]
    if kind != _CPU_MEMORY:
        raise RuntimeError(f"from_dlpack: the memory is on a device of kind {int(kind)} (dlpack.h), and "
                           "only the cpu's (1) can be shared; copy it to the cpu first")
    array = np.from_dlpack(source)
    if copy or any(stride < 0 for stride in array.strides):  # tensors have no negative strides
        if copy is False:
            raise ValueError("from_dlpack: the memory is laid out backwards (negative strides), which a "
                             "tensor cannot share; leave out copy=False")
        array = array.copy()
    return array, _carried(array)


def _carried(array: np.ndarray) -> dtype:
    """The dtype of the array's elements. RuntimeError, which names it, if there is none."""
    try:
        return dtypes.from_numpy_dtype(array.dtype)
    except TypeError:
        raise RuntimeError(f"from_dlpack: no tensor has elements of type {array.dtype}; "
                           f"the types are {', '.join(d.name for d in dtypes.ALL)}") from None
