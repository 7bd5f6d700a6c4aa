"""The service, on grpcio's asyncio server in the loop that serves HTTP."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from facula.version import facula_version

from ..faults import BadRequest, ServingError, Unauthorized
from ..http.app import EXTENSIONS, App
from ..listening import refused
from ..requests import Reply
from .inference import read_request, write_reply
from .messages import CALLS, PACKAGE, STREAM, message

Call = Callable[[Any, Any], Awaitable[Any]]


class Service:
    """The protocol's calls, each (message, context) to a message."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.models = app.models

    async def ServerLive(self, given: Any, context: Any) -> Any:
        return message("ServerLiveResponse")(live=True)

    async def ServerReady(self, given: Any, context: Any) -> Any:
        return message("ServerReadyResponse")(ready=self.models.ready and not self.app.draining)

    async def ModelReady(self, given: Any, context: Any) -> Any:
        _, found = self.models.version(given.name, given.version)
        return message("ModelReadyResponse")(ready=found.state == "READY")

    async def ServerMetadata(self, given: Any, context: Any) -> Any:
        return message("ServerMetadataResponse")(name="facula", version=facula_version, extensions=EXTENSIONS)

    async def ModelMetadata(self, given: Any, context: Any) -> Any:
        _, lane = self.models.lane(given.name, given.version)
        settings = lane.model.settings
        return message("ModelMetadataResponse")(
            name=given.name, versions=[*self.models.models.get(given.name, {})], platform=settings.platform,
            inputs=[s.described() for s in settings.inputs], outputs=[s.described() for s in settings.outputs])

    async def ModelInfer(self, given: Any, context: Any) -> Any:
        with self.app.bodies.holding(given.ByteSize()):
            request = read_request(given, self.app.limits, context.time_remaining(), context.peer())
            number, reply = self.models.submit(given.model_name, given.model_version, request)
            return write_reply(await reply, request, given.model_name, number)

    async def ModelStreamInfer(self, given: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        """For each request the replies of a handler's `stream`. What one fails of is told, and the next is read."""
        kind = message(STREAM + "Response")
        async for one in given:
            try:
                if isinstance(one, ServingError):
                    raise one
                async for reply in self._replies(one, context):
                    yield kind(infer_response=reply)
            except ServingError as fault:
                self.app.log("request", call=STREAM, code=fault.code, error=str(fault))
                yield kind(error_message=fault.message, infer_response=message("ModelInferResponse")(
                    id=getattr(one, "id", ""), model_name=getattr(one, "model_name", "")))

    async def _replies(self, given: Any, context: Any) -> AsyncIterator[Any]:
        with self.app.bodies.holding(given.ByteSize()):
            request = read_request(given, self.app.limits, context.time_remaining(), context.peer())
            number, stream = self.models.stream(given.model_name, given.model_version, request)
            try:
                while (reply := await stream.next()) is not None:
                    yield write_reply(reply, request, given.model_name, number)
            finally:
                stream.cancel()
            if request.parameters.get("triton_enable_empty_final_response") is True:
                last = write_reply(Reply([]), request, given.model_name, number)
                last.parameters["triton_final_response"].bool_param = True
                yield last

    async def RepositoryIndex(self, given: Any, context: Any) -> Any:
        rows = [row for row in self.models.index() if not given.ready or row["state"] == "READY"]
        return message("RepositoryIndexResponse")(models=rows)

    async def RepositoryModelLoad(self, given: Any, context: Any) -> Any:
        self._may_change(given)
        await asyncio.to_thread(self.models.load, given.model_name)
        return message("RepositoryModelLoadResponse")()

    async def RepositoryModelUnload(self, given: Any, context: Any) -> Any:
        self._may_change(given)
        await asyncio.to_thread(self.models.unload, given.model_name)
        return message("RepositoryModelUnloadResponse")()

    def _may_change(self, given: Any) -> None:
        if not self.app.control:
            fault = Unauthorized("models are not loaded and unloaded by requests here (`--control`)")
            fault.code = "PERMISSION_DENIED"
            raise fault
        if any(key == "config" or key.startswith("file:") for key in given.parameters):
            raise BadRequest("models come from the server's folder; a request brings neither files nor configuration")


def _admit(app: App, name: str, context: Any) -> None:
    if app.token and not name.startswith("Server"):
        sent = dict(context.invocation_metadata()).get("authorization", "")
        scheme, _, token = (sent if isinstance(sent, str) else "").partition(" ")
        if not hmac.compare_digest(token.strip().encode(), app.token) or scheme.lower() != "bearer":
            raise Unauthorized("this server wants a token: authorization: Bearer ...")


def _parsed(kind: Any) -> Callable[[bytes], Any]:
    """What grpcio would answer by INTERNAL is the client's fault: it is handed on, and refused by `_admit`."""
    def parse(data: bytes) -> Any:
        try:
            return kind.FromString(data)
        except Exception as error:  # protobuf's own
            return BadRequest(f"the message is no {kind.DESCRIPTOR.name}: {error}")
    return parse


async def _abort(app: App, name: str, context: Any, fault: Exception) -> None:
    import grpc
    if not isinstance(fault, ServingError):
        app.log("request", call=name, code="INTERNAL", error=f"{type(fault).__name__}: {fault}")
        await context.abort(grpc.StatusCode.INTERNAL, f"the server failed: {type(fault).__name__}")
    elif fault.status >= 500:
        app.log("request", call=name, code=fault.code, error=str(fault))
    await context.abort(getattr(grpc.StatusCode, fault.code), fault.message)  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def _guard(app: App, name: str, given: Any, context: Any) -> AsyncIterator[Any]:
    """Within it a call is answered: what it raises becomes its status."""
    span = app.telemetry and app.telemetry.grpc(name, context.invocation_metadata(), given)
    code, error = "CANCELLED", None
    try:
        try:
            _admit(app, name, context)
            if isinstance(given, ServingError):
                raise given
            yield span
            code = "OK"
        except Exception as fault:
            error, code = fault, getattr(fault, "code", "INTERNAL") if isinstance(fault, ServingError) else "INTERNAL"
            await _abort(app, name, context, fault)
    finally:
        if app.telemetry:
            app.telemetry.end(span, code, error, getattr(error, "status", 500) >= 500 and error is not None)


def _guarded(app: App, name: str, call: Call) -> Call:
    async def guarded(given: Any, context: Any) -> Any:
        async with _guard(app, name, given, context):
            return await call(given, context)
    return guarded


def _guarded_stream(app: App, name: str, call: Callable[[Any, Any], AsyncIterator[Any]]) -> Any:
    async def guarded(given: Any, context: Any) -> AsyncIterator[Any]:
        async with _guard(app, name, None, context):
            async for reply in call(given, context):
                yield reply
    return guarded


async def start(app: App, options: argparse.Namespace) -> tuple[Any, int]:
    """(the server, its port), listening. Raises CannotListen."""
    import grpc
    most = app.limits.body_bytes
    server = grpc.aio.server(options=[
        ("grpc.max_receive_message_length", most), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", int(
            options.fd is not None)), ("grpc.max_concurrent_streams", 1024), ("grpc.max_metadata_size", 32 << 10)])
    service = Service(app)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(f"{PACKAGE}.GRPCInferenceService", {
        STREAM: grpc.stream_stream_rpc_method_handler(
            _guarded_stream(app, STREAM, service.ModelStreamInfer), _parsed(message("ModelInferRequest")),
            message(STREAM + "Response").SerializeToString), **{name: grpc.unary_unary_rpc_method_handler(
            _guarded(app, name, getattr(service, name)), _parsed(message(name + "Request")),
            message(name + "Response").SerializeToString) for name in CALLS}}),))
    host = f"[{options.host}]" if ":" in options.host else options.host
    address = f"{host}:{options.grpc_port}"
    try:
        if options.tls_cert:
            keys = grpc.ssl_server_credentials([(Path(options.tls_key).read_bytes(),
                                                 Path(options.tls_cert).read_bytes())])
            port = server.add_secure_port(address, keys)
        else:
            port = server.add_insecure_port(address)
    except RuntimeError:
        raise refused(options.host, options.grpc_port, "its port for gRPC is taken, or the address is another "
                                                       "machine's") from None
    await server.start()
    return server, port
