"""Which token comes next: a row of logits in, a token out, by numbers that are the request's own."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..elements import Array
from ..faults import ServingError

_FEW = 512  # of the likeliest tokens, which mostly are enough for top_p
_PART = 256
_COLD = 1e-6  # a temperature below: differences of logits are infinite, or nothing


@dataclass(frozen=True)
class Sampling:
    """temperature 0 takes the likeliest token. `logprobs`: how many of the likeliest are told of with each token, None:
    nothing is told. `presence` is taken from the logits of tokens that the text has already, `frequency` once for each
    time that it has them (the prompt does not count); `biases` are added to those of their tokens."""

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    logprobs: int | None = None
    presence: float = 0.0
    frequency: float = 0.0
    biases: tuple[tuple[int, float], ...] = ()

    @property
    def adjusts(self) -> bool:
        return bool(self.presence or self.frequency or self.biases)


class Choice(NamedTuple):
    """A token, the logarithm of its probability (the model's own: before all that `Sampling` says), and the likeliest
    ones with theirs."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Sampler:
    """One sequence's. The numbers follow from the seed, the sequence's `index` within its request, and how many tokens
    came before: not from what else the server does."""

    def __init__(self, sampling: Sampling, index: int = 0) -> None:
        self.sampling = sampling
        seed = secrets.randbits(64) if sampling.seed is None else sampling.seed % (1 << 64)
        self._adjusted: Array | None = None  # what is added to the logits
        self._seen: set[int] = set()
        self._draw = np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))

    def choose(self, logits: Array) -> Choice:
        """Of float32 logits (vocabulary). Raises ServingError where they are no numbers."""
        most = logits.max()
        if not np.isfinite(most):
            raise ServingError("the model's logits are not finite")
        sampling, wanted = self.sampling, logits
        if sampling.adjusts:
            if self._adjusted is None:
                self._adjusted = np.zeros(logits.size, np.float32)
                for token, bias in sampling.biases:
                    self._adjusted[token] += bias
            wanted = logits + self._adjusted
        token = int(wanted.argmax()) if sampling.temperature == 0 else self._drawn(wanted)
        if self._adjusted is not None:
            self._adjusted[token] -= sampling.frequency + (0.0 if token in self._seen else sampling.presence)
            self._seen.add(token)
        return self.told(logits, token)

    def told(self, logits: Array, token: int) -> Choice:
        """That token with what is to be said of it."""
        count = self.sampling.logprobs
        if count is None:
            return Choice(token)
        most = logits.max()
        total = float(most) + math.log(np.exp(logits - most).sum(dtype=np.float64))
        top = _largest(logits, min(count, logits.size))
        return Choice(token, float(logits[token]) - total, tuple([(int(t), float(logits[t]) - total) for t in top]))

    def _drawn(self, logits: Array) -> int:
        # Weights of 32 bits, sums of 64: of a large vocabulary the exponentials would else take longer than the model.
        sampling = self.sampling
        with np.errstate(over="ignore"):
            weights = np.exp((logits - logits.max()) / np.float32(max(sampling.temperature, _COLD)))
        draw = self._draw.random()
        if sampling.top_p >= 1:
            return _reached(weights, draw)
        wanted = sampling.top_p * weights.sum(dtype=np.float64)
        order = _largest(weights, min(_FEW, weights.size))
        sums = weights[order].cumsum(dtype=np.float64)
        if sums[-1] < wanted:
            order = _largest(weights, weights.size)
            sums = weights[order].cumsum(dtype=np.float64)
        kept = min(int(sums.searchsorted(wanted)) + 1, order.size)
        return int(order[min(int(sums[:kept].searchsorted(draw * sums[kept - 1], "right")), kept - 1)])


def _reached(weights: Array, draw: float) -> int:
    """Where the sum of the weights comes past that part of it: found among the sums of parts, then in one."""
    parts = np.add.reduceat(weights, np.arange(0, weights.size, _PART), dtype=np.float64).cumsum()
    wanted = draw * parts[-1]
    part = min(int(parts.searchsorted(wanted, "right")), parts.size - 1)
    inner = weights[part * _PART:(part + 1) * _PART].cumsum(dtype=np.float64)
    at = int(inner.searchsorted(wanted - (parts[part - 1] if part else 0.0), "right"))
    if at == inner.size:  # rounding: the last that has a weight
        return int(np.flatnonzero(weights[:(part + 1) * _PART])[-1])
    return part * _PART + at


def _largest(values: Array, count: int) -> Array:
    """The places of the largest, the largest first; of equal ones the first."""
    if count == 0:
        return np.empty(0, np.int64)
    places = np.arange(values.size) if count >= values.size else np.sort(np.argpartition(values, -count)[-count:])
    return places[np.argsort(-values[places], kind="stable")]
