"""Operations that programs define (`facula.library`), found as `torch.ops.namespace.name`."""

from __future__ import annotations

from typing import Any

namespaces: dict[str, Namespace] = {}


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

    def __repr__(self) -> str:
        return f"<module 'torch.ops.{self._name}'>"


def namespace(name: str) -> Namespace:
    """The namespace of that name, made if there was none."""
    return namespaces.setdefault(name, Namespace(name))
