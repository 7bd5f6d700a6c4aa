"""Bodies of requests: bounded in bytes, in time, and all together."""

from __future__ import annotations

import asyncio
import contextlib
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from ..faults import BadRequest, Busy, ServingError, TooLarge
from ..settings import Limits

Receive = Callable[[], Awaitable[dict[str, Any]]]


class Disconnected(Exception):
    """The client has gone."""


class TooSlow(ServingError):
    status, code = 408, "DEADLINE_EXCEEDED"


class Bodies:
    """What a server holds of them."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.held = 0

    @contextlib.asynccontextmanager
    async def reading(self, receive: Receive, headers: dict[bytes, bytes]) -> AsyncIterator[bytes]:
        """A request's body, which counts as held from its first byte to the end of the context."""
        with self.holding(0) as grow:
            yield await self._read(receive, headers, grow)

    @contextlib.contextmanager
    def holding(self, size: int) -> Iterator[Callable[[int], None]]:
        """So many bytes are held within, and those that the function is told of. Busy where they are too many."""
        mine = 0

        def grow(more: int) -> None:
            nonlocal mine
            if more > 0 and self.held + more > self.limits.held_bytes:
                raise Busy("the server holds as much as it may")
            mine += more
            self.held += more
        try:
            grow(size)
            yield grow
        finally:
            self.held -= mine

    async def _read(self, receive: Receive, headers: dict[bytes, bytes], grow: Callable[[int], None]) -> bytes:
        announced = headers.get(b"content-length", b"0")
        if not announced.isdigit() or len(announced) > 15:
            raise BadRequest("Content-Length is no number")
        most = self.limits.body_bytes
        if int(announced) > most:
            raise TooLarge(f"a body of {int(announced)} bytes; {most} are the most")
        if self.held + int(announced) > self.limits.held_bytes:
            raise Busy("the server holds as much as it may")
        message = await receive()  # most bodies come with their headers
        parts = [_part(message)]
        size = len(parts[0])
        grow(size)
        if message.get("more_body", False):
            end = time.monotonic() + self.limits.body_seconds
            while message.get("more_body", False):
                try:
                    message = await asyncio.wait_for(receive(), max(0.0, end - time.monotonic()))
                except asyncio.TimeoutError:
                    raise TooSlow(f"the body took more than {self.limits.body_seconds:g} s") from None
                parts.append(_part(message))
                size += len(parts[-1])
                if size > most:
                    raise TooLarge(f"a body of more than {most} bytes")
                grow(len(parts[-1]))
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        encoding = headers.get(b"content-encoding", b"identity").strip().lower()
        if encoding == b"identity":
            return body
        found = inflated(body, encoding, most)
        grow(len(found) - size)
        return found


def _part(message: dict[str, Any]) -> bytes:
    if message["type"] == "http.disconnect":
        raise Disconnected
    return message.get("body", b"")  # type: ignore[no-any-return]


def inflated(body: bytes, encoding: bytes, most: int) -> bytes:
    """A compressed body, of no more than `most` bytes."""
    if encoding not in (b"gzip", b"deflate"):
        fault = BadRequest(f"Content-Encoding {encoding.decode('latin-1')!r} is not known; gzip and deflate are")
        fault.status = 415
        raise fault
    machine = zlib.decompressobj(47)  # 32 + 15: gzip's or zlib's header, whichever is there
    try:
        found = machine.decompress(body, most)
    except zlib.error as error:
        raise BadRequest(f"the body is not {encoding.decode()}: {error}") from None
    if machine.unconsumed_tail:
        raise TooLarge(f"the body has more than {most} bytes when it is unpacked")
    if not machine.eof:
        raise BadRequest("the compressed body ends too early")
    if machine.unused_data:
        raise BadRequest(f"{len(machine.unused_data)} bytes follow the compressed body")
    return found
