"""Server-sent events: how a stream begins and goes on, and how it is known that its client has left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


async def begin(send: Any, request_id: bytes) -> None:
    """Say that events follow."""
    await send({"type": "http.response.start", "status": 200, "headers": [
        (b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"),
        (b"x-accel-buffering", b"no"), (b"x-request-id", request_id)]})


async def say(send: Any, text: bytes) -> None:
    """One event; `text` has no line breaks."""
    await send({"type": "http.response.body", "body": b"data: " + text + b"\n\n", "more_body": True})


async def end(send: Any) -> None:
    await send({"type": "http.response.body", "body": b""})


async def gone(receive: Any, tell: Callable[[], None]) -> None:
    """Wait until the client leaves, and tell."""
    while (await receive())["type"] != "http.disconnect":
        pass
    tell()
