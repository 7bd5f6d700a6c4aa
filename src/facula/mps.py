"""`facula.mps`: questions about Apple's Metal, which is not used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn


def is_available() -> bool:
    """Can tensors be put on an `mps` device?

    Example:
        >>> import facula.mps
        >>> facula.mps.is_available()
        False
    """
    return False


def device_count() -> int:
    """How many `mps` devices there are."""
    return 0


def manual_seed(seed: int) -> None:
    """Seed the device's generator. Without a device: only checks that `seed` is a number."""
    int(seed)


def _refuser(name: str) -> Callable[..., NoReturn]:
    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        """Raises what PyTorch raises where it was built without Metal."""
        raise RuntimeError(f"Cannot execute {name}() without MPS backend.")
    return refuse


empty_cache = _refuser("emptyCache")
synchronize = _refuser("deviceSynchronize")
current_allocated_memory = _refuser("getCurrentAllocatedMemory")
driver_allocated_memory = _refuser("getDriverAllocatedMemory")
recommended_max_memory = _refuser("recommendedMaxMemory")
set_per_process_memory_fraction = _refuser("setMemoryFraction")
get_rng_state = set_rng_state = seed = _refuser("getDefaultGenerator")
