"""`/v1/...`: models that generate, asked by OpenAI's protocol, answered whole or as server-sent events."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

from .. import jsons
from ..batching import LaneClosed
from ..faults import BadRequest, Busy, NotAllowed, NotFound, NotReady, ServingError
from ..generation.lane import GenerationLane
from ..generation.sequences import Job
from . import events, openai
from .answers import Answer, failed
from .bodies import Disconnected

if TYPE_CHECKING:
    from .app import App

ASKED = {"/v1/completions": False, "/v1/chat/completions": True}
_LONG = 4096  # bytes of a body from which on its text is made tokens beside the event loop


class Completions:
    """Answers for an App."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def answer(self, method: str, path: str, headers: dict[bytes, bytes], receive: Any, send: Any,
                     request_id: bytes) -> bytes | None:
        """The body of an answer; None if it has been sent already. Raises ServingError."""
        path = path.rstrip("/")
        if path in ASKED:
            if method != "POST":
                raise NotAllowed("POST")
            return await self._ask(ASKED[path], headers, receive, send, request_id)
        if path == "/v1/models" or path.startswith("/v1/models/"):
            if method not in ("GET", "HEAD"):
                raise NotAllowed("GET")
            return jsons.dumps(self._models(path[len("/v1/models/"):]))
        raise NotFound(f"there is no {path}")

    def _models(self, name: str) -> dict[str, Any]:
        found = [{"id": model, "object": "model", "created": int(self.app.started), "owned_by": "facula"}
                 for model, versions in self.app.models.models.items()
                 if any(isinstance(one.lane, GenerationLane) for one in versions.values())]
        if not name:
            return {"object": "list", "data": found}
        for one in found:
            if one["id"] == name:
                return one
        raise NotFound(f"there is no model {name!r} that generates text")

    async def _ask(self, chat: bool, headers: dict[bytes, bytes], receive: Any, send: Any,
                   request_id: bytes) -> bytes | None:
        if self.app.draining:
            raise Busy("the server is ending")
        async with self.app.bodies.reading(receive, headers) as body:
            given = jsons.loads(body, self.app.limits.json_depth)
            if not isinstance(given, dict):
                raise BadRequest("the request is to be a JSON object")
            name = given.get("model")
            if not isinstance(name, str):
                raise openai.Refused("model", "model is to be the name of a model")
            question, lane, job = await self._begun(name, given, chat, len(body))
        answer = Answer(question, name, lane.model.tokenizer, secrets.token_hex(12))

        def left() -> None:
            job.cancel()
            job.pieces.put_nowait(Disconnected())
        watch = asyncio.ensure_future(events.gone(receive, left))
        try:
            if question.stream:
                await self._stream(job, answer, send, request_id)
                return None
            while answer.left:
                answer.add(await job.next())
            return jsons.dumps(answer.whole(job.made))
        finally:
            lane.figures.add(**answer.counts)
            watch.cancel()
            job.cancel()

    async def _begun(self, name: str, given: dict[str, Any], chat: bool,
                     size: int) -> tuple[openai.Question, GenerationLane, Job]:
        models, limits = self.app.models, self.app.limits
        for _ in range(10):
            _, lane = models.lane(name)
            if not isinstance(lane, GenerationLane):
                raise BadRequest(f"model {name!r} takes tensors: ask /v2/models/{name}/infer")
            if size > _LONG:
                question = await asyncio.to_thread(openai.read, given, chat, lane.model, limits)
            else:
                question = openai.read(given, chat, lane.model, limits)
            try:
                return question, lane, lane.ask(question.asked)
            except LaneClosed:  # exchanged meanwhile: ask who serves now
                continue
        raise NotReady(f"model {name!r} is being exchanged")

    async def _stream(self, job: Job, answer: Answer, send: Any, request_id: bytes) -> None:
        piece = await job.next()  # what fails before there is anything to show has a status of its own
        await events.begin(send, request_id)
        try:
            while True:
                for chunk in answer.chunks(piece):
                    await events.say(send, jsons.dumps(chunk))
                if not answer.left:
                    break
                piece = await job.next()
            if answer.question.usage:
                await events.say(send, jsons.dumps(answer.ending(job.made)))
            await events.say(send, b"[DONE]")
        except Disconnected:
            raise
        except Exception as error:  # the status has been said: the stream ends with an event that tells
            fault = error if isinstance(error, ServingError) else ServingError(
                f"the server failed: {type(error).__name__}")
            self.app.log("request", id=request_id.decode(), status=fault.status,
                         error=f"{type(error.__cause__ or error).__name__}: {error}")
            await events.say(send, jsons.dumps(failed(fault.message, fault.status)))
        await events.end(send)
