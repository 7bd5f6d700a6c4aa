"""`progress`: how far a loop is; a bar of tqdm where that is installed, lines otherwise.

What the loop waits for is told as a range, so that the time line of a training (`timing.py`) has it, whoever makes the
batches.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from facula.autograd.profiler import listeners, record_function
from facula.monitor.alarms import line
from facula.monitor.timing import DATA

T = TypeVar("T")
FIRST, EVERY = 2.0, 10.0  # seconds until the first line, and between lines


class Lines:
    """What stands in for a bar of tqdm: a line every now and then, and one at the end if there was any.

    Args:
        total: of how many; None where nobody knows.
        clock: gives seconds.
    """

    def __init__(self, desc: str = "", total: int | None = None, unit: str = "it",
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.desc, self.total, self.unit, self._clock = desc, total, unit, clock
        self.n, self.postfix = 0, ""
        self._began = clock()
        self._due = self._began + FIRST
        self._said = self._closed = False

    def update(self, n: int = 1) -> None:
        """So many more."""
        self.n += n
        now = self._clock()
        if now >= self._due:
            self._due = now + EVERY
            self._said = True
            self._say(now)

    def set_postfix_str(self, text: str) -> None:
        """What stands at a line's end."""
        self.postfix = text

    def close(self) -> None:
        """The last line."""
        if not self._closed:
            self._closed = True
            if self._said:
                self._say(self._clock(), last=True)

    def _say(self, now: float, last: bool = False) -> None:
        seconds = max(now - self._began, 1e-9)
        rate = self.n / seconds
        of = f"/{self.total} ({100 * self.n / self.total:.0f}%)" if self.total else ""
        text = f"{self.desc + ': ' if self.desc else ''}{self.n}{of} {self.unit}, {rate:.3g} a second"
        if last:
            text += f", in {span(seconds)}"
        elif self.total and rate and self.n <= self.total:
            text += f", {span((self.total - self.n) / rate)} left"
        try:
            print(line(text + (f", {self.postfix}" if self.postfix else "")), file=sys.stderr, flush=True)
        except (OSError, ValueError, AttributeError):
            pass  # nobody listens


def span(seconds: float) -> str:
    """A length of time, as people say it."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"


class Progress(Generic[T]):
    """A loop that says how far it is: what `progress` makes. It may be gone through again."""

    def __init__(self, iterable: Iterable[T], desc: str, total: int | None, unit: str, disable: bool | None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._iterable, self._desc, self._unit, self._clock = iterable, desc, unit, clock
        self.total = total if total is not None else _length(iterable)
        self._disable = disable if disable is not None else not _terminal()
        self._bar: Any = None

    def __len__(self) -> int:
        if self.total is None:
            raise TypeError("progress: nobody knows how long it is; say total=")
        return self.total

    def _begin(self) -> Any:
        if self._disable:
            return None
        try:
            tqdm = importlib.import_module("tqdm").tqdm
            return tqdm(total=self.total, desc=self._desc or None, unit=self._unit)
        except Exception:  # it is not installed, or of no use here: without a stderr it fails
            return Lines(self._desc, self.total, self._unit, self._clock)

    def __iter__(self) -> Iterator[T]:
        items = iter(self._iterable)
        bar = self._bar = self._begin()
        try:
            while True:
                try:
                    item = _awaited(items)
                except StopIteration:
                    return
                yield item
                if bar is not None:
                    bar.update(1)
        finally:
            if bar is not None:
                bar.close()
            self._bar = None

    def set_postfix(self, values: Any = None, **more: Any) -> None:
        """Show these values, as of the step that is under way: numbers, tensors of one element, text."""
        if self._bar is not None:
            shown = {**(values or {}), **more}
            self._bar.set_postfix_str(", ".join(f"{name}={_brief(value)}" for name, value in shown.items()))


def _awaited(items: Iterator[T]) -> T:
    if not listeners:
        return next(items)
    with record_function(DATA):
        return next(items)


def _brief(value: Any) -> str:
    if hasattr(value, "item") and not isinstance(value, str):
        value = value.item()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _length(iterable: Any) -> int | None:
    try:
        return len(iterable)
    except (TypeError, NotImplementedError):
        return None


def _terminal() -> bool:
    try:
        return bool(sys.stderr.isatty())
    except (AttributeError, ValueError):
        return False
