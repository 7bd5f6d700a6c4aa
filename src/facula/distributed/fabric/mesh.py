"""A connection to each rank of the world, made once, and one thread that reads them all.

Whoever sends does so in its own thread; the reader takes what comes into the array that awaits it, or keeps it until
somebody asks. So two ranks may send to each other what no socket's buffer holds. A rank that sends more than
UNCLAIMED_BYTES that nobody asks for is not read on until somebody waits for it.

A connection that closes without a goodbye is a rank that has died: everything that is awaited in groups that it belongs
to fails, on every rank, at once. What a goodbye leaves is an error only for those who wait for that rank. A rank that
is stopped keeps its connections: so each one's reader says every few seconds that it is alive, and who waits for one
that has said nothing for long is told (`silence`).
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from facula.distributed.constants import DistBackendError, DistNetworkError
from facula.distributed.fabric import message
from facula.distributed.fabric.mailbox import Mailbox
from facula.distributed.fabric.message import ABORT, BEAT, COLLECTIVE, GOODBYE, HEAD_BYTES, Receipt
from facula.distributed.store import wire
from facula.distributed.store.base import Store
from facula.undisturbed import reentrant_lock

UNCLAIMED_BYTES = 1 << 30
_CHUNK = 1 << 16
LINGER = 0.1  # seconds
BEAT_SECONDS = 4.0  # between signs of life


class _Peer:
    """The connection to one rank, and what has come of the message that is coming."""

    __slots__ = ("rank", "sock", "sending", "data", "receipt", "view", "place", "head", "alive", "left", "paused",
                 "heard")

    def __init__(self, rank: int, sock: socket.socket) -> None:
        self.rank, self.sock = rank, sock
        self.sending = threading.Lock()
        self.data = bytearray()  # what has been read and not understood yet
        self.receipt: Receipt | None = None
        self.view: Any = None
        self.place = 0
        self.head: tuple[int, int, int, int, int, int] | None = None
        self.alive, self.left, self.paused = True, False, False
        self.heard = time.monotonic()


class Mesh:
    """The connections of one rank.

    Args:
        store: where addresses are exchanged; whoever may write there is trusted.
        rank, size: this one's number, and how many there are.
        timeout: seconds for all to come.
        address: where this rank is reached by the others.
    """

    def __init__(self, store: Store, rank: int, size: int, timeout: float, address: str) -> None:
        self.rank, self.size, self.mailbox = rank, size, Mailbox()
        self._peers: dict[int, _Peer] = {}
        self._lock = reentrant_lock()
        self.on_death: Callable[[int, str], None] = lambda rank, why: None
        self.on_abort: Callable[[int, int, str], None] = lambda rank, group, why: None
        self.expected: dict[tuple[int, int], str] = {}  # (group, number): the note of a collective under way
        self.on_difference: Callable[[int, int, int, str], None] = lambda rank, group, number, note: None
        self._closing = False
        self._poll = select.epoll() if hasattr(select, "epoll") else None
        self._waker, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._by_number: dict[int, _Peer] = {}
        try:
            self._connect(store, timeout, address)
        except BaseException:
            self.close(False)
            raise
        self._thread = threading.Thread(target=self._read_all, name="facula mesh", daemon=True)
        self._thread.start()

    # ---- connecting ------------------------------------------------------------------------------------------

    def _connect(self, store: Store, timeout: float, address: str) -> None:
        """Ranks connect to those below; each proves that it has read the key that rank 0 has put into the store."""
        if self.size == 1:
            return
        until = time.monotonic() + timeout
        if self.rank == 0:
            store.set("key", wire.greeting()[-wire.NONCE:].hex())
        key = wire.secret() + store.get("key")
        listening = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        try:
            listening.bind((address, 0))
            listening.listen(self.size)
            store.set(f"address/{self.rank}", f"{address} {listening.getsockname()[1]}")
            for other in range(self.rank):
                where, port = store.get(f"address/{other}").decode().split()
                sock = socket.create_connection((where, int(port)), timeout=max(until - time.monotonic(), 0.001))
                wire.introduce(sock, key)
                sock.sendall(self.rank.to_bytes(4, "little"))
                self._adopt(other, sock)
            while len(self._peers) < self.size - 1:
                listening.settimeout(max(until - time.monotonic(), 0.001))
                sock, _ = listening.accept()
                sock.settimeout(min(10.0, max(until - time.monotonic(), 0.001)))
                if not wire.admit(sock, key):
                    sock.close()
                    continue
                self._adopt(int.from_bytes(wire.receive(sock, 4), "little"), sock)
        except OSError as error:
            missing = sorted(set(range(self.size)) - set(self._peers) - {self.rank})
            raise DistNetworkError(f"rank {self.rank} could not connect with ranks {missing} within {timeout:g} s: "
                                   f"{error}") from None
        finally:
            listening.close()

    def _adopt(self, rank: int, sock: socket.socket) -> None:
        if not 0 <= rank < self.size or rank in self._peers or rank == self.rank:
            sock.close()
            raise DistNetworkError(f"two processes say that they are rank {rank}")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setblocking(False)
        self._peers[rank] = peer = _Peer(rank, sock)
        self._by_number[sock.fileno()] = peer

    # ---- sending ---------------------------------------------------------------------------------------------

    def send(self, to: int, kind: int, group: int, number: int, step: int, note: bytes, payload: Any,
             timeout: float) -> None:
        """Send bytes to a rank: back when the system has taken them.

        Raises:
            DistBackendError: the rank has gone, or has taken nothing for `timeout` seconds.
        """
        size = payload.nbytes if isinstance(payload, memoryview) else len(payload)
        head = message.packed(kind, group, number, step, size, note)
        if to == self.rank:
            receipt = self.mailbox.begin(to, (group, kind, number, step), size, note.decode())
            self._fill(receipt, payload, size)
            return
        peer = self._peers[to]
        until = time.monotonic() + timeout
        if not peer.sending.acquire(timeout=min(timeout, threading.TIMEOUT_MAX)):
            raise DistBackendError(f"sending to rank {to} timed out after {timeout:g} s: another message is on its way")
        try:
            if not peer.alive:
                raise DistBackendError(f"rank {to} has {'left' if peer.left else 'died'}: nothing can be sent to it")
            try:
                if size <= _CHUNK:
                    self._push(peer, memoryview(head + bytes(payload)), until)
                else:
                    self._push(peer, memoryview(head), until)
                    self._push(peer, memoryview(payload).cast("B"), until)
            except OSError as error:
                if isinstance(error, TimeoutError):
                    # half a message has gone: the stream cannot be used any more
                    self._lost(peer, f"rank {to} has taken nothing for {timeout:g} s")
                    raise DistBackendError(f"sending to rank {to} timed out after {timeout:g} s: it does not receive"
                                           ) from None
                self._lost(peer, str(error))
                raise DistBackendError(f"rank {to} has died ({error.strerror or error})") from None
        finally:
            peer.sending.release()

    @staticmethod
    def _push(peer: _Peer, data: memoryview, until: float) -> None:
        place, size = 0, data.nbytes
        while place < size:
            try:
                place += peer.sock.send(data[place:place + (1 << 22)])
            except BlockingIOError:
                poll = select.poll()
                poll.register(peer.sock, select.POLLOUT)
                if not poll.poll(max(until - time.monotonic(), 0) * 1000):
                    raise TimeoutError("nothing taken") from None

    @staticmethod
    def _fill(receipt: Receipt, payload: Any, size: int) -> None:
        if receipt.view is None or receipt.view.nbytes != size:
            receipt.view = memoryview(bytearray(payload))
        else:
            receipt.view[:] = memoryview(payload).cast("B")
        receipt.complete()

    # ---- receiving -------------------------------------------------------------------------------------------

    def post(self, source: int, key: tuple[int, int, int, int], view: memoryview | None) -> Receipt:
        """Await a message from a rank."""
        receipt = self.mailbox.post(source, key, view)
        if source != self.rank and not receipt.done:
            peer = self._peers[source]
            if not peer.alive:
                self._tell(peer)
            elif peer.paused:
                self._wake()
        return receipt

    def post_any(self, sources: frozenset[int], key: tuple[int, int, int, int]) -> Receipt:
        """Await a message of that key from whichever of these ranks sends one."""
        receipt = self.mailbox.post_any(sources, key)
        if not receipt.done and not any(s == self.rank or self._peers[s].alive for s in sources):
            self.mailbox.withdraw(receipt)
            receipt.complete(DistBackendError("recv: all ranks that it could come from have gone"))
        self._wake()
        return receipt

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._waker.send(b"x")

    def _read_all(self) -> None:
        assert self._poll is not None
        poll = self._poll
        poll.register(self._woken, select.EPOLLIN)
        for number in self._by_number:
            poll.register(number, select.EPOLLIN)
        beat = time.monotonic() + BEAT_SECONDS
        while not self._closing:
            if time.monotonic() >= beat:
                beat = time.monotonic() + BEAT_SECONDS
                self._beat()
            for number, _ in poll.poll(max(beat - time.monotonic(), 0)):
                if number == self._woken.fileno():
                    with contextlib.suppress(BlockingIOError):
                        self._woken.recv(4096)
                    self._resume()
                    continue
                peer = self._by_number.get(number)
                if peer is None:
                    continue
                try:
                    self._read(peer)
                except BlockingIOError:
                    pass
                except (OSError, ValueError) as error:
                    self._lost(peer, getattr(error, "strerror", None) or str(error))
                if peer.alive and self.mailbox.unclaimed.get(peer.rank, 0) > UNCLAIMED_BYTES \
                        and peer.receipt is None and not self.mailbox.awaits(peer.rank):
                    poll.modify(number, 0)
                    peer.paused = True

    def _beat(self) -> None:
        """Tell all that this rank is alive, but those to whom something is being sent. It never waits: a connection
        that counts as writable has room for more than a head."""
        head = message.packed(BEAT, 0, 0, 0, 0, b"")
        for peer in self._peers.values():
            if peer.alive and peer.sending.acquire(blocking=False):
                try:
                    ready = select.poll()
                    ready.register(peer.sock, select.POLLOUT)
                    if any(event & select.POLLOUT for _, event in ready.poll(0)):
                        peer.sock.send(head)
                except OSError:
                    pass  # whoever reads from it will see that
                finally:
                    peer.sending.release()

    def silence(self, rank: int) -> float:
        """For how many seconds nothing has come from a rank: more than a few times BEAT_SECONDS if it is stopped, or
        its machine cannot be reached. 0 while nobody reads what it sends."""
        peer = self._peers.get(rank)
        return 0.0 if peer is None or peer.paused or not peer.alive else time.monotonic() - peer.heard

    def _resume(self) -> None:
        assert self._poll is not None
        for number, peer in self._by_number.items():
            if peer.paused and peer.alive and (
                    self.mailbox.awaits(peer.rank)
                    or self.mailbox.unclaimed.get(peer.rank, 0) <= UNCLAIMED_BYTES):
                peer.paused = False
                self._poll.modify(number, select.EPOLLIN)

    def _read(self, peer: _Peer) -> None:
        """Take what there is: heads by way of a small buffer, payloads straight to where they go."""
        peer.heard = time.monotonic()
        if peer.receipt is not None:
            for _ in range(16):  # then the others have their turn
                got = peer.sock.recv_into(peer.view[peer.place:])
                if not got:
                    raise ConnectionResetError("connection closed")
                peer.place += got
                if peer.place == peer.view.nbytes:
                    self._finish(peer)
                    return
            return
        data = peer.sock.recv(_CHUNK)
        if not data:
            raise ConnectionResetError("connection closed")
        peer.data += data
        while len(peer.data) >= HEAD_BYTES:
            head = message.parsed(peer.data)
            kind, group, number, step, length, noted = head
            start = HEAD_BYTES + noted
            if len(peer.data) < start:
                return
            note = bytes(peer.data[HEAD_BYTES:start]).decode(errors="replace")
            if kind in (ABORT, GOODBYE, BEAT):
                del peer.data[:start + length]
                if kind == GOODBYE:
                    peer.left = True
                elif kind == ABORT:
                    self.on_abort(peer.rank, group, note)
                continue
            if kind == COLLECTIVE and self.expected.get((group, number), note) != note:
                self.on_difference(peer.rank, group, number, note)
            receipt = self.mailbox.begin(peer.rank, (group, kind, number, step), length, note)
            if receipt.view is None or receipt.view.nbytes != length:
                receipt.view = memoryview(bytearray(length))
            peer.receipt, peer.view, peer.head = receipt, receipt.view, head
            peer.place = min(length, len(peer.data) - start)
            peer.view[:peer.place] = peer.data[start:start + peer.place]
            del peer.data[:start + peer.place]
            if peer.place < length:
                return
            self._finish(peer)

    @staticmethod
    def _finish(peer: _Peer) -> None:
        receipt, peer.receipt, peer.view = peer.receipt, None, None
        assert receipt is not None
        receipt.complete()

    # ---- ranks that go ---------------------------------------------------------------------------------------

    def _lost(self, peer: _Peer, why: str) -> None:
        with self._lock:
            if not peer.alive:
                return
            peer.alive = False
        number = peer.sock.fileno()
        if self._poll is not None and number >= 0:
            with contextlib.suppress(OSError, ValueError):
                self._poll.unregister(number)
        with contextlib.suppress(OSError):
            peer.sock.shutdown(socket.SHUT_RDWR)
        receipt, peer.receipt, peer.view = peer.receipt, None, None
        self._tell(peer)
        if receipt is not None:
            receipt.complete(DistBackendError(f"rank {peer.rank} has died in the middle of a message ({why})"))
        if not peer.left and not self._closing:
            self.on_death(peer.rank, why)

    def _tell(self, peer: _Peer) -> None:
        how = "has left (it called destroy_process_group, or ended)" if peer.left else \
            "has died: its connection was closed without a word"
        self.mailbox.fail(DistBackendError(f"rank {peer.rank} {how}"), source=peer.rank)

    def abort(self, ranks: list[int], group: int, why: str) -> None:
        """Tell these ranks that a group is of no use any more."""
        note = why.encode()[:4000]
        for rank in ranks:
            if rank != self.rank and rank in self._peers and self._peers[rank].alive:
                with contextlib.suppress(DistBackendError):
                    self.send(rank, ABORT, group, 0, 0, note, b"", 1.0)

    def close(self, goodbye: bool = True) -> None:
        """Say goodbye and close everything."""
        if self._closing:
            return
        if goodbye:
            for peer in self._peers.values():
                if peer.alive:
                    with contextlib.suppress(DistBackendError):
                        self.send(peer.rank, GOODBYE, 0, 0, 0, b"", b"", 1.0)
            # A connection that is closed while something lies unread in it is reset, and what we have said last is
            # lost: until the others have read it, we read on.
            if any(peer.alive and not peer.left for peer in self._peers.values()):
                time.sleep(LINGER)
        self._closing = True
        self._wake()
        thread = getattr(self, "_thread", None)
        if thread is not None and thread is not threading.current_thread():
            thread.join(5)
        self.mailbox.fail(DistBackendError("the process group has been destroyed"))
        for peer in self._peers.values():
            peer.sock.close()
        self._waker.close()
        self._woken.close()
        if self._poll is not None:
            self._poll.close()
