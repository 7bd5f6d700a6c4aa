"""log, exp, sin... of float64 arrays: as the C library computes them, or as NumPy does.

PyTorch calls the C library for each number. NumPy's vector code differs from it in the last bit now and then.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Function = Callable[[np.ndarray], np.ndarray]


class Functions(NamedTuple):
    log: Function
    log1p: Function
    exp: Function
    sin: Function
    cos: Function
    tan: Function


def _each(function: Callable[[float], float]) -> Function:
    def apply(x: np.ndarray) -> np.ndarray:
        return np.fromiter(map(function, x.ravel().tolist()), np.float64, x.size).reshape(x.shape)
    return apply


def _log(x: float) -> float:
    return math.log(x) if x > 0.0 else -math.inf


def _exp(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


Exact = Functions(*map(_each, (_log, math.log1p, _exp, math.sin, math.cos, math.tan)))
Fast = Functions(np.log, np.log1p, np.exp, np.sin, np.cos, np.tan)
