"""Compiled kernels on disk, shared by every process of the user.

One file per entry, named by its key. A file is

    MAGIC (8 bytes)   sha256 of name and payload (32 bytes)   payload

so that a torn, altered or misplaced file reads as absent. Writers fill a file under a temporary name and
rename it: readers and other writers never see half an entry. The last use is kept in the file's mtime,
refreshed at most once a day; when the directory outgrows its limit the longest unused entries go. The
cache only ever saves time: whatever goes wrong with it (read-only or full disk, no home) is silent and
work goes on.

A pack of all entries in one file was weighed and refused: opening, reading and checking twenty small
files takes under a millisecond, and single files need no locking between processes.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time

from facula.config import CACHE_DIR, CACHE_LIMIT

FORMAT = 1  # part of every name: raise it when the meaning of a payload changes
MAGIC = b"FACULA%02d" % FORMAT
_HEADER = len(MAGIC) + 32
_DAY = 86400.0
_STALE_TEMPORARY = 3600.0  # seconds after which a writer's leftover counts as abandoned

_directory: str | None = None  # "" when there is nowhere to write
_from_setting: str | None = None
_written_since_check: int | None = None  # bytes; None: nothing written by this process yet
_sequence = 0


def directory() -> str:
    """Where entries are kept; "" if the cache is off or there is no place for it."""
    global _directory, _from_setting
    if _directory is None or _from_setting != CACHE_DIR.value:
        _from_setting = CACHE_DIR.value
        _directory = _choose()
    return _directory if CACHE_LIMIT.value else ""


def _choose() -> str:
    """The setting, the user's cache directory, or a directory of the user's under /tmp."""
    if CACHE_DIR.value:
        candidates = [os.path.abspath(os.path.expanduser(CACHE_DIR.value))]
    else:
        home = os.path.expanduser("~")
        base = os.environ.get("XDG_CACHE_HOME") or (os.path.join(home, ".cache") if home != "~" else "")
        owner = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
        candidates = [os.path.join(base, "facula")] if os.path.isabs(base) else []
        candidates.append(os.path.join(tempfile.gettempdir(), f"facula-{owner}"))
    for path in candidates:
        try:
            os.makedirs(path, mode=0o700, exist_ok=True)
            if _trusted(path):
                return path
        except OSError:
            continue
    return ""


def _trusted(path: str) -> bool:
    """Entries are executed, so the directory must be ours (or root's) and closed to other writers."""
    if not hasattr(os, "getuid"):
        return True
    found = os.stat(path)
    return found.st_uid in (os.getuid(), 0) and not found.st_mode & 0o002


def key(*parts: str) -> str:
    """The name under which something that depends on `parts` alone is kept."""
    return hashlib.sha256("\0".join((str(FORMAT), *parts)).encode()).hexdigest()


def _checksum(name: str, payload: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\0" + payload).digest()


def load(name: str) -> bytes | None:
    """The payload stored under `name`, or None when there is none that is intact."""
    where = directory()
    if not where:
        return None
    path = os.path.join(where, name)
    try:
        with open(path, "rb", buffering=0) as file:
            content = file.readall()
            modified = os.fstat(file.fileno()).st_mtime
    except OSError:
        return None
    payload = content[_HEADER:]
    if content[:len(MAGIC)] != MAGIC or content[len(MAGIC):_HEADER] != _checksum(name, payload):
        return None  # the caller compiles again, and its store() replaces the damaged file
    if time.time() - modified > _DAY:
        try:
            os.utime(path)
        except OSError:
            pass
    return payload


def store(name: str, payload: bytes) -> bool:
    """Keep `payload` under `name`. False when it could not be written, which is nobody's error."""
    global _sequence
    where = directory()
    if not where:
        return False
    _sequence += 1
    temporary = os.path.join(where, f".{os.getpid()}-{_sequence}-{time.time_ns():x}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError:
        return False
    try:
        with open(descriptor, "wb", buffering=0) as file:
            content = MAGIC + _checksum(name, payload) + payload
            if file.write(content) != len(content):  # a full disk may take a part, without an error
                raise OSError("short write")
        os.replace(temporary, os.path.join(where, name))
    except OSError:
        try:
            os.unlink(temporary)
        except OSError:
            pass
        return False
    _bound(where, len(content))
    return True


def _bound(where: str, written: int) -> None:
    """Look at the directory's size at this process's first write, then after every 1/16 of the limit."""
    global _written_since_check
    if _written_since_check is not None:
        _written_since_check += written
        if _written_since_check < CACHE_LIMIT.value // 16:
            return
    _written_since_check = 0
    evict(where, CACHE_LIMIT.value)


def entries(where: str) -> list[tuple[float, int, str]]:
    """(last use, bytes, path) of every entry, temporary files included."""
    found = []
    try:
        with os.scandir(where) as listing:
            for item in listing:
                try:
                    if item.is_file(follow_symlinks=False):
                        status = item.stat(follow_symlinks=False)
                        found.append((status.st_mtime, status.st_size, item.path))
                except OSError:
                    continue  # another process removed it meanwhile
    except OSError:
        pass
    return found


def evict(where: str, limit: int) -> None:
    """Remove abandoned temporary files, then the longest unused entries until 3/4 of `limit` is kept."""
    now = time.time()
    kept = []
    for modified, size, path in entries(where):
        if os.path.basename(path).startswith("."):
            if now - modified > _STALE_TEMPORARY:
                _remove(path)
        else:
            kept.append((modified, size, path))
    total = sum(size for _, size, _ in kept)
    if total <= limit:
        return
    kept.sort()
    for _, size, path in kept:
        if total <= limit * 3 // 4:
            break
        if _remove(path):
            total -= size


def _remove(path: str) -> bool:
    try:
        os.unlink(path)
    except OSError:
        return False
    return True


def statistics() -> dict[str, object]:
    """Directory, number of entries and their bytes, for `facula doctor`."""
    where = directory()
    found = entries(where) if where else []
    return {"directory": where or None, "entries": len(found), "bytes": sum(size for _, size, _ in found),
            "limit": CACHE_LIMIT.value}
