"""`facula.cuda.amp`: the older names of `facula.amp`, for CUDA."""

from __future__ import annotations

from typing import Any

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd"]

_SUBMODULES = ("autocast_mode", "common", "grad_scaler")


def __getattr__(name: str) -> Any:
    import importlib
    if name in _SUBMODULES:
        return importlib.import_module(f"facula.cuda.amp.{name}")
    if name in __all__:
        where = "grad_scaler" if name == "GradScaler" else "autocast_mode"
        return getattr(importlib.import_module(f"facula.cuda.amp.{where}"), name)
    raise AttributeError(f"module 'torch.cuda.amp' has no attribute '{name}'")
