"""TensorBoard's event files: records of (length, its checksum, message, its checksum), messages in protobuf's wire
format. Read and written here with what the monitor needs of them; no protobuf library is asked for.

    Event    1 wall_time: double   2 step: int64   3 file_version: string   5 summary: {1: [Value]}
    Value    1 tag   2 simple_value: float   4 image {1 height, 2 width, 4 bytes}   5 histogram   6 audio   8 tensor
             9 metadata {1: {1: plugin's name}}

Example:
    >>> import tempfile, os
    >>> from facula.monitor import event_files
    >>> path = os.path.join(tempfile.mkdtemp(), event_files.file_name())
    >>> with open(path, "wb") as file:
    ...     event_files.write(file, [event_files.event(1.0, version=True), event_files.event(2.0, 5, [(1, b"loss")])])
    >>> [(e.step, e.time) for e in event_files.read(path)]
    [(0, 1.0), (5, 2.0)]
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from facula.monitor import checksums

Fields = dict[int, list[Any]]
_LARGEST = 1 << 30  # bytes of a record that are believed


class EventFileError(ValueError):
    """The file is not of events, or has been damaged."""


class Event(NamedTuple):
    """One record: seconds since 1970, the step, and its values as fields of `Value`."""

    time: float
    step: int
    values: list[Fields]


def file_name(suffix: str = "") -> str:
    """A name that TensorBoard takes for an event file's."""
    return f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}.{time.monotonic_ns()}{suffix}"


def parsed(data: bytes) -> Fields:
    """The fields of a message: numbers, or bytes (of strings, messages, packed numbers, fixed32 and fixed64).

    Raises:
        EventFileError: if it does not end where it should.
    """
    found: Fields = {}
    at, end = 0, len(data)
    try:
        while at < end:
            tag, at = _varint(data, at)
            number, kind = tag >> 3, tag & 7
            if kind == 0:
                value, at = _varint(data, at)
            elif kind in (1, 5):
                size = 8 if kind == 1 else 4
                value, at = data[at:at + size], at + size  # type: ignore[assignment]
            elif kind == 2:
                size, at = _varint(data, at)
                value, at = data[at:at + size], at + size  # type: ignore[assignment]
            else:
                raise EventFileError(f"a field of kind {kind}")
            if at > end:
                raise EventFileError("a message that is cut off")
            found.setdefault(number, []).append(value)
    except IndexError:
        raise EventFileError("a message that is cut off") from None
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    if byte < 128:
        return byte, at + 1
    value, shift = byte & 127, 7
    while byte >= 128:
        at += 1
        byte = data[at]
        value |= (byte & 127) << shift
        shift += 7
        if shift > 70:
            raise EventFileError("a number without end")
    return value & (1 << 64) - 1, at + 1


def number(field: bytes, kind: str) -> float:
    """A fixed32 or fixed64 field as float ("f") or double ("d"). EventFileError of another size."""
    if len(field) != struct.calcsize("<" + kind):
        raise EventFileError("a number of another size")
    return float(struct.unpack("<" + kind, field)[0])


def varint(value: int) -> bytes:
    """A whole number as protobuf writes it."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def message(fields: Iterable[tuple[int, Any]]) -> bytes:
    """Fields as a message: int, float (a double), or bytes."""
    out = []
    for place, value in fields:
        if isinstance(value, bytes):
            out.append(varint(place << 3 | 2) + varint(len(value)) + value)
        elif isinstance(value, float):
            out.append(varint(place << 3 | 1) + struct.pack("<d", value))
        else:
            out.append(varint(place << 3) + varint(value))
    return b"".join(out)


def event(at: float, step: int = 0, *values: Iterable[tuple[int, Any]] | bytes, version: bool = False) -> bytes:
    """An Event with `values`, each the fields of a Value, or its bytes."""
    fields: list[tuple[int, Any]] = [(1, float(at)), (2, int(step))]
    if version:
        fields.append((3, b"brain.Event:2"))
    if values:
        fields.append((5, message((1, v if isinstance(v, bytes) else message(v)) for v in values)))
    return message(fields)


def write(file: BinaryIO, events: Iterable[bytes]) -> None:
    """Append records."""
    batch = list(events)
    heads = [struct.pack("<Q", len(data)) for data in batch]
    for data, head, of_head, of_data in zip(batch, heads, checksums.masked_all(heads).tolist(),
                                            checksums.masked_all(batch).tolist(), strict=True):
        file.write(head + struct.pack("<I", of_head) + data + struct.pack("<I", of_data))


def records(path: str | Path) -> Iterator[bytes]:
    """Messages of a file, checked. A record that is cut off at the end (it is being written) ends it.

    Raises:
        EventFileError: of a record whose checksum is another.
    """
    with open(path, "rb") as file:
        batch: list[tuple[bytes, bytes, int, int]] = []
        while True:
            head = file.read(12)
            size = int.from_bytes(head[:8], "little")
            data = b""
            if len(head) == 12:
                if size > _LARGEST or size > os.fstat(file.fileno()).st_size:
                    if checksums.masked(head[:8]) != int.from_bytes(head[8:], "little"):
                        raise EventFileError(f"{path}: not an event file, or damaged")
                    size = -1
                else:
                    data = file.read(size + 4)
            ended = len(head) < 12 or size < 0 or len(data) < size + 4
            if not ended:
                batch.append((head[:8], data[:-4], int.from_bytes(head[8:], "little"),
                              int.from_bytes(data[-4:], "little")))
            if ended or len(batch) >= 10_000:
                heads, bodies = [b[0] for b in batch], [b[1] for b in batch]
                if (checksums.masked_all(heads).tolist() != [b[2] for b in batch]
                        or checksums.masked_all(bodies).tolist() != [b[3] for b in batch]):
                    raise EventFileError(f"{path}: not an event file, or damaged")
                yield from bodies
                batch = []
            if ended:
                return


def read(path: str | Path) -> Iterator[Event]:
    """Events of a file, in its order."""
    for data in records(path):
        fields = parsed(data)
        step = fields.get(2, [0])[-1]
        step -= step >> 63 << 64  # below 0
        values = [parsed(value) for summary in fields.get(5, ()) for value in parsed(summary).get(1, ())]
        yield Event(number(fields[1][-1], "d") if 1 in fields else 0.0, step, values)
