"""Streams, events and graphs of CUDA devices: names that can be imported, and refuse to be made without one."""

from __future__ import annotations

from typing import Any, NoReturn

from facula import _streams, devices
from facula.cuda.present import asked_of_devices


def _refuse(*args: Any, **kwargs: Any) -> NoReturn:
    raise AssertionError("Torch not compiled with CUDA enabled")


class Stream(_streams.Stream):
    """A queue of work on a device: a RuntimeError where there is none."""

    def __init__(self, device: Any = None, priority: int = 0, **kwargs: Any) -> None:
        if not devices.count("cuda"):
            raise RuntimeError("torch.cuda.Stream requires CUDA support")
        super().__init__("cuda" if device is None else device, priority)


class ExternalStream(Stream):
    """A queue of work that another library made."""


class Event(_streams.Event):
    """A mark in a stream: a RuntimeError where there is no device."""

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False,
                 external: bool = False) -> None:
        if not devices.count("cuda"):
            raise RuntimeError("Tried to instantiate dummy base class Event")
        super().__init__("cuda", enable_timing=enable_timing)


class CUDAGraph:
    """A recorded sequence of device work: always a RuntimeError here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("Tried to instantiate dummy base class CUDAGraph")


class StreamContext:
    """Context manager that selects a stream; None selects nothing."""

    def __init__(self, stream: _streams.Stream | None) -> None:
        self.stream = stream

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc_info: object) -> None:
        pass


def stream(stream: _streams.Stream | None) -> StreamContext:
    """A context manager that selects `stream`.

    Example:
        >>> import facula.cuda
        >>> with facula.cuda.stream(None):
        ...     pass
    """
    return StreamContext(stream)


@asked_of_devices
def set_stream(stream: _streams.Stream | None) -> None:
    """Select `stream`; None selects nothing."""


def is_current_stream_capturing() -> bool:
    """Is a graph being recorded?"""
    return False


class graph:
    """Context manager that records a CUDAGraph: always an AssertionError here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _refuse()


current_stream, default_stream = (asked_of_devices(_refuse, name) for name in ("current_stream", "default_stream"))
