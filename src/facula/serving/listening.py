"""The socket that a server listens on, made before anything is loaded: what is wrong with it is said at once."""

from __future__ import annotations

import socket
from typing import Any


class CannotListen(Exception):
    """The address is none of this machine's, or its port is taken."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises CannotListen."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address[0], port, *address[2:]))
            listener.listen(2048)
        except BaseException:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        raise refused(host, port, error) from None
    return listener


def refused(host: str, port: Any, error: Any) -> CannotListen:
    """What is said where nobody can listen."""
    return CannotListen(f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}; --host is an "
                        "address of this machine, --port a free port (0: any)")
