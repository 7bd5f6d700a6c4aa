"""A message between ranks: its head, and what waits for it.

A key says which message it is: (group, kind, number). For collectives the number is that of the call within its group
and a step within that call; for point to point it is the tag. The note says in words what the sender is doing; ranks
whose notes differ have called different things.
"""

from __future__ import annotations

import struct
import threading
import time
from typing import Any, NamedTuple

COLLECTIVE, POINT, ABORT, GOODBYE, BEAT = range(5)
# magic, kind, step, length of the note, group, number, length of the payload
_HEAD = struct.Struct("<HBBHxxIqQ")
HEAD_BYTES = _HEAD.size
_MAGIC = 0xFAC5
LONGEST = 1 << 40


class Head(NamedTuple):
    """What precedes a payload."""

    kind: int
    group: int
    number: int
    step: int
    length: int
    note: str

    def key(self) -> tuple[int, int, int, int]:
        """What the receiver asks for."""
        return self.group, self.kind, self.number, self.step


def packed(kind: int, group: int, number: int, step: int, length: int, note: bytes) -> bytes:
    """The bytes of a head, note included."""
    return _HEAD.pack(_MAGIC, kind, step, len(note), group, number, length) + note


def parsed(data: Any) -> tuple[int, int, int, int, int, int]:
    """(kind, group, number, step, length, length of the note). ValueError if that is no head."""
    magic, kind, step, noted, group, number, length = _HEAD.unpack_from(data)
    if magic != _MAGIC or kind > BEAT or length > LONGEST:
        raise ValueError("no head of a message")
    return kind, group, number, step, length, noted


class Receipt:
    """A message that is awaited, or has come: its payload goes into `view`.

    Attributes:
        source: the rank that it comes from; of one from anybody, set when it has come.
        view: where it goes; None until one knows how long it is.
        error: what went wrong instead.
        came: when it was complete, by `time.monotonic`.
    """

    __slots__ = ("source", "view", "note", "error", "_lock", "length", "done", "then", "taken", "came")

    def __init__(self, source: int | None, view: memoryview | None) -> None:
        self.source, self.view = source, view
        self.note, self.error, self.length = "", None, 0
        self.done, self.then, self.taken, self.came = False, None, False, 0.0
        self._lock = threading.Lock()
        self._lock.acquire()

    note: str
    error: BaseException | None
    length: int
    done: bool
    then: Any
    taken: bool
    came: float

    def complete(self, error: BaseException | None = None) -> None:
        """It has come, or never will."""
        if self.done:
            return
        self.came = time.monotonic()
        self.error, self.done = error, True
        self._lock.release()
        if self.then is not None:
            self.then(self)

    def wait(self, seconds: float) -> bool:
        """Until it is complete; False if it is not in time."""
        if self.done:
            return True
        if not self._lock.acquire(timeout=min(max(seconds, 0), threading.TIMEOUT_MAX)):
            return self.done
        self._lock.release()  # for whoever else waits
        return True
