"""`facula.cpu`: the names of `facula.cuda`, for the processor: one device, always ready."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any

from facula.engine.realize import flush


def is_available() -> bool:
    """Is there a processor?

    Example:
        >>> import facula.cpu
        >>> facula.cpu.is_available()
        True
    """
    return True


is_initialized = is_available


def device_count() -> int:
    """How many devices there are: always 1."""
    return 1


def current_device() -> str:
    """The selected device: always `cpu`."""
    return "cpu"


def set_device(device: Any) -> None:
    """Select a device: there is one."""


def synchronize(device: Any = None) -> None:
    """Have all work on the device done: what is pending is computed, and what it finds wrong is raised."""
    flush()


class Stream:
    """A queue of work; the cpu has one, and nothing to say about it."""

    def __init__(self, priority: int = -1) -> None:
        self.priority = priority

    def wait_stream(self, stream: Stream) -> None:
        """Wait for another queue: nothing to wait for."""

    def record_event(self) -> None:
        """Mark this place in the queue: nothing to mark."""

    def wait_event(self, event: Any) -> None:
        """Wait for a mark: nothing to wait for."""


class Event:
    """A mark in a queue of work, passed always."""

    def query(self) -> bool:
        """Has the work before the mark been done?"""
        return True

    def record(self, stream: Stream | None = None) -> None:
        """Set the mark: nothing to mark."""

    def synchronize(self) -> None:
        """Wait for the mark: nothing to wait for."""

    def wait(self, stream: Stream | None = None) -> None:
        """Make a queue wait for the mark: nothing to wait for."""


_stream = Stream()


def current_stream(device: Any = None) -> Stream:
    """The selected queue: the only one."""
    return _stream


class StreamContext:
    """Context manager that selects a queue: without effect."""

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc_info: object) -> None:
        pass


def stream(stream: Stream | None) -> StreamContext:
    """A context manager that selects a queue: without effect."""
    return StreamContext(stream)


def __getattr__(name: str) -> Any:
    if name == "amp":
        import importlib
        return importlib.import_module("facula.cpu.amp")
    raise AttributeError(f"module 'torch.cpu' has no attribute '{name}'")


def get_capabilities() -> Mapping[str, Any]:
    """What the processor can do: its architecture, and for each feature that LLVM knows (avx2, amx-int8 as amx_int8)
    whether it has it.

    Example:
        >>> import facula.cpu
        >>> "architecture" in facula.cpu.get_capabilities()
        True
    """
    found: dict[str, Any] = {"architecture": platform.machine()}
    with contextlib.suppress(ImportError, RuntimeError):
        features = import_module("llvmlite.binding").get_host_cpu_features()
        found.update({name.replace("-", "_").replace(".", "_"): bool(there) for name, there in features.items()})
    return MappingProxyType(found)
