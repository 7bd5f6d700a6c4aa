"""Between tensors and the arrays that backends move: reading elements, writing results, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from facula._tensor.handle import Tensor, new
from facula._tensor.reading import read
from facula.autograd.modes import no_grad
from facula.dtypes import dtype
from facula.engine.realize import leaf, value_of


def check_tensor(tensor: Any, name: str) -> None:
    """TypeError unless it is a tensor."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"Invalid function argument. Expected parameter `{name}` of type torch.Tensor\n"
                        f"             but got {type(tensor)} instead.")


def check_list(tensors: Any, name: str) -> None:
    """TypeError unless it is a list of tensors."""
    if not isinstance(tensors, (list, tuple)):
        raise TypeError(f"Invalid function argument. Expected parameter `{name}` of type List[torch.Tensor]\n"
                        f"             but got {type(tensors)} instead.")
    for tensor in tensors:
        if not isinstance(tensor, Tensor):
            raise TypeError(f"Invalid function argument. Expected parameter `{name}` of type List[torch.Tensor]\n"
                            f"             but got {type(tensors)} with elements of type {type(tensor)}.")


def check_same_dtype(*groups: Any) -> dtype:
    """The one dtype of tensors and lists of them. ValueError where there are several."""
    kinds: list[dtype] = []
    for given in groups:
        kinds += [given.dtype] if isinstance(given, Tensor) else [t.dtype for t in given]
    if not kinds:
        raise ValueError("a non-empty list of tensors is required")
    for kind in kinds[1:]:
        if kind is not kinds[0]:
            raise ValueError(f"Invalid usage of tensors with different dtypesFound {kinds[0]} and  {kind}")
    return kinds[0]


def array_of(tensor: Tensor) -> np.ndarray:
    """The elements, row by row, as an array of the dtype's carrier; not to be written."""
    if tensor.device.type != "cpu":
        tensor = tensor.detach().cpu()
    with no_grad():
        node = read(tensor)
    array = value_of(node).reshape(tuple(tensor.shape))
    return np.asarray(_Held(node, array)) if array.size else array


class _Held:
    """Memory of a node that is alive as long as an array over it is: nothing takes it over meanwhile."""

    __slots__ = ("node", "__array_interface__")

    def __init__(self, node: Any, array: np.ndarray) -> None:
        self.node, self.__array_interface__ = node, array.__array_interface__


def room_for(tensor: Tensor) -> np.ndarray:
    """An array for as many elements."""
    return np.empty(tuple(tensor.shape), tensor.dtype.numpy)


def tensor_of(array: np.ndarray, of: dtype) -> Tensor:
    """A tensor over an array, which nobody else may write any more."""
    array = np.ascontiguousarray(array).reshape(array.shape)
    return new(leaf(array, tuple(array.shape), of))


def write(tensor: Tensor, array: np.ndarray) -> None:
    """Put the elements of an array into a tensor, whatever its strides; nobody may write the array any more."""
    with no_grad():
        found = tensor_of(array.reshape(tuple(tensor.shape)), tensor.dtype)
        tensor.copy_(found)


def write_all(tensors: Sequence[Tensor], arrays: Sequence[np.ndarray]) -> None:
    """Put the elements of each array into its tensor."""
    for tensor, array in zip(tensors, arrays, strict=False):
        write(tensor, array)
