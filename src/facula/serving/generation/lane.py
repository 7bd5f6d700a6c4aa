"""Continuous batching: sequences join and leave between two steps of the worker's thread.

    ask (event loop) -> GenerationLane.queue -> Worker: take (who has room in the cache) -> run, one step:
        a piece of one prompt, then one token for each sequence whose prompt has been read -> the loops that asked

Where the cache is full the youngest sequence gives its blocks back and waits again; what it had is read again later,
and has the same bits. The oldest always goes on.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from itertools import count
from typing import Any

import numpy as np

from ..batching import LaneClosed
from ..faults import BadRequest, Busy, ServingError, TooLate
from ..requests import Request
from ..settings import Generation
from ..statistics import Statistics
from ..worker import Worker
from .engine import PIECE, Engine, Part, together
from .figures import Figures
from .model import GenerationModel
from .sequences import Asked, Job, Sequence


class GenerationLane:
    """The sequences of one loaded version of a model."""

    def __init__(self, model: GenerationModel, worker: Worker, statistics: Statistics | None = None) -> None:
        self.model = model
        self.worker = worker
        self.statistics = statistics or Statistics()
        self.figures = self.statistics.generation = self.statistics.generation or Figures()
        self.queue: deque[Sequence] = deque()
        self.active: list[Sequence] = []  # the oldest first; of the worker's thread
        self.closed = False
        self.running = False  # is a step?
        self.emptied = threading.Event()
        self.shares = (model.settings.generation or Generation()).share_prompts
        self._order = count()
        self._stepped = 0.0
        self._dirty: list[list[int]] = []  # blocks of who has failed, that may hold what is no number
        self._found: list[tuple[Job, Any]] = []  # for the event loops, when the step is done
        worker.add(self)

    @property
    def engine(self) -> Engine:
        return self.model.engine

    def submit(self, request: Request) -> Any:
        """Raises BadRequest: tensors are not what this model takes."""
        raise BadRequest("this model generates text: ask /v1/completions or /v1/chat/completions")

    stream = submit

    def wait(self, seconds: float | None = None) -> bool:
        """Until it is closed and nothing is left of what it was asked; False after so many seconds."""
        return self.emptied.wait(seconds)

    def ask(self, asked: Asked) -> Job:
        """A job, whose pieces come. Raises BadRequest for what never has room, Busy where the queue is full, and
        LaneClosed where another version has taken over."""
        room = self.engine.cache.capacity
        for prompt in asked.prompts:
            if not prompt:
                raise BadRequest("the prompt has no tokens")
            if len(prompt) + (asked.max_tokens or 0) > room:
                raise BadRequest(f"{len(prompt)} tokens of the prompt and {asked.max_tokens or 0} to come: this model "
                                 f"has room for {room}")
        job = Job(asked, self.model.settings.timeout_microseconds / 1e6)
        with self.worker.condition:
            if self.closed:
                raise LaneClosed("this version is being unloaded")
            if len(self.queue) + job.left > self.model.settings.max_queue_size:
                self.statistics.add(rejected=1, request_failure=1)
                raise Busy(f"{len(self.queue)} sequences wait already")
            for index in range(job.left):
                self.queue.append(Sequence(job, next(self._order), index, asked.prompts[index // asked.choices],
                                           self.model.tokenizer, room))
            self.figures.add(choices=job.left)
            if self.worker.asleep:
                self.worker.condition.notify()
        return job

    def close(self) -> None:
        """Take no more requests. What was asked is still answered; `emptied` is set after that."""
        with self.worker.condition:
            self.closed = True
            if not self.waits() and not self.running:
                self.emptied.set()
            self.worker.condition.notify()

    # ---- of the worker's thread, with its lock ---------------------------------------------------

    def waits(self) -> bool:
        return bool(self.queue or self.active)

    def due(self, now: float) -> float:
        return 0.0

    def since(self) -> float:
        """A step waits since the last one: other models have their turn between two."""
        return self._stepped if self.active else self.queue[0].job.arrived

    def take(self) -> list[Sequence]:
        """Sequences that join."""
        now, kept, joined = time.perf_counter(), deque[Sequence](), list[Sequence]()
        most = self.model.settings.max_batch_size - len(self.active)
        while self.queue:
            one = self.queue.popleft()
            if self._over(one.job, now):
                continue
            if len(joined) < most and not kept and self._begin(one):  # nobody is overtaken
                joined.append(one)
            else:
                kept.append(one)
        self.queue = kept
        self.running = True
        return joined

    def _begin(self, one: Sequence) -> bool:
        """Give it the blocks that its tokens take and the next one, if there are as many."""
        cache = self.engine.cache
        blocks: list[int] = []
        if self._shares(one):  # all but the last token, at least, which is read so that there are logits
            blocks = cache.share(cache.names(one.tokens, one.names, (len(one.tokens) - 1) // cache.block_tokens))
        tokens = min(len(one.tokens) + 1, one.limit) if self.engine.exact else one.limit
        more = cache.take(cache.blocks_for(max(tokens, len(one.tokens))) - len(blocks))
        if more is None:
            cache.give(blocks)
            return False
        one.done, one.called = len(blocks) * cache.block_tokens, len(blocks)
        self.figures.add(prompt_tokens_reused=min(one.done, one.prompt))
        one.blocks = blocks + more
        return True

    def _shares(self, one: Sequence) -> bool:
        """May it have what another sequence has read? Not if that had other bits, nor if its tokens are to be told."""
        return self.shares and self.engine.exact and not self.engine.alone and not one.job.asked.told_prompt

    def settle(self) -> None:
        self.running = False
        if self.closed and not self.waits():
            self.emptied.set()

    # ---- of the worker's thread, without it ------------------------------------------------------

    def run(self, joined: list[Sequence]) -> None:
        """One step."""
        self.active = sorted([*self.active, *joined], key=lambda one: one.order)
        try:
            self._run(joined)
        except BaseException as error:  # whatever it is: the thread goes on, and nobody waits in vain
            for one in [*self.active]:
                self._fail(one, error)
        self._stepped = time.perf_counter()
        self._deliver()

    def _run(self, joined: list[Sequence]) -> None:
        self._clean()
        now = time.perf_counter()
        for one in joined:
            if not one.job.started:
                one.job.started = now
                self.figures.took("queued", now - one.job.arrived)
        for one in [*self.active]:
            if self._over(one.job, now):
                self._release(one)
        reading = [one for one in self.active if one.left > 1 or one.telling]
        if reading:
            alone = reading[0].telling or self.engine.alone
            alike = [one for one in reading if not one.telling]
            self._step(reading[:1] if alone else alike[:together([*map(_piece, alike)])])
        ready = self._with_room([one for one in self.active if one.left == 1 and not one.telling])
        for part in [[one] for one in ready] if self.engine.alone else [ready]:
            self._step(part)

    def _step(self, sequences: list[Sequence]) -> None:
        """Read the next tokens of each, and choose the one that follows where there are no more."""
        if not sequences:
            return
        telling = sequences[0].telling
        parts = [Part(one.tokens, one.done, _piece(one), one.blocks) for one in sequences]
        self.statistics.add(executions=1)
        try:
            found = self.engine.logits(parts, every=telling)
        except BaseException as error:  # a decoder's SystemExit among them: the thread goes on
            if len(sequences) == 1:
                self._fail(sequences[0], error)
            for one in sequences if len(sequences) > 1 else ():  # it may be about one of them
                self._step([one])
            return
        for one, part, logits in zip(sequences, parts, found, strict=True):
            try:
                self._read(one, part.count, logits)
            except BaseException as error:  # of its logits, of a tokenizer
                self._fail(one, error)

    def _read(self, one: Sequence, count: int, logits: Any) -> None:
        telling = one.telling
        if not np.isfinite(logits[:count].max()):  # NaN of any token that was read is in these
            raise ServingError("the model's logits are not finite")
        for k in range(count if telling else 0):
            if one.done + k + 1 < one.prompt:
                one.tell(one.done + k, one.sampler.told(logits[k], one.tokens[one.done + k + 1]))
        self.figures.add(prompt_tokens=max(0, min(one.done + count, one.prompt) - one.done))
        one.done += count
        if self._shares(one):
            cache = self.engine.cache
            names = cache.names(one.tokens, one.names, one.done // cache.block_tokens)
            for k in range(one.called, len(names)):
                cache.call(one.blocks[k], names[k])
            one.called = len(names)
        if one.left:
            return
        if one.full:  # nothing but the prompt was asked for
            self._show(one, one.piece("", "length"))
            return
        choice = one.sampler.choose(logits[count - 1 if telling else 0])
        now = time.perf_counter()
        if not one.job.made:
            self.figures.took("first_token", now - one.job.arrived)
            one.job.spoke = now
        self.figures.add(tokens=1, adjusted_tokens=one.sampler.sampling.adjusts)
        piece = one.take(choice, self.model.eos)
        if piece is not None:
            self._show(one, piece)

    def _show(self, one: Sequence, piece: Any) -> None:
        self._found.append((one.job, piece))
        if piece.finish is None:
            return
        self._release(one)
        job = one.job
        job.left -= 1
        if not job.left:
            now = time.perf_counter()
            self.statistics.add(request_success=1, inferences=1, request=now - job.arrived,
                                queue=job.started - job.arrived, compute_infer=now - job.started)
            if job.made > 1:
                self.figures.took("between_tokens", (now - job.spoke) / (job.made - 1))

    def _with_room(self, ready: list[Sequence]) -> list[Sequence]:
        """Those of `ready` that have a block for their next token; for the oldest others give theirs back."""
        cache = self.engine.cache
        for one in ready:
            while one.blocks and cache.blocks_for(one.done + 1) > len(one.blocks):
                more = cache.take(1)
                if more is not None:
                    one.blocks += more
                    continue
                youngest = self.active[-1]
                self._release(youngest)
                self.figures.add(preempted=1)
                with self.worker.condition:
                    self.queue.appendleft(youngest)
        return [one for one in ready if one.blocks]

    def _over(self, job: Job, now: float) -> bool:
        """Has nobody use for more of it?"""
        if not job.cancelled and job.deadline is not None and now >= job.deadline:
            self.statistics.add(late=1)
            self._end(job, TooLate("the deadline passed before the text was complete"))
        elif job.cancelled and not job.over:
            job.over = True
            self.figures.add(cancelled=1)
        return job.cancelled

    def _fail(self, one: Sequence, error: BaseException) -> None:
        self._dirty.append(one.blocks)
        one.blocks = []
        self._clean()
        self._release(one)
        if not one.job.cancelled:
            self._end(one.job, error)

    def _clean(self) -> None:
        """Give back the blocks of who has failed. What cannot be cleared (for want of memory, of which that may have
        failed, too) nobody has until the next step."""
        while self._dirty:
            try:
                self.engine.cache.clear(self._dirty[-1])
            except BaseException:
                return
            self.engine.cache.give(self._dirty.pop())

    def _end(self, job: Job, error: BaseException) -> None:
        job.cancelled = job.over = True  # its other sequences are dropped at the next step
        self.statistics.add(request_failure=1)
        if not isinstance(error, ServingError):
            failure = ServingError(f"the model failed: {type(error).__name__}: {error}")
            failure.__cause__ = error
            error = failure
        self._found.append((job, error))

    def _release(self, one: Sequence) -> None:
        if one in self.active:
            self.active.remove(one)
        self.engine.cache.give(one.blocks)

    def _deliver(self) -> None:
        loops: dict[asyncio.AbstractEventLoop, list[tuple[Job, Any]]] = {}
        for job, found in self._found:
            loops.setdefault(job.loop, []).append((job, found))
        self._found = []
        for loop, part in loops.items():
            try:
                loop.call_soon_threadsafe(_settle, part)
            except RuntimeError:  # the loop is closed: nobody is left to be told
                for job, _ in part:
                    job.cancel()

    def gauges(self) -> dict[str, int]:
        cache = self.engine.cache
        return {"waiting": len(self.queue), "running": len(self.active), "cache_bytes": cache.nbytes,
                "cache_blocks": cache.blocks - 1,
                "cache_blocks_free": cache.left}


def _piece(one: Sequence) -> int:
    return min(PIECE, one.left)


def _settle(part: list[tuple[Job, Any]]) -> None:
    for job, found in part:
        job.pieces.put_nowait(found)
