"""`torch._utils`: the functions that old pickles name, and two that distributed programs borrow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from facula.serialization.rebuild import (
    _rebuild_device_tensor_from_cpu_tensor,
    _rebuild_meta_tensor_no_storage,
    _rebuild_parameter,
    _rebuild_parameter_with_state,
    _rebuild_tensor,
    _rebuild_tensor_v2,
    _rebuild_tensor_v3,
)

__all__ = [
    "_flatten_dense_tensors", "_rebuild_device_tensor_from_cpu_tensor", "_rebuild_meta_tensor_no_storage",
    "_rebuild_parameter", "_rebuild_parameter_with_state", "_rebuild_tensor", "_rebuild_tensor_v2",
    "_rebuild_tensor_v3", "_unflatten_dense_tensors",
]


def _flatten_dense_tensors(tensors: Iterable[Any]) -> Any:
    """All elements of `tensors`, one after the other, in one dimension.

    Example:
        >>> import facula
        >>> from facula._utils import _flatten_dense_tensors
        >>> _flatten_dense_tensors([facula.zeros(1, 2), facula.ones(1)])
        tensor([0., 0., 1.])
    """
    import facula
    return facula.cat([tensor.reshape(-1) for tensor in tensors])


def _unflatten_dense_tensors(flat: Any, tensors: Iterable[Any]) -> Sequence[Any]:
    """Views of `flat` with the sizes of `tensors`, one after the other.

    Example:
        >>> import facula
        >>> from facula._utils import _unflatten_dense_tensors
        >>> _unflatten_dense_tensors(facula.ones(3), [facula.zeros(1, 2), facula.ones(1)])
        (tensor([[1., 1.]]), tensor([1.]))
    """
    views, start = [], 0
    for tensor in tensors:
        views.append(flat[start:start + tensor.numel()].view(tensor.shape))
        start += tensor.numel()
    return tuple(views)
