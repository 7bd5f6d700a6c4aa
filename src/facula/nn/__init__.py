"""Neural networks: modules, their parameters, and the functions behind them (`nn.functional`)."""

import importlib as _importlib
from typing import Any as _Any

from . import functional, init, modules, parameter, utils
from .modules import *  # noqa: F403
from .parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter

__all__ = [  # noqa: PLE0604
    "Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter", "functional", "init", "modules",
    "parameter", "utils", *modules.__all__,
]


def factory_kwargs(kwargs: dict[str, _Any] | None) -> dict[str, _Any]:
    """Of a module's arguments those that say where its parameters are made (device, dtype, memory_format), given by
    name or as `factory_kwargs={...}`.

    Raises:
        TypeError: another argument, or one that is given twice.

    Example:
        >>> from facula import nn
        >>> nn.factory_kwargs({"device": "cpu"})
        {'device': 'cpu'}
    """
    if kwargs is None:
        return {}
    simple = ("device", "dtype", "memory_format")
    unexpected = set(kwargs) - {*simple, "factory_kwargs"}
    if unexpected:
        raise TypeError(f"unexpected kwargs {unexpected}")
    found = dict(kwargs.get("factory_kwargs", {}))
    for key in simple:
        if key in kwargs:
            if key in found:
                raise TypeError(f"{key} specified twice, in **kwargs and in factory_kwargs")
            found[key] = kwargs[key]
    return found


def __getattr__(name: str) -> _Any:
    """What few programs need is loaded when it is first asked for."""
    if name in ("parallel", "attention", "grad", "common_types"):
        return _importlib.import_module(f"facula.nn.{name}")
    if name == "DataParallel":
        return _importlib.import_module("facula.nn.parallel").DataParallel
    raise AttributeError(f"module 'facula.nn' has no attribute {name!r}")
