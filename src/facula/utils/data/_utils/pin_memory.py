"""Batches in pinned memory: containers are gone into, as `collate` does."""

from __future__ import annotations

import collections.abc
import copy
from typing import Any

from facula._tensor.handle import Tensor


def pin_memory(data: Any, device: Any = None) -> Any:
    """`data` with every tensor in pinned memory; what has a method `pin_memory` is asked for it, what is neither that
    nor a container stays as it is."""
    if isinstance(data, Tensor):
        return data.pin_memory()
    if hasattr(data, "pin_memory"):
        return data.pin_memory()
    if isinstance(data, (str, bytes)):
        return data
    if isinstance(data, collections.abc.Mapping):
        pinned = {key: pin_memory(value) for key, value in data.items()}
        if isinstance(data, collections.abc.MutableMapping):
            clone = copy.copy(data)
            clone.update(pinned)
            return clone
        return _like(data, pinned)
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*map(pin_memory, data))
    if isinstance(data, tuple):
        return tuple(map(pin_memory, data))
    if isinstance(data, collections.abc.Sequence):
        return _like(data, [pin_memory(value) for value in data])
    return data


def _like(data: Any, values: Any) -> Any:
    """`values` as a container of the type of `data`, if it can be made of them."""
    try:
        return type(data)(values)
    except TypeError:
        return values
