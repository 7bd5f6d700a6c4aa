"""The event loop of a server: uvicorn for HTTP, grpcio beside it, and an end that loses nothing."""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from .http.app import App
from .listening import CannotListen, listen
from .logs import Heard, JsonLog


def run(app: App, options: argparse.Namespace, load: Callable[[Callable[[int], None]], None], log: JsonLog) -> int:
    """Serve until a signal; `load(stop)` begins to load models, and calls `stop(status)` if that is not to be."""
    import uvicorn

    class Server(uvicorn.Server):  # type: ignore[misc]  # where uvicorn is absent it is Any
        """With gRPC beside it, and readiness that ends before the server does."""

        should_exit: bool
        grpc: Any = None
        status = 0

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.should_exit:
                self.status = 1
                return
            facts = {}
            if options.grpc_port is not None:
                from .rpc.server import start
                self.grpc, facts["grpc_port"] = await start(app, options)
            log("listening", host=options.host, port=listener.getsockname()[1], **facts)
            loop = asyncio.get_running_loop()

            def stop(status: int) -> None:
                self.status = status
                loop.call_soon_threadsafe(setattr, self, "should_exit", True)
            load(stop)

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            # Not uvicorn's, which has the signal end the process after all, once everything is done.
            app.draining = True
            if not self.should_exit:
                log("draining", signal=int(sig))
            elif sig == signal.SIGINT:
                self.force_exit = True
            self.should_exit = True

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.draining = True
            if self.grpc is not None:
                await self.grpc.stop(options.drain_seconds)
            await super().shutdown(sockets)
            await asyncio.to_thread(app.models.drain, float(options.drain_seconds))
            log("ended", status=self.status)

    Heard.listen(log)
    config = uvicorn.Config(
        app, log_config=None, access_log=False,  # type: ignore[arg-type]
        server_header=False, date_header=False, lifespan="off", ws="none", timeout_keep_alive=75,
        timeout_graceful_shutdown=options.drain_seconds, ssl_certfile=options.tls_cert, ssl_keyfile=options.tls_key,
        backlog=2048, h11_max_incomplete_event_size=64 << 10)
    # A thread that wants the interpreter gets it from the other within this time: the model's thread and the loop's
    # take turns, and a batch is not to wait for 5 ms (the default) while the loop reads.
    sys.setswitchinterval(0.0005)
    server = Server(config)
    try:
        listener = listen(options.host, options.port) if options.fd is None else socket.socket(fileno=options.fd)
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    except CannotListen as error:
        print(f"facula serve: {error}", file=sys.stderr)
        return 1
    return server.status
