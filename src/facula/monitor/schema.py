"""The file of a run: one SQLite database, in WAL mode, so that it can be read while it is written.

A folder of runs has `ID/run.db` for each. A run has a file of its own, so runs cannot corrupt each other and writers of
different runs never wait for each other; processes of one run (ranks, forked workers) take turns by SQLite's locks.

    about     what the run is: JSON by name (name, project, group, tags, state, heartbeat, ...)
    config    its configuration: JSON by key
    summary   the last (or chosen) value of each key: JSON by key
    keys      names of series, and of what kind they are
    points    scalars, packed: what one flush has written of a key is one row, three arrays of 8-byte numbers, with
              their range beside them, so that a query reads only the rows it needs (and NaN stays NaN)
    things    images, histograms, audio, text, tables: one a row, bytes of a media type
    alerts    one-line messages; of alarms the title is the rule's name and `key` the series (since layout 2)
"""

from __future__ import annotations

import re
import sqlite3
import time
from pathlib import Path

FILE = "run.db"
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")  # of a run: its folder's name
VERSION = 2
_TABLES = """
CREATE TABLE IF NOT EXISTS about(name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS config(key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS summary(key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS keys(id INTEGER PRIMARY KEY, name TEXT UNIQUE, kind TEXT);
CREATE TABLE IF NOT EXISTS points(id INTEGER PRIMARY KEY, key INTEGER, first INTEGER, last INTEGER, count INTEGER,
                                  steps BLOB, times BLOB, numbers BLOB);
CREATE TABLE IF NOT EXISTS things(id INTEGER PRIMARY KEY, key INTEGER, step INTEGER, part INTEGER, time REAL,
                                  media TEXT, facts TEXT, bytes BLOB);
CREATE TABLE IF NOT EXISTS alerts(id INTEGER PRIMARY KEY, time REAL, step INTEGER, level TEXT, title TEXT, text TEXT,
                                  key TEXT);
CREATE INDEX IF NOT EXISTS points_by_key ON points(key, first, last);
CREATE INDEX IF NOT EXISTS things_by_key ON things(key, step);
"""


def connect(path: Path, wait: float = 5.0) -> sqlite3.Connection:
    """A connection that writes, its tables made. Transactions are begun by hand (`BEGIN IMMEDIATE`)."""
    connection = sqlite3.connect(path, timeout=wait, isolation_level=None, check_same_thread=False)
    _write_ahead(connection, wait)
    # What is committed survives the process whatever ends it; the last commits may go if the machine loses power.
    connection.execute("PRAGMA synchronous=NORMAL")
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found > VERSION:
        connection.close()
        raise ValueError(f"{path} is of a newer Facula (layout {found}, this one writes {VERSION})")
    if found < VERSION:
        _bring_up(connection)
    return connection


def _write_ahead(connection: sqlite3.Connection, wait: float) -> None:
    """The journal as processes beside each other need it. SQLite does not wait for its turn to change that, where
    another connection is changing it or making tables."""
    end = time.monotonic() + wait
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                connection.close()
                raise
        time.sleep(0.005)


def _bring_up(connection: sqlite3.Connection) -> None:
    """Make the tables, or what the present layout has more than the file's: in one transaction, as another process may
    be about it, too."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found == 1:
            connection.execute("ALTER TABLE alerts ADD COLUMN key TEXT")
        elif found == 0:
            for statement in _TABLES.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection that reads only, from any thread (one at a time)."""
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5.0, check_same_thread=False)
    connection.execute("PRAGMA query_only=1")
    return connection
