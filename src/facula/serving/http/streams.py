"""`/v2/models/M/infer` with `Accept: text/event-stream`: an event for each reply of a handler's `stream`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .. import jsons
from ..faults import BadRequest, ServingError
from ..requests import Request
from . import events
from .bodies import Disconnected
from .inference import Wanted, write_reply

if TYPE_CHECKING:
    from .app import App


def asked(headers: dict[bytes, bytes]) -> bool:
    """Does the client want a stream?"""
    return any(kind.partition(b";")[0].strip().lower() == b"text/event-stream"
               for kind in headers.get(b"accept", b"").split(b","))


async def answer(app: App, name: str, version: str, request: Request, wanted: Wanted, receive: Any, send: Any,
                 request_id: bytes) -> None:
    """Send the events. Raises ServingError for what fails before there is anything to show; what fails later is an
    event of its own, the last one."""
    if wanted.all_binary or wanted.binary:
        raise BadRequest("events are text: binary data is for a whole reply")
    number, stream = app.models.stream(name, version, request)

    def left() -> None:
        stream.cancel()
        stream.pieces.put_nowait(Disconnected())
    watch = asyncio.ensure_future(events.gone(receive, left))
    try:
        reply = await stream.next()
        text = b"" if reply is None else write_reply(reply, request, wanted, name, number)[0]
        await events.begin(send, request_id)
        try:
            while reply is not None:
                await events.say(send, text)
                reply = await stream.next()
                text = b"" if reply is None else write_reply(reply, request, wanted, name, number)[0]
        except Disconnected:
            raise
        except Exception as error:
            fault = error if isinstance(error, ServingError) else ServingError(
                f"the server failed: {type(error).__name__}")
            app.log("request", id=request_id.decode(), status=fault.status,
                    error=f"{type(error.__cause__ or error).__name__}: {error}")
            await events.say(send, jsons.dumps({"error": fault.message}))
        await events.end(send)
    finally:
        watch.cancel()
        stream.cancel()
