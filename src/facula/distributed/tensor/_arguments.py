"""The tensors among the arguments of a call."""

from __future__ import annotations

from typing import Any

from facula._tensor.handle import Tensor


def tensors_in(value: Any) -> list[Any]:
    """The tensors in arguments, in their order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (list, tuple)) and type(value).__name__ != "Size":
        return [t for inner in value for t in tensors_in(inner)]
    return []


def exchanged(value: Any, found: list[Any]) -> Any:
    """The arguments with other tensors in their places, taken from the end of `found`."""
    if isinstance(value, Tensor):
        return found.pop()
    if isinstance(value, (list, tuple)) and type(value).__name__ != "Size":
        inner = [exchanged(part, found) for part in value]
        return type(value)(inner) if type(value) in (list, tuple) else inner
    return value
