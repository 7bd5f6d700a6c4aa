"""Airy's function of the first kind: `facula.special.airy_ai`.

It is made of Bessel's functions of order 1/3: sources in ops/special/bessel_series.py. As in PyTorch it has
no gradient: the result is off the tape.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from facula.ops.special.bessel_series import (
    FAR,
    asymptotic_k,
    function,
    hankel_sums,
    orders,
    series,
    trapezoidal_k,
)
from facula.ops.special.host_functions import routine


def _airy_near(x: Any) -> Any:
    """A&S 10.4.2: both of its series are Bessel's of orders 1/3 either way."""
    q = x**3 / 9
    return series(q, -1 / 3) / (3 ** (2 / 3) * math.gamma(2 / 3)) - x * series(q, 1 / 3) / (
        3 ** (1 / 3) * math.gamma(1 / 3)
    )


def _airy_right(x: Any) -> Any:
    """A&S 10.4.14 at x >= 1."""
    z = 2 / 3 * x * np.sqrt(x)
    return (
        np.sqrt(x / 3)
        / math.pi
        * np.exp(-z)
        * np.where(
            z < FAR,
            trapezoidal_k(np.minimum(z, FAR), 1 / 3),
            asymptotic_k(np.maximum(z, FAR), 1 / 3),
        )
    )


def _airy_left(x: Any) -> Any:
    """At -x <= -1: A&S 10.4.15, and from z = FAR on 10.4.60."""
    z = 2 / 3 * x * np.sqrt(x)
    middle, far = np.minimum(z, FAR), np.maximum(z, FAR)
    p, q = hankel_sums(far, 1 / 3)
    plus, minus = np.sin(far) + np.cos(far), np.sin(far) - np.cos(far)
    return np.where(
        z < FAR,
        np.sqrt(x) / 3 * (orders(middle, 1 / 3)[0] + orders(middle, -1 / 3)[0]),
        (p * plus - q * minus) / np.sqrt(2 * math.pi * np.sqrt(x)),
    )


@routine
def airy_ai(x: Any) -> Any:
    out = np.full(x.shape, math.nan)
    for where, of in (
        (np.abs(x) < 1, _airy_near),
        ((x >= 1) & (x < math.inf), _airy_right),
        ((x <= -1) & (x > -math.inf), lambda s: _airy_left(-s)),
    ):
        if where.any():
            out[where] = of(x[where])
    return out


function(
    "airy_ai",
    "0.1353, 0.0349",
    "Airy's function Ai, the solution of y'' = x y that falls to the right; NaN at infinity.",
)
