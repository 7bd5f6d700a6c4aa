"""Utilities under their PyTorch names."""

from __future__ import annotations

import importlib
from typing import Any


def set_module(obj: Any, mod: str) -> None:
    """Say in which module something public is found.

    Raises:
        TypeError: `mod` is no text.
    """
    if not isinstance(mod, str):
        raise TypeError("The mod argument should be a string")
    obj.__module__ = mod


def __getattr__(name: str) -> Any:
    """`facula.utils.data` and the like without an import of their own, loaded when first asked for."""
    if name in ("rename_privateuse1_backend", "generate_methods_for_privateuse1_backend"):
        return getattr(importlib.import_module(f"{__name__}.backend_registration"), name)
    if name == "swap_tensors":
        return importlib.import_module(f"{__name__}.swapping").swap_tensors
    if not name.startswith("_") or name == "_pytree":
        try:
            return importlib.import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
