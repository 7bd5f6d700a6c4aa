"""`torch._utils`: the functions that old pickles name, and what distributed programs and loaders borrow."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from facula.serialization.rebuild import (
    _rebuild_device_tensor_from_cpu_tensor,
    _rebuild_meta_tensor_no_storage,
    _rebuild_parameter,
    _rebuild_parameter_with_state,
    _rebuild_sparse_tensor,
    _rebuild_tensor,
    _rebuild_tensor_v2,
    _rebuild_tensor_v3,
)

__all__ = [
    "ExceptionWrapper", "KeyErrorMessage", "_flatten_dense_tensors", "_rebuild_device_tensor_from_cpu_tensor",
    "_rebuild_meta_tensor_no_storage", "_rebuild_parameter", "_rebuild_parameter_with_state",
    "_rebuild_sparse_tensor", "_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3",
    "_unflatten_dense_tensors", "classproperty", "is_compiling"
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


class KeyErrorMessage(str):
    """The text of a KeyError that is shown as it is, its lines too."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class ExceptionWrapper:
    """An exception of a worker, to be raised elsewhere with the text of its traceback.

    Example:
        >>> from facula._utils import ExceptionWrapper
        >>> try:
        ...     raise ValueError("too large")
        ... except ValueError:
        ...     kept = ExceptionWrapper(where="in a worker")
        >>> try:
        ...     kept.reraise()
        ... except ValueError as error:
        ...     print(str(error).splitlines()[0])
        Caught ValueError in a worker.
    """

    def __init__(self, exc_info: Any = None, where: str = "in background") -> None:
        found = sys.exc_info() if exc_info is None else exc_info
        self.exc_type: Any = found[0]
        self.exc_msg = "".join(traceback.format_exception(*found))
        self.where = where

    def reraise(self) -> NoReturn:
        """Raise an exception of the same type, with that text; a RuntimeError if it is made of something else."""
        text = f"Caught {self.exc_type.__name__} {self.where}.\nOriginal {self.exc_msg}"
        if self.exc_type is KeyError:
            raise KeyError(KeyErrorMessage(text))
        if getattr(self.exc_type, "message", None):
            raise self.exc_type(message=text)
        try:
            exception = self.exc_type(text)
        except Exception:  # it takes other arguments
            raise RuntimeError(text) from None
        raise exception


class classproperty:
    """A property of a class: `@classproperty`."""

    def __init__(self, func: Callable[[Any], Any]) -> None:
        self.func = func

    def __get__(self, instance: Any, owner: Any) -> Any:
        return self.func(owner)


def is_compiling() -> bool:
    """False: no program is being traced for a compiler."""
    return False


def _get_device_index(device: Any, optional: bool = False, allow_cpu: bool = False) -> int:
    """The number of a device; of none or one without a number the current one, if that is `optional`.

    Raises:
        ValueError: there is no number, or it is of the cpu.

    Example:
        >>> from facula._utils import _get_device_index
        >>> _get_device_index("cuda:1"), _get_device_index(2), _get_device_index("cpu", allow_cpu=True)
        (1, 2, -1)
    """
    from facula import accelerator
    from facula.devices import device as Device
    if isinstance(device, str):
        device = Device(device)
    index = device if isinstance(device, int) else None
    if isinstance(device, Device):
        if device.type == "cpu":
            if allow_cpu:
                return -1
            raise ValueError(f"Expected a non cpu device, but got: {device}")
        index = device.index
    if index is not None:
        return index
    if not optional:
        raise ValueError(f"Expected a torch.device with a specified index or an integer, but got:{device}")
    return accelerator.current_device_index() if accelerator.is_available() else -1


def _get_available_device_type() -> str | None:
    """The type of this machine's accelerators, if it has any."""
    from facula import accelerator
    found = accelerator.current_accelerator()
    return None if found is None else found.type


def _get_all_device_indices() -> list[int]:
    """The numbers of this machine's accelerators."""
    from facula import accelerator
    return list(range(accelerator.device_count()))
