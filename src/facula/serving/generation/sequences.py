"""Requests for text while they run: a job is what a client asked, a sequence one of its choices."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from .sampling import Choice, Sampler, Sampling
from .text import Tokenizer, Written


@dataclass(frozen=True, slots=True)
class Piece:
    """What a step adds to one choice. `finish`: "stop" or "length", with the last piece, as is `score`, the mean
    logarithm of its tokens' probabilities where these are told; `prompt`: what is said of the prompt's tokens (echo),
    with the first."""

    index: int
    text: str
    choices: tuple[Choice, ...]
    finish: str | None = None
    prompt: tuple[Choice, ...] = ()
    score: float = 0.0


@dataclass(frozen=True)
class Asked:
    """prompts     tokens of each; `choices` sequences are made of each one
    max_tokens  of a sequence, None: as many as there is room for
    deadline    a time of `perf_counter`
    told_prompt are the prompt's tokens to be told with their probabilities?
    """

    prompts: list[list[int]]
    choices: int = 1
    max_tokens: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    stops: tuple[str, ...] = ()
    deadline: float | None = None
    told_prompt: bool = False


class Job:
    """`pieces` gets each Piece, and what the job fails of. It belongs to an event loop; `cancel` is for any thread."""

    def __init__(self, asked: Asked, timeout: float = 0.0) -> None:
        """`timeout`: seconds that it has where `asked` says nothing; 0: none."""
        self.asked = asked
        self.loop = asyncio.get_running_loop()
        self.pieces: asyncio.Queue[Piece | BaseException] = asyncio.Queue()
        self.arrived = time.perf_counter()
        self.deadline = asked.deadline or (self.arrived + timeout if timeout else None)
        self.cancelled = False  # nobody waits for more: what is left of it is dropped
        self.left = len(asked.prompts) * asked.choices
        self.over = False  # has its end been counted?
        self.started = 0.0  # when its first sequence was taken up
        self.spoke = 0.0  # when its first token came
        self.made = 0  # tokens

    def cancel(self) -> None:
        self.cancelled = True

    async def next(self) -> Piece:
        found = await self.pieces.get()
        if isinstance(found, BaseException):
            raise found
        return found


class Sequence:
    """tokens    the prompt and what came after; `done` of them are in the cache, in `blocks`
    order     who came later has a larger one
    """

    def __init__(self, job: Job, order: int, index: int, prompt: list[int], tokenizer: Tokenizer, room: int) -> None:
        self.job = job
        self.order = order
        self.index = index
        self.tokens = [*prompt]
        self.prompt = len(prompt)
        most = room - len(prompt)
        self.limit = len(prompt) + (most if job.asked.max_tokens is None else min(most, job.asked.max_tokens))
        self.done = 0
        self.blocks: list[int] = []
        self.names: list[bytes] = []  # of the blocks that its tokens fill
        self.called = 0  # blocks that have been given their name
        self.sampler = Sampler(job.asked.sampling, index)
        self.written = Written(tokenizer, job.asked.stops)
        self.told: list[Choice] = []  # of the prompt
        self.score = 0.0  # the sum of its tokens' logarithms
        self.shown = False  # has a piece been made?
        self.quiet: list[Choice] = []  # chosen, but not shown yet: their text is no whole character, or may be a stop

    @property
    def left(self) -> int:
        """Tokens that are to be put in the cache."""
        return len(self.tokens) - self.done

    @property
    def telling(self) -> bool:
        """Are the logits of each of the prompt's tokens wanted?"""
        return self.job.asked.told_prompt and len(self.told) < self.prompt - 1

    def tell(self, position: int, choice: Choice) -> None:
        """This is to be said of the prompt's token that follows `position`; after a preemption it is said already."""
        if len(self.told) == position < self.prompt - 1:
            self.told.append(choice)

    def take(self, choice: Choice, eos: frozenset[int]) -> Piece | None:
        """A token has been chosen: what is to be shown of it, if anything is."""
        self.tokens.append(choice.token)
        self.job.made += 1
        self.score += choice.logprob or 0.0
        if choice.token in eos:
            return self.piece(self.written.end(), "stop")
        self.quiet.append(choice)
        text = self.written.add(choice.token)
        if not self.written.stopped and self.full:
            text += self.written.end()
        if self.written.stopped:
            return self.piece(text, "stop")
        if self.full:
            return self.piece(text, "length")
        return self.piece(text) if text else None

    @property
    def full(self) -> bool:
        return len(self.tokens) >= self.limit

    def piece(self, text: str, finish: str | None = None) -> Piece:
        told = () if self.shown else tuple(self.told)
        self.shown = True
        piece = Piece(self.index, text, tuple(self.quiet), finish, told,
                      self.score / max(1, len(self.tokens) - self.prompt))
        self.quiet.clear()
        return piece
