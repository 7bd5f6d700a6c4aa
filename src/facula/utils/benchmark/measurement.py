"""Times of a statement, and what they say."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

UNITS = {1e-9: "ns", 1e-6: "us", 1e-3: "ms", 1: "s"}
_ENGLISH = {"ns": "nanosecond", "us": "microsecond", "ms": "millisecond", "s": "second"}
_MOST_DIGITS = 5


def select_unit(t: float) -> tuple[str, float]:
    """The unit in which a time of `t` seconds is best told, and its length in seconds.

    Example:
        >>> from facula.utils.benchmark import select_unit
        >>> select_unit(3e-6)
        ('us', 1e-06)
    """
    length = max((u for u in UNITS if u <= t), default=1e-9)
    return UNITS[length], float(length)


def unit_to_english(u: str) -> str:
    """The unit's name."""
    return _ENGLISH[u]


def trim_sigfig(x: float, n: int) -> float:
    """`x` rounded to `n` significant digits.

    Example:
        >>> from facula.utils.benchmark import trim_sigfig
        >>> trim_sigfig(1234.5, 2)
        1200.0
    """
    if not x:
        return 0.0
    scale = 10.0 ** (math.ceil(math.log10(abs(x))) - n)
    return float(round(x / scale) * scale)


@dataclass(frozen=True)
class TaskSpec:
    """What was measured: the statement, and what it is called in tables."""

    stmt: str
    setup: str
    global_setup: str = ""
    label: str | None = None
    sub_label: str | None = None
    description: str | None = None
    env: str | None = None
    num_threads: int = 1

    @property
    def title(self) -> str:
        """The label, or the statement itself."""
        if self.label is not None:
            return self.label + (f": {self.sub_label}" if self.sub_label else "")
        return self.stmt if "\n" not in self.stmt else f"stmt:\n{self.stmt}"

    def summarize(self) -> str:
        """Title, description and setup, in lines."""
        parts = [self.title, self.description or "", "setup:\n" + self.setup if self.setup not in ("", "pass") else ""]
        return "\n".join(part for part in parts if part)


@dataclass
class Measurement:
    """Times of one statement. They are seconds for one execution.

    Attributes:
        number_per_run: executions in each run; raw_times: the seconds of each run.
    """

    number_per_run: int
    raw_times: list[float]
    task_spec: TaskSpec
    metadata: dict[Any, Any] | None = None

    @property
    def times(self) -> list[float]:
        """Seconds for one execution, of each run."""
        return [t / self.number_per_run for t in self.raw_times]

    @property
    def median(self) -> float:
        """Of the runs."""
        return float(np.median(self.times))

    @property
    def mean(self) -> float:
        """Of the runs."""
        return float(np.mean(self.times))

    @property
    def iqr(self) -> float:
        """The distance between the quartiles of the runs."""
        low, high = np.quantile(self.times, [0.25, 0.75])
        return float(high - low)

    @property
    def significant_figures(self) -> int:
        """How many digits of the median mean something, by the spread of the runs."""
        n = len(self.times)
        if n < 2 or not self.median:
            return 1 if n < 2 else 0
        # Of the median, whose error is that of a mean times sqrt(pi/2); an IQR is 1.349 standard deviations.
        interval = 1.645 * 1.2533 * (self.iqr / 1.349) / math.sqrt(n)
        relative = interval / self.median
        return min(_MOST_DIGITS, int(-math.log10(relative))) if relative > 10**-_MOST_DIGITS else _MOST_DIGITS

    @property
    def has_warnings(self) -> bool:
        """Do the runs differ by more than a tenth of the median?"""
        return len(self.times) > 1 and self.iqr > 0.1 * self.median

    # What tables ask of the task.
    @property
    def title(self) -> str:
        return self.task_spec.title

    @property
    def env(self) -> str:
        return "Unspecified env" if self.task_spec.env is None else self.task_spec.env

    @property
    def as_row_name(self) -> str:
        return self.task_spec.sub_label or self.task_spec.stmt or "[Unknown]"

    def __getattr__(self, name: str) -> Any:
        if name in ("stmt", "setup", "label", "sub_label", "description", "num_threads"):
            return getattr(self.task_spec, name)
        raise AttributeError(f"'Measurement' object has no attribute {name!r}")

    @staticmethod
    def merge(measurements: Iterable[Measurement]) -> list[Measurement]:
        """Measurements of the same task as one, in the order in which they come."""
        together: dict[TaskSpec, list[Measurement]] = defaultdict(list)
        for measurement in measurements:
            together[measurement.task_spec].append(measurement)
        merged = []
        for task, parts in together.items():
            number = parts[0].number_per_run
            times = [t * number for part in parts for t in part.times]
            merged.append(Measurement(number, times, task))
        return merged

    def __repr__(self) -> str:
        unit, length = select_unit(self.median)
        lines = [f"<facula.utils.benchmark.Measurement>\n{self.task_spec.summarize()}"]
        if len(self.times) == 1:
            lines.append(f"  {self.median / length:.2f} {unit}")
        else:
            lines.append(f"  Median: {self.median / length:.2f} {unit}\n  IQR:    {self.iqr / length:.2f} {unit}")
        runs = f"{len(self.times)} measurement{'s' if len(self.times) > 1 else ''}"
        lines.append(f"  {runs}, {self.number_per_run} runs {'per measurement' if self.number_per_run > 1 else ''}, "
                     f"{self.task_spec.num_threads} thread{'s' if self.task_spec.num_threads > 1 else ''}")
        return "\n".join(lines)
