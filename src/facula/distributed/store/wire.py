"""Messages of a socket, and the handshake before the first one.

A message is a length (4 bytes) and so many bytes. Before the first, both sides prove that they know the group's secret
without saying it: each sends random bytes and answers the other's with an HMAC over both. Without a secret the key of
that HMAC is empty: the handshake then tells programs that speak something else from ours, and nothing more. Nothing is
encrypted: who can read or change the packets of the network can read and change tensors.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
import struct

from facula import config
from facula.distributed.constants import DistNetworkError

MAGIC = b"FACULA1\n"
NONCE = 24
GREETING = len(MAGIC) + NONCE
PROOF = 32
LONGEST = 1 << 30  # of a message between those that know the secret
_LENGTH = struct.Struct("<I")


def secret() -> bytes:
    """The secret of the group as the launcher has handed it on; empty where there is none."""
    return config.DISTRIBUTED_SECRET.value.encode()


def greeting() -> bytes:
    """What either side begins with."""
    return MAGIC + os.urandom(NONCE)


def proof(key: bytes, side: bytes, client: bytes, server: bytes) -> bytes:
    """What shows that `side` (b"client", b"server") knows the key; of both greetings."""
    return hmac.new(key, side + client + server, hashlib.sha256).digest()


def known(given: bytes, key: bytes, side: bytes, client: bytes, server: bytes) -> bool:
    """Is that the proof?"""
    return hmac.compare_digest(given, proof(key, side, client, server))


def receive(sock: socket.socket, count: int) -> bytes:
    """So many bytes. ConnectionError if the other side closes before."""
    data = bytearray(count)
    view, place = memoryview(data), 0
    while place < count:
        got = sock.recv_into(view[place:])
        if not got:
            raise ConnectionResetError("the other side has closed the connection")
        place += got
    return bytes(data)


def introduce(sock: socket.socket, key: bytes) -> None:
    """The client's side of the handshake.

    Raises:
        DistNetworkError: the other side is something else, or has another secret.
    """
    mine = greeting()
    sock.sendall(mine)
    try:
        theirs = receive(sock, GREETING)
        if not theirs.startswith(MAGIC):
            raise DistNetworkError("what listens there is no store of Facula's")
        sock.sendall(proof(key, b"client", mine, theirs))
        shown = receive(sock, PROOF)
    except (ConnectionError, TimeoutError) as error:
        raise DistNetworkError(f"{error}: it is not Facula's, or FACULA_DISTRIBUTED_SECRET is another there") from None
    if not known(shown, key, b"server", mine, theirs):
        raise DistNetworkError("the other side does not know the secret (FACULA_DISTRIBUTED_SECRET)")


def admit(sock: socket.socket, key: bytes) -> bool:
    """The server's side of the handshake: does the client know the secret? For a socket with a time-out."""
    mine = greeting()
    try:
        theirs = receive(sock, GREETING)
        if not theirs.startswith(MAGIC):
            return False
        sock.sendall(mine)
        if not known(receive(sock, PROOF), key, b"client", theirs, mine):
            return False
        sock.sendall(proof(key, b"server", theirs, mine))
    except OSError:
        return False
    return True


def packed(parts: list[bytes]) -> bytes:
    """A message of several parts, with its length."""
    body = b"".join(_LENGTH.pack(len(part)) + part for part in parts)
    return _LENGTH.pack(len(body)) + body


def parts_of(body: bytes | memoryview) -> list[bytes]:
    """The parts of a message. ValueError if it is malformed."""
    found, place = [], 0
    while place < len(body):
        if place + 4 > len(body):
            raise ValueError("a part without its length")
        length, = _LENGTH.unpack_from(body, place)
        place += 4
        if place + length > len(body):
            raise ValueError("a part beyond the message's end")
        found.append(bytes(body[place:place + length]))
        place += length
    return found


def may_listen_anywhere(key: bytes) -> bool:
    """May others than this machine's own processes connect? With a secret, or where the user says so."""
    return bool(key) or config.DISTRIBUTED_OPEN.value
