"""Bessel's functions of the first and second kind, J and Y: `facula.special`.

Sources in ops/special/bessel_series.py. As in PyTorch they have no gradient: results are off the tape.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from facula.ops.special.bessel_series import (
    EULER,
    ORDERS,
    digamma_series,
    function,
    hankel_sums,
    orders,
    series,
    three_ways,
)
from facula.ops.special.host_functions import routine

PI = math.pi


def _far(x: Any, order: int) -> tuple[Any, Any]:
    """J and Y at x >= FAR.

    Their phase is x - (2 order + 1) pi / 4: by sums of sin x and cos x, which lose nothing.
    """
    p, q = hankel_sums(x, order)
    plus, minus = np.sin(x) + np.cos(x), np.sin(x) - np.cos(x)
    cosine, sine = (plus, minus) if order == 0 else (minus, -plus)
    scale = 1 / np.sqrt(PI * x)
    return scale * (p * cosine - q * sine), scale * (p * sine + q * cosine)


def _j(x: Any, order: int) -> Any:
    size = np.abs(x)
    out = three_ways(
        size,
        lambda s: (s / 2) ** order * series(-s * s / 4, order),
        lambda s: orders(s, 0.0)[order],
        lambda s: _far(s, order)[0],
    )
    return out * np.copysign(1.0, x) if order else out


def _y_middle(x: Any, order: int) -> Any:
    """Neumann's series (A&S 9.1.89), for order 1 its derivative's negative."""
    j = orders(x, 0.0)
    total = np.zeros_like(x)
    for k in range(1, ORDERS // 2 - 1):
        part = j[2 * k] if order == 0 else (j[2 * k + 1] - j[2 * k - 1]) / 2
        total = total + (-1) ** k / k * part
    start = (np.log(x / 2) + EULER) * j[order] - (j[0] / x if order else 0.0)
    return 2 / PI * start - 4 / PI * total


def _y_near(x: Any, order: int) -> Any:
    """A&S 9.1.11."""
    q = -x * x / 4
    power = (x / 2) ** order
    regular = 2 / PI * power * (np.log(x / 2) * series(q, order) - digamma_series(q, order))
    return regular - 2 / (PI * x) if order else regular


def _y(x: Any, order: int) -> Any:
    out = three_ways(
        np.where(x > 0, x, math.nan),
        lambda s: _y_near(s, order),
        lambda s: _y_middle(s, order),
        lambda s: _far(s, order)[1],
    )
    return np.where(x == 0, -math.inf, out)


@routine
def bessel_j0(x: Any) -> Any:
    return _j(x, 0)


@routine
def bessel_j1(x: Any) -> Any:
    return _j(x, 1)


@routine
def bessel_y0(x: Any) -> Any:
    return _y(x, 0)


@routine
def bessel_y1(x: Any) -> Any:
    return _y(x, 1)


@routine
def spherical_bessel_j0(x: Any) -> Any:
    return np.where(np.isinf(x), 0.0, np.where(x == 0, 1.0, np.sin(x) / x))


function(
    "bessel_j0",
    "0.7652, 0.2239",
    "Bessel's function of the first kind and order 0; NaN at infinity.",
)
function(
    "bessel_j1",
    "0.4401, 0.5767",
    "Bessel's function of the first kind and order 1; NaN at infinity.",
)
function(
    "bessel_y0",
    "0.0883, 0.5104",
    "Bessel's function of the second kind and order 0: -inf at 0, NaN below and at infinity.",
)
function(
    "bessel_y1",
    "-0.7812, -0.1070",
    "Bessel's function of the second kind and order 1: -inf at 0, NaN below and at infinity.",
)
function("spherical_bessel_j0", "0.8415, 0.4546", "sin(x) / x: 1 at 0, 0 at infinity.")
