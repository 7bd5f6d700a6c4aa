"""`facula.cpu.amp`: the older names of `facula.amp`, for the cpu."""

from __future__ import annotations

from typing import Any

__all__ = ["GradScaler", "autocast"]

_SUBMODULES = ("autocast_mode", "grad_scaler")


def __getattr__(name: str) -> Any:
    import importlib
    if name in _SUBMODULES:
        return importlib.import_module(f"facula.cpu.amp.{name}")
    if name in __all__:
        where = "grad_scaler" if name == "GradScaler" else "autocast_mode"
        return getattr(importlib.import_module(f"facula.cpu.amp.{where}"), name)
    raise AttributeError(f"module 'torch.cpu.amp' has no attribute '{name}'")
