"""`x[index]` and `x[index] = value` as what they come to: select, slice, unsqueeze, index, index_put_."""

from __future__ import annotations

from typing import Any

import numpy as np

import facula
from facula._tensor.handle import Tensor
from facula.ops.aten_names import aten

_END = 9223372036854775807


def item(call: Any, x: Any, index: Any) -> Any:
    """`x[index]`. `call(overload, args, kwargs)` does an operation, and notes it."""
    found, indices = _viewed(call, x, index)
    if indices:
        return call(aten.index.Tensor, (found, indices), {})
    return call(aten.alias.default, (x,), {}) if found is x else found


def set_item(call: Any, x: Any, index: Any, value: Any) -> None:
    """`x[index] = value`."""
    found, indices = _viewed(call, x, index)
    number = not isinstance(value, Tensor)
    if number and not isinstance(value, (int, float, complex, facula.SymInt, facula.SymFloat)):
        value, number = facula.as_tensor(value), False
    if indices:
        if number:
            value = call(aten.full.default, ([], value), {"dtype": x.dtype, "device": x.place})
        call(aten.index_put_.default, (found, indices, value), {})
    elif number:
        call(aten.fill_.Scalar, (found, value), {})
    else:
        while value.dim() > found.dim() and value.shape[0] == 1:
            value = call(aten.select.int, (value, 0, 0), {})
        call(aten.copy_.default, (found, value), {})


def _viewed(call: Any, x: Any, index: Any) -> tuple[Any, list[Any]]:
    """The view that numbers, slices and None give, and the tensors that are left to index it with."""
    parts = list(index) if isinstance(index, tuple) else [index]
    counted = sum(_dims(part) for part in parts)
    if counted > x.dim():
        raise IndexError(f"too many indices for tensor of dimension {x.dim()}")
    at = next((k for k, part in enumerate(parts) if part is Ellipsis), None)
    if at is None:
        parts.append(Ellipsis)
        at = len(parts) - 1
    if any(part is Ellipsis for part in parts[at + 1:]):
        raise IndexError("an index can only have a single ellipsis ('...')")
    dim = 0
    indices: list[Any] = []
    for part in parts:
        if part is Ellipsis:
            step = x.dim() - dim - sum(_dims(p) if not _is_number(p) else 1 for p in parts[at + 1:])
            dim += step
            indices += [None] * step
        elif part is None:
            x = call(aten.unsqueeze.default, (x, dim), {})
            dim += 1
            indices.append(None)
        elif _is_number(part):
            x = call(aten.select.int, (x, dim, part), {})
        elif isinstance(part, slice):
            if (part.start, part.stop, part.step) != (None, None, None):
                step = () if part.step in (None, 1) else (part.step,)
                x = call(aten.slice.Tensor, (x, dim, 0 if part.start is None else part.start,
                                             _END if part.stop is None else part.stop, *step), {})
            dim += 1
            indices.append(None)
        elif isinstance(part, bool):
            raise NotImplementedError("torch.export of x[True] and x[False] is not in Facula yet: use x[None]")
        else:
            part = part if isinstance(part, Tensor) else facula.as_tensor(np.asarray(part))
            indices.append(part)
            dim += _dims(part)
    while indices and indices[-1] is None:
        indices.pop()
    return x, indices


def _is_number(part: Any) -> bool:
    return isinstance(part, (int, facula.SymInt, np.integer)) and not isinstance(part, bool)


def _dims(part: Any) -> int:
    """How many dimensions of the tensor an index is about."""
    if part is None or part is Ellipsis or isinstance(part, bool):
        return 0
    if isinstance(part, Tensor) and part.dtype is facula.bool:
        return part.dim()
    if isinstance(part, (list, tuple)) and part and isinstance(np.asarray(part).flat[0], np.bool_):
        return int(np.asarray(part).ndim)
    return 1
