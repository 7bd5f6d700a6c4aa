"""Stores: small tables of bytes by which processes find each other (`torch.distributed.Store` and kin).

    table.py       what a store holds and what may be asked of it, for one process
    base.py        Store, with the methods of all stores; PrefixStore
    local.py       HashStore: between threads
    file.py        FileStore: between processes that see one file system
    wire.py        messages of a socket, and the handshake by which both sides prove that they know the secret
    server.py      the process that holds a TCPStore's table
    tcp.py         TCPStore: between machines
"""

from facula.distributed.store.base import PrefixStore, Store
from facula.distributed.store.file import FileStore
from facula.distributed.store.local import HashStore
from facula.distributed.store.tcp import TCPStore

__all__ = ["FileStore", "HashStore", "PrefixStore", "Store", "TCPStore"]
