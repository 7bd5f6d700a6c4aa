"""Writing pickles that PyTorch can read: Python's own pickler, with torch's names for our objects."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import IO, Any

from facula._tensor.storages import TypedStorage, UntypedStorage
from facula.layouts import layout, strided
from facula.serialization import allowlist, names, rebuild, tensors
from facula.serialization.storages import STORAGE_TYPES, StorageType

_PythonPickler: Any = pickle._Pickler


class TorchPickler(_PythonPickler):  # type: ignore[misc]
    """Pickles objects into `file`. Tensors become calls of torch's rebuilding functions; `save_storage` is
    called with each tensor, keeps its elements, and returns the persistent id of its storage.

    It derives from the pickler in Python, because the one in C can neither rename a global nor name
    an object that is not where its name says.
    """

    def __init__(self, file: IO[bytes], protocol: int,
                 save_storage: Callable[[Any], tuple[Any, ...]]) -> None:
        super().__init__(file, protocol)
        self.save_storage = save_storage
        self.tensor_class = tensors.tensor_class()
        self.parameter_class = rebuild._parameter_class()

    def persistent_id(self, obj: Any) -> Any:
        """The id of a storage; None for what is pickled itself."""
        if type(obj) is _StorageReference:
            return obj.id
        if isinstance(obj, UntypedStorage):
            return _id_of(obj, self.save_storage(obj._elements()))
        return None

    def reducer_override(self, obj: Any) -> Any:
        """How tensors, parameters and layouts are pickled; NotImplemented for all else."""
        if isinstance(obj, self.tensor_class):
            if hasattr(type(obj), "cls_to_become") or obj.layout is not strided:  # it knows what it is made of
                return NotImplemented
            if self.parameter_class in type(obj).__mro__:  # isinstance is also true for what is marked as one
                return rebuild.reduce_parameter(obj)
            if obj.is_meta:
                return rebuild.reduce_meta_tensor(obj)
            return rebuild.reduce_tensor(obj, _StorageReference(self.save_storage(obj)))
        if type(obj) is layout:
            return rebuild._get_layout, (repr(obj),)
        if type(obj) is StorageType:
            return obj.name
        return NotImplemented

    def save_global(self, obj: Any, name: str | None = None) -> None:
        """Write the name of a class, function, dtype: torch's name, if it is one of ours."""
        known = names.written_names().get(id(obj))
        if known is None:
            module = getattr(obj, "__module__", None)
            renamed = allowlist._torch_module(module) if isinstance(module, str) else None
            if renamed == module or renamed is None:
                super().save_global(obj, name)
                return
            known = renamed, name or getattr(obj, "__qualname__", obj.__name__)
        self._write_global(*known)
        self.memoize(obj)

    # type objects go through `dispatch`, which holds functions: it has to be told of the override
    dispatch = dict(_PythonPickler.dispatch)

    def _save_type(self, obj: type) -> Any:
        if obj in (type(None), type(NotImplemented), type(...)):
            return _PythonPickler.save_type(self, obj)
        return self.save_global(obj)

    dispatch[type] = _save_type
    dispatch[type(lambda: None)] = save_global

    def _write_global(self, module: str, name: str) -> None:
        if self.proto >= 4:
            self.save(module)
            self.save(name)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(pickle.GLOBAL + module.encode() + b"\n" + name.encode() + b"\n")


def _id_of(storage: UntypedStorage, saved: tuple[Any, ...]) -> tuple[Any, ...]:
    """The persistent id of a storage that is pickled itself: that of its elements, or of its bytes."""
    if isinstance(storage, TypedStorage):
        return saved
    return (saved[0], STORAGE_TYPES["UntypedStorage"], *saved[2:4], storage.nbytes(), *saved[5:])


class _StorageReference:
    """Stands for a storage in what is pickled."""

    __slots__ = ("id",)

    def __init__(self, persistent_id: tuple[Any, ...]) -> None:
        self.id = persistent_id
