"""Storages as a file has them: runs of bytes with a type, that several tensors may share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from facula import dtypes
from facula._tensor.storages import TypedStorage
from facula.devices import CPU, device
from facula.dtypes import dtype
from facula.serialization.limits import shown

_LARGEST = 1 << 63
_NAMES = {
    "FloatStorage": dtypes.float32, "DoubleStorage": dtypes.float64, "HalfStorage": dtypes.float16,
    "BFloat16Storage": dtypes.bfloat16, "LongStorage": dtypes.int64, "IntStorage": dtypes.int32,
    "ShortStorage": dtypes.int16, "CharStorage": dtypes.int8, "ByteStorage": dtypes.uint8,
    "BoolStorage": dtypes.bool_, "ComplexFloatStorage": dtypes.complex64,
    "ComplexDoubleStorage": dtypes.complex128,
}


_over: Any = None  # a tensor over a loaded storage: tensors.py, which stands above, puts its function here


def found_by(from_storage: Any) -> None:
    """What makes tensors over loaded storages."""
    global _over
    _over = from_storage


class StorageType:
    """What a file's `torch.FloatStorage` stands for: the dtype of a storage. None: untyped bytes."""

    __slots__ = ("name", "dtype")

    def __init__(self, name: str, of: dtype | None) -> None:
        self.name, self.dtype = name, of

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return 1 if self.dtype is None else self.dtype.itemsize

    def __repr__(self) -> str:
        return f"StorageType(dtype={self.dtype})"


STORAGE_TYPES = {name: StorageType(name, of) for name, of in _NAMES.items()}
STORAGE_TYPES["UntypedStorage"] = StorageType("UntypedStorage", None)
TYPE_OF = {kind.dtype: kind for kind in STORAGE_TYPES.values() if kind.dtype is not None}


class LoadedStorage(TypedStorage):
    """A storage that is being loaded. Tensors made from one share its memory.

    This is also what `map_location` is called with, and what a file gives that holds the storage itself.
    """

    def __init__(self, array: np.ndarray, kind: StorageType, place: device = CPU) -> None:
        self.loading = True  # nothing that the file calls may count up its elements
        self.array = array  # uint8, one-dimensional, ours to write to
        self.kind = kind
        self.device = place
        self.filled = True  # the older format's storages are filled after the tensors are made
        self.shared: Any = None  # what the tensors made so far share; see tensors.py

    @property
    def _tensor(self) -> Any:  # type: ignore[override]  # what it has in common with other storages, once somebody looks
        return _over(self, self.dtype, 0, (self.size(),), (1,))

    @property
    def _storage(self) -> Any:  # type: ignore[override]
        return self._tensor._storage

    def __iter__(self) -> Iterator[Any]:
        if self.loading:
            raise TypeError("a storage that is being loaded has no elements yet")
        return super().__iter__()

    def __getitem__(self, index: Any) -> Any:
        if self.loading:
            raise TypeError("a storage that is being loaded has no elements yet")
        return super().__getitem__(index)

    def __eq__(self, other: object) -> bool:
        return self is other or not self.loading and super().__eq__(other)

    def __hash__(self) -> int:
        return id(self.array)

    @property
    def dtype(self) -> dtype:
        """The dtype of the elements; of untyped bytes uint8."""
        return self.kind.dtype or dtypes.uint8

    def nbytes(self) -> int:
        """The length in bytes."""
        return self.array.nbytes

    def size(self) -> int:
        """The number of elements."""
        return self.array.nbytes // self.kind.itemsize

    __len__ = size

    def cpu(self) -> LoadedStorage:
        """This storage in the computer's own memory, where it is already."""
        return self

    def cuda(self, *args: Any, **kwargs: Any) -> LoadedStorage:
        """Always an AssertionError: there is no CUDA device."""
        raise AssertionError("Torch not compiled with CUDA enabled")


LoadedStorage.__name__ = LoadedStorage.__qualname__ = "TypedStorage"  # what a program sees of it


def byteswapped(array: np.ndarray, kind: StorageType) -> np.ndarray:
    """`array` with the bytes of each element reversed; of complex numbers, of each part."""
    size = kind.itemsize // (2 if kind.dtype is not None and kind.dtype.is_complex else 1)
    return np.ascontiguousarray(array.reshape(-1, size)[:, ::-1]).reshape(-1)


def check_numbers(offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> None:
    """RuntimeError unless a tensor can have these, and its elements be counted in 63 bits."""
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or not all(type(n) is int and 0 <= n < _LARGEST for n in numbers) \
            or math.prod(size) >= _LARGEST:
        raise RuntimeError(f"the file has a tensor of size {shown(size)}, stride {shown(stride)} and offset "
                           f"{shown(offset)}, which is impossible")


def check_bounds(storage: LoadedStorage, of: dtype, offset: int, size: tuple[int, ...],
                 stride: tuple[int, ...]) -> None:
    """RuntimeError unless a tensor of this geometry lies within the storage."""
    check_numbers(offset, size, stride)
    if 0 in size:
        return
    needed = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) + 1
    if needed * of.itemsize > storage.nbytes():
        raise RuntimeError(
            f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset}, and itemsize "
            f"{of.itemsize} requiring a storage size of {needed * of.itemsize} are out of bounds for "
            f"storage of "
            f"size {storage.nbytes()}")
