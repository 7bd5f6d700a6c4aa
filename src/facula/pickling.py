"""How tensors pass through Python's own `pickle`: to worker processes, into caches.

A tensor is pickled as the array of its own elements, row by row, so that protocol 5 can pass them out of band.
What two tensors share is not kept; files do that (`facula.save`).
two tensors share is not kept; files do that (`facula.save`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from facula import dtypes

_DTYPES = {of.name: of for of in dtypes.ALL}


def reduce_tensor(tensor: Any) -> tuple[Any, ...]:
    """What `tensor.__reduce_ex__(protocol)` gives: a function, and the arguments it makes the tensor from."""
    memory = tensor._memory()[1]
    strides = [stride * memory.itemsize for stride in tensor.stride()]
    array = np.ascontiguousarray(as_strided(memory[tensor.storage_offset():], tuple(tensor.shape), strides))
    own = getattr(tensor, "__dict__", {})
    state = {name: value for name, value in own.items() if name[:1] != "_"}
    # ascontiguousarray makes a scalar one-dimensional: the shape is passed beside it
    return rebuild_tensor, (type(tensor), array.reshape(-1), tensor.dtype.name, tuple(tensor.shape),
                            bool(tensor.requires_grad), state)


def rebuild_tensor(cls: type, array: np.ndarray, dtype_name: str, shape: tuple[int, ...], requires_grad: bool,
                   state: dict[str, Any]) -> Any:
    """The tensor that `reduce_tensor` took apart."""
    from facula.tensor import Tensor
    if not array.flags.writeable:  # out-of-band buffers may be somebody else's
        array = array.copy()
    tensor = Tensor._from_memory(array, _DTYPES[dtype_name]).reshape(shape)
    if cls is not Tensor:
        tensor = tensor.as_subclass(cls)
    for name, value in state.items():
        setattr(tensor, name, value)
    return tensor.requires_grad_() if requires_grad else tensor
