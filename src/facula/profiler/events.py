"""What a profile has met: calls one by one, added up by name, module or kernel; as a table, and as files.

Example:
    >>> from facula.profiler.events import EventAverage, EventList
    >>> average = EventAverage("aten::add")
    >>> average.count = 3
    >>> EventList([average]).total_average().count
    3
"""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

MOST = 1_000_000  # calls that a profile keeps one by one; the table has all of them


class Interval(NamedTuple):
    """From when to when, in microseconds."""

    start: float
    end: float

    def elapsed_us(self) -> float:
        """How long."""
        return self.end - self.start


class Event:
    """One call. Times are in microseconds.

    Attributes:
        name, thread, start, time: what, in which thread, since when, how long.
        input_shapes, stack, module, flops: what the profile was asked to record, else empty.
        cpu_memory_usage: bytes that tensors hold more (or less) after the call.
    """

    __slots__ = ("name", "start", "time", "thread", "input_shapes", "stack", "module", "flops", "cpu_memory_usage",
                 "self_cpu_time_total")
    count = 1

    def __init__(self, name: str, start: float, time: float, thread: int, input_shapes: Any = (), stack: Any = (),
                 module: str = "", flops: int = 0, memory: int = 0, self_time: float | None = None) -> None:
        self.name, self.start, self.time, self.thread = name, start, time, thread
        self.input_shapes, self.stack, self.module, self.flops = input_shapes, stack, module, flops
        self.cpu_memory_usage = memory
        self.self_cpu_time_total = time if self_time is None else self_time

    @property
    def key(self) -> str:
        """The name."""
        return self.name

    @property
    def time_range(self) -> Interval:
        """Beginning and end."""
        return Interval(self.start, self.start + self.time)

    @property
    def cpu_time(self) -> float:
        """How long."""
        return self.time

    cpu_time_total = cpu_time

    def __repr__(self) -> str:
        return f"<Event {self.name} {_said(self.time)}>"


class EventAverage:
    """All calls of one name (and, where they are grouped so, of the same shapes or the same stack). Times are in
    microseconds, `self_...` without the calls that they have made.

    Attributes:
        key, count: the name, and how often it was called.
        flops, cpu_memory_usage, self_cpu_memory_usage: sums over the calls.
        input_shapes, stack: of what is grouped.
    """

    __slots__ = ("key", "count", "cpu_time_total", "self_cpu_time_total", "flops", "cpu_memory_usage",
                 "self_cpu_memory_usage", "input_shapes", "stack", "module")

    def __init__(self, key: str, input_shapes: Any = (), stack: Any = (), module: str = "") -> None:
        self.key, self.count, self.cpu_time_total, self.self_cpu_time_total = key, 0, 0.0, 0.0
        self.flops = self.cpu_memory_usage = self.self_cpu_memory_usage = 0
        self.input_shapes, self.stack, self.module = input_shapes, stack, module

    def add(self, other: EventAverage) -> None:
        """Those of `other`, too."""
        self.count += other.count
        self.cpu_time_total += other.cpu_time_total
        self.self_cpu_time_total += other.self_cpu_time_total
        self.flops += other.flops
        self.cpu_memory_usage += other.cpu_memory_usage
        self.self_cpu_memory_usage += other.self_cpu_memory_usage

    @property
    def cpu_time(self) -> float:
        """Of one call, on average."""
        return self.cpu_time_total / max(self.count, 1)

    # There is no other device whose time is measured.
    device_time = device_time_total = self_device_time_total = cuda_time = cuda_time_total = self_cuda_time_total = 0.0
    device_memory_usage = self_device_memory_usage = cuda_memory_usage = self_cuda_memory_usage = 0

    def __repr__(self) -> str:
        return (f"<FunctionEventAvg key={self.key} self_cpu_time={_said(self.self_cpu_time_total)} "
                f"cpu_time={_said(self.cpu_time)}>")


def _said(microseconds: float, unit: str | None = None) -> str:
    for name, size in (("s", 1e6), ("ms", 1e3)):
        if unit == name or unit is None and microseconds >= size:
            return f"{microseconds / size:.3f}{name}"
    return f"{microseconds:.3f}us"


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if abs(count) >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} B"


def _cut(text: str, width: int | None) -> str:
    return text if width is None or len(text) <= width else text[:max(width - 3, 0)] + "..."


_SORTS = ("cpu_time", "cpu_time_total", "self_cpu_time_total", "cpu_memory_usage", "self_cpu_memory_usage", "count",
          "flops", "device_time", "device_time_total", "self_device_time_total", "cuda_time", "cuda_time_total",
          "self_cuda_time_total", "device_memory_usage", "self_device_memory_usage", "cuda_memory_usage",
          "self_cuda_memory_usage")


class EventList(list[Any]):
    """A list of `EventAverage`, or of `Event`."""

    def __init__(self, events: Iterable[Any] = (), profile_memory: bool = False, with_flops: bool = False) -> None:
        super().__init__(events)
        self.profile_memory, self.with_flops = profile_memory, with_flops

    def total_average(self) -> EventAverage:
        """All of them as one."""
        total = EventAverage("Total")
        for event in self:
            total.add(event if isinstance(event, EventAverage) else _averaged(event))
        return total

    @property
    def self_cpu_time_total(self) -> float:
        """The time of all calls, each counted once."""
        return float(sum(event.self_cpu_time_total for event in self))

    def key_averages(self, group_by_input_shapes: bool = False, group_by_stack_n: int = 0) -> EventList:
        """The calls, added up by name."""
        return grouped((_averaged(event) for event in self), lambda e: (
            e.key, e.input_shapes if group_by_input_shapes else (), tuple(e.stack[:group_by_stack_n])), self)

    def table(self, sort_by: str | None = None, row_limit: int = 100, max_src_column_width: int = 75,
              max_name_column_width: int = 55, max_shapes_column_width: int = 80, header: str | None = None,
              top_level_events_only: bool = False, time_unit: str | None = None) -> str:
        """The averages as text, a line a name.

        Args:
            sort_by: an attribute, the greatest first: "cpu_time_total", "self_cpu_time_total", "count", "cpu_time", ...
            row_limit: so many lines at most (-1: all).
            time_unit: "s", "ms" or "us" for all times.

        Raises:
            AttributeError: of another `sort_by`.
        """
        rows = list(self)
        if sort_by is not None:
            if sort_by not in _SORTS:
                raise AttributeError(f"table: sort_by={sort_by!r}; expected one of {', '.join(_SORTS)}")
            rows.sort(key=lambda event: getattr(event, sort_by), reverse=True)
        rows = rows if row_limit < 0 else rows[:row_limit]
        whole = self.self_cpu_time_total or 1.0
        shapes, stacks = any(e.input_shapes for e in rows), any(e.stack for e in rows)
        head = ["Name", "Self CPU %", "Self CPU", "CPU total %", "CPU total", "CPU time avg",
                *(["CPU Mem", "Self CPU Mem"] if self.profile_memory else []), "# of Calls",
                *(["Input Shapes"] if shapes else []), *(["Source Location"] if stacks else []),
                *(["Total FLOPs"] if self.with_flops else [])]
        cells = [head]
        for event in rows:
            cells.append([
                _cut(event.key, max_name_column_width), f"{100 * event.self_cpu_time_total / whole:.2f}%",
                _said(event.self_cpu_time_total, time_unit), f"{100 * event.cpu_time_total / whole:.2f}%",
                _said(event.cpu_time_total, time_unit), _said(event.cpu_time, time_unit),
                *([_bytes(event.cpu_memory_usage), _bytes(event.self_cpu_memory_usage)] if self.profile_memory else []),
                str(event.count),
                *([_cut(str([list(s) for s in event.input_shapes]), max_shapes_column_width)] if shapes else []),
                *([_cut(event.stack[0] if event.stack else "", max_src_column_width)] if stacks else []),
                *([f"{event.flops:,}" if event.flops else "--"] if self.with_flops else [])])
        widths = [max(len(row[k]) for row in cells) for k in range(len(cells[0]))]
        rule = "  ".join("-" * width for width in widths)
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
        title = [] if header is None else [header]
        return "\n".join([*title, rule, lines[0], rule, *lines[1:], rule,
                          f"Self CPU time total: {_said(self.self_cpu_time_total)}", ""])

    def export_chrome_trace(self, path: Any) -> None:
        """Write the calls for chrome://tracing; with gzip where `path` ends in ".gz"."""
        write_trace(path, self)

    def __str__(self) -> str:
        return self.table()


def _averaged(event: Event) -> EventAverage:
    found = EventAverage(event.name, event.input_shapes, event.stack, event.module)
    found.count, found.cpu_time_total, found.self_cpu_time_total = 1, event.time, event.self_cpu_time_total
    found.flops, found.cpu_memory_usage = event.flops, event.cpu_memory_usage
    return found


def grouped(averages: Iterable[EventAverage], by: Callable[[EventAverage], Any], like: EventList) -> EventList:
    """Averages that have the same `by(average)`, a tuple (key, shapes, stack, ...), added up."""
    found: dict[Any, EventAverage] = {}
    for average in averages:
        place = by(average)
        if place not in found:
            found[place] = EventAverage(place[0], place[1], place[2], average.module)
        found[place].add(average)
    return EventList(found.values(), like.profile_memory, like.with_flops)


def write_trace(path: Any, events: Iterable[Event], metadata: dict[str, Any] | None = None) -> None:
    """The calls as chrome://tracing and Perfetto read them."""
    found = []
    for e in events:
        args = {name: value for name, value in (("Input Dims", e.input_shapes), ("Call stack", "\n".join(e.stack)),
                                                ("Module", e.module), ("FLOPs", e.flops),
                                                ("Bytes", e.cpu_memory_usage)) if value}
        kind = "cpu_op" if e.name.startswith(("aten::", "facula::")) else "user_annotation"
        found.append({"ph": "X", "cat": kind, "name": e.name, "pid": os.getpid(), "tid": e.thread, "ts": e.start,
                      "dur": e.time, **({"args": args} if args else {})})
    whole = {"schemaVersion": 1, "traceEvents": found, "displayTimeUnit": "ms", **(metadata or {})}
    place = os.fspath(path)
    opened: Any = gzip.open(place, "wt", encoding="utf-8") if place.endswith(".gz") else open(
        place, "w", encoding="utf-8")
    with opened as file:
        json.dump(whole, file)


def write_stacks(path: Any, events: Iterable[Event], metric: str) -> None:
    """A line a call: its stack, outermost first, ";" between, and its time (whole microseconds): for flame graphs."""
    sums: dict[str, float] = {}
    for e in events:
        if e.stack:
            line = ";".join(part.translate(str.maketrans(" ;\t\n", "____")) for part in reversed(e.stack))
            sums[line] = sums.get(line, 0.0) + float(getattr(e, metric))
    with tempfile.NamedTemporaryFile("w", delete=False, dir=os.path.dirname(os.path.abspath(path)),
                                     encoding="utf-8") as file:
        file.writelines(f"{line} {int(total)}\n" for line, total in sums.items() if int(total) > 0)
    os.replace(file.name, path)
