"""Dictionaries whose keys are objects by identity and are held weakly: tensors, which have no equality of that kind.

Example:
    >>> import facula
    >>> from facula.utils.weak import WeakTensorKeyDictionary
    >>> x, found = facula.ones(2), WeakTensorKeyDictionary()
    >>> found[x] = "ones"
    >>> found[x], facula.ones(2) in found
    ('ones', False)
    >>> del x
    >>> len(found)
    0
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, MutableMapping
from typing import Any

from facula._tensor.handle import Tensor

__all__ = ["TensorWeakRef", "WeakIdKeyDictionary", "WeakIdRef", "WeakTensorKeyDictionary"]


class WeakIdRef(weakref.ref[Any]):
    """A weak reference that is equal to others of the same object, and to itself alone once that is gone."""

    __slots__ = ("_id",)

    _id: int

    def __init__(self, key: Any, callback: Any = None) -> None:
        super().__init__(key, callback)  # type: ignore[call-arg]
        self._id = id(key)

    def __call__(self) -> Any:
        return super().__call__()

    def __hash__(self) -> int:
        return self._id

    def __eq__(self, other: object) -> bool:
        mine, theirs = self(), other() if isinstance(other, weakref.ref) else None
        return mine is theirs if mine is not None and theirs is not None else self is other

    def __ne__(self, other: object) -> bool:  # else that of weakref, which compares the objects
        return not self == other


class WeakIdKeyDictionary(MutableMapping[Any, Any]):
    """A dictionary by identity that holds its keys weakly: an entry goes with its key."""

    def __init__(self, dict: Any = None, ref_type: type[WeakIdRef] = WeakIdRef) -> None:
        self.data: dict[WeakIdRef, Any] = {}
        self.ref_type = ref_type
        data = weakref.ref(self)

        def remove(reference: Any) -> None:
            owner = data()
            if owner is not None:
                owner.data.pop(reference, None)
        self._remove = remove
        if dict is not None:
            self.update(dict)

    def __getitem__(self, key: Any) -> Any:
        return self.data[self.ref_type(key)]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.data[self.ref_type(key, self._remove)] = value

    def __delitem__(self, key: Any) -> None:
        del self.data[self.ref_type(key)]

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[Any]:
        for reference in list(self.data):
            key = reference()
            if key is not None:
                yield key

    def __contains__(self, key: object) -> bool:
        try:
            return self.ref_type(key) in self.data
        except TypeError:  # of what there are no weak references
            return False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x}>"

    def copy(self) -> WeakIdKeyDictionary:
        """Another one of the same entries."""
        found = type(self)()
        found.ref_type = self.ref_type
        found.update(self)
        return found


class WeakTensorKeyDictionary(WeakIdKeyDictionary):
    """One whose keys are tensors."""

    def __init__(self, dict: Any = None) -> None:
        super().__init__(dict, WeakIdRef)


class TensorWeakRef:
    """A weak reference to a tensor: called, it gives the tensor, or None.

    Raises:
        AssertionError: no tensor.
    """

    def __init__(self, tensor: Tensor) -> None:
        if not isinstance(tensor, Tensor):
            raise AssertionError(f"expected torch.Tensor, got {type(tensor)}")
        self.ref = weakref.ref(tensor)

    def __call__(self) -> Tensor | None:
        return self.ref()
