"""Compiled kernels on disk, shared by every process of the user.

One file per entry, named by its key and `.facula`. A file is

    MAGIC (8 bytes)   sha256 of name and payload (32 bytes)   payload

so that a torn, altered or misplaced file reads as absent. Writers fill a file under a temporary name and
rename it: readers and other writers never see half an entry. The last use is kept in the file's mtime,
refreshed at most once a day; when the directory outgrows its limit the longest unused entries go. The
cache only ever saves time: whatever goes wrong with it (read-only or full disk, no home) is silent and
work goes on.

Entries are machine code, and are executed. The checksum finds damage; it is no signature, for whoever may write
here could also write a key. What keeps strangers out is whose the files are: directory and entries must belong to
the user (or root), be closed to all other writers, and be what they seem, not links, pipes or devices; else they are
not used, and `facula doctor` says why. Files that are not entries are never touched, whatever lies in the directory.

A pack of all entries in one file was weighed and refused: opening, reading and checking twenty small
files takes under a millisecond, and single files need no locking between processes.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable

from facula.config import CACHE_DIR, CACHE_LIMIT

FORMAT = 1  # part of every name: raise it when the meaning of a payload changes
MAGIC = b"FACULA%02d" % FORMAT
_HEADER = len(MAGIC) + 32
_ENTRY = re.compile(r"[\w-]+\.facula")
_TEMPORARY = re.compile(r"\.\d+-\d+-[0-9a-f]+\.facula-new")
_BINARY = getattr(os, "O_BINARY", 0)
_DAY = 86400.0
_STALE_TEMPORARY = 3600.0  # seconds after which a writer's leftover counts as abandoned

_directory: str | None = None  # "" when there is nowhere to write
_from_setting: str | None = None
_refusals: list[str] = []  # directories that are not used, and why
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
    _refusals.clear()
    for path in candidates:
        try:
            os.makedirs(path, mode=0o700, exist_ok=True)
            wrong = _distrust(os.lstat(path), stat.S_ISDIR, "directory")
        except OSError as error:
            wrong = str(error)
        if not wrong:
            return path
        _refusals.append(f"{path}: {wrong}")
    return ""


def _distrust(found: os.stat_result, kind: Callable[[int], bool], what: str) -> str:
    """Why a file or directory (not what a link leads to) is not to be used; "" if it is ours alone."""
    if not kind(found.st_mode):
        return f"is not a {what} but a link or something else"
    if hasattr(os, "getuid"):
        if found.st_uid not in (os.getuid(), 0):
            return f"belongs to user {found.st_uid}"
        if found.st_mode & 0o022:
            return f"others may write to it (mode {stat.S_IMODE(found.st_mode):o})"
    return ""


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
    path = os.path.join(where, f"{name}.facula")
    try:
        # a link is an error, and a pipe does not block
        descriptor = os.open(path, os.O_RDONLY | _BINARY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with open(descriptor, "rb", buffering=0) as file:
            found = os.fstat(descriptor)
            if _distrust(found, stat.S_ISREG, "file") or found.st_size > CACHE_LIMIT.value + _HEADER:
                return None
            content = file.readall()
    except OSError:
        return None
    payload = content[_HEADER:]
    if content[:len(MAGIC)] != MAGIC or content[len(MAGIC):_HEADER] != _checksum(name, payload):
        return None  # the caller compiles again, and its store() replaces the damaged file
    if time.time() - found.st_mtime > _DAY:
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
    temporary = os.path.join(where, f".{os.getpid()}-{_sequence}-{time.time_ns():x}.facula-new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o600)
    except OSError:
        return False
    try:
        with open(descriptor, "wb", buffering=0) as file:
            content = MAGIC + _checksum(name, payload) + payload
            if file.write(content) != len(content):  # a full disk may take a part, without an error
                raise OSError("short write")
        os.replace(temporary, os.path.join(where, f"{name}.facula"))
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
    """(last use, bytes, path) of every entry, temporary files included; of nothing else that lies there."""
    found = []
    try:
        with os.scandir(where) as listing:
            for item in listing:
                try:
                    if not _ENTRY.fullmatch(item.name) and not _TEMPORARY.fullmatch(item.name):
                        continue
                    status = item.stat(follow_symlinks=False)
                    if not _distrust(status, stat.S_ISREG, "file"):
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
            "limit": CACHE_LIMIT.value, "refused": list(_refusals)}
