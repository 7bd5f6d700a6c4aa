"""From a list of samples to a batch: tensors are stacked, containers are gone into."""

from __future__ import annotations

import collections.abc
import copy
from collections.abc import Callable
from typing import Any

import numpy as np

import facula
from facula._tensor.handle import Tensor

_Map = dict[Any, Callable[..., Any]]
_MESSAGE = "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"


def collate_tensor_fn(batch: Any, *, collate_fn_map: _Map | None = None) -> Tensor:
    return facula.stack(list(batch), 0)  # type: ignore[no-any-return]


def collate_numpy_array_fn(batch: Any, *, collate_fn_map: _Map | None = None) -> Any:
    if batch[0].dtype.kind in "SUO":
        raise TypeError(_MESSAGE.format(batch[0].dtype))
    return collate([facula.as_tensor(b) for b in batch],
                   collate_fn_map=collate_fn_map)


def collate_numpy_scalar_fn(batch: Any, *, collate_fn_map: _Map | None = None) -> Tensor:
    return facula.as_tensor(batch)  # type: ignore[no-any-return]


def collate_float_fn(batch: Any, *, collate_fn_map: _Map | None = None) -> Tensor:
    return facula.tensor(batch, dtype=facula.float64)


def collate_int_fn(batch: Any, *, collate_fn_map: _Map | None = None) -> Tensor:
    return facula.tensor(batch)


def collate_str_fn(batch: Any, *, collate_fn_map: _Map | None = None) -> Any:
    return batch


default_collate_fn_map: _Map = {
    Tensor: collate_tensor_fn,
    np.ndarray: collate_numpy_array_fn,
    (np.bool_, np.number, np.object_): collate_numpy_scalar_fn,
    float: collate_float_fn,
    int: collate_int_fn,
    str: collate_str_fn,
    bytes: collate_str_fn,
}


def collate(batch: Any, *, collate_fn_map: _Map | None = None) -> Any:
    """One batch of the samples in `batch`; `collate_fn_map` says how, by type of the first of them."""
    first = batch[0]
    kind = type(first)
    functions = collate_fn_map or {}
    found = functions.get(kind)
    if found is None:
        found = next((f for t, f in functions.items() if isinstance(first, t)), None)
    if found is not None:
        return found(batch, collate_fn_map=collate_fn_map)
    if isinstance(first, collections.abc.Mapping):
        return _rebuilt(first, {
            key: collate([sample[key] for sample in batch], collate_fn_map=collate_fn_map)
            for key in first})
    if isinstance(first, collections.abc.Sequence):
        if isinstance(first, tuple) and hasattr(first, "_fields"):
            return kind(*(collate(s, collate_fn_map=collate_fn_map)
                          for s in zip(*batch, strict=False)))
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        parts = [collate(s, collate_fn_map=collate_fn_map) for s in zip(*batch, strict=True)]
        return parts if isinstance(first, tuple) else _rebuilt(first, parts)
    raise TypeError(_MESSAGE.format(kind))


def _rebuilt(like: Any, parts: Any) -> Any:
    """`parts` in a container of the type of `like`, whatever else that carries; plain where it cannot be."""
    try:
        if isinstance(like, collections.abc.MutableMapping):
            made = copy.copy(like)
            made.update(parts)
            return made
        if isinstance(like, collections.abc.MutableSequence):
            filled = copy.copy(like)
            for k, part in enumerate(parts):
                filled[k] = part
            return filled
        return type(like)(parts)
    except TypeError:
        return parts


def default_collate(batch: Any) -> Any:
    """The collate function of a DataLoader with a batch size."""
    return collate(batch, collate_fn_map=default_collate_fn_map)


def default_convert(data: Any) -> Any:
    """What a DataLoader without a batch size does to a sample: its arrays become tensors."""
    if isinstance(data, Tensor):
        return data
    if isinstance(data, (np.ndarray, np.generic)):
        return data if data.dtype.kind in "SUO" else facula.as_tensor(data)
    if isinstance(data, collections.abc.Mapping):
        return _rebuilt(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(default_convert(d) for d in data))
    if isinstance(data, tuple):
        return [default_convert(d) for d in data]
    if isinstance(data, collections.abc.Sequence) and not isinstance(data, (str, bytes)):
        return _rebuilt(data, [default_convert(d) for d in data])
    return data
