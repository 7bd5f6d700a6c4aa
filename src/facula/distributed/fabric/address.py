"""By which address this machine is reached: asked of the kernel's routes, no names are looked up."""

from __future__ import annotations

import os
import socket

from facula.distributed.store import TCPStore
from facula.distributed.store.base import PrefixStore, Store
from facula.distributed.store.tcp import is_this_machine
from facula.distributed.store.wire import may_listen_anywhere, secret


def own_address(store: Store) -> str:
    """The address of the interface that leads to the store's master, or of GLOO_SOCKET_IFNAME's."""
    name = os.environ.get("GLOO_SOCKET_IFNAME") or os.environ.get("FACULA_SOCKET_IFNAME")
    if name:
        return _of_interface(name.split(",")[0])
    while isinstance(store, PrefixStore):
        store = store.underlying_store
    if not isinstance(store, TCPStore) or is_this_machine(store.host) or not may_listen_anywhere(secret()):
        return "127.0.0.1"
    sock = store._sock
    return "127.0.0.1" if sock is None else str(sock.getsockname()[0])


def _of_interface(name: str) -> str:
    import fcntl
    import struct
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            found = fcntl.ioctl(sock.fileno(), 0x8915, struct.pack("256s", name.encode()[:15]))  # SIOCGIFADDR
        except OSError as error:
            raise ValueError(f"GLOO_SOCKET_IFNAME: no interface {name!r} with an IPv4 address ({error.strerror})"
                             ) from None
    return socket.inet_ntoa(found[20:24])
