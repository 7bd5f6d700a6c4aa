"""Gamma, Dirichlet and binomial samples: rejection, so one number after the other.

Marsaglia and Tsang 2000, "A simple method for generating gamma variables"; for binomials Hörmann 1993, "The generation
of binomial random variates" (BTRS), and waiting times where few successes are expected.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from facula.rng.engine import Engine

Draw = Callable[[], float]
_THIRD = 0.3333333432674408  # in float32, as PyTorch has it of every dtype


def uniform_stream(engine: Engine) -> Draw:
    """Numbers uniform in [0, 1), of 53 bits."""
    def draw() -> float:
        return (engine.random64() & 0x1FFFFFFFFFFFFF) * 2.0**-53
    return draw


def normal_stream(engine: Engine, uniform: Draw) -> Draw:
    """Standard normal numbers, beginning with the one that a Box-Muller pair has left over."""
    def draw() -> float:
        if engine.spare is not None:
            kept, engine.spare = engine.spare, None
            return kept
        angle, radius = 2 * math.pi * uniform(), math.sqrt(-2.0 * math.log1p(-uniform()))
        engine.spare = radius * math.sin(angle)
        return radius * math.cos(angle)
    return draw


def _gamma(shape: float, uniform: Draw, normal: Draw) -> float:
    """One number of the gamma distribution of that shape, of scale 1."""
    if not shape > 0.0:
        return 0.0 if shape == 0.0 else math.nan
    scale = 1.0
    if shape < 1.0:  # by a number of shape + 1, for which few are rejected
        scale = (1.0 - uniform()) ** (1.0 / shape)
        shape += 1.0
    d = shape - _THIRD
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        while True:
            x = normal()
            y = 1.0 + c * x
            if y > 0:
                break
        v = y * y * y
        u = 1.0 - uniform()
        xx = x * x
        if u < 1.0 - 0.0331 * xx * xx or math.log(u) < 0.5 * xx + d * (1.0 - v + math.log(v)):
            return scale * d * v


def gamma(engine: Engine, shapes: np.ndarray) -> np.ndarray:
    """One number for each of the shapes (float64), float64."""
    uniform = uniform_stream(engine)
    normal = normal_stream(engine, uniform)
    return np.array([_gamma(shape, uniform, normal) for shape in shapes.reshape(-1).tolist()]).reshape(shapes.shape)


# ---- binomials ------------------------------------------------------------------------------------------------------

_TAIL = (0.0810614667953272, 0.0413406959554092, 0.0276779256849983, 0.0207906721037650, 0.0166446911898211,
         0.0138761288230707, 0.0118967099458917, 0.0104112652619720, 0.00925546218271273, 0.00833056343336287)


def _stirling_tail(k: float) -> float:
    """log(k!) less Stirling's formula for it."""
    if k <= 9:
        return _TAIL[int(k)]
    square = (k + 1) * (k + 1)
    return (1.0 / 12 - (1.0 / 360 - 1.0 / 1260 / square) / square) / (k + 1)


def _by_waiting(count: float, p: float, uniform: Draw) -> float:
    """How many successes fit into `count` trials, by the times between them."""
    bottom, trials, successes = math.log1p(-p), 0.0, 0.0
    while True:
        u = uniform()
        trials += math.ceil(math.log(u) / bottom) if u > 0.0 else math.inf
        if trials > count:
            return successes
        successes += 1


def _by_rejection(count: float, p: float, uniform: Draw) -> float:
    """BTRS: transformed rejection with a squeeze, for count * p >= 10 and p <= 1/2."""
    deviation = math.sqrt(count * p * (1 - p))
    b = 1.15 + 2.53 * deviation
    a = -0.0873 + 0.0248 * b + 0.01 * p
    c = count * p + 0.5
    inside = 0.92 - 4.2 / b
    odds = p / (1 - p)
    alpha = (2.83 + 5.1 / b) * deviation
    m = math.floor((count + 1) * p)
    while True:
        u = uniform() - 0.5
        v = uniform()
        edge = 0.5 - abs(u)
        k = math.floor((2 * a / edge + b) * u + c) if edge else -1
        if edge >= 0.07 and v <= inside:
            return k
        if k < 0 or k > count:
            continue
        v = math.log(v * alpha / (a / (edge * edge) + b)) if v else -math.inf
        bound = ((m + 0.5) * math.log((m + 1) / (odds * (count - m + 1)))
                 + (count + 1) * math.log((count - m + 1) / (count - k + 1))
                 + (k + 0.5) * math.log(odds * (count - k + 1) / (k + 1))
                 + _stirling_tail(m) + _stirling_tail(count - m) - _stirling_tail(k) - _stirling_tail(count - k))
        if v <= bound:
            return k


def _binomial(count: float, p: float, uniform: Draw) -> float:
    if math.isnan(p) or math.isnan(count):
        return math.nan
    if count <= 0.0 or p <= 0.0:
        return 0.0
    if p >= 1.0:
        return count
    if p > 0.5:
        return count - _fewer(count, 1.0 - p, uniform)
    return _fewer(count, p, uniform)


def _fewer(count: float, p: float, uniform: Draw) -> float:
    return (_by_rejection if count * p >= 10.0 else _by_waiting)(count, p, uniform)


def binomial(engine: Engine, counts: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """The number of successes in each of `counts` trials of `chances` (float64, the same shape), float64."""
    uniform = uniform_stream(engine)
    pairs = zip(counts.reshape(-1).tolist(), chances.reshape(-1).tolist(), strict=True)
    return np.array([_binomial(count, p, uniform) for count, p in pairs]).reshape(counts.shape)
