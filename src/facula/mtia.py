"""`torch.mtia`: questions about Meta's accelerators, which are not used."""

from __future__ import annotations

from typing import Any

from facula import absent

__all__ = ["device_count", "is_available", "is_bf16_supported", "is_initialized", "manual_seed", "manual_seed_all",
           "synchronize"]


def is_available() -> bool:
    """Can tensors be put on an `mtia` device?

    Example:
        >>> import facula.mtia
        >>> facula.mtia.is_available(), facula.mtia.device_count()
        (False, 0)
    """
    return False


is_initialized = is_bf16_supported = is_available


def device_count() -> int:
    """How many such devices there are."""
    return 0


def manual_seed(seed: int) -> None:
    """Seed the device's generator. Without a device: only checks that `seed` is a number."""
    int(seed)


manual_seed_all = manual_seed


def synchronize(device: Any = None) -> None:
    """RuntimeError: there is nothing to wait for."""
    raise RuntimeError("torch.mtia: this machine has no such device, or Facula does not use it")


def __getattr__(name: str) -> Any:
    raise absent.missing("mtia", name)
