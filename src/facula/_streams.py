"""`facula.Stream` and `facula.Event`: queues of work, and marks in them. Each device has one queue, the cpu none."""

from __future__ import annotations

import time
from typing import Any

from facula import devices
from facula.devices import CPU
from facula.engine.realize import flush
from facula.engine.targets import target_of


def place_of(device: Any) -> devices.device:
    """The device that a stream or event is of: the accelerator's, or the cpu where there is none."""
    if device is None:
        return CPU if devices.accelerator() is None else devices.check_available(devices.current_accelerator())
    return devices.parse_device(device, "Stream")


class Stream:
    """The queue of work of a device. What is pending counts as queued.

    Example:
        >>> import facula
        >>> facula.Stream()
        torch.Stream device_type=cpu, device_index=-1, stream_id=0
    """

    stream_id = 0

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        self.device = place_of(device)
        self.priority = priority

    @property
    def device_index(self) -> int:
        return -1 if self.device.index is None else self.device.index

    @property
    def device_type(self) -> str:
        return self.device.type

    def query(self) -> bool:
        """Is everything done that was queued?"""
        flush()
        return target_of(self.device).idle()

    def synchronize(self) -> None:
        """Wait until it is."""
        flush()
        target_of(self.device).synchronize()

    def record_event(self, event: Event | None = None) -> Event:
        """A mark behind what was queued."""
        event = Event(self.device) if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """What is queued from now on comes after the mark. What one device needs of another is waited for anyway."""

    def wait_stream(self, stream: Stream) -> None:
        """As `wait_event`, of all that the other has queued."""

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self.device is other.device

    def __hash__(self) -> int:
        return hash(self.device)

    def __repr__(self) -> str:
        return (f"torch.Stream device_type={self.device_type}, device_index={self.device_index}, "
                f"stream_id={self.stream_id}")


class Event:
    """A mark in the queue of a device. With `enable_timing` it waits for the queue, to know when it was passed."""

    def __init__(self, device: Any = None, *, enable_timing: bool = False, blocking: bool = False,
                 interprocess: bool = False) -> None:
        self.device = place_of(device)
        self.enable_timing = enable_timing
        self._stream: Stream | None = None
        self._passed = 0.0

    event_id = 0

    def record(self, stream: Stream | None = None) -> None:
        """Set the mark behind what has been queued."""
        self._stream = Stream(self.device) if stream is None else stream
        flush()
        if self.enable_timing:
            self._stream.synchronize()
            self._passed = time.perf_counter()

    def query(self) -> bool:
        """Has it been passed? (Never set, it has.)"""
        return self._stream is None or self._stream.query()

    def synchronize(self) -> None:
        """Wait until it has."""
        if self._stream is not None:
            self._stream.synchronize()

    def wait(self, stream: Stream | None = None) -> None:
        """What a stream queues from now on comes after the mark."""

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this mark to another. RuntimeError unless both were set, with `enable_timing`."""
        if not (self.enable_timing and end_event.enable_timing):
            raise RuntimeError("Both events must be created with argument 'enable_timing=True'.")
        if self._stream is None or end_event._stream is None:
            raise RuntimeError("Both events must be recorded before calculating elapsed time.")
        return (end_event._passed - self._passed) * 1e3

    def __repr__(self) -> str:
        index = -1 if self.device.index is None else self.device.index
        return (f"torch.Event device_type={self.device.type}, device_index={index}, "
                f"event_flag={int(self.enable_timing)}, event_id={self.event_id}")
