"""Modules without initial values."""

from __future__ import annotations

import inspect
from typing import Any

import facula
from facula.nn.modules.module import Module

__all__ = ["skip_init"]


def skip_init(module_cls: type[Module], *args: Any, **kwargs: Any) -> Any:
    """Make a module whose parameters and buffers are not initialized: for one that is to be loaded.

    Args:
        module_cls: a class of modules that takes `device`, and draws its values on it.
        *args, **kwargs: of the class. `device`: where the module ends up, the CPU by default.

    Raises:
        RuntimeError: if it is no such class.

    Example:
        >>> import facula.nn as nn
        >>> nn.utils.skip_init(nn.Linear, 5, 1).weight.shape
        torch.Size([1, 5])
    """
    if not issubclass(module_cls, facula.nn.Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    device = kwargs.pop("device", "cpu")
    return module_cls(*args, device="meta", **kwargs).to_empty(device=device)
