"""`Timer`: a statement, run often enough to be measured."""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable
from typing import Any

from facula import absent
from facula._tensor.inquiries import get_num_threads, set_num_threads
from facula.engine.realize import flush
from facula.utils.benchmark.measurement import Measurement, TaskSpec


def timer() -> float:
    """The clock: what is pending is computed before it is read.

    Example:
        >>> from facula.utils.benchmark import timer
        >>> timer() < timer()
        True
    """
    flush()
    return time.perf_counter()


class Timer:
    """Measures how long a statement takes.

    Facula computes what is needed: the clock stops when everything that is still alive is computed, but a result that
    the statement drops is not. To have it computed, keep it (`y = f(x)`, where it stays alive until the next run) or
    ask for its value.

    Args:
        stmt, setup: Python's text; setup runs once before each measurement.
        global_setup: for C++ in PyTorch, refused here.
        globals: the names that both know; `facula` and `torch` among them.
        label, sub_label, description, env: what tables call it.
        num_threads: with so many threads.

    Example:
        >>> import facula
        >>> from facula.utils.benchmark import Timer
        >>> m = Timer("y = x.exp()", globals={"x": facula.ones(8)}, label="exp").timeit(10)
        >>> m.title, len(m.times)
        ('exp', 1)
    """

    def __init__(self, stmt: str = "pass", setup: str = "pass", global_setup: str = "",
                 timer: Callable[[], float] = timer, globals: dict[str, Any] | None = None, label: str | None = None,
                 sub_label: str | None = None, description: str | None = None, env: str | None = None,
                 num_threads: int = 1, language: Any = "python") -> None:
        if not isinstance(stmt, str):
            raise ValueError("Currently only a `str` stmt is supported.")
        if str(getattr(language, "name", language)).lower() not in ("python", "py"):
            raise absent.refusal(f"torch.utils.benchmark.Timer(language={language!r})", "statements are Python's")
        if global_setup:
            raise TypeError("global_setup is C++ only, got a Python Timer")
        import facula
        names = {"facula": facula, "torch": facula, **(globals or {})}
        self._task_spec = TaskSpec(stmt, setup, global_setup, label, sub_label, description, env, num_threads)
        self._timer = timeit.Timer(stmt, setup, timer, names)

    def _run(self, number: int) -> float:
        return max(self._timer.timeit(number), 1e-9)

    def _with_threads(self, measure: Callable[[], Measurement]) -> Measurement:
        before = get_num_threads()
        set_num_threads(self._task_spec.num_threads)
        try:
            return measure()
        finally:
            set_num_threads(before)

    def timeit(self, number: int = 1_000_000) -> Measurement:
        """One measurement of `number` executions, after a few to warm up."""
        def measure() -> Measurement:
            self._run(max(number // 100, 2))
            return Measurement(number, [self._run(number)], self._task_spec)
        return self._with_threads(measure)

    def _number(self, least: float) -> int:
        """So many executions that a run takes `least` seconds, and the clock's own time is nothing beside it."""
        number = 1
        while (took := self._run(number)) < least and number < 10**7:
            number = max(10 * number if took < least / 20 else int(1.2 * number * least / took), number + 1)
        return number

    def blocked_autorange(self, callback: Callable[[int, float], Any] | None = None,
                          min_run_time: float = 0.2) -> Measurement:
        """Measurements of so many executions each that the clock does not matter, for `min_run_time` seconds.

        Example:
            >>> from facula.utils.benchmark import Timer
            >>> m = Timer("sum(range(100))").blocked_autorange(min_run_time=0.01)
            >>> len(m.times) >= 1 and m.median < 0.1
            True
        """
        def measure() -> Measurement:
            self._run(2)
            number = self._number(min(1e-3, min_run_time / 10))
            times: list[float] = []
            while sum(times) < min_run_time or not times:
                times.append(self._run(number))
                if callback is not None:
                    callback(number, times[-1])
            return Measurement(number, times, self._task_spec)
        return self._with_threads(measure)

    def adaptive_autorange(self, threshold: float = 0.1, *, min_run_time: float = 0.01, max_run_time: float = 10.0,
                           callback: Callable[[int, float], Any] | None = None) -> Measurement:
        """As `blocked_autorange`, until the distance between the quartiles is `threshold` of the median at most."""
        def measure() -> Measurement:
            self._run(2)
            number = self._number(min(1e-3, min_run_time / 10))
            found = Measurement(number, [], self._task_spec)
            while sum(found.raw_times) < max_run_time:
                found.raw_times.append(self._run(number))
                if callback is not None:
                    callback(number, found.raw_times[-1])
                enough = sum(found.raw_times) >= min_run_time and len(found.raw_times) >= 3
                if enough and found.iqr / found.median < threshold:
                    break
            return found
        return self._with_threads(measure)

    autorange = blocked_autorange

    def collect_callgrind(self, *args: Any, **kwargs: Any) -> Any:
        """Not in Facula: Valgrind does not know what kernels written at run time are."""
        raise absent.refusal("torch.utils.benchmark.Timer.collect_callgrind", "timeit measures time")
