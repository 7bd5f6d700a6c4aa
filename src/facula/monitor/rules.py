"""Rules of alarms: what of a series is wrong, and when. `alarms.py` asks them.

A rule's `judge()` is a generator for one series: it is sent (value, row) for each value in the order of logging, and
yields one line that says what is wrong, or None. `row` is all that was logged by the same call.

    NotFinite         NaN, infinities            StalledLoader    waiting for data takes most of a step
    Exploding         large, or suddenly so      MemoryGrowth     memory that only grows
    Vanishing         small, or suddenly so      LaggingRank      one that the others wait for
    DeadUnits         zero whatever comes in     Plateau          no improvement any more
    When              what a function says

Example:
    >>> from facula import monitor
    >>> judging = monitor.Exploding(above=10.0).judge()
    >>> next(judging)
    >>> judging.send((3.0, {})), judging.send((12.0, {}))
    (None, 'is 12, above 10')
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

Judging = Generator[str | None, tuple[float, Mapping[str, Any]], None]
Keys = str | Sequence[str]
GRADIENT_NORMS = ("*grad*norm*", "*norm*grad*")  # those of `watch`, and what programs call theirs


class Rule:
    """What every rule has. Subclasses define `judge`.

    Args:
        keys: names of series, or patterns as of `fnmatch` ("train/*"); several in a sequence.
        name: what its alarms are called; a rule takes the place of the one of the same name.
        level: "INFO", "WARN" or "ERROR".
        again: after an alarm a series is left alone until it has been right for so many values.

    Raises:
        ValueError: of a level that is none of these, or a threshold that makes no sense.
    """

    called = "rule"
    finite = True  # is sent finite values only

    def __init__(self, keys: Keys, *, name: str | None = None, level: str = "WARN", again: int = 100) -> None:
        self.keys = (keys,) if isinstance(keys, str) else tuple(str(key) for key in keys)
        self.name = str(name if name is not None else self.called)
        self.level = str(level).upper()
        if self.level not in ("INFO", "WARN", "ERROR"):
            raise ValueError(f"{type(self).__name__}: level={level!r}; expected INFO, WARN or ERROR")
        self.again = _least(type(self), "again", again, 1)
        self._matches = re.compile("|".join(f"(?:{fnmatch.translate(key)})" for key in self.keys) or "(?!)").match

    def concerns(self, key: str) -> bool:
        """Is the series `key` one of its own?"""
        return self._matches(key) is not None

    def judge(self) -> Judging:
        """A generator for one series: see this module's page."""
        raise NotImplementedError(f"{type(self).__name__}: a rule defines judge()")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} of {', '.join(self.keys)}>"


def _least(kind: type, name: str, value: Any, least: float) -> Any:
    if not value >= least:
        raise ValueError(f"{kind.__name__}: {name}={value!r}; at least {least:g} is expected")
    return value


def brief(value: float) -> str:
    """A number in a line: four digits."""
    return f"{value:.4g}"


class NotFinite(Rule):
    """NaN or an infinity, in any series."""

    called, finite = "not finite", False

    def __init__(self, keys: Keys = "*", *, level: str = "ERROR", **options: Any) -> None:
        super().__init__(keys, level=level, **options)

    def judge(self) -> Judging:
        """NaN, or infinite."""
        said = None
        while True:
            value, _ = yield said
            said = None if math.isfinite(value) else f"is {value}"


class _Usual:
    """What a series usually is: a mean of logarithms in which a value counts for half after 14 others."""

    KEPT = 0.95

    def __init__(self) -> None:
        self._sum = self._mass = 0.0
        self.count = 0

    def add(self, value: float) -> None:
        if value > 0:
            self._sum = self.KEPT * self._sum + (1 - self.KEPT) * math.log(value)
            self._mass = self.KEPT * self._mass + (1 - self.KEPT)
            self.count += 1

    @property
    def value(self) -> float:
        return math.exp(self._sum / self._mass)


class Exploding(Rule):
    """Gradients that are too large, or have suddenly become so.

    Args:
        keys: by default whatever is called a gradient's norm ("gradient_norms/...", "train/grad_norm").
        above: the largest norm that is right; None: any.
        times: how many times its usual norm (that of the last few dozen values) is right; None: any.
        after: so many values make a usual norm.
    """

    called = "exploding gradient"

    def __init__(self, keys: Keys = GRADIENT_NORMS, *, above: float | None = 1e4, times: float | None = 100.0,
                 after: int = 10, **options: Any) -> None:
        super().__init__(keys, **options)
        self.above, self.after = above, _least(type(self), "after", after, 1)
        self.times = times if times is None else _least(type(self), "times", times, 1)

    def judge(self) -> Judging:
        """Above the threshold, or many times what is usual."""
        usual, said = _Usual(), None
        while True:
            value, _ = yield said
            said = None
            if self.above is not None and value > self.above:
                said = f"is {brief(value)}, above {brief(self.above)}"
            elif self.times is not None and usual.count >= self.after and value > self.times * usual.value:
                said = f"is {brief(value)}, {brief(value / usual.value)} times what is usual ({brief(usual.value)})"
            usual.add(value)


class Vanishing(Rule):
    """Gradients that stay too small, or have suddenly become so.

    Args:
        keys: as those of `Exploding`.
        below: the smallest norm that is right; None: any.
        times: how many times smaller than usual is right; None: any.
        after: so many values make a usual norm.
        patience: so many values in a row are wrong before it is said.
    """

    called = "vanishing gradient"

    def __init__(self, keys: Keys = GRADIENT_NORMS, *, below: float | None = 1e-8, times: float | None = 1e4,
                 after: int = 10, patience: int = 3, **options: Any) -> None:
        super().__init__(keys, **options)
        self.below, self.after = below, _least(type(self), "after", after, 1)
        self.times = times if times is None else _least(type(self), "times", times, 1)
        self.patience = _least(type(self), "patience", patience, 1)

    def judge(self) -> Judging:
        """Below the threshold, or a small part of what is usual; several times in a row."""
        usual, small, said = _Usual(), 0, None
        while True:
            value, _ = yield said
            why = None
            if self.below is not None and value < self.below:
                why = f"below {brief(self.below)}"
            elif self.times is not None and usual.count >= self.after and value * self.times < usual.value:
                why = f"where {brief(usual.value)} is usual"
            small = 0 if why is None else small + 1
            said = f"is {brief(value)}, {why}, {small} times in a row" if small >= self.patience else None
            if why is None:  # what is wrong does not become usual
                usual.add(value)


class DeadUnits(Rule):
    """Units that are zero whatever comes in. The series are shares of units, as `watch` logs them.

    Args:
        above: the largest share of a layer's units that may be dead.
    """

    called = "dead units"

    def __init__(self, keys: Keys = "dead_units/*", *, above: float = 0.5, **options: Any) -> None:
        super().__init__(keys, **options)
        self.above = above

    def judge(self) -> Judging:
        """A share above the threshold."""
        said = None
        while True:
            value, _ = yield said
            said = f"is {value:.0%}: units that are zero for all that came in" if value > self.above else None


class StalledLoader(Rule):
    """Steps that wait for data most of their time.

    Args:
        keys: seconds that a step has waited for data, as `steps` logs them.
        of: the series of how long the step took, logged by the same call.
        above: the largest share that is right.
        window: of how many steps together.
    """

    called = "stalled loader"

    def __init__(self, keys: Keys = "time/data", *, of: str = "time/step", above: float = 0.5, window: int = 20,
                 **options: Any) -> None:
        super().__init__(keys, **options)
        self.of, self.above, self.window = of, above, _least(type(self), "window", window, 1)

    def judge(self) -> Judging:
        """A share of the window's time above the threshold."""
        steps: deque[tuple[float, float]] = deque(maxlen=self.window)
        said = None
        while True:
            value, row = yield said
            said, whole = None, row.get(self.of)
            if isinstance(whole, (int, float)) and math.isfinite(whole):
                steps.append((value, whole))
            if len(steps) == self.window:
                waited, all_of_it = (sum(column) for column in zip(*steps, strict=True))
                if waited > self.above * all_of_it:
                    said = f"is {waited / all_of_it:.0%} of the time of {self.window} steps"


class LaggingRank(StalledLoader):
    """A rank that the others wait for: how much later than the middle of them it comes to collectives, as a time line
    logs it.

    Args:
        keys, of, above, window: as those of `StalledLoader`.
    """

    called = "lagging rank"

    def __init__(self, keys: Keys = "lag/*", *, above: float = 0.2, **options: Any) -> None:
        super().__init__(keys, above=above, **options)


class MemoryGrowth(Rule):
    """Memory that only grows.

    Args:
        keys: bytes; by default what the process has in memory, which a run samples every ten seconds.
        window: of how many values. It grows if the least of each third of them is more than that of the one before,
        by: and if the last third's is more than the first's by this share of it,
        least: and by so many bytes.
    """

    called = "memory growth"

    def __init__(self, keys: Keys = "system/process_memory", *, window: int = 30, by: float = 0.1,
                 least: float = 64 << 20, **options: Any) -> None:
        super().__init__(keys, **options)
        self.window, self.by, self.least = _least(type(self), "window", window, 3), by, least

    def judge(self) -> Judging:
        """Grown from third to third, and by enough."""
        values: deque[float] = deque(maxlen=self.window)
        third, said = self.window // 3, None
        while True:
            value, _ = yield said
            said = None
            values.append(value)
            if len(values) == self.window:
                kept = list(values)
                first, second, last = min(kept[:third]), min(kept[third:-third]), min(kept[-third:])
                if first < second < last and last - first > max(self.least, self.by * first):
                    said = f"has grown from {_bytes(first)} to {_bytes(last)} in {self.window} values"


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if abs(count) < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.2f} GB"


class Plateau(Rule):
    """A series that has stopped improving.

    Args:
        keys: which; there is no default.
        mode: "min" or "max": which values are better.
        patience: so many values in a row without an improvement.
        min_delta: better by less than this is none.
    """

    called = "plateau"

    def __init__(self, keys: Keys, *, mode: str = "min", patience: int = 10, min_delta: float = 0.0, again: int = 1,
                 **options: Any) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f"Plateau: mode={mode!r}; expected 'min' or 'max'")
        super().__init__(keys, again=again, **options)
        self.mode, self.min_delta = mode, _least(type(self), "min_delta", min_delta, 0)
        self.patience = _least(type(self), "patience", patience, 1)

    def judge(self) -> Judging:
        """No improvement for a while."""
        best, since, said = None, 0, None
        sign = 1 if self.mode == "min" else -1
        while True:
            value, _ = yield said
            if best is None or sign * value < sign * best - self.min_delta:
                best, since = value, 0
            else:
                since += 1
            said = f"is no better than {brief(best)} for {since} values" if since >= self.patience else None


class When(Rule):
    """What a function of the value says: something true (its text, if it is a str) is wrong.

    The function is called by the thread that writes; one that raises is not asked again.

    Example:
        >>> from facula import monitor
        >>> monitor.When("lr", lambda value: value > 1, name="large lr")
        <When 'large lr' of lr>
    """

    called = "condition"

    def __init__(self, keys: Keys, function: Callable[[float], Any], **options: Any) -> None:
        super().__init__(keys, **options)
        if not callable(function):
            raise TypeError(f"When: expected a function of a value, got {type(function).__name__}")
        self.function = function

    def judge(self) -> Judging:
        """As the function says."""
        said = None
        while True:
            value, _ = yield said
            found = self.function(value)
            said = (found if isinstance(found, str) else f"is {brief(value)}") if found else None


def usual_rules() -> list[Rule]:
    """The rules of a run that is given none: all that need no choice."""
    return [NotFinite(), Exploding(), Vanishing(), DeadUnits(), StalledLoader(), LaggingRank(), MemoryGrowth()]
