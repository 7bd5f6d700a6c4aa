"""A tensor's memory as an object: what `untyped_storage()` and `storage()` give."""

from __future__ import annotations

from typing import Any

from facula._tensor.handle import Tensor, share
from facula.engine.graph.node import Node, size_of
from facula.engine.realize import realize
from facula.ops.registry import method


class UntypedStorage:
    """A tensor's memory as bytes."""

    def __init__(self, owner: Tensor) -> None:
        share(owner)
        self._tensor = owner
        self._storage = owner._storage
        self.device = owner.device

    def data_ptr(self) -> int:
        if self._tensor.is_meta:
            return 0
        found: int = realize(self._storage.node).ptr if self._bytes else 0
        return found

    @property
    def _bytes(self) -> int:
        node: Node = self._storage.node  # of now: it may have grown
        return size_of(node.shape) * node.dtype.itemsize

    def nbytes(self) -> int:
        return self._bytes

    size = __len__ = nbytes

    def is_pinned(self, device: Any = None) -> bool:
        """As of a tensor."""
        return self._tensor.is_pinned(device)  # type: ignore[no-any-return]

    def pin_memory(self, device: Any = None) -> UntypedStorage:
        """A copy in pinned memory; itself if it is there already."""
        found = self._tensor.pin_memory(device)
        return self if found is self._tensor else type(self)(found)

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
