"""The folder of FACULA_SAVE_PLANS: whole files, and not more of them than MOST_SAVED bytes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

MOST_SAVED = 256 << 20  # bytes of plans in a folder


def save(path: Path, text: str) -> None:
    """Whole or not at all: whoever reads the folder meanwhile, or after a crash, finds no half of a file. Of a folder's
    plans the oldest go once they take more than MOST_SAVED bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(".tmp", ".plan-", path.parent)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    _bound(path.parent, len(text))


_unseen: dict[Path, int] = {}  # bytes written into a folder since it was looked through


def _bound(folder: Path, written: int) -> None:
    """Look through the folder at this process's first file, then after every 1/16 of what it may take."""
    _unseen[folder] = _unseen.get(folder, MOST_SAVED) + written
    if _unseen[folder] < MOST_SAVED // 16:
        return
    _unseen[folder] = 0
    found = []
    for path in folder.glob("plan-*.json"):
        try:
            status = path.stat()
        except OSError:  # another process has removed it
            continue
        found.append((status.st_mtime_ns, status.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found)[:-1]:  # the newest stays
        if total <= MOST_SAVED:
            break
        path.unlink(missing_ok=True)
        total -= size
