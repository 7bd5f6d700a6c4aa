"""`autocast` is accepted and converts nothing: Facula computes in the dtypes that tensors have."""

from __future__ import annotations

import functools
from typing import Any

from facula import devices

__all__ = ["autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]


class autocast:
    """Accepted as context manager and decorator; operations inside keep the dtypes of their inputs."""

    def __init__(self, device_type: str = "cpu", dtype: Any = None, enabled: bool = True,
                 cache_enabled: bool | None = None) -> None:
        if not isinstance(device_type, str):
            raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
        device_type = devices.device(device_type).type
        self.device, self.fast_dtype, self._enabled = device_type, dtype, enabled

    def __enter__(self) -> autocast:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def __call__(self, func: Any) -> Any:
        @functools.wraps(func)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self:
                return func(*args, **kwargs)
        return inside


def custom_fwd(fwd: Any = None, *, device_type: str = "cuda", cast_inputs: Any = None) -> Any:
    """`fwd` itself."""
    return fwd if fwd is not None else lambda f: f


def custom_bwd(bwd: Any = None, *, device_type: str = "cuda") -> Any:
    """`bwd` itself."""
    return bwd if bwd is not None else lambda f: f


def is_autocast_available(device_type: str) -> bool:
    """False: nothing is converted."""
    return False
