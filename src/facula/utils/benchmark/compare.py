"""`Compare`: measurements as a table."""

from __future__ import annotations

from collections.abc import Iterable

from facula.utils.benchmark.measurement import Measurement, select_unit, trim_sigfig


class Compare:
    """A table: a row for each `sub_label` (and number of threads), a column for each `description`.

    Example:
        >>> from facula.utils.benchmark import Compare, Timer
        >>> found = [Timer("sum(range(9))", label="sum", sub_label="9", description=d).timeit(10) for d in "ab"]
        >>> print(str(Compare(found)).splitlines()[0].strip(" []-"))
        sum
    """

    def __init__(self, results: Iterable[Measurement]) -> None:
        self._results: list[Measurement] = []
        self._trim = False
        self.extend_results(results)

    def extend_results(self, results: Iterable[Measurement]) -> None:
        """More measurements. ValueError if one is none."""
        for result in results:
            if not isinstance(result, Measurement):
                raise ValueError("Expected an instance of `Measurement`, " f"got {type(result)} instead.")
            self._results.append(result)

    def trim_significant_figures(self) -> None:
        """Show the digits that mean something."""
        self._trim = True

    def colorize(self, rowwise: bool = False) -> None:
        """Accepted: tables are plain text."""

    def highlight_warnings(self) -> None:
        """Accepted: tables are plain text."""

    def print(self) -> None:
        """Print it."""
        print(str(self))

    def __str__(self) -> str:
        merged = Measurement.merge(self._results)
        titles = list(dict.fromkeys(m.task_spec.label or m.task_spec.title for m in merged))
        return "\n".join(self._table(title, [m for m in merged if (m.task_spec.label or m.task_spec.title) == title])
                         for title in titles)

    def _table(self, title: str, found: list[Measurement]) -> str:
        unit, length = select_unit(min(m.median for m in found))
        columns = list(dict.fromkeys(m.task_spec.description or "" for m in found))
        rows: dict[tuple[int, str], dict[str, str]] = {}
        for m in found:
            time = m.median / length
            said = f"{trim_sigfig(time, max(m.significant_figures, 1)):g}" if self._trim else f"{time:.1f}"
            at = m.task_spec.num_threads, m.as_row_name
            rows.setdefault(at, {})[m.task_spec.description or ""] = said
        threads = sorted({n for n, _ in rows})
        first = max(len(name) for _, name in rows) + 6
        widths = [max(len(c), *(len(r.get(c, "")) for r in rows.values())) for c in columns]
        lines = [" ".join(["[" + "-" * 8, title, "-" * 8 + "]"]),
                 " " * first + "  |  " + "  |  ".join(c.center(w) for c, w in zip(columns, widths, strict=True))]
        for n in sorted(threads):
            lines.append(f"{n} threads: " + "-" * max(len(lines[1]) - 11, 0))
            lines += ["      " + name.ljust(first - 6) + "  |  "
                      + "  |  ".join(row.get(c, "").rjust(w) for c, w in zip(columns, widths, strict=True))
                      for (at, name), row in rows.items() if at == n]
        return "\n".join([*lines, "", f"Times are in {'milli' if unit == 'ms' else ''}".rstrip()
                          + {"ms": "seconds (ms).", "us": " microseconds (us).", "ns": " nanoseconds (ns).",
                             "s": " seconds (s)."}[unit], ""])
