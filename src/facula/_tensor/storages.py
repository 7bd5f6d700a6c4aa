"""A tensor's memory as an object: what `untyped_storage()` and `storage()` give."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from facula import defaults, devices
from facula._tensor.cells import FOR_GOOD
from facula._tensor.handle import Tensor, alias, device_of, new, share
from facula._tensor.mapped_files import mapped
from facula._tensor.outside import address, resize
from facula.devices import CPU, device
from facula.dtypes import dtype, int64, uint8
from facula.engine.graph.node import size_of
from facula.engine.placing import constant_node
from facula.ops.create import conversion
from facula.ops.registry import DTYPE_NAMES, method
from facula.size import Size


def _of_numbers(given: Any, of: dtype, place: device = CPU) -> Tensor:
    """So many elements, or those of a sequence, as a vector."""
    count = given if isinstance(given, int) else len(given)
    if count < 0:
        raise RuntimeError(f"a storage cannot have {count} elements")
    made = new(constant_node(place, 0, Size((count,)), of))
    for k, number in enumerate(() if isinstance(given, int) else given):
        made[k] = number  # type: ignore[index]
    return made


class UntypedStorage:
    """A tensor's memory as bytes. `UntypedStorage(n)` has n bytes of its own, `UntypedStorage([1, 2])` those bytes."""

    _about = ""
    _filename: str | None = None

    def __init__(self, owner: Any = 0) -> None:
        if not isinstance(owner, Tensor):
            owner = _of_numbers(owner, uint8)
        self._storage = share(owner)
        # A tensor of our own: whoever gives the owner other memory does not give it to us.
        self._tensor = alias(owner, owner.shape, owner._strides, owner._offset)
        self.device = device_of(owner)

    @classmethod
    def from_file(cls, filename: Any, shared: bool = False, nbytes: int = 0) -> UntypedStorage:
        """The first `nbytes` of a file (0: all of it) as memory; nothing is read before it is looked at.

        Args:
            shared: writes go to the file, which is made, and lengthened, if need be; else they stay here.

        Raises:
            RuntimeError: no such file, or a shorter one (unless `shared`).

        Example:
            >>> import os, tempfile, facula
            >>> path = os.path.join(tempfile.mkdtemp(), "bytes")
            >>> storage = facula.UntypedStorage.from_file(path, shared=True, nbytes=8)
            >>> _ = facula.tensor([], dtype=facula.float32).set_(storage, 0, (2,)).fill_(1.0)
            >>> open(path, "rb").read(4)
            b'\\x00\\x00\\x80?'
        """
        made = cls(mapped(filename, shared, nbytes))
        made._filename = os.fspath(filename)
        return made

    @property
    def filename(self) -> str | None:
        """The file that `from_file` has mapped; None of other memory."""
        return self._filename

    @property
    def dtype(self) -> dtype:
        """Of the elements: bytes."""
        return uint8

    def _elements(self, of: Any = None) -> Tensor:
        """The memory as a vector."""
        of = of or self.dtype
        return alias(self._tensor, Size((self.nbytes() // of.itemsize,)), (1,), 0, of)

    def vector(self, of: Any = None) -> Tensor:
        """The memory as a vector of `of`, as `torch.asarray` takes it (int64 if nobody says)."""
        return self._elements(of or int64)

    def data_ptr(self) -> int:
        """The address of the first byte; see `Tensor.data_ptr`."""
        return address(self._storage, self._tensor) if self.nbytes() and self.device.type != "meta" else 0

    def nbytes(self) -> int:
        """The length in bytes."""
        node = self._storage.node
        return size_of(node.shape) * node.dtype.itemsize

    def size(self) -> int:
        """The number of elements."""
        return self.nbytes() // self.dtype.itemsize

    def __len__(self) -> int:
        return self.size()

    def is_pinned(self, device: Any = None) -> bool:
        """As of a tensor."""
        return self._tensor.is_pinned(device)  # type: ignore[no-any-return]

    def pin_memory(self, device: Any = None) -> UntypedStorage:
        """A copy in pinned memory; itself if it is there already."""
        found = self._tensor.pin_memory(device)
        return self if found is self._tensor else type(self)(found)

    def element_size(self) -> int:
        """Bytes of one element."""
        return self.dtype.itemsize

    def tolist(self) -> list[Any]:
        """The elements as Python numbers."""
        return self._elements().tolist()  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tolist())

    def _place(self, index: int) -> int:
        count = self.size()
        if not -count <= index < count:
            raise IndexError(f"index {index} out of range for storage of size {count}")
        return index

    def _readable(self) -> None:
        if self.device.type == "meta":
            raise NotImplementedError("Not available for 'meta' device type")

    def __getitem__(self, index: Any) -> Any:
        self._readable()
        if isinstance(index, slice):
            if index.step not in (None, 1):
                raise RuntimeError(f"Trying to slice with a step of {index.step}, but only a step of 1 is supported")
            return self._part(index)
        return self._elements()[self._place(index)].item()  # type: ignore[index]

    def _part(self, index: slice) -> UntypedStorage:
        """Some of the bytes as a storage that has the same memory, by way of an array.

        Not of a device's memory, nor of a file that is only read: what is made of its parts would be read from the
        file again at each call for as long as any part lives, and that is how models are loaded (safetensors)."""
        bytes_ = self._elements(uint8)
        if self.device is not CPU or self._filename is not None and self._storage.shared is not FOR_GOOD:
            return UntypedStorage(bytes_[index].clone())  # type: ignore[index]
        return UntypedStorage(conversion.from_numpy(bytes_.numpy()[index]))

    def __setitem__(self, index: Any, value: Any) -> None:
        self._readable()
        self._elements()[index if isinstance(index, slice) else self._place(index)] = value  # type: ignore[index]

    def fill_(self, value: Any) -> Any:
        """Overwrite every element with `value`."""
        self._elements().fill_(value)
        return self

    def copy_(self, source: Any, non_blocking: bool = False) -> Any:
        """Overwrite with the bytes of another storage of the same length."""
        if source.nbytes() != self.nbytes():
            raise RuntimeError(f"size does not match, self was {self.nbytes()} bytes but src was {source.nbytes()} "
                               "bytes")
        self._elements(uint8).copy_(source._elements(uint8))
        return self

    def clone(self) -> Any:
        """A storage of its own with the same bytes."""
        return type(self)(_copied(self._elements(), self._tensor.dtype))

    def __copy__(self) -> Any:
        return self.clone()

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            memo[id(self)] = self.clone()
        return memo[id(self)]

    def resize_(self, size: int) -> Any:
        """Have so many elements; bytes that come new are not set. RuntimeError if the memory is somebody else's."""
        if size < 0:
            raise RuntimeError(f"a storage cannot have {size} elements")
        resize(self._tensor, size * self.element_size())
        return self

    def resizable(self) -> bool:
        """Is the memory the storage's own?"""
        return not (self._storage.shared and self._storage.held())

    def untyped(self) -> UntypedStorage:
        """The memory as bytes: the same memory."""
        return self if type(self) is UntypedStorage else UntypedStorage(self._tensor)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntypedStorage) and self._storage is other._storage

    def __hash__(self) -> int:
        return id(self._storage)

    def __repr__(self) -> str:
        about = f"torch.storage.{type(self).__name__}({self._about}device={self.device}) of size {len(self)}"
        return about if self.device.type == "meta" else "\n".join([*(f" {v}" for v in self), f"[{about}]"])

    @property
    def _cdata(self) -> int:
        return id(self._storage)

    @property
    def is_cuda(self) -> bool:
        """False."""
        return False

    def cpu(self) -> Any:
        """In the computer's own memory: the storage itself, if it is there."""
        return self if self.device is CPU else type(self)(self._tensor.cpu())

    def is_shared(self) -> bool:
        """False: memory is not shared between processes."""
        return False

    def share_memory_(self) -> Any:
        """The storage itself: processes get copies."""
        return self


class TypedStorage(UntypedStorage):
    """A tensor's memory as elements of its dtype. `TypedStorage(n)` has n elements of its own, `TypedStorage([1, 2])`
    those numbers, of `dtype`; `wrap_storage` is other memory, to be seen as elements of `dtype`."""

    def __init__(self, owner: Any = None, *, wrap_storage: Any = None, dtype: Any = None,
                 device: Any = None) -> None:
        if wrap_storage is not None:
            if type(wrap_storage) is not UntypedStorage or dtype is None or (owner, device) != (None, None):
                more = "" if owner is None and device is None else " and more"
                raise (TypeError if type(wrap_storage) is not UntypedStorage else RuntimeError)(
                    "TypedStorage: `wrap_storage` must be an UntypedStorage, with a `dtype` and nothing else; got "
                    f"{type(wrap_storage).__name__}, {dtype}{more}")
            owner = wrap_storage._elements(dtype)
        elif isinstance(owner, UntypedStorage) or isinstance(owner, Tensor) and (dtype, device) != (None, None):
            raise TypeError(f"TypedStorage: a {type(owner).__name__} is no sequence of numbers to make one of")
        elif not isinstance(owner, Tensor):
            place = CPU if device is None else devices.device(device)
            owner = _of_numbers(0 if owner is None else owner, dtype or defaults.get_default_dtype(), place)
        super().__init__(owner)

    @property
    def dtype(self) -> dtype:
        """Of the elements."""
        return self._tensor.dtype  # type: ignore[no-any-return]

    @property
    def _about(self) -> str:  # type: ignore[override]
        return f"dtype={self.dtype}, "

    @classmethod
    def from_file(cls, filename: Any, shared: bool = False, nbytes: int = 0) -> UntypedStorage:
        """Elements have a dtype, which a file does not tell: RuntimeError. UntypedStorage has it."""
        raise RuntimeError("from_file can only be called on derived classes: use torch.UntypedStorage.from_file and "
                           "Tensor.set_")

    def vector(self, of: Any = None) -> Tensor:
        """The elements. RuntimeError if they are asked for as another dtype."""
        if of not in (None, self.dtype):
            raise RuntimeError(f"Expected a Storage of type {DTYPE_NAMES[of.name]} or an UntypedStorage, but got "
                               f"{DTYPE_NAMES[self.dtype.name]}")
        return self._elements()

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            raise RuntimeError("slices are only supported in UntypedStorage.__getitem__")
        if not isinstance(index, int):
            raise RuntimeError(f"can't index a {type(self)} with {type(index)}")
        return super().__getitem__(index)

    def type(self) -> str:
        """The name that PyTorch gives storages of this dtype."""
        return f"torch.{DTYPE_NAMES[self.dtype.name]}Storage"


def _cast(name: str) -> Any:
    def cast(self: TypedStorage) -> TypedStorage:
        return TypedStorage(getattr(self._elements(), name)())
    cast.__doc__ = f"The elements as `Tensor.{name}` gives them, in memory of their own."
    cast.__name__ = name
    return cast


for _name in ("bool", "byte", "char", "short", "int", "long", "half", "bfloat16", "float", "double"):
    setattr(TypedStorage, _name, _cast(_name))


def _copied(elements: Tensor, of: dtype) -> Tensor:
    """The same bytes in memory of their own, as elements of that dtype."""
    copy = elements.clone()
    return alias(copy, Size((size_of(copy.shape) * copy.dtype.itemsize // of.itemsize,)), (1,), 0, of)


@method
def untyped_storage(self: Tensor) -> UntypedStorage:
    """The memory as bytes."""
    return UntypedStorage(self)


@method
def storage(self: Tensor) -> TypedStorage:
    """The memory as elements."""
    return TypedStorage(self)


Tensor._typed_storage = storage  # type: ignore[attr-defined]

conversion.storages = (UntypedStorage,)
