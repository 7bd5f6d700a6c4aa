"""Permutations, multinomial and Poisson samples: algorithms whose draws depend on one another."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from facula.dtypes import bfloat16, dtype
from facula.rng import native
from facula.rng.gamma import uniform_stream
from facula.rng.rounding import from_bfloat16, to_dtype

if TYPE_CHECKING:
    from facula.rng.engine import Engine

MANY = (2**32 - 1) // 20  # from here on a 32-bit draw is too coarse to pick a position


def permutation(engine: Engine, n: int) -> np.ndarray:
    """Fisher and Yates's shuffle of 0 .. n-1."""
    if n >= MANY:
        return _large_permutation(engine, n)
    if n < 2:
        return np.arange(n)
    position = np.arange(n - 1)
    targets = (engine.words(n - 1) % (n - position)) + position  # int64
    if native.shuffled.is_worthwhile(4 * n) and (shuffle := native.shuffle()) is not None:
        shuffled = np.arange(n)
        shuffle(shuffled, targets)
        return shuffled
    order = array("q", range(n))
    for i, j in enumerate(targets.tolist()):  # each swap sees the ones before it; 100 ns an element
        order[i], order[j] = order[j], order[i]
    return np.frombuffer(order, np.int64)


def _large_permutation(engine: Engine, n: int, chunk: int = 1 << 20) -> np.ndarray:
    """The inside-out shuffle, with 64-bit draws."""
    order = array("q", bytes(8 * n))
    for start in range(0, n, chunk):
        stop = min(start + chunk, n)
        targets = engine.words64(stop - start) % np.arange(start + 1, stop + 1, dtype=np.uint64)
        for i, j in enumerate(targets.tolist(), start):
            order[i] = order[j]
            order[j] = i
    return np.frombuffer(order, np.int64)


def draw_with_replacement(weights: np.ndarray, unit: Callable[[], np.ndarray], samples: int) -> np.ndarray:
    """The first category whose cumulative share reaches a uniform number."""
    rows, categories = weights.shape
    share = np.cumsum(weights, axis=1, dtype=weights.dtype)  # a running sum, rounded in the weights' own type
    share /= share[:, -1:].copy()
    share[:, -1] = 1
    draws = unit().reshape(rows, samples)
    out = np.empty((rows, samples), np.int64)
    for row in range(rows):
        out[row] = np.searchsorted(share[row].astype(np.float64), draws[row], side="left")
    return out


def draw_without_replacement(weights: np.ndarray, waiting: np.ndarray, samples: int, of: dtype) -> np.ndarray:
    """The largest of weight / Exp(1): Gumbel's trick (Efraimidis and Spirakis 2006, weighted reservoirs)."""
    if of is bfloat16:
        waiting = from_bfloat16(waiting)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = to_dtype(weights / waiting, of)
    if of is bfloat16:
        score = from_bfloat16(score)
    if samples == 1:
        return np.argmax(score, axis=1)[:, None]  # type: ignore[no-any-return]
    order: np.ndarray = np.argsort(-score, axis=1, kind="stable")
    return order[:, :samples]


def poisson(engine: Engine, rates: np.ndarray) -> np.ndarray:
    """Knuth's product of uniform numbers below rate 10, Hörmann's transformed rejection (1993) from there."""
    draw = uniform_stream(engine)
    out = [(_poisson_rejection if rate >= 10 else _poisson_product)(rate, draw) for rate in rates.tolist()]
    return np.array(out, np.int64)


def _poisson_product(rate: float, draw: Callable[[], float]) -> int:
    if rate == 0:
        return 0
    limit, product, k = math.exp(-rate), draw(), 0
    while product > limit:
        product *= draw()
        k += 1
    return k


def _poisson_rejection(rate: float, draw: Callable[[], float]) -> int:
    b = 0.931 + 2.53 * math.sqrt(rate)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    acceptance = 0.9277 - 3.6224 / (b - 2)
    while True:
        u, v = draw() - 0.5, draw()
        edge = 0.5 - abs(u)
        k = math.floor((2 * a / edge + b) * u + rate + 0.43) if edge else -1
        if edge >= 0.07 and v <= acceptance:
            return k
        if k < 0 or (edge < 0.013 and v > edge) or v == 0:
            continue
        if (math.log(v) + math.log(inverse_alpha) - math.log(a / (edge * edge) + b)
                <= -rate + k * math.log(rate) - math.lgamma(k + 1)):
            return k
