"""Streams, events and graphs of CUDA devices: names that can be imported, and refuse to be made."""

from __future__ import annotations

from typing import Any, NoReturn


def _refuse(*args: Any, **kwargs: Any) -> NoReturn:
    raise AssertionError("Torch not compiled with CUDA enabled")


class Stream:
    """A queue of work on a device: always a RuntimeError here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("torch.cuda.Stream requires CUDA support")


class ExternalStream(Stream):
    """A queue of work that another library made."""


class Event:
    """A mark in a stream: always a RuntimeError here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("Tried to instantiate dummy base class Event")


class CUDAGraph:
    """A recorded sequence of device work: always a RuntimeError here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("Tried to instantiate dummy base class CUDAGraph")


class StreamContext:
    """Context manager that selects a stream; None selects nothing."""

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc_info: object) -> None:
        pass


def stream(stream: Stream | None) -> StreamContext:
    """A context manager that selects `stream`.

    Example:
        >>> import facula.cuda
        >>> with facula.cuda.stream(None):
        ...     pass
    """
    return StreamContext(stream)


def set_stream(stream: Stream | None) -> None:
    """Select `stream`; None selects nothing."""


def is_current_stream_capturing() -> bool:
    """Is a graph being recorded?"""
    return False


class graph:
    """Context manager that records a CUDAGraph: always an AssertionError here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _refuse()


current_stream = default_stream = _refuse
