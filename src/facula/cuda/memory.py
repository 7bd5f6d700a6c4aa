"""Memory counters of CUDA devices: all zero where there are none."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NoReturn

from facula.cuda.present import asked_of_devices


def _refuse(*args: Any, **kwargs: Any) -> NoReturn:
    raise AssertionError("Torch not compiled with CUDA enabled")


@asked_of_devices
def empty_cache() -> None:
    """Give unused device memory back: there is none to give."""


@asked_of_devices
def memory_allocated(device: Any = None) -> int:
    """Bytes of device memory held by tensors.

    Example:
        >>> import facula.cuda
        >>> facula.cuda.memory_allocated()
        0
    """
    return 0


max_memory_allocated, memory_reserved, max_memory_reserved, memory_cached, max_memory_cached = (
    asked_of_devices(lambda device=None: 0, name) for name in (
        "max_memory_allocated", "memory_reserved", "max_memory_reserved", "memory_cached", "max_memory_cached"))


@asked_of_devices
def memory_stats(device: Any = None) -> OrderedDict[str, Any]:
    """Counters of the device allocator: empty."""
    return OrderedDict()




def host_memory_stats(device: Any = None) -> OrderedDict[str, Any]:
    """Counters of pinned memory: empty."""
    return OrderedDict()


def memory_stats_as_nested_dict(device: Any = None) -> dict[str, Any]:
    """Counters of the device allocator, nested: empty."""
    return {}


def memory_summary(device: Any = None, abbreviated: bool = False) -> str:
    """The counters as a table, for reading: empty."""
    return ""


def list_gpu_processes(device: Any = None) -> str:
    """Which processes use the device."""
    return "pynvml module not found, please install nvidia-ml-py"


@asked_of_devices
def reset_peak_memory_stats(device: Any = None) -> None:
    """Forget the peaks: there are none."""


reset_accumulated_memory_stats, reset_max_memory_allocated, reset_max_memory_cached = (
    asked_of_devices(lambda device=None: None, name) for name in (
        "reset_accumulated_memory_stats", "reset_max_memory_allocated", "reset_max_memory_cached"))


def caching_allocator_enable(value: bool = True) -> None:
    """Switch the device allocator's cache on or off: nothing to switch."""


@asked_of_devices
def mem_get_info(device: Any = None) -> tuple[int, int]:
    """Free and total bytes of a device: always an AssertionError here."""
    _refuse()


def ipc_collect() -> None:
    """Free memory that was shared with other processes: always an AssertionError here."""
    _refuse()


caching_allocator_alloc = caching_allocator_delete = _refuse
get_per_process_memory_fraction = set_per_process_memory_fraction = _refuse
