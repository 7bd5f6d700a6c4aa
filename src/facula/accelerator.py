"""`facula.accelerator`: questions about whichever accelerator there is: none."""

from __future__ import annotations

from typing import Any, NoReturn

from facula.devices import device


def is_available() -> bool:
    """Is there an accelerator?

    Example:
        >>> import facula.accelerator
        >>> facula.accelerator.is_available()
        False
    """
    return False


def device_count() -> int:
    """How many accelerators there are."""
    return 0


def current_accelerator(check_available: bool = False) -> device | None:
    """The kind of accelerator that this library was built for: none."""
    return None


def _refuse(*args: Any, **kwargs: Any) -> NoReturn:
    """Raises what PyTorch raises where there is no accelerator."""
    raise RuntimeError("Cannot access accelerator device when none is available.")


synchronize = current_stream = set_stream = empty_cache = get_device_capability = get_memory_info = _refuse
current_device_index = current_device_idx = set_device_index = set_device_idx = device_index = _refuse
memory_allocated = max_memory_allocated = memory_reserved = max_memory_reserved = memory_stats = _refuse
reset_peak_memory_stats = reset_accumulated_memory_stats = _refuse
