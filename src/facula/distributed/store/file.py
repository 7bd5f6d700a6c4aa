"""`FileStore`: a store in a file that all processes see.

The file is a log: records of (kind, key, value), read on from where one has come to. Whoever writes holds a lock on it
(`fcntl`), and reads what others have written before.
"""

from __future__ import annotations

import os
import struct
from typing import Any

from facula.distributed.store.base import Store
from facula.distributed.store.local import answer
from facula.distributed.store.table import Table
from facula.undisturbed import reentrant_lock

_HEAD = struct.Struct("<cII")
# The file's lock is between processes: it does not keep one process's threads, or its stores of one file, apart.
_here = reentrant_lock()
_KINDS = {b"S": "set", b"D": "delete", b"Q": "push", b"P": "pop"}


class FileStore(Store):
    """A store in the file `file_name`, which is made where it is not there.

    Args:
        file_name: where it lies, on a file system whose locks all processes see.
        world_size: when so many have opened it and all have let go, the last one removes the file; -1: it stays.

    Example:
        >>> import os, tempfile
        >>> from facula.distributed import FileStore
        >>> name = os.path.join(tempfile.mkdtemp(), "store")
        >>> FileStore(name, 2).set("key", "1")
        >>> FileStore(name, 2).get("key")
        b'1'
    """

    def __init__(self, file_name: str, world_size: int = -1) -> None:
        super().__init__()
        self._path, self._world = os.fspath(file_name), world_size
        self._table, self._read = Table(), 0
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        self._pid = os.getpid()
        self._do("add", b"\0opened", 1)

    @property
    def path(self) -> str:
        """Where the file lies."""
        return self._path

    def _catch_up(self) -> None:
        size = os.fstat(self._fd).st_size
        if size <= self._read:
            return
        data = os.pread(self._fd, size - self._read, self._read)
        place = 0
        while place < len(data):
            kind, key_length, length = _HEAD.unpack_from(data, place)
            place += _HEAD.size
            key, value = data[place:place + key_length], data[place + key_length:place + key_length + length]
            place += key_length + length
            what = _KINDS[kind]
            answer(self._table, what, (key, value) if what in ("set", "push") else (key,))
        self._read += place

    def _write(self, kind: bytes, key: bytes, value: bytes = b"") -> None:
        record = _HEAD.pack(kind, len(key), len(value)) + key + value
        at = self._read
        while record:
            done = os.pwrite(self._fd, record, at)
            at, record = at + done, record[done:]
        self._read = at

    def _do(self, what: str, *arguments: Any) -> Any:
        import fcntl
        looks = what in ("get", "has", "keys", "length")
        with _here:
            fcntl.lockf(self._fd, fcntl.LOCK_SH if looks else fcntl.LOCK_EX)
            try:
                return self._done(what, arguments, looks)
            finally:
                fcntl.lockf(self._fd, fcntl.LOCK_UN)

    def _done(self, what: str, arguments: tuple[Any, ...], looks: bool) -> Any:
        self._catch_up()
        found = answer(self._table, what, arguments)
        if what == "keys":
            return [key for key in found if not key.startswith(b"\0")]
        if looks:
            return found
        key = arguments[0]
        if what == "push":
            self._write(b"Q", key, arguments[1])
        elif what == "pop":
            if found is not None:
                self._write(b"P", key)
        elif what == "delete":
            self._write(b"D", key)
        elif key in self._table.values:
            self._write(b"S", key, self._table.values[key])
        return found

    def clone(self) -> Store:
        """This store: its calls do not wait for each other."""
        return self

    def __del__(self) -> None:
        fd, self._fd = getattr(self, "_fd", -1), -1
        if fd < 0 or os.getpid() != self._pid:
            return
        if _here._is_owned():  # type: ignore[attr-defined]
            return  # the collector has come while this thread is in a store: closing would let go of its lock
        with _here:
            self._let_go(fd)

    def _let_go(self, fd: int) -> None:
        try:
            self._fd = fd
            if self._do("add", b"\0closed", 1) >= self._world > 0 and os.path.exists(self._path):
                os.unlink(self._path)
        except (OSError, ImportError, TypeError):
            pass  # the file has gone, or Python itself is ending
        finally:
            self._fd = -1
            os.close(fd)
