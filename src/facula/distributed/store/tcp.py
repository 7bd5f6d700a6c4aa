"""`TCPStore`: a store that one process holds and others reach by TCP."""

from __future__ import annotations

import os
import socket
import struct
import time
from datetime import timedelta
from typing import Any

from facula.distributed.constants import DistNetworkError, DistStoreError, seconds
from facula.distributed.store import wire
from facula.distributed.store.base import DEFAULT_TIMEOUT, Store
from facula.distributed.store.server import Server
from facula.undisturbed import reentrant_lock

_NUMBER = struct.Struct("<q")
_GRACE = 20.0  # seconds beyond a wait's own limit, after which the server is taken for dead


def is_this_machine(host: str) -> bool:
    """Is that an address of the loopback interface?"""
    return host in ("localhost", "::1", "ip6-localhost") or host.startswith("127.")


class TCPStore(Store):
    """A table in the process that is `is_master`; all others are its clients.

    With a secret (FACULA_DISTRIBUTED_SECRET; `facula launch` makes one) only those that know it are let in. Without
    one the master listens on this machine alone, and whoever runs programs on this machine may come in, unless
    FACULA_DISTRIBUTED_OPEN=1 says otherwise. Names are looked up by clients, never by the master.

    Args:
        host_name: the master's address.
        port: its port; 0 (for the master): any that is free, see `port`.
        world_size: how many there will be, the master included.
        is_master: is this the process that holds the table?
        timeout: for connecting, `get` and `wait`.
        wait_for_workers: come back when `world_size` processes have connected.
        multi_tenant: a second master of the same port in this process uses the first one's table.
        master_listen_fd: a socket that listens already, as a number.
        use_libuv: accepted; there is one kind of server.

    Raises:
        DistNetworkError: the port is in use, or nobody answers within the timeout.

    Example:
        >>> from facula.distributed import TCPStore
        >>> store = TCPStore("127.0.0.1", 0, 1, True)
        >>> store.set("a", "1")
        >>> TCPStore("127.0.0.1", store.port, 1, False, wait_for_workers=False).get("a")
        b'1'
    """

    _tenants: dict[int, Server] = {}

    def __init__(self, host_name: str, port: int, world_size: int | None = None, is_master: bool = False,
                 timeout: timedelta = timedelta(seconds=300), wait_for_workers: bool = True,
                 multi_tenant: bool = False, master_listen_fd: int | None = None, use_libuv: bool = True) -> None:
        super().__init__()
        self._seconds = seconds(timeout, DEFAULT_TIMEOUT)
        self._host, self._server, self.libuvBackend = host_name, None, use_libuv
        self._key, self._lock, self._pid = wire.secret(), reentrant_lock(), os.getpid()
        self._sock: socket.socket | None = None
        if is_master:
            self._server = self._serve(host_name, int(port), multi_tenant, master_listen_fd)
            port = self._server.port
            if master_listen_fd is None and not wire.may_listen_anywhere(self._key):
                self._host = "127.0.0.1"
        self._port = int(port)
        self._connect(time.monotonic() + self._seconds)
        if wait_for_workers and world_size is not None and world_size > 0:
            self._await_workers(world_size, is_master)

    def _serve(self, host: str, port: int, multi_tenant: bool, fd: int | None) -> Server:
        if multi_tenant and port in TCPStore._tenants:
            return TCPStore._tenants[port]
        open_to_all = wire.may_listen_anywhere(self._key)
        if not open_to_all and fd is None and not is_this_machine(host):
            raise DistNetworkError(
                f"TCPStore: to listen for other machines ({host}) there has to be a secret that all processes have in "
                "FACULA_DISTRIBUTED_SECRET (facula launch and torchrun make one), or FACULA_DISTRIBUTED_OPEN=1, which "
                "lets everybody in")
        where = "" if open_to_all else "127.0.0.1"
        try:
            listening = None if fd is None else socket.socket(fileno=fd)
            if listening is not None:
                listening.listen(1024)
            server = Server(where, port, self._key, listening)
        except OSError as error:
            raise DistNetworkError(f"The server socket has failed to listen on any local network address. port: {port}"
                                   f", {error.strerror or error}") from None
        if multi_tenant:
            TCPStore._tenants[server.port] = server
        return server

    def _connect(self, until: float) -> None:
        pause, why = 0.01, ""
        while True:
            try:
                sock = socket.create_connection((self._host, self._port),
                                                timeout=max(min(until - time.monotonic(), 10.0), 0.001))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                wire.introduce(sock, self._key)
                self._sock = sock
                return
            except DistNetworkError:
                sock.close()
                raise
            except OSError as error:
                why = str(error)
            if time.monotonic() + pause > until:
                raise DistNetworkError(
                    f"The client socket has timed out after {round(self._seconds * 1000)}ms while trying to connect to "
                    f"({self._host}, {self._port}): {why}")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.5)

    def _await_workers(self, world_size: int, is_master: bool) -> None:
        came = self.add("init/", 1)
        if came >= world_size:
            self.set("init/done", b"1")
        if is_master:
            try:
                self.wait(["init/done"])
            except DistStoreError:
                raise DistStoreError(f"Timed out after {round(self._seconds)} seconds waiting for clients. "
                                     f"{self.add('init/', 0)}/{world_size} clients joined.") from None

    # ---- requests --------------------------------------------------------------------------------------------

    def _ask(self, parts: list[bytes], patience: float) -> list[bytes]:
        with self._lock:
            sock = self._sock
            if sock is None or self._pid != os.getpid():
                if self._pid == os.getpid():
                    raise DistNetworkError(f"the connection to the store at {self._host}:{self._port} has been lost")
                self._pid, self._sock = os.getpid(), None  # a fork: the parent's connection is the parent's
                self._connect(time.monotonic() + self._seconds)
                sock = self._sock
            assert sock is not None
            try:
                sock.settimeout(patience + _GRACE)
                sock.sendall(wire.packed(parts))
                length, = struct.unpack("<I", wire.receive(sock, 4))
                answers = wire.parts_of(wire.receive(sock, length))
            except BaseException as error:  # half an answer: what comes next would be taken for another's
                sock.close()
                self._sock = None
                if not isinstance(error, (OSError, ValueError)):
                    raise
                raise DistNetworkError(f"the store at {self._host}:{self._port} has gone: {error}") from None
        if answers[0] == b"!":
            raise ValueError(answers[1].decode())
        return answers

    def _do(self, what: str, *arguments: Any) -> Any:
        if what == "has":
            arguments = tuple(arguments[0])
        given = [a if isinstance(a, bytes) else _NUMBER.pack(a) for a in arguments]
        answers = self._ask([what.encode(), *given], 60)
        if what == "keys":
            return answers[1:]
        if answers[0] == b"0":
            return None
        if what in ("has", "delete"):
            return answers[1] == b"1"
        return int(answers[1]) if what in ("add", "length") else answers[1]

    def _wait(self, keys: list[bytes], until: float) -> bool:
        limit = max(until - time.monotonic(), 0)
        return self._ask([b"wait", _NUMBER.pack(int(limit * 1e6)), *keys], limit)[0] == b"+"

    def _pop(self, key: bytes, until: float) -> bytes | None:
        limit = max(until - time.monotonic(), 0)
        answers = self._ask([b"take", _NUMBER.pack(int(limit * 1e6)), key], limit)
        return answers[1] if answers[0] == b"+" else None

    @property
    def host(self) -> str:
        """The master's address."""
        return self._host

    @property
    def port(self) -> int:
        """The master's port."""
        return self._port

    def clone(self) -> Store:
        """Another connection to the same table."""
        return TCPStore(self._host, self._port, None, False, self.timeout, wait_for_workers=False)

    def close(self) -> None:
        """Close the connection, and stop serving if this is the master."""
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()
        server, self._server = self._server, None
        if server is not None and server not in TCPStore._tenants.values():
            server.close()

    def __del__(self) -> None:
        if getattr(self, "_pid", None) == os.getpid():
            self.close()
