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


def __getattr__(name: str) -> _Any:
    """What few programs need is loaded when it is first asked for."""
    if name == "parallel":
        return _importlib.import_module("facula.nn.parallel")
    if name == "DataParallel":
        return _importlib.import_module("facula.nn.parallel").DataParallel
    raise AttributeError(f"module 'facula.nn' has no attribute {name!r}")
