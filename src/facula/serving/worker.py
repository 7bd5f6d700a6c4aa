"""The thread that runs all models: one, as the kernels use every core themselves."""

from __future__ import annotations

import threading
import time
from typing import Any, Protocol

from facula.undisturbed import reentrant_lock

IDLE = 3600.0  # seconds of a wait that nothing ends but a request


class AnyLane(Protocol):
    """What the worker runs: the requests of one loaded version of a model. `emptied` is set when it is closed and
    nothing is left of what it was asked."""

    closed: bool
    emptied: threading.Event

    def waits(self) -> bool:
        """Is there anything to run? This, and all but `run`, with the worker's lock."""

    def due(self, now: float) -> float:
        """Seconds until it is to be run."""

    def since(self) -> float:
        """When it began to wait."""

    def take(self) -> list[Any]:
        """What is run next."""

    def run(self, taken: list[Any]) -> None:
        """Run it, and tell who asked. Raises nothing."""

    def settle(self) -> None:
        """It has been run."""


class Worker(threading.Thread):
    """The thread that runs batches of all lanes, the longest waiting first."""

    def __init__(self) -> None:
        super().__init__(name="facula-serving", daemon=True)
        self.condition = threading.Condition(reentrant_lock())
        self.lanes: list[AnyLane] = []
        self.asleep = False
        self.stopped = False
        self.start()

    def add(self, lane: AnyLane) -> None:
        with self.condition:
            self.lanes.append(lane)

    def stop(self) -> None:
        with self.condition:
            self.stopped = True
            self.condition.notify()

    def run(self) -> None:
        while True:
            with self.condition:
                lane = self._next()
                if lane is None:
                    return
                batch = lane.take()
            try:
                lane.run(batch)
            finally:
                with self.condition:
                    lane.settle()
                    if lane.closed and lane.emptied.is_set():
                        self.lanes.remove(lane)

    def _next(self) -> AnyLane | None:
        while True:
            now, wait = time.perf_counter(), IDLE
            best: AnyLane | None = None
            for lane in [*self.lanes]:
                if not lane.waits():
                    if lane.closed:
                        lane.emptied.set()
                        self.lanes.remove(lane)
                    continue
                left = lane.due(now)
                if left > 0:
                    wait = min(wait, left)
                elif best is None or lane.since() < best.since():
                    best = lane
            if best is not None:
                return best
            if self.stopped and not any(lane.waits() for lane in self.lanes):
                return None
            self.asleep = True
            self.condition.wait(wait)
            self.asleep = False
