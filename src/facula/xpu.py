"""`facula.xpu`: questions about Intel's GPUs, which are not used."""

from __future__ import annotations

from typing import Any, NoReturn


def is_available() -> bool:
    """Can tensors be put on an `xpu` device?

    Example:
        >>> import facula.xpu
        >>> facula.xpu.is_available()
        False
    """
    return False


is_initialized = is_bf16_supported = is_tf32_supported = is_available


def device_count() -> int:
    """How many `xpu` devices there are."""
    return 0


def memory_allocated(device: Any = None) -> int:
    """Bytes of device memory held by tensors."""
    return 0


max_memory_allocated = memory_reserved = max_memory_reserved = memory_allocated


def manual_seed(seed: int) -> None:
    """Seed the device's generator. Without a device: only checks that `seed` is a number."""
    int(seed)


manual_seed_all = manual_seed


def empty_cache() -> None:
    """Give unused device memory back: there is none to give."""


reset_peak_memory_stats = empty_cache


def _refuse(*args: Any, **kwargs: Any) -> NoReturn:
    """Raises what PyTorch raises where it was built without XPU."""
    raise AssertionError("Torch not compiled with XPU enabled")


init = synchronize = current_device = set_device = current_stream = _refuse
get_device_name = get_device_properties = get_device_capability = mem_get_info = _refuse
get_rng_state = set_rng_state = initial_seed = _refuse
