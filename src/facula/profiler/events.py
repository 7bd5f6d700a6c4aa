"""What a profile has met: calls, added up by name; a table of them, and a trace."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

MOST = 1_000_000  # calls that a profile keeps one by one; the table has all of them


class Event(NamedTuple):
    """One call: name, start and time in microseconds, and its thread."""

    name: str
    start: float
    time: float
    thread: int


class EventAverage:
    """All calls of one name. Times are in microseconds, `self_...` without the calls that they have made.

    Attributes:
        key, count: the name, and how often it was called.
    """

    __slots__ = ("key", "count", "cpu_time_total", "self_cpu_time_total")

    def __init__(self, key: str) -> None:
        self.key, self.count, self.cpu_time_total, self.self_cpu_time_total = key, 0, 0.0, 0.0

    @property
    def cpu_time(self) -> float:
        """Of one call, on average."""
        return self.cpu_time_total / max(self.count, 1)

    # There is no other device whose time is measured.
    device_time = device_time_total = self_device_time_total = cuda_time = cuda_time_total = self_cuda_time_total = 0.0

    def __repr__(self) -> str:
        return (f"<FunctionEventAvg key={self.key} self_cpu_time={_said(self.self_cpu_time_total)} "
                f"cpu_time={_said(self.cpu_time)}>")


def _said(microseconds: float) -> str:
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if microseconds >= size:
            return f"{microseconds / size:.3f}{unit}"
    return f"{microseconds:.3f}us"


class EventList(list[Any]):
    """A list of `EventAverage`, or of `Event`."""

    def total_average(self) -> EventAverage:
        """All of them as one."""
        total = EventAverage("Total")
        for event in self:
            total.count += event.count
            total.cpu_time_total += event.cpu_time_total
            total.self_cpu_time_total += event.self_cpu_time_total
        return total

    @property
    def self_cpu_time_total(self) -> float:
        """The time of all calls, each counted once."""
        return float(sum(event.self_cpu_time_total for event in self))

    def table(self, sort_by: str | None = None, row_limit: int = 100, max_src_column_width: int = 75,
              max_name_column_width: int = 55, max_shapes_column_width: int = 80, header: str | None = None,
              top_level_events_only: bool = False, time_unit: str | None = None) -> str:
        """The averages as text, a line a name.

        Args:
            sort_by: an attribute, the greatest first: "cpu_time_total", "self_cpu_time_total", "count", "cpu_time".
            row_limit: so many lines at most (-1: all).
        """
        rows = list(self)
        if sort_by is not None:
            rows.sort(key=lambda event: getattr(event, sort_by), reverse=True)
        rows = rows if row_limit < 0 else rows[:row_limit]
        whole = self.self_cpu_time_total or 1.0
        cells = [("Name", "Self CPU %", "Self CPU", "CPU total %", "CPU total", "CPU time avg", "# of Calls")]
        for event in rows:
            name = event.key
            if len(name) > max_name_column_width:
                name = name[:max_name_column_width - 3] + "..."
            cells.append((name, f"{100 * event.self_cpu_time_total / whole:.2f}%", _said(event.self_cpu_time_total),
                          f"{100 * event.cpu_time_total / whole:.2f}%", _said(event.cpu_time_total),
                          _said(event.cpu_time), str(event.count)))
        widths = [max(len(row[k]) for row in cells) for k in range(len(cells[0]))]
        rule = "  ".join("-" * width for width in widths)
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
        title = [] if header is None else [header]
        return "\n".join([*title, rule, lines[0], rule, *lines[1:], rule,
                          f"Self CPU time total: {_said(self.self_cpu_time_total)}", ""])

    def __str__(self) -> str:
        return self.table()


def write_trace(path: Any, events: Iterable[Event]) -> None:
    """The calls as chrome://tracing and Perfetto read them."""
    found = [{"ph": "X", "cat": "cpu_op", "name": e.name, "pid": 0, "tid": e.thread, "ts": e.start, "dur": e.time}
             for e in events]
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"traceEvents": found, "displayTimeUnit": "ms"}, file)
