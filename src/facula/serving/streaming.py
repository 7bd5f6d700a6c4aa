"""Replies that come one after another: a handler's `stream`, run step by step by the worker's thread.

    begin (event loop) -> Streams -> Worker: the stream that waits longest -> one step -> the loop that asked

Other models, and other streams, have their turn between two steps. A stream is no further than AHEAD replies before
its client: who reads slowly is waited for, and holds no memory meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .faults import Busy, ServingError, TooLate
from .requests import Reply, Request

if TYPE_CHECKING:
    from .batching import Lane

AHEAD = 8  # replies that are made before the client has taken them
PATIENCE = 60.0  # seconds that a client may take to read them: a stream is a place that others want


class Stream:
    """The replies to one request. It belongs to an event loop; `cancel` is for any thread."""

    def __init__(self, lane: Streams, request: Request) -> None:
        self.lane = lane
        self.request = request
        self.loop = asyncio.get_running_loop()
        self.pieces: asyncio.Queue[Reply | BaseException | None] = asyncio.Queue()
        self.arrived = self.stepped = time.perf_counter()
        self.started = 0.0
        self.ahead = 0
        self.cancelled = False
        self.steps: Iterator[Reply] | None = None

    async def next(self) -> Reply | None:
        """The next reply; None after the last. Raises what the stream failed of."""
        found = await self.pieces.get()
        self.lane.wake(self)
        if isinstance(found, BaseException):
            raise found
        return found

    def cancel(self) -> None:
        """Nobody waits for more."""
        self.cancelled = True
        self.lane.wake()

    @property
    def due(self) -> float:
        """When its next step is to be: at once, or when its client has not read for too long."""
        return self.stepped + (0.0 if self.cancelled or self.ahead < AHEAD else PATIENCE)


class Streams:
    """The streams of one loaded version of a model: a lane of the worker beside that of its requests (`AnyLane`)."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.worker = lane.worker
        self.active: list[Stream] = []
        self.closed = False
        self.emptied = threading.Event()
        self._running = False

    def begin(self, request: Request) -> Stream:
        """The replies to come. Raises Busy where as many run as may wait in the model's queue."""
        stream, settings = Stream(self, request), self.lane.model.settings
        if request.deadline is None and settings.timeout_microseconds:
            request.deadline = stream.arrived + settings.timeout_microseconds / 1e6
        with self.worker.condition:  # the lane has asked whether it is closed
            if len(self.active) >= settings.max_queue_size:
                self.lane.statistics.add(rejected=1, request_failure=1)
                raise Busy(f"{len(self.active)} streams run already")
            if self not in self.worker.lanes:
                self.worker.lanes.append(self)
            self.active.append(stream)
            self.lane.statistics.add(streams=1, streaming=1)
            if self.worker.asleep:
                self.worker.condition.notify()
        return stream

    def wake(self, taken: Stream | None = None) -> None:
        """A reply has been taken, or nobody waits for one any more."""
        with self.worker.condition:
            if taken is not None:
                taken.ahead -= 1
            if self.worker.asleep:
                self.worker.condition.notify()

    def close(self) -> None:
        """With the worker's lock. What was begun is answered to its end; `emptied` is set after that."""
        self.closed = True
        if not self.active and not self._running:
            self.emptied.set()

    # ---- of the worker's thread, with its lock ---------------------------------------------------

    def waits(self) -> bool:
        return bool(self.active)

    def due(self, now: float) -> float:
        return min(stream.due for stream in self.active) - now

    def since(self) -> float:
        return min(stream.due for stream in self.active)

    def take(self) -> list[Stream]:
        """The one that waits longest."""
        found = min(self.active, key=lambda stream: stream.due)
        self.active.remove(found)
        found.ahead += 1
        self._running = True
        return [found]

    def settle(self) -> None:
        self._running = False
        if self.closed and not self.active:
            self.emptied.set()

    # ---- of the worker's thread, without it ------------------------------------------------------

    def run(self, taken: list[Stream]) -> None:
        """One step of one stream."""
        for stream in taken:
            found: Reply | BaseException | None
            try:
                found = self._step(stream)
            except ServingError as error:
                found = error
            except BaseException as error:  # a handler's SystemExit among them: the thread goes on
                found = ServingError(f"the model failed: {type(error).__name__}: {error}")
                found.__cause__ = error
            stream.stepped = time.perf_counter()
            if isinstance(found, Reply):
                with self.worker.condition:
                    self.active.append(stream)
            else:
                self._end(stream, found)
            if not stream.cancelled:
                try:
                    stream.loop.call_soon_threadsafe(stream.pieces.put_nowait, found)
                except RuntimeError:  # the loop is closed: nobody is left to be told
                    stream.cancelled = True

    def _step(self, stream: Stream) -> Reply | None:
        now = time.perf_counter()
        if stream.cancelled:
            return None
        if stream.ahead > AHEAD:
            raise TooLate(f"the client has not read for {PATIENCE:g} s")
        if stream.request.deadline is not None and now >= stream.request.deadline:
            self.lane.statistics.add(late=1)
            raise TooLate("the deadline passed before the stream was complete")
        if stream.steps is None:
            stream.started = now
            stream.steps = self.lane.model.stream(stream.request)
        found = next(stream.steps, None)
        self.lane.statistics.add(executions=1, stream_replies=found is not None,
                                 compute_infer=time.perf_counter() - now)
        return found

    def _end(self, stream: Stream, found: BaseException | None) -> None:
        try:
            if stream.steps is not None:
                stream.steps.close()  # type: ignore[attr-defined]  # its `finally`s run now, and in this thread
        except BaseException:  # nobody asks any more
            pass
        stream.steps = None
        now = time.perf_counter()
        self.lane.statistics.add(
            streaming=-1, request_failure=found is not None, request_success=found is None and not stream.cancelled,
            inferences=stream.request.rows or 1, request=now - stream.arrived,
            queue=(stream.started or now) - stream.arrived)
