"""Queues of requests, and how they are run together.

    submit (event loop) -> Lane.queue -> Worker: take what goes together -> Model.run -> the loops that asked

A batch is what waits, up to the model's rows; none waits for company longer than the model's delay. A request is not
overtaken by a later one of its connection, and by others only where these go into a batch that it does not fit in.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from typing import Any

from .faults import Busy, NotReady, ServingError, TooLate
from .models import Model, Times
from .requests import Request
from .statistics import Statistics
from .streaming import Stream, Streams
from .worker import Worker


class Ticket:
    """A request that waits, and where its reply goes."""

    __slots__ = ("request", "loop", "future", "arrived", "rows", "signature")

    def __init__(self, request: Request, loop: asyncio.AbstractEventLoop) -> None:
        self.request = request
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.arrived = time.perf_counter()
        self.rows = request.rows
        self.signature = request.signature


class Lane:
    """The queue of one loaded version of a model."""

    def __init__(self, model: Model, worker: Worker, statistics: Statistics | None = None) -> None:
        self.model = model
        self.worker = worker
        self.statistics = statistics or Statistics()
        self.queue: deque[Ticket] = deque()
        self.waiting_rows = 0
        self.closed = False
        self.running = 0
        self.emptied = threading.Event()
        self.streams = Streams(self)
        worker.add(self)

    def stream(self, request: Request) -> Stream:
        """The replies to come, one after another. Raises as `submit` does."""
        self.model.check(request)
        with self.worker.condition:
            if self.closed:
                raise LaneClosed("this version is being unloaded")
            return self.streams.begin(request)

    def wait(self, seconds: float | None = None) -> bool:
        """Until it is closed and nothing is left of what it was asked; False after so many seconds."""
        end = None if seconds is None else time.monotonic() + seconds
        return self.emptied.wait(seconds) and self.streams.emptied.wait(
            None if end is None else max(0.0, end - time.monotonic()))

    def submit(self, request: Request) -> asyncio.Future[Any]:
        """The reply to come, a Reply or an exception of `faults`. Raises Busy where the queue is full, and LaneClosed
        where another version has taken over: ask the repository again."""
        self.model.check(request)
        ticket = Ticket(request, asyncio.get_running_loop())
        timeout = self.model.settings.timeout_microseconds
        if request.deadline is None and timeout:
            request.deadline = ticket.arrived + timeout / 1e6
        with self.worker.condition:
            if self.closed:
                raise LaneClosed("this version is being unloaded")
            if len(self.queue) >= self.model.settings.max_queue_size:
                self.statistics.add(rejected=1, request_failure=1)
                raise Busy(f"{len(self.queue)} requests wait already")
            self.queue.append(ticket)
            self.waiting_rows += ticket.rows
            if self.worker.asleep:
                self.worker.condition.notify()
        return ticket.future

    def close(self) -> None:
        """Take no more requests. What waits is still run; `emptied` is set after that."""
        with self.worker.condition:
            self.closed = True
            self.streams.close()
            if not self.queue and not self.running:
                self.emptied.set()
            self.worker.condition.notify()

    # ---- of the worker's thread, with its lock ---------------------------------------------------

    def waits(self) -> bool:
        return bool(self.queue)

    def since(self) -> float:
        return self.queue[0].arrived

    def due(self, now: float) -> float:
        """Seconds until a batch is to be run."""
        settings = self.model.settings
        if self.closed or not settings.max_queue_delay_microseconds or self.model.alone \
                or self.waiting_rows >= settings.max_batch_size:
            return 0.0
        return self.queue[0].arrived + settings.max_queue_delay_microseconds / 1e6 - now

    def take(self) -> list[Ticket]:
        """The oldest request, and what goes with it."""
        most = self.model.settings.max_batch_size if not self.model.alone else 1
        taken, kept = [self.queue.popleft()], list[Ticket]()
        rows, passed = taken[0].rows, set[Any]()
        while self.queue and rows < most:
            ticket = self.queue.popleft()
            connection = ticket.request.connection
            if ticket.signature == taken[0].signature and rows + ticket.rows <= most and connection not in passed:
                taken.append(ticket)
                rows += ticket.rows
            else:
                kept.append(ticket)
                if connection is not None:
                    passed.add(connection)
                if len(kept) >= 64:
                    break
        self.queue.extendleft(reversed(kept))
        self.waiting_rows -= rows
        self.running = len(taken)
        return taken

    def settle(self) -> None:
        self.running = 0
        if self.closed and not self.queue:
            self.emptied.set()

    # ---- of the worker's thread, without it ------------------------------------------------------

    def run(self, batch: list[Ticket]) -> None:
        """Run a batch, and tell who asked."""
        times = Times()
        ready: list[Ticket] = []
        settled: list[tuple[Ticket, Any]] = []
        for ticket in batch:
            deadline = ticket.request.deadline
            if ticket.future.cancelled():
                continue
            if deadline is not None and times.start >= deadline:
                self.statistics.add(late=1)
                settled.append((ticket, TooLate("the deadline passed while the request waited")))
            else:
                ready.append(ticket)
        if ready:
            try:
                replies: list[Any] = list(self.model.run([t.request for t in ready], times))
            except BaseException as error:  # a handler's SystemExit among them: the thread goes on
                replies = [error] * len(ready)
            settled += zip(ready, replies, strict=True)
        self._count(settled, ready, times)
        loops: dict[asyncio.AbstractEventLoop, list[tuple[Ticket, Any]]] = {}
        for ticket, reply in settled:
            loops.setdefault(ticket.loop, []).append((ticket, reply))
        for loop, part in loops.items():
            try:
                loop.call_soon_threadsafe(_settle, part)
            except RuntimeError:  # the loop is closed: nobody is left to be told
                pass

    def _count(self, settled: list[tuple[Ticket, Any]], ready: list[Ticket], times: Times) -> None:
        end = time.perf_counter()
        failed = sum(isinstance(reply, BaseException) for _, reply in settled)
        each, rows = len(ready), sum(t.rows or 1 for t in ready)
        for t in ready:
            t.request.ran = times.start - t.arrived, end - times.start, rows
        self.statistics.add(
            request_success=len(settled) - failed, request_failure=failed, executions=bool(ready),
            inferences=rows, request=sum(end - t.arrived for t, _ in settled),
            queue=sum(times.start - t.arrived for t in ready), compute_input=each * (times.made - times.start),
            compute_infer=each * (times.computed - times.made), compute_output=each * (end - times.computed))


class LaneClosed(NotReady):
    pass


def _settle(part: list[tuple[Ticket, Any]]) -> None:
    for ticket, reply in part:
        if ticket.future.done():
            continue
        if isinstance(reply, ServingError):
            ticket.future.set_exception(reply)
        elif isinstance(reply, BaseException):
            failure = ServingError(f"the model failed: {type(reply).__name__}: {reply}")
            failure.__cause__ = reply
            ticket.future.set_exception(failure)
        else:
            ticket.future.set_result(reply)
