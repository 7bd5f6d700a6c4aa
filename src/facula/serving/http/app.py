"""The server as an ASGI application: to be run by uvicorn (`facula serve`), or mounted in a program of one's own."""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

from facula.version import facula_version

from .. import jsons
from ..faults import NotAllowed, NotFound, ServingError, Unauthorized
from ..generation.figures import exposition as exposition_of_text
from ..generation.lane import GenerationLane
from ..repository import Repository
from ..settings import Limits
from ..statistics import exposition, labels_of
from ..telemetry import Telemetry, ran
from . import streams
from .about import JSON, about_model, control, model_of, need
from .answers import failed
from .bodies import Bodies, Disconnected
from .completions import Completions
from .inference import LENGTH, read_request, write_reply
from .openapi import description
from .page import page

Send = Callable[[dict[str, Any]], Awaitable[None]]
EXTENSIONS = ["binary_tensor_data", "model_repository"]
REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
TEXT, HTML = b"text/plain; version=0.0.4; charset=utf-8", b"text/html; charset=utf-8"
BINARY = b"application/octet-stream"


class App:
    """`app(scope, receive, send)`.

    token       what requests have to bring as `Authorization: Bearer`, but for those about health
    control     may requests load and unload models of the folder?
    access_log  is every request logged, or only what fails?
    telemetry   a `telemetry.Telemetry`: who is told of each request

    Example:
        >>> from facula.serving import App, Repository
        >>> models = Repository()
        >>> models.add("double", handler=lambda x: x * 2)
        >>> app = App(models)  # app.mount("/", app) in FastAPI, or uvicorn.run(app)
    """

    def __init__(self, models: Repository, *, limits: Limits | None = None, token: str = "", control: bool = False,
                 access_log: bool = False, log: Callable[..., None] | None = None,
                 telemetry: Telemetry | None = None) -> None:
        self.models = models
        self.limits = limits or Limits()
        self.bodies = Bodies(self.limits)
        self.control = control
        self.access_log = access_log
        self.log = log or models.log
        self.telemetry = telemetry
        self.draining = False
        self.started = time.time()
        self.completions = Completions(self)
        self.token = token.encode()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1003})
            return
        headers = dict(scope["headers"])
        method, path = scope["method"], scope["path"][len(scope.get("root_path", "")):] or "/"
        given = headers.get(b"x-request-id", b"")
        request_id = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8).encode()
        if self.telemetry is None:
            await self._answer(scope, method, path, headers, receive, send, request_id)
            return
        scope["facula.span"] = span = self.telemetry.http(method, path, headers, request_id)
        status, error = 499, cast("BaseException | None", None)  # the client has left, or the task was cancelled
        try:
            status, error = await self._answer(scope, method, path, headers, receive, send, request_id)
        finally:
            self.telemetry.end(span, status, error, status >= 500)

    async def _answer(self, scope: dict[str, Any], method: str, path: str, headers: dict[bytes, bytes], receive: Any,
                      send: Send, request_id: bytes) -> tuple[int, BaseException | None]:
        """(the status that was sent, what the request failed of)."""
        start = time.perf_counter()
        error: BaseException | None = None
        body: bytes | None
        extra: list[tuple[bytes, bytes]] = []
        try:
            self._admit(path, headers)
            if method == "POST" and path.startswith("/v2/models/") and path.endswith("/infer"):
                body, kind, extra = await self._infer(path, scope, headers, receive, send, request_id)
            elif path.startswith("/v1/"):
                kind = JSON
                body = await self.completions.answer(method, path, headers, receive, send, request_id)
            else:
                body, kind = await self._other(method, path, headers, receive)
            status = 200
        except Disconnected:
            return 499, None
        except ServingError as fault:
            error, status = fault, fault.status
            body, kind = _refusal(path, fault.message, status, getattr(fault, "param", None)), JSON
            if fault.retry_after is not None:
                extra = [(b"retry-after", b"%d" % fault.retry_after)]
            elif isinstance(fault, NotAllowed):
                extra = [(b"allow", fault.allow.encode())]
            elif isinstance(fault, Unauthorized):
                extra = [(b"www-authenticate", b"Bearer")]
        except Exception as fault:
            error, status = fault, 500
            body, kind = _refusal(path, f"the server failed: {type(fault).__name__}", status), JSON
        if body is not None:
            await send({"type": "http.response.start", "status": status, "headers": [
                (b"content-type", kind), (b"content-length", b"%d" % len(body)), (b"x-request-id", request_id),
                *extra]})
            await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})
        if self.access_log or error is not None:
            self.log("request", id=request_id.decode(), method=method, path=path, status=status,
                     seconds=round(time.perf_counter() - start, 6), **({} if error is None else {
                         "error": f"{type(error.__cause__ or error).__name__}: {error}"}))
        return status, error

    def _admit(self, path: str, headers: dict[bytes, bytes]) -> None:
        if self.token and not path.startswith("/v2/health/"):
            scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
            if not hmac.compare_digest(token.strip(), self.token) or scheme.lower() != b"bearer":
                raise Unauthorized("this server wants a token: Authorization: Bearer ...")

    async def _infer(self, path: str, scope: dict[str, Any], headers: dict[bytes, bytes], receive: Any, send: Send,
                     request_id: bytes) -> tuple[bytes | None, bytes, list[tuple[bytes, bytes]]]:
        name, version, rest = model_of(path)
        if rest != "infer":
            raise NotFound(f"there is no {path}")
        self.models.version(name, version)  # before the body is looked at
        async with self.bodies.reading(receive, headers) as body:
            request, wanted = read_request(body, headers.get(LENGTH), self.limits, scope.get("client"))
            if streams.asked(headers):
                await streams.answer(self, name, version, request, wanted, receive, send, request_id)
                return None, JSON, []
            number, reply = self.models.submit(name, version, request)
            text, length = write_reply(await reply, request, wanted, name, number)
            ran(scope.get("facula.span"), request)
        if length is None:
            return text, JSON, []
        return text, BINARY, [(LENGTH, b"%d" % length)]

    async def _other(self, method: str, path: str, headers: dict[bytes, bytes], receive: Any) -> tuple[bytes, bytes]:
        if path.startswith("/v2/repository/"):
            return await control(self, method, path, headers, receive)
        if path.startswith("/v2/models/"):
            return about_model(self, method, path)
        pages: dict[str, Callable[[], tuple[Any, bytes]]] = {
            "/": lambda: (page(self), HTML),
            "/metrics": lambda: ((exposition(self._counts()) + exposition_of_text(self._generating())).encode(), TEXT),
            "/openapi.json": lambda: (description(), JSON),
            "/v2": lambda: ({"name": "facula", "version": facula_version, "extensions": EXTENSIONS}, JSON),
            "/v2/health/live": lambda: ({"live": True}, JSON),
            "/v2/health/ready": self._ready,
            "/v2/models": lambda: ({"models": [{"name": name, "versions": [*versions]}
                                               for name, versions in self.models.models.items()]}, JSON),
        }
        found = pages.get(path.rstrip("/") or "/")
        if found is None:
            raise NotFound(f"there is no {path}")
        need(method, "GET")
        said, kind = found()
        return said if isinstance(said, bytes) else jsons.dumps(said), kind

    def _ready(self) -> tuple[Any, bytes]:
        if self.draining or not self.models.ready:
            fault = ServingError("the server is ending" if self.draining else "models are being loaded" if
                                 self.models.loading else f"{len(self.models.unready())} models are not ready: POST "
                                 "/v2/repository/index, the page at / and the log say why")
            fault.status, fault.retry_after = 503, 1
            raise fault
        return {"ready": True}, JSON

    def _counts(self) -> Any:
        for name, versions in self.models.models.items():
            for number, one in versions.items():
                if one.lane is not None:
                    yield name, number, one.lane.statistics, len(one.lane.queue)

    def _generating(self) -> Any:
        for name, versions in self.models.models.items():
            for number, one in versions.items():
                if isinstance(one.lane, GenerationLane):
                    yield labels_of(name, number), one.lane.figures, one.lane.gauges()


def _refusal(path: str, message: str, status: int, param: str | None = None) -> bytes:
    """In the form that who asks there expects."""
    return jsons.dumps(failed(message, status, param) if path.startswith("/v1/") else {"error": message})


async def _lifespan(receive: Any, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
