"""What Bessel's functions of several kinds are computed with.

Numbers of formulas are those of Abramowitz & Stegun, Handbook of Mathematical Functions (A&S).
Nothing here is a fitted approximation: near 0 the power series, then Miller's recurrence (J, Y) or
the trapezoidal rule on an integral that it converges to geometrically (K), and from FAR on the
asymptotic expansions, whose smallest term is exp(-50).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from facula._tensor.handle import Tensor
from facula.ops.registry import op
from facula.ops.special.host_functions import floating, host

FAR = 25.0  # where the asymptotic expansions take over
EULER = 0.5772156649015329
ORDERS = 80  # where Miller's recurrence begins: J of that order at FAR is 1e-30 of its largest


def series(q: Any, order: float) -> Any:
    """sum of q^k / (k! (order + 1) ... (order + k)) for |q| <= 1/4: A&S 9.1.10, 9.6.10."""
    term = total = np.ones_like(q)
    for k in range(1, 12):
        term = term * q / (k * (order + k))
        total = total + term
    return total


def digamma_series(q: Any, order: int) -> Any:
    """sum of (digamma(k + 1) + digamma(order + k + 1)) / 2 times the terms of `_series`."""
    low, high = -EULER, -EULER + sum(1 / j for j in range(1, order + 1))
    term, total = np.ones_like(q), np.full_like(q, (low + high) / 2)
    for k in range(1, 12):
        term = term * q / (k * (order + k))
        low, high = low + 1 / k, high + 1 / (order + k)
        total = total + term * ((low + high) / 2)
    return total


def orders(x: Any, order: float) -> list[Any]:
    """J of order, order + 1, ... at 0.5 <= x <= FAR, by Miller's recurrence.

    Downwards from zeros, then scaled so that the sum of (order + 2k) gamma(order + k) / k! times
    J of order + 2k is (x / 2)^order (A&S 9.1.87).
    """
    values = [np.zeros_like(x), np.full_like(x, 1e-250)]
    for n in range(ORDERS, 0, -1):
        values.append(2 * (order + n) / x * values[-1] - values[-2])
    values = values[:0:-1]
    weight, total = math.gamma(order + 1), np.zeros_like(x)
    for k in range(ORDERS // 2):
        total = total + (weight if k == 0 else weight * (order + 2 * k)) * values[2 * k]
        weight = weight * (order + k) / (k + 1) if k else weight
    scale = (x / 2) ** order / total
    return [v * scale for v in values]


def hankel_sums(x: Any, order: float) -> tuple[Any, Any]:
    """P and Q of Hankel's expansion at x >= FAR (A&S 9.2.9, 9.2.10)."""
    parts = [np.ones_like(x), np.zeros_like(x)]
    term = parts[0]
    for k in range(1, 26):
        term = term * (4 * order**2 - (2 * k - 1) ** 2) / (8 * k * x)
        parts[k % 2] = parts[k % 2] + (-term if k % 4 in (2, 3) else term)
    return parts[0], parts[1]


def trapezoidal_k(x: Any, order: float) -> Any:
    """exp(x) K, the integral of exp(-2 x sinh^2(t / 2)) cosh(order t) over t > 0 (A&S 9.6.24).

    With steps of 1/8 the trapezoidal rule errs by about exp(-2 pi^2 64 / x), below 1e-17 up to
    x = 30. Past t = 5 the integrand is below exp(-48).
    """
    total = np.full_like(x, 0.5)
    for k in range(1, 41):
        t = k / 8
        total = total + np.exp(-2 * x * math.sinh(t / 2) ** 2) * math.cosh(order * t)
    return total / 8


def asymptotic_k(x: Any, order: float) -> Any:
    """exp(x) K (A&S 9.7.2)."""
    term = total = np.ones_like(x)
    for k in range(1, 26):
        term = term * (4 * order**2 - (2 * k - 1) ** 2) / (8 * k * x)
        total = total + term
    return np.sqrt(math.pi / (2 * x)) * total


def three_ways(
    x: Any, near: Callable[[Any], Any], middle: Callable[[Any], Any], far: Callable[[Any], Any]
) -> Any:
    """Three ways to one function of x >= 0: below 1, up to FAR, above. Each sees its own x."""
    out = np.full(x.shape, math.nan)
    for where, of in (
        (x < 1, near),
        ((x >= 1) & (x < FAR), middle),
        ((x >= FAR) & (x < math.inf), far),
    ):
        if where.any():
            out[where] = of(x[where])
    return out


def function(name: str, shown: str, doc: str, values: str = "") -> None:
    def body(input: Tensor) -> Tensor:
        return host(values or name, floating(input, name))

    body.__name__ = body.__qualname__ = name
    body.__doc__ = f"""{doc}

    Of any shape; integers become the default float. No gradient. Raises NotImplementedError
    for complex tensors.

    >>> facula.special.{name}(facula.tensor([1.0, 2.0]))
    tensor([{shown}])
    """
    op(body, namespace="special", method=False, out=True)
