"""Runs as they stand in their files, also while they are written: what the page asks, and programs may.

Example:
    >>> import tempfile
    >>> from facula import monitor
    >>> folder = tempfile.mkdtemp()
    >>> with monitor.init(dir=folder, name="first") as run:
    ...     for k in range(100):
    ...         run.log({"loss": 1 / (k + 1)})
    >>> found, = monitor.Folder(folder).runs()
    >>> series = found.series("loss", points=10)
    >>> found.about()["name"], series.length, len(series.values) <= 24
    ('first', 100, True)
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facula.monitor import schema
from facula.undisturbed import reentrant_lock

SILENT = 30.0  # seconds without a sign of life after which a running run counts as crashed


class Series(NamedTuple):
    """Points of one series, in order of steps; `length` is how many there are in the range before down-sampling."""

    steps: np.ndarray
    times: np.ndarray
    values: np.ndarray
    length: int


class Thing(NamedTuple):
    """Something logged that is no number: `bytes` of the media type `media`."""

    id: int
    step: int
    part: int
    time: float
    media: str
    facts: dict[str, Any]
    bytes: bytes


class RunFile:
    """A run's file, to read. A context manager; usable from any thread."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.id = self.path.parent.name
        self._connection = schema.connect_to_read(self.path)
        self._lock = reentrant_lock()
        self._kept: dict[str, tuple[int, Series]] = {}  # newest row and all points, of series that were asked for

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def __enter__(self) -> RunFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _all(self, query: str, *arguments: Any) -> list[Any]:
        with self._lock:
            return self._connection.execute(query, arguments).fetchall()

    def _json(self, table: str, name: str) -> dict[str, Any]:
        return {key: json.loads(value) for key, value in self._all(f"SELECT {name}, value FROM {table}")}

    def about(self) -> dict[str, Any]:
        """Name, project, group, tags, state ("running", "finished", "failed", or "crashed"), ..."""
        found = self._json("about", "name")
        if found.get("state") == "running" and not _alive(found):
            found["state"] = "crashed"
        return found

    def config(self) -> dict[str, Any]:
        """Its configuration."""
        return self._json("config", "key")

    def summary(self) -> dict[str, Any]:
        """The value of each key that stands for the run."""
        return self._json("summary", "key")

    def keys(self) -> dict[str, str]:
        """Names of all that was logged, with their kind: "scalar", "image", "histogram", "audio", "text", "table"."""
        return dict(self._all("SELECT name, kind FROM keys ORDER BY name"))

    def alerts(self, last: int | None = None) -> list[dict[str, Any]]:
        """Messages, the oldest first; the `last` of them, or all. Of alarms `title` is the rule's name and `key` the
        series; of what the program said itself `key` is None."""
        names = ("id", "time", "step", "level", "title", "text", "key")
        limit = 2 ** 63 - 1 if last is None else last
        try:
            rows = self._all(f"SELECT {', '.join(names)} FROM alerts ORDER BY id DESC LIMIT ?", limit)
        except sqlite3.OperationalError:  # a file of an older layout
            rows = self._all(f"SELECT {', '.join(names[:-1])}, NULL FROM alerts ORDER BY id DESC LIMIT ?", limit)
        return [dict(zip(names, row, strict=True)) for row in reversed(rows)]

    def last_step(self) -> int:
        """The greatest step of anything but the machine's figures; -1 of none."""
        found = self._all("SELECT max(last) FROM points JOIN keys ON keys.id=points.key WHERE name NOT LIKE 'system/%' "
                          "UNION ALL SELECT max(step) FROM things")
        return max((row[0] for row in found if row[0] is not None), default=-1)

    def newest(self) -> tuple[int, int, int]:
        """Numbers that grow whenever something is logged: what a watcher compares."""
        row = self._all("SELECT (SELECT max(id) FROM points), (SELECT max(id) FROM things), "
                        "(SELECT max(id) FROM alerts)")
        return tuple(number or 0 for number in row[0])  # type: ignore[return-value]

    def _whole(self, key: str) -> Series:
        """All points of a series. What was read before is kept; rows are only ever added."""
        seen, kept = self._kept.get(key, (0, _EMPTY))
        rows = self._all("SELECT points.id, steps, times, numbers FROM points WHERE key=(SELECT id FROM keys WHERE "
                         "name=? AND kind='scalar') AND points.id>? ORDER BY points.id", key, seen)
        if rows:
            columns = [np.concatenate([old, np.frombuffer(b"".join(row[k] for row in rows), kind)])
                       for k, old, kind in ((1, kept.steps, "<i8"), (2, kept.times, "<f8"), (3, kept.values, "<f8"))]
            if len(columns[0]) > 1 and (columns[0][1:] < columns[0][:-1]).any():
                order = np.argsort(columns[0], kind="stable")
                columns = [column[order] for column in columns]
            kept = Series(columns[0], columns[1], columns[2], len(columns[0]))
            self._kept[key] = rows[-1][0], kept
        return kept

    def series(self, key: str, points: int | None = None, first: float | None = None, last: float | None = None,
               x: str = "step") -> Series:
        """A series, or as many points of it as show it.

        Args:
            key: its name.
            points: about how many; of each stretch the least and the greatest value stay, and what is not finite.
                None: all.
            first, last: the range of x that is wanted, both ends included, and the points beside them.
            x: "step" or "time".
        """
        whole = self._whole(key)
        at = whole.times if x == "time" else whole.steps
        low = 0 if first is None else max(int(np.searchsorted(at, first)) - 1, 0)
        high = len(at) if last is None else min(int(np.searchsorted(at, last, "right")) + 1, len(at))
        part = Series(whole.steps[low:high], whole.times[low:high], whole.values[low:high], max(high - low, 0))
        return part if points is None else thinned(part, points)

    def things(self, key: str, first: int | None = None, last: int | None = None, limit: int = 1000,
               data: bool = True) -> list[Thing]:
        """Images, histograms, text, ... of a key, by step; evenly chosen ones if there are more than `limit`."""
        where = ("FROM things WHERE key=(SELECT id FROM keys WHERE name=?) AND step BETWEEN ? AND ?")
        limits = (key, -2 ** 63 if first is None else first, 2 ** 63 - 1 if last is None else last)
        ids = [row[0] for row in self._all(f"SELECT id {where} ORDER BY step, id", *limits)]
        if len(ids) > limit:
            ids = [ids[k] for k in np.unique(np.linspace(0, len(ids) - 1, limit).round().astype(int))]
        column = "bytes" if data else "x''"
        rows = [self._all(f"SELECT id, step, part, time, media, facts, {column} FROM things WHERE id=?", k)[0]
                for k in ids]
        return [_thing(*row) for row in rows]

    def thing(self, id: int) -> Thing | None:
        """One of them, by its number."""
        for row in self._all("SELECT id, step, part, time, media, facts, bytes FROM things WHERE id=?", id):
            return _thing(*row)
        return None


def _thing(id: int, step: int, part: int, time: float, media: str, facts: str, data: bytes) -> Thing:
    return Thing(id, step, part, time, media, json.loads(facts), data)


_EMPTY = Series(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), 0)


def thinned(part: Series, points: int) -> Series:
    """`part` with about `points` points: first, last, least and greatest of each of points/4 stretches alike in number,
    so that a curve drawn through them covers the same pixels."""
    count = len(part.values)
    if count <= max(points, 4):
        return part
    stretches = max(points // 4, 1)
    edges = np.linspace(0, count, stretches + 1).astype(np.int64)
    starts, values = edges[:-1], part.values
    finite = np.isfinite(values)
    safe = values if finite.all() else np.where(finite, values, np.nan)
    keep = [starts, edges[1:] - 1]
    for reduce, worst in ((np.minimum, np.inf), (np.maximum, -np.inf)):
        filled = safe if safe is values else np.where(finite, values, worst)
        extreme = reduce.reduceat(filled, starts)
        hits = np.flatnonzero(filled == np.repeat(extreme, np.diff(edges)))
        owner = np.searchsorted(edges, hits, "right") - 1
        keep.append(hits[np.flatnonzero(np.diff(owner, prepend=-1))])  # the first of each stretch
    if safe is not values:
        lost = np.flatnonzero(~finite)
        owner = np.searchsorted(edges, lost, "right") - 1
        keep.append(lost[np.flatnonzero(np.diff(owner, prepend=-1))])
    chosen = np.unique(np.concatenate(keep))
    return Series(part.steps[chosen], part.times[chosen], values[chosen], part.length)


def _alive(about: dict[str, Any]) -> bool:
    if about.get("host") == socket.gethostname() and os.name == "posix":
        try:
            os.kill(int(about.get("pid", 0)) or os.getpid(), 0)
        except ProcessLookupError:
            return False
        except OSError:
            pass
    return time.time() - float(about.get("heartbeat") or 0) < SILENT


class Folder:
    """A folder of runs: `runs()` has those that are there now; their files stay open between calls."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._open: dict[str, RunFile] = {}
        self._lock = reentrant_lock()

    def runs(self) -> list[RunFile]:
        """All runs, by id; those that cannot be read (yet) are left out."""
        names = {path.parent.name for path in self.folder.glob(f"*/{schema.FILE}")}
        return [run for name in sorted(names) if (run := self.get(name)) is not None]

    def get(self, id: str) -> RunFile | None:
        """One of them, or None."""
        with self._lock:
            path = self.folder / id / schema.FILE
            if not schema.ID.fullmatch(id) or not path.is_file():
                self._open.pop(id, None)
                return None
            if id not in self._open:
                try:
                    run = RunFile(path)
                    run.newest()
                except sqlite3.Error:
                    return None
                self._open[id] = run
            return self._open[id]

    def __iter__(self) -> Iterator[RunFile]:
        return iter(self.runs())
