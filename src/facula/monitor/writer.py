"""Who writes a run's file: a buffer that the program appends to, and a thread that empties it.

    program thread          `put(item)`: one append to a deque (atomic: no lock, so a signal handler may log, too)
        |
        v  buffer
    writer thread           every `INTERVAL` seconds one transaction with all that has come

* `kill -9` loses what is in the buffer: an INTERVAL's worth, and the transaction that was under way.
* The thread is a daemon, and `close` waits for a bounded time only: a program always ends.
* In a forked child there is no thread, and the parent's connection must not be touched: the child begins with an empty
  buffer and, when it logs, with a thread and a connection of its own. While a fork is under way no thread is in SQLite.
* Rules of alarms are asked here, too (`alarms.py`): an alarm is in the same transaction as what gave rise to it.
* An error of the file (disk full, another process holding it) is told once; what could not be written is tried again.
"""

from __future__ import annotations

import collections
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from facula.monitor import schema
from facula.monitor.alarms import Alarms, say
from facula.monitor.rows import Rows

INTERVAL = 0.25  # seconds between writes
HEARTBEAT = 5.0  # and between signs of life
MOST = 1_000_000  # items that wait at most, where the file cannot be written

_writers: weakref.WeakSet[Writer] = weakref.WeakSet()
_abandoned: list[Any] = []  # connections of a parent process: closed, they would be used


class Writer:
    """Writes what `put` is given into the file `path`.

    Items are tuples: a kind and what `rows.Rows` wants to know of it.
    """

    def __init__(self, path: Path, sample: Callable[[], dict[str, float]] | None = None, every: float = 10.0,
                 step: Callable[[], int] = int, alarms: Alarms | None = None) -> None:
        self.path, self.alarms = path, alarms
        self.buffer: collections.deque[tuple[Any, ...]] = collections.deque()
        self.put = self.buffer.append
        self.lost = 0
        self.rows = Rows()
        self._sample, self._every, self._step = sample, every, step
        self._fresh()
        schema.connect(path).close()  # that it can be written is known at the start, or raises here
        _writers.add(self)

    def _fresh(self) -> None:
        self.thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._starting = threading.Lock()
        self.in_file = threading.Lock()  # held while the thread is in SQLite
        self._connection: sqlite3.Connection | None = None
        self._closing = False
        self._told = False
        self._unwritten: list[tuple[Any, ...]] = []

    def after_fork(self) -> None:
        """This is a child: what waits is the parent's to write, and so is its connection."""
        _abandoned.append((self._connection, self.rows))
        self.buffer.clear()
        self.rows = Rows()
        if self.alarms is not None:
            self.alarms.forget()
        self._sample = None
        self._fresh()

    def start(self) -> None:
        """Have the thread run; it may be told so again."""
        if self._starting.acquire(blocking=False):  # who is already starting it, does
            try:
                if self.thread is None or not self.thread.is_alive():
                    self.thread = threading.Thread(target=self._run, name="facula.monitor", daemon=True)
                    self.thread.start()
            except RuntimeError:  # the interpreter is ending: no more threads
                self.thread = None
            finally:
                self._starting.release()

    # ---- the thread ----

    def _run(self) -> None:
        sampled = beaten = 0.0
        while True:
            closing = self._closing
            now = time.monotonic()
            if self._sample is not None and now - sampled >= self._every:
                sampled = now
                self._take_sample()
            if now - beaten >= HEARTBEAT:
                beaten = now
                self.put(("about", {"heartbeat": time.time()}))
            done = self._write()
            if self.alarms is not None:
                self.alarms.tell()
            if closing and done and not self.buffer:
                break
            if not closing or not done:
                self._wake.wait(INTERVAL)
                self._wake.clear()
        with self.in_file:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def _take_sample(self) -> None:
        try:
            found = self._sample() if self._sample is not None else {}
        except Exception as error:  # figures of the machine are an extra: the run goes on without
            self._sample = None
            self._tell(f"no figures of this machine: {error}")
        else:
            self.put(("log", self._step(), time.time(), {f"system/{name}": value for name, value in found.items()}))

    def _write(self) -> bool:
        """One transaction of what has come; was it written?"""
        buffer, items = self.buffer, self._unwritten
        known = len(items)
        for _ in range(len(buffer)):
            items.append(buffer.popleft())
        if self.alarms is not None:
            self.alarms.look(items, known)
        if not items:
            return True
        with self.in_file:
            try:
                if self._connection is None:
                    self._connection = schema.connect(self.path)
                self._store(self._connection, items)
            except (sqlite3.Error, OSError, ValueError) as error:
                self._tell(f"{self.path} cannot be written, trying again: {error}")
                self.rows.forget()
                if len(items) > MOST:
                    self.lost += len(items) - MOST
                    del items[:len(items) - MOST]
                return False
        self._unwritten = []
        for item in items:
            if item[0] == "flushed":
                item[1].set()
        return True

    def _store(self, connection: sqlite3.Connection, items: list[tuple[Any, ...]]) -> None:
        """All of them in one transaction. Where that fails of one of them, not of the file, each has its own, and that
        one is left out: tried again it would keep all that comes after it from the file."""
        try:
            self.rows.write(connection, items)
            return
        except BaseException as error:  # whoever encodes something may raise SystemExit, too: the thread goes on
            if _of_the_file(error):
                raise
        self.rows.forget()
        rest = collections.deque(items)
        try:
            while rest:
                try:
                    self.rows.write(connection, [rest[0]])
                except BaseException as error:
                    if _of_the_file(error):
                        raise
                    self.rows.forget()
                    self.lost += 1
                    self._tell(f"of {self.path} an entry cannot be written: {type(error).__name__}: {error}")
                item = rest.popleft()
                if item[0] == "flushed":
                    item[1].set()
        finally:
            items[:] = rest

    def _tell(self, message: str) -> None:
        if not self._told:
            self._told = True
            say("WARN", message)

    # ---- asked by the program ----

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until all that was put is in the file, `timeout` seconds at most; is it? The thread that writes (a
        function that is told of alarms) cannot wait for itself: False."""
        if self.thread is threading.current_thread():
            return False
        done = threading.Event()
        self.put(("flushed", done))
        self.start()
        self._wake.set()
        return done.wait(timeout)

    def close(self, timeout: float = 10.0) -> bool:
        """Write what is left and end the thread. False if that has not come about in `timeout` seconds."""
        if self.thread is None and not self.buffer:
            return True
        self.start()
        self._closing = True
        self._wake.set()
        thread = self.thread
        if thread is None:  # no thread can be begun any more: written here
            return self._write()
        if thread is not threading.current_thread():
            thread.join(timeout)
        return not thread.is_alive()


def _of_the_file(error: BaseException) -> bool:
    """Is it one that every item would meet, and that may pass?"""
    return isinstance(error, (sqlite3.OperationalError, OSError, KeyboardInterrupt)) \
        or type(error) is sqlite3.DatabaseError


_held: list[Writer] = []


def _before_fork() -> None:
    for writer in list(_writers):
        if writer.in_file.acquire(timeout=5.0):
            _held.append(writer)


def _in_parent() -> None:
    while _held:
        _held.pop().in_file.release()


def _in_child() -> None:
    _held.clear()
    for writer in list(_writers):
        writer.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
