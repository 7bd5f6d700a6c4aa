"""`facula.cuda` answers for the CUDA devices that a target has announced, and else as PyTorch without CUDA does."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from facula import devices


def asked_of_devices(without: Callable[..., Any], name: str = "") -> Callable[..., Any]:
    """The function `name` (that of `without`) of the devices' own module (`facula/_device_module.py`), or `without`
    where this machine has none."""
    name = name or without.__name__

    @functools.wraps(without)
    def asked(*args: Any, **kwargs: Any) -> Any:
        if not devices.count("cuda"):
            return without(*args, **kwargs)
        from facula._device_module import module_for  # loads most of Facula: for those who have devices
        found = getattr(module_for("cuda"), name, None)
        if found is None:
            raise NotImplementedError(f"torch.cuda.{name}: the target of device type cuda does not have it")
        return found(*args, **kwargs)

    asked.__name__ = name
    return asked
