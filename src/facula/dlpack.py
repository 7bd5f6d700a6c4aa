"""DLPack: tensors handed to other libraries, and taken from them, without a copy.

NumPy speaks the protocol; a tensor's memory passes through an array. Both sides then write to the same
memory, so such a tensor is pinned: what is pending is computed first, what follows is computed at the call.
Source: https://dmlc.github.io/dlpack/latest/python_spec.html
"""

from __future__ import annotations

from typing import Any

import numpy as np

from facula import dtypes
from facula._tensor.exchange import DLDeviceType
from facula.dtypes import dtype


def to_dlpack(tensor: Any) -> Any:
    """A DLPack capsule that shares `tensor`'s memory; it can be consumed once.

    Example:
        >>> import facula
        >>> from facula.dlpack import from_dlpack, to_dlpack
        >>> from_dlpack(to_dlpack(facula.ones(2)))
        tensor([1., 1.])
    """
    return tensor.__dlpack__()


class _Capsule:
    """A bare capsule, as the object that the protocol asks for."""

    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return DLDeviceType.kDLCPU, 0


def import_array(ext_tensor: Any, *, device: Any = None, copy: bool | None = None
                 ) -> tuple[np.ndarray, dtype]:
    """The memory of an object with `__dlpack__`, or of a capsule, as a NumPy array that shares it; its dtype."""
    is_capsule = type(ext_tensor).__name__ == "PyCapsule"
    if is_capsule and (device is not None or copy is not None):
        raise ValueError("device and copy kwargs not supported when ext_tensor is already a DLPack capsule.")
    if not is_capsule and not hasattr(ext_tensor, "__dlpack__"):
        raise AttributeError(f"'{type(ext_tensor).__name__}' object has no attribute '__dlpack__'")
    if device is not None:
        from facula.devices import parse_device
        parse_device(device)
    source = _Capsule(ext_tensor) if is_capsule else ext_tensor
    kind = source.__dlpack_device__()[0]
    if kind != DLDeviceType.kDLCPU:
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


def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Any:
    """A tensor that shares the memory of `ext_tensor`: an object with `__dlpack__`, or a DLPack capsule.

    `copy=True` gives it memory of its own. RuntimeError if the memory is not the cpu's, or no dtype fits.

    Example:
        >>> import numpy, facula
        >>> array = numpy.zeros(2, numpy.float32)
        >>> tensor = facula.from_dlpack(array)
        >>> array[0] = 5
        >>> tensor
        tensor([5., 0.])
    """
    import facula
    if isinstance(ext_tensor, facula.Tensor) and ext_tensor.dtype is dtypes.bfloat16 and not ext_tensor.requires_grad:
        bits = from_dlpack(ext_tensor.view(dtypes.int16), device=device, copy=copy)  # type: ignore[attr-defined]
        return bits.view(dtypes.bfloat16)
    from facula.ops.create.conversion import sharing  # here: facula.ops stands above this page
    # not `from_numpy`, which warns: NumPy takes memory for read-only of which nothing is said (before DLPack 1.0)
    return sharing(*import_array(ext_tensor, device=device, copy=copy))
