"""All parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import facula

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def parameters_to_vector(parameters: Iterable[Any]) -> Any:
    """All parameters, flattened and joined.

    Raises:
        TypeError: parameters on several devices.

    Example:
        >>> import facula.nn as nn
        >>> nn.utils.parameters_to_vector(nn.Linear(2, 3).parameters()).shape
        torch.Size([9])
    """
    parameters = list(parameters)
    _check_devices(parameters)
    return facula.cat([parameter.reshape(-1) for parameter in parameters])


def vector_to_parameters(vec: Any, parameters: Iterable[Any]) -> None:
    """Make the parameters views of consecutive pieces of the vector.

    Raises:
        TypeError: `vec` is no tensor, or the parameters are on several devices.
    """
    if not isinstance(vec, facula.Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {facula.typename(vec)}")
    parameters = list(parameters)
    _check_devices(parameters)
    start = 0
    for parameter in parameters:
        count = parameter.numel()
        parameter.data = vec[start:start + count].view_as(parameter).data
        start += count


def _check_devices(parameters: list[Any]) -> None:
    if len({str(parameter.device) for parameter in parameters}) > 1:
        raise TypeError("Found two parameters on different devices, this is currently not supported.")
