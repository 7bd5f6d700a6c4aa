"""The seam between files and tensors: a tensor's memory as bytes, and a tensor over loaded bytes.

Two methods of Tensor are used here, and nothing else below its public API:

* `tensor._memory() -> (owner, array)`: the whole storage, computed, as a one-dimensional array of the carrier
  type (`dtype.numpy`), and the object that stands for the storage: the same for all tensors that share it;
* `Tensor._from_memory(array, dtype) -> Tensor`: a tensor over a one-dimensional array that is its own from
  now on.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.dtypes import dtype
from facula.serialization import storages
from facula.serialization.storages import LoadedStorage, check_bounds, check_numbers


def tensor_class() -> Any:
    """Tensor itself (a function, so that importing this module does not need it)."""
    from facula._tensor.handle import Tensor
    return Tensor


def storage_of(tensor: Any) -> tuple[Any, np.ndarray]:
    """What stands for the tensor's storage, and the storage's bytes."""
    owner, array = tensor._memory()
    return owner, array.view(np.uint8)


def geometry(tensor: Any) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Offset, size and stride of the tensor in its storage, in elements."""
    return tensor.storage_offset(), tuple(tensor.shape), tuple(tensor.stride())


def from_storage(storage: LoadedStorage, of: dtype, offset: int, size: tuple[int, ...],
                 stride: tuple[int, ...], conj: bool = False, neg: bool = False) -> Any:
    """A tensor of that geometry in a loaded storage, conjugated and negated. RuntimeError if it does not fit in."""
    if type(of) is not dtype:
        raise RuntimeError("the file has a tensor without a dtype")
    if storage.device.type == "meta":
        import facula
        check_numbers(offset, size, stride)
        return facula.empty_strided(size, stride, dtype=of, device="meta")
    check_bounds(storage, of, offset, size, stride)
    if storage.shared is None:
        storage.shared = {}
    whole = storage.shared.get(of)
    if whole is None:
        whole = tensor_class()._from_memory(_elements(storage, of), of)
        if storage.device.type != "cpu":
            whole = whole.to(storage.device)
        storage.shared[of] = whole
    if conj or neg:  # of the storage, once: of an expanded tensor it might be anything large
        changed = storage.shared.get((of, conj, neg))
        if changed is None:
            changed = whole.conj() if conj else whole
            changed = storage.shared[of, conj, neg] = (changed.neg() if neg else changed).detach()
        whole = changed
    return whole.as_strided(size, stride, offset)


storages.found_by(from_storage)


def _elements(storage: LoadedStorage, of: dtype) -> np.ndarray:
    """The storage as elements. Bytes mapped from a file may lie where no element can: these are copied."""
    count = storage.nbytes() // of.itemsize
    array = storage.array[:count * of.itemsize]
    if array.__array_interface__["data"][0] % of.itemsize:
        array = array.copy()
    return array.view(of.numpy)
