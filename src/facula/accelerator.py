"""`facula.accelerator`: whichever accelerator this machine has (engine/targets/ announces it), and what it is doing."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from facula import devices, dtypes
from facula._streams import Stream
from facula.devices import device
from facula.engine.graph.node import BUFFER
from facula.engine.realize import flush
from facula.engine.targets import target_of
from facula.engine.targets.protocol import Target
from facula.engine.targets.usage import Usage

__all__ = [
    "Graph", "current_accelerator", "current_device_idx", "current_device_index", "current_stream", "device_count",
    "device_index", "empty_cache", "empty_host_cache", "get_device_capability", "get_memory_info", "is_available",
    "max_memory_allocated", "max_memory_reserved", "memory_allocated", "memory_reserved", "memory_stats",
    "reset_accumulated_memory_stats", "reset_peak_memory_stats", "set_device_idx", "set_device_index", "set_stream",
    "synchronize",
]


def is_available() -> bool:
    """Is there an accelerator?

    Example:
        >>> import facula.accelerator
        >>> facula.accelerator.is_available()
        False
    """
    return devices.accelerator() is not None


def device_count() -> int:
    """How many accelerators there are."""
    kind = devices.accelerator()
    return 0 if kind is None else devices.count(kind)


def current_accelerator(check_available: bool = False) -> device | None:
    """The type of accelerator that this machine has, as a device without an index; None if it has none."""
    kind = devices.accelerator()
    return None if kind is None else device(kind)


def _kind() -> str:
    kind = devices.accelerator()
    if kind is None:
        raise RuntimeError(devices.NO_ACCELERATOR)
    return kind


def current_device_index() -> int:
    """The index of the device that is meant if none is named. RuntimeError where there is no accelerator."""
    return devices.current_index(_kind())


def set_device_index(device: Any) -> None:
    """From now on mean that device: an index, a name or a device. Negative: no change."""
    if isinstance(device, int) and device < 0:
        return
    found = _place(device)
    assert found.index is not None
    devices.set_current_index(found.type, found.index)


current_device_idx, set_device_idx = current_device_index, set_device_index


class device_index:
    """Context manager: inside, the device of that index is meant. None changes nothing.

    Example:
        >>> import facula.accelerator
        >>> with facula.accelerator.device_index(None):
        ...     pass
    """

    def __init__(self, device: int | None) -> None:
        self.idx = device
        self._before = -1

    def __enter__(self) -> None:
        if self.idx is not None:
            self._before = current_device_index()
            set_device_index(self.idx)

    def __exit__(self, *exc_info: object) -> None:
        if self.idx is not None:
            set_device_index(self._before)


def place_of(kind: str, which: Any) -> device:
    """The device of a type that an argument means: None, an index, a name, a device. ValueError if it is of another
    type, RuntimeError if it is not there."""
    if isinstance(which, int) and not isinstance(which, bool):
        which = device(kind, which)
    found = device(kind) if which is None else device(which)
    if found.type != kind:
        raise ValueError(f"{found.type} doesn't match the current accelerator {kind}.")
    return devices.check_available(found)


def _place(which: Any) -> device:
    return place_of(_kind(), which)


def synchronize(device: Any = None) -> None:
    """Have what is pending computed, and wait for the device. What went wrong there is raised."""
    target = target_of(_place(device))
    flush()
    target.synchronize()


def current_stream(device: Any = None) -> Stream:
    """The queue of a device."""
    return Stream(_place(device))


def set_stream(stream: Stream) -> None:
    """Mean that queue, and so its device."""
    if not isinstance(stream, Stream):
        raise TypeError(f"set_stream(): argument 'stream' must be torch.Stream, not {type(stream).__name__}")
    set_device_index(stream.device)


# ---- memory ---------------------------------------------------------------------------------------------------


def usage_of(place: device) -> Usage:
    """What counts the memory of a device. NotImplementedError if nothing does."""
    flush()
    usage = target_of(place).usage
    if usage is None:
        raise NotImplementedError(f"device {place} does not count its memory")
    return usage


def memory_allocated(device_index: Any = None) -> int:
    """Bytes that values have on the device."""
    return usage_of(_place(device_index)).bytes


def max_memory_allocated(device_index: Any = None) -> int:
    """The most that `memory_allocated` was since `reset_peak_memory_stats`."""
    return usage_of(_place(device_index)).most


memory_reserved, max_memory_reserved = memory_allocated, max_memory_allocated


def memory_stats(device_index: Any = None) -> OrderedDict[str, Any]:
    """Counts of bytes and of pieces of memory, by PyTorch's names."""
    return OrderedDict(sorted(usage_of(_place(device_index)).stats().items()))


def reset_peak_memory_stats(device_index: Any = None) -> None:
    """Forget what was held at most."""
    usage_of(_place(device_index)).forget_most()


def reset_accumulated_memory_stats(device_index: Any = None) -> None:
    """Forget what has been allocated and freed in all."""
    usage_of(_place(device_index)).forget_all()


def get_memory_info(device_index: Any = None) -> tuple[int, int]:
    """Bytes of the device that are free, and that there are."""
    return target_of(_place(device_index)).memory_info()


def empty_cache() -> None:
    """Have all devices give back what they keep for reuse."""
    kind = _kind()
    for k in range(devices.count(kind)):
        target_of(device(kind, k)).empty_cache()


def empty_host_cache() -> None:
    """Pinned memory is not kept: there is nothing to give back."""
    _kind()


# ---- what it is -----------------------------------------------------------------------------------------------


def supported_dtypes(target: Target) -> set[Any]:
    """The types of elements that a device takes."""
    return {of for of in vars(dtypes).values()
            if isinstance(of, dtypes.dtype) and not target.supports(BUFFER, (), (), of)}


def get_device_capability(device: Any = None) -> dict[str, Any]:
    """What the device says of itself, and its `supported_dtypes`."""
    target = target_of(_place(device))
    return {"supported_dtypes": supported_dtypes(target), **target.capability()}


class Graph:
    """A recorded sequence of device work: always a NotImplementedError here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("accelerator.Graph: work of a device cannot be recorded by the program; what is "
                                  "computed again is recognised without it")
