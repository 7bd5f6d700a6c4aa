"""The process that holds a TCPStore's table: one thread that reads requests, answers, and remembers who waits.

A request is a message of parts: what is asked (one of the Table's methods, or set, get, has, keys, wait, take), then
its arguments. The answer's first part is b"+" (the rest is the answer), b"0" (nothing: no such key, or not in time) or
b"!" (a text, why not). A stranger gets as far as the handshake; whoever sends what cannot be read is disconnected.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from typing import Any

from facula.distributed.store import wire
from facula.distributed.store.local import answer
from facula.distributed.store.table import Table

HANDSHAKE = 10.0  # seconds
_LENGTH = struct.Struct("<I")
_NUMBER = struct.Struct("<q")
_ARGUMENTS = {b"set": 2, b"get": 1, b"keys": 0, b"add": 2, b"append": 2, b"compare_set": 3, b"delete": 1,
              b"push": 2, b"length": 1}


class _Client:
    """One connection: what has come of a message, what is still to be sent."""

    __slots__ = ("sock", "came", "sending", "phase", "greeting", "theirs", "since", "waits")

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.came, self.sending = sock, bytearray(), bytearray()
        self.phase, self.greeting, self.theirs = "greeting", wire.greeting(), b""
        self.since = time.monotonic()
        self.waits: tuple[bytes, list[bytes], float] | None = None  # "wait" or "take", keys, until when


class Server:
    """Listens, from now on and until `close`.

    Args:
        host: where; empty: on all networks if there is a secret (or the user wants it open), else on this machine.
        port: 0 for any that is free; `port` is the one it became.
        key: the group's secret.
    """

    def __init__(self, host: str, port: int, key: bytes, listening: socket.socket | None = None) -> None:
        self._key, self._table = key, Table()
        self._listening = listening if listening is not None else _listen(host, port)
        self._listening.setblocking(False)
        self.port = int(self._listening.getsockname()[1])
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._waker, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._clients: set[_Client] = set()
        self._open = True
        self._thread = threading.Thread(target=self._serve, name="facula TCPStore", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and close all connections."""
        self._open = False
        with contextlib.suppress(OSError):
            self._waker.send(b"x")
        self._thread.join(5)

    # ---- the thread ------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            while self._open:
                for key, events in self._selector.select(self._patience()):
                    if key.fileobj is self._listening:
                        self._accept()
                    elif key.fileobj is not self._woken:
                        self._attend(key.data, events)
                self._look_at_clocks()
        finally:
            for client in list(self._clients):
                self._drop(client)
            for sock in (self._listening, self._woken, self._waker):
                sock.close()
            self._selector.close()

    def _patience(self) -> float | None:
        times = [c.waits[2] for c in self._clients if c.waits] + [
            c.since + HANDSHAKE for c in self._clients if c.phase != "open"]
        return None if not times else max(min(times) - time.monotonic(), 0)

    def _look_at_clocks(self) -> None:
        now = time.monotonic()
        for client in list(self._clients):
            if client.waits and now >= client.waits[2]:
                client.waits = None
                self._reply(client, [b"0"])
                self._read_on(client)
            elif client.phase != "open" and now > client.since + HANDSHAKE:
                self._drop(client)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            sock, _ = self._listening.accept()
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            client = _Client(sock)
            self._clients.add(client)
            self._selector.register(sock, selectors.EVENT_READ, client)

    def _drop(self, client: _Client) -> None:
        self._clients.discard(client)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(client.sock)
        client.sock.close()

    def _attend(self, client: _Client, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                self._send_on(client)
            if events & selectors.EVENT_READ:
                data = client.sock.recv(1 << 18)
                if not data:
                    return self._drop(client)
                client.came += data
                self._read_on(client)
        except BlockingIOError:
            pass
        except Exception:  # a connection that breaks, or says what nobody understands, is no longer one
            self._drop(client)

    def _read_on(self, client: _Client) -> None:
        """Take what has come, message by message; a client that waits is answered before it is read on."""
        while client in self._clients and client.waits is None:
            if client.phase != "open":
                if not self._shake_hands(client):
                    return
                continue
            if len(client.came) < 4:
                return
            length, = _LENGTH.unpack_from(client.came)
            if length > wire.LONGEST:
                raise ValueError("a message too long")
            if len(client.came) < 4 + length:
                return
            parts = wire.parts_of(bytes(client.came[4:4 + length]))
            del client.came[:4 + length]
            self._answer(client, parts)

    def _shake_hands(self, client: _Client) -> bool:
        need = wire.GREETING if client.phase == "greeting" else wire.PROOF
        if not bytes(client.came[:len(wire.MAGIC)]).startswith(wire.MAGIC[:len(client.came)]) \
                and client.phase == "greeting":
            raise ValueError("a stranger")
        if len(client.came) < need:
            return False
        said = bytes(client.came[:need])
        del client.came[:need]
        if client.phase == "greeting":
            client.theirs, client.phase = said, "proof"
            self._send(client, client.greeting)
        elif wire.known(said, self._key, b"client", client.theirs, client.greeting):
            client.phase = "open"
            self._send(client, wire.proof(self._key, b"server", client.theirs, client.greeting))
        else:
            raise ValueError("a stranger")
        return True

    # ---- requests --------------------------------------------------------------------------------------------

    def _answer(self, client: _Client, parts: list[bytes]) -> None:
        what, arguments = parts[0], parts[1:]
        if what in (b"wait", b"take"):
            limit, = _NUMBER.unpack(arguments[0])
            client.waits = (what, arguments[1:], time.monotonic() + limit / 1e6)
            self._release([client])
            return
        if what == b"has":
            return self._reply(client, [b"+", b"1" if self._table.has(arguments) else b"0"])
        if len(arguments) != _ARGUMENTS[what]:
            raise ValueError("a request with other arguments")
        try:
            given: list[Any] = list(arguments)
            if what == b"add":
                given[1], = _NUMBER.unpack(given[1])
            found = answer(self._table, what.decode(), tuple(given))
        except ValueError as error:
            return self._reply(client, [b"!", str(error).encode()])
        if found is None:
            self._reply(client, [b"0"])
        elif isinstance(found, bytes):
            self._reply(client, [b"+", found])
        elif isinstance(found, list):
            self._reply(client, [b"+", *found])
        else:
            self._reply(client, [b"+", str(int(found)).encode()])
        if what in (b"set", b"add", b"append", b"compare_set", b"push"):
            self._release([c for c in self._clients if c.waits and arguments[0] in c.waits[1]])

    def _release(self, waiting: list[_Client]) -> None:
        """Answer those of them whose keys are there."""
        for client in waiting:
            if client.waits is None:
                continue
            what, keys, _ = client.waits
            if what == b"wait":
                answers = [b"+"] if self._table.has(keys) else None
            else:
                value = self._table.pop(keys[0])
                answers = None if value is None else [b"+", value]
            if answers is not None:
                client.waits = None
                self._reply(client, answers)
                self._read_on(client)

    def _reply(self, client: _Client, parts: list[bytes]) -> None:
        self._send(client, wire.packed(parts))

    def _send(self, client: _Client, data: bytes) -> None:
        client.sending += data
        with contextlib.suppress(BlockingIOError):
            self._send_on(client)
        if client.sending:
            self._selector.modify(client.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, client)

    def _send_on(self, client: _Client) -> None:
        try:
            while client.sending:
                del client.sending[:client.sock.send(client.sending[:1 << 18])]
        except BlockingIOError:
            raise
        except OSError:
            return self._drop(client)
        self._selector.modify(client.sock, selectors.EVENT_READ, client)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(1024)
    except OSError:
        sock.close()
        raise
    return sock
