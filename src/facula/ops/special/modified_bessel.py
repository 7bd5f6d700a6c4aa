"""Modified Bessel functions, I and K: `facula.special`.

Sources in ops/special/bessel_series.py. As in PyTorch they have no gradient, which `i0` and `i1` have.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from facula.ops.special.bessel_series import (
    asymptotic_k,
    digamma_series,
    function,
    series,
    three_ways,
    trapezoidal_k,
)
from facula.ops.special.host_functions import routine


def _k_near(x: Any, order: int) -> Any:
    """exp(x) K of order 0 or 1 at 0 < x < 1 (A&S 9.6.11)."""
    q = x * x / 4
    power = (x / 2) ** order
    regular = power * (np.log(x / 2) * series(q, order) - digamma_series(q, order))
    return np.exp(x) * (1 / x + regular if order else -regular)


def _k(x: Any, order: int) -> Any:
    """exp(x) K: infinite at 0, 0 at infinity, NaN below 0."""
    out = three_ways(
        np.where(x > 0, x, math.nan),
        lambda s: _k_near(s, order),
        lambda s: trapezoidal_k(s, order),
        lambda s: asymptotic_k(s, order),
    )
    return np.where(x == 0, math.inf, np.where(x == math.inf, 0.0, out))


@routine
def modified_bessel_k0(x: Any) -> Any:
    return _k(x, 0) * np.exp(-np.maximum(x, 0.0))


@routine
def modified_bessel_k1(x: Any) -> Any:
    return _k(x, 1) * np.exp(-np.maximum(x, 0.0))


@routine
def scaled_modified_bessel_k0(x: Any) -> Any:
    return _k(x, 0)


@routine
def scaled_modified_bessel_k1(x: Any) -> Any:
    return _k(x, 1)


function(
    "modified_bessel_i0",
    "1.2661, 2.2796",
    "The modified Bessel function of the first kind and order 0: `i0`.",
    "i0",
)
function(
    "modified_bessel_i1",
    "0.5652, 1.5906",
    "The modified Bessel function of the first kind and order 1: `i1`.",
    "i1",
)
function(
    "modified_bessel_k0",
    "0.4210, 0.1139",
    "The modified Bessel function of the second kind and order 0; infinite at 0, NaN below.",
)
function(
    "modified_bessel_k1",
    "0.6019, 0.1399",
    "The modified Bessel function of the second kind and order 1; infinite at 0, NaN below.",
)
function(
    "scaled_modified_bessel_k0",
    "1.1445, 0.8416",
    "exp(x) times modified_bessel_k0. Infinite at 0, 0 at infinity, NaN below 0.",
)
function(
    "scaled_modified_bessel_k1",
    "1.6362, 1.0335",
    "exp(x) times modified_bessel_k1. Infinite at 0, 0 at infinity, NaN below 0.",
)
