"""Items of a writer's buffer, as rows of the file. A transaction has all of them or none."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from facula.monitor.media import Media, Part
from facula.monitor.values import said

_INT64 = 2 ** 63 - 1


class Rows:
    """What a connection knows of its file: keys by name, and summaries as they stand."""

    def __init__(self) -> None:
        self.keys: dict[tuple[str, str], int] = {}
        self.rules: dict[str, str] = {}  # of summaries: "min", "max", "mean", "first", "none", else the last
        self.summary: dict[str, Any] = {}
        self.chosen: set[str] = set()  # by the program itself: what is logged does not replace these
        self._means: dict[str, tuple[float, int]] = {}

    def forget(self) -> None:
        """The transaction was rolled back: keys that it made are not there."""
        self.keys.clear()

    def write(self, connection: sqlite3.Connection, items: Iterable[tuple[Any, ...]]) -> None:
        """All `items` in one transaction."""
        numbers: dict[str, list[tuple[int, float, float]]] = defaultdict(list)
        things: list[tuple[str, int, float, Media]] = []
        before = dict(self.summary), dict(self._means)
        connection.execute("BEGIN IMMEDIATE")
        try:
            for kind, *rest in items:
                if kind == "log":
                    step, now, row = rest
                    for name, value in row.items():
                        if isinstance(value, Media):
                            things.append((name, step, now, value))
                        else:
                            numbers[name].append((step, now, value))
                elif kind == "points":  # of a series at once: arrays
                    name, *columns = rest
                    numbers[name].extend(zip(*(column.tolist() for column in columns), strict=True))
                elif kind == "rule":
                    self.rules[rest[0]] = rest[1]
                elif kind == "alert":
                    now, step, level, *words = rest  # title, text and, of an alarm, the series
                    connection.execute("INSERT INTO alerts(time, step, level, title, text, key) VALUES (?,?,?,?,?,?)",
                                       (now, _step(step), level, *(_text(word) for word in words),
                                        *([None] * (3 - len(words)))))
                elif kind == "summary":
                    self.chosen.update(rest[0])
                    self.summary.update(rest[0])
                    self._upsert(connection, "summary", "key", rest[0])
                elif kind == "forget":
                    connection.execute(f"DELETE FROM {rest[0]} WHERE {'name' if rest[0] == 'about' else 'key'}=?",
                                       (rest[1],))
                elif kind in ("about", "config"):
                    self._upsert(connection, kind, "name" if kind == "about" else "key", rest[0])
            for name, points in numbers.items():
                self._points(connection, name, points)
            for name, step, now, value in things:
                self._things(connection, name, step, now, value)
            self._upsert(connection, "summary", "key", self._summarized(numbers))
            connection.execute("COMMIT")
        except BaseException:
            self.summary, self._means = before
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    @staticmethod
    def _upsert(connection: sqlite3.Connection, table: str, name: str, items: dict[str, Any]) -> None:
        if items:
            connection.executemany(
                f"INSERT INTO {table}({name}, value) VALUES (?, ?) ON CONFLICT({name}) DO UPDATE SET "
                "value=excluded.value", [(_text(key), said(value)) for key, value in items.items()])

    def key(self, connection: sqlite3.Connection, name: str, kind: str) -> int:
        """The number of a key. One name may have one kind only: of another it is "name (kind)"."""
        name = _text(name)
        found = self.keys.get((name, kind))
        if found is None:
            connection.execute("INSERT OR IGNORE INTO keys(name, kind) VALUES (?, ?)", (name, kind))
            found, has = connection.execute("SELECT id, kind FROM keys WHERE name=?", (name,)).fetchone()
            if has != kind:
                found = self.key(connection, f"{name} ({kind})", kind)
            self.keys[name, kind] = int(found)
        return int(found)

    def _points(self, connection: sqlite3.Connection, name: str, points: list[tuple[int, float, float]]) -> None:
        steps = np.array([_step(p[0]) for p in points], "<i8")
        times = np.array([p[1] for p in points], "<f8")
        values = np.array([_number(p[2]) for p in points], "<f8")
        connection.execute("INSERT INTO points(key, first, last, count, steps, times, numbers) VALUES (?,?,?,?,?,?,?)",
                           (self.key(connection, name, "scalar"), int(steps.min()), int(steps.max()), len(steps),
                            steps.tobytes(), times.tobytes(), values.tobytes()))

    def _things(self, connection: sqlite3.Connection, name: str, step: int, now: float, value: Media) -> None:
        key = self.key(connection, name, value.kind)
        try:
            parts = value.parts()
        except BaseException as error:  # SystemExit among them: it is the thread's own that would end
            parts = [_error(error)]
        for part, (media, facts, give) in enumerate(parts):
            try:
                data = give()
            except BaseException as error:  # one picture that cannot be encoded costs none of the others
                media, facts, give = _error(error)
                data = give()
            connection.execute("INSERT INTO things(key, step, part, time, media, facts, bytes) VALUES (?,?,?,?,?,?,?)",
                               (key, _step(step), part, now, media, json.dumps(facts), data))

    def _summarized(self, numbers: dict[str, list[tuple[int, float, float]]]) -> dict[str, Any]:
        changed = {}
        for name, points in numbers.items():
            if name in self.chosen or name.startswith("system/"):
                continue
            rule = self.rules.get(name) or self.rules.get(next((r for r in self.rules if r.endswith("*")
                                                                and name.startswith(r[:-1])), ""), "last")
            values = [_summed(p[2]) for p in points]
            before = self.summary.get(name)
            if rule == "none" or (rule == "first" and before is not None):
                continue
            if rule in ("min", "max"):
                real = [v for v in values if v == v] + ([] if before is None else [before])
                value = (min if rule == "min" else max)(real, default=float("nan"))
            elif rule == "mean":
                total, count = self._means.get(name, (0.0, 0))
                self._means[name] = total, count = total + sum(map(float, values)), count + len(values)
                value = total / count
            else:
                value = values[0] if rule == "first" else values[-1]
            self.summary[name] = changed[name] = value
        return changed


def _error(error: BaseException) -> Part:
    """What stands in the place of something that cannot be encoded."""
    said = f"{type(error).__name__}: {error}".encode("utf-8", "replace")
    return "text/plain", {"error": True}, lambda: said


def _step(step: int) -> int:
    return max(-_INT64, min(step, _INT64))


def _number(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer beyond the largest double
        return float("inf") if value > 0 else float("-inf")


def _summed(value: Any) -> Any:
    """As it is, if a double has room for it."""
    number = _number(value)
    return number if number in (float("inf"), float("-inf")) else value


def _text(name: str) -> str:
    """Without what UTF-8 cannot say (halves of pairs)."""
    return name.encode("utf-8", "replace").decode()
