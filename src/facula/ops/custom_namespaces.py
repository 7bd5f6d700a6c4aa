"""Operations that programs define (`facula.library`), found as `torch.ops.namespace.name`."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

namespaces: dict[str, Namespace] = {}
loaded_libraries: set[str] = set()


class Namespace:
    """`torch.ops.namespace`: its operations are its attributes."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._operations: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        try:
            return self._operations[name]
        except KeyError:
            raise AttributeError(f"'_OpNamespace' {self._name!r} object has no attribute {name!r}") from None

    def __dir__(self) -> list[str]:
        return sorted(self._operations)

    def defined(self) -> dict[str, dict[str, Any]]:
        """Of what has been defined by a schema its overloads. Operations of our own that take functions have none."""
        return {name: one._overloads for name, one in self._operations.items() if hasattr(one, "_overloads")}

    def __repr__(self) -> str:
        return f"<module 'torch.ops.{self._name}' from 'torch.ops'>"


def load_library(path: str) -> None:
    """Extensions that are compiled for PyTorch cannot be loaded. Of torchvision's there is another version in Python.

    Raises:
        OSError: any other file (programs go on without it then).
    """
    place = os.path.split(path)
    if os.path.basename(place[0]) == "torchvision" and place[1].startswith("_C"):
        import_module("facula.library.vision").register()
        loaded_libraries.add(path)
        return
    if not os.path.exists(path):
        raise OSError(f"Could not load this library: {path}: there is no such file")
    raise OSError(f"Could not load this library: {path}: it was compiled for PyTorch, and Facula has none of PyTorch's "
                  "C++; facula.library registers operations written in Python by the same names")


def namespace(name: str) -> Namespace:
    """The namespace of that name, made if there was none."""
    return namespaces.setdefault(name, Namespace(name))
