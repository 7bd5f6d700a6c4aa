"""DLPack: tensors handed to other libraries, and taken from them, without a copy.

NumPy speaks the protocol; a tensor's memory passes through an array. Both sides then write to the same
memory, so such a tensor is pinned: what is pending is computed first, what follows is computed at the call.
Source: https://dmlc.github.io/dlpack/latest/python_spec.html
"""

from __future__ import annotations

from typing import Any

from facula import dtypes
from facula.ops.create.lent_memory import import_array


def to_dlpack(tensor: Any) -> Any:
    """A DLPack capsule that shares `tensor`'s memory; it can be consumed once.

    Example:
        >>> import facula
        >>> from facula.dlpack import from_dlpack, to_dlpack
        >>> from_dlpack(to_dlpack(facula.ones(2)))
        tensor([1., 1.])
    """
    return tensor.__dlpack__()


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
