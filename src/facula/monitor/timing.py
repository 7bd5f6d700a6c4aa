"""Where the time of training goes: of each step of an optimizer, how long it has waited for data, how long its forward
and backward passes and the optimizer took, from ranges that are told anyway:

    data        a DataLoader's next batch, or that of `progress`    forward     calls of models that are watched
    backward    backward passes                                     optimizer   `step`, until its work is done

Calls mostly record (`docs/architecture.md`): the work of a forward pass is done where its values are first needed,
mostly in the backward pass. A step goes from the end of one optimizer's step to the end of the next. Where steps are
short, a row stands for several and has their means: ten rows a second at most.

Where there are several ranks (over sockets), "lag/rank R" is how much later than the middle of them R has come to the
step's collectives, of the `RANKS` latest.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from facula.autograd.backward import passes
from facula.autograd.profiler import listeners
from facula.monitor.runs import Run
from facula.monitor.stepping import Steps

LEAST = 0.1  # seconds that a row stands for
RANKS = 16
PHASES = ("data", "forward", "backward", "optimizer")
DATA = "facula.monitor.progress"  # the range of whoever waits for data without a DataLoader


def phase_of(name: str) -> str | None:
    """What a range is: one of PHASES, or None of others."""
    if name.startswith("enumerate(DataLoader)#") or name == DATA:
        return "data"
    return "optimizer" if name.startswith("Optimizer.step#") else None


class TimeLine:
    """Listens to ranges and logs "time/step", "time/data", ... in seconds. `stop` ends it.

    Args:
        clock: gives seconds.
    """

    def __init__(self, run: Run, clock: Callable[[], float] = time.perf_counter) -> None:
        self.run, self._clock = run, clock
        self.watched = False  # begun for the sake of models that are watched
        self._steps = Steps(run)
        self._thread: int | None = None  # the one that trains: others may load data
        self._began: float | None = None  # where the step that is under way began
        self._open: list[list[Any]] = []  # ranges under way: phase, when it began, seconds of ranges within
        self._sums = dict.fromkeys(PHASES, 0.0)
        self._whole, self._count = 0.0, 0
        # What other ranks did: collectives are carried out by threads of their own, which only append.
        self._arrivals: deque[dict[int, float]] = deque(maxlen=10_000)
        listeners.append(self)
        passes.append(self)
        run.observers.append(self)

    def stop(self) -> None:
        """Listen no more; what has been added up is logged."""
        for places in (listeners, passes, self.run.observers):
            if self in places:
                places.remove(self)
        self._log()

    # ---- what is told ----

    def enter(self, name: str) -> None:
        """A range begins."""
        phase = phase_of(name)
        if phase is not None:
            self.begin(phase)

    def leave(self, name: str) -> None:
        """A range has ended."""
        phase = phase_of(name)
        if phase is not None:
            self.end(phase)

    def begun(self) -> None:
        """A backward pass begins."""
        self._thread = threading.get_ident()
        self.begin("backward")

    def ended(self) -> None:
        """A backward pass has ended."""
        self.end("backward")

    def arrived(self, rank: int, after: dict[int, float]) -> None:
        """Ranks have come to a collective so many seconds after this one, which is `rank`."""
        self._arrivals.append({rank: 0.0, **after})

    def _lags(self) -> dict[int, float]:
        """How late ranks were since the last call, in all: after the middle one."""
        lags: dict[int, float] = {}
        for _ in range(len(self._arrivals)):
            came = self._arrivals.popleft()
            middle = sorted(came.values())[(len(came) - 1) // 2]
            for rank, seconds in came.items():
                lags[rank] = lags.get(rank, 0.0) + seconds - middle
        return lags

    def begin(self, phase: str) -> None:
        """A phase begins."""
        ident = threading.get_ident()
        if self._thread is None:
            self._thread = ident
        if ident == self._thread:
            now = self._clock()
            if self._began is None:
                self._began = now
            self._open.append([phase, now, 0.0])

    def end(self, phase: str) -> None:
        """It has ended. What was begun within it and has no end was left by an exception."""
        opened = self._open
        if threading.get_ident() != self._thread or not any(entry[0] == phase for entry in opened):
            return
        now = self._clock()
        while (entry := opened.pop())[0] != phase:
            pass
        took = now - entry[1]
        self._sums[phase] += took - entry[2]
        if opened:
            opened[-1][2] += took
        if phase == "optimizer" and not any(entry[0] == phase for entry in opened):
            opened.clear()
            self._step_ended(now)

    def _step_ended(self, now: float) -> None:
        assert self._began is not None
        self._whole += now - self._began
        self._count += 1
        self._began = now
        step = self._steps.next()
        if self._whole >= LEAST:
            self._log(step)

    def _log(self, step: int | None = None) -> None:
        count, whole, sums = self._count, self._whole, self._sums
        if count:
            self._count, self._whole, self._sums = 0, 0.0, dict.fromkeys(PHASES, 0.0)
            row = {"time/step": whole / count, **{f"time/{phase}": sums[phase] / count for phase in PHASES}}
            lags = sorted(self._lags().items(), key=lambda entry: -entry[1])[:RANKS]
            row |= {f"lag/rank {rank}": max(late, 0.0) / count for rank, late in lags}
            self.run.observe(self._steps.now if step is None else step, row)


def line_of(run: Run, watched: bool = False) -> TimeLine | None:
    """The time line of a run: that which it has, or a new one (`watched`: for a model's sake, and to end with the last
    one). None of a run that is disabled."""
    found = next((observer for observer in run.observers if isinstance(observer, TimeLine)), None)
    if found is None and not run.disabled:
        found = TimeLine(run)
        found.watched = watched
    elif found is not None and not watched:
        found.watched = False
    return found
