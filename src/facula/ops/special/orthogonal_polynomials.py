"""Orthogonal polynomials of a degree given by a tensor: `facula.special.*_polynomial_*`.

Each is its three-term recurrence (Abramowitz & Stegun, Handbook of Mathematical Functions, table
22.7), in double precision. As in PyTorch they have no gradient: results are off the tape.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from facula._tensor.handle import Tensor
from facula.ops.registry import op
from facula.ops.special.host_functions import ROUTINES, floating_pair, host

# From this degree on Chebyshev's polynomials are cosines inside [-1, 1]: the recurrence takes as
# many steps as the degree says, and by then loses as many bits as the cosine does.
TRIGONOMETRIC = 64
# (k, x, the polynomials of degrees k and k - 1) -> the polynomial of degree k + 1
Step = Callable[[int, Any, Any, Any], Any]


def _degrees(n: Any) -> Any:
    """Whole degrees, rounded to zero; what is none (NaN, infinity) counts as negative."""
    return np.where(np.isfinite(n), np.trunc(n), -1.0)


def _by_recurrence(x: Any, n: Any, first: Any, step: Step) -> Any:
    """The polynomial of degree n at x: 1 of degree 0, `first` of 1, 0 of a negative degree."""
    out = np.where(n < 0, 0.0, np.where(n == 0, 1.0, math.nan))
    before, now = np.ones_like(x), first
    top = np.max(n, initial=0.0)
    k = 1
    while k <= top:
        out = np.where(n == k, now, out)
        if np.all(np.isnan(now)):  # overflown, which is how a huge degree outside [-1, 1] ends
            break
        before, now = now, step(k, x, now, before)
        k += 1
    return out


def _chebyshev(kind: str, x: Any, n: Any) -> Any:
    """T, U, V or W (the first to the fourth kind): p = 2 x p' - p'', different at degree 1."""
    first = {"t": x, "u": 2 * x, "v": 2 * x - 1, "w": 2 * x + 1}[kind]
    turning = (np.abs(x) <= 1) & (n >= TRIGONOMETRIC)
    out = _by_recurrence(x, np.where(turning, 0.0, n), first, lambda k, x, p, q: 2 * x * p - q)
    return np.where(turning, _turned(kind, x, n), out) if turning.any() else out


def _turned(kind: str, x: Any, n: Any) -> Any:
    """The same inside [-1, 1] by angles, from the right half, where the arc cosine is precise.

    T(-x) = (-1)^n T(x), so U; V(-x) = (-1)^n W(x), and the reverse.
    """
    angle = np.arccos(np.minimum(np.abs(x), 1.0))
    sign = np.where((x < 0) & (n % 2 == 1), -1.0, 1.0)
    end = angle == 0
    half, whole = np.sin(np.where(end, 1.0, angle) / 2), np.sin(np.where(end, 1.0, angle))
    if kind == "t":
        return sign * np.cos(n * angle)
    if kind == "u":
        return sign * np.where(end, n + 1, np.sin((n + 1) * angle) / whole)
    third = np.cos((n + 0.5) * angle) / np.cos(angle / 2)
    fourth = np.where(end, 2 * n + 1, np.sin((n + 0.5) * angle) / half)
    return sign * np.where((x < 0) == (kind == "v"), fourth, third)


def _family(name: str, at_two: str, values: Callable[[Any, Any], Any], doc: str) -> None:
    def of_arrays(x: Any, n: Any) -> Any:
        x, n = np.broadcast_arrays(x, _degrees(n))
        return values(x, n)

    ROUTINES[name] = of_arrays

    def body(input: Any, n: Any) -> Tensor:
        return host(name, *floating_pair(input, n, name))

    body.__name__ = body.__qualname__ = name
    body.__doc__ = f"""{doc}

    input, n: tensors that broadcast, or one tensor and a number; integers become the default
    float. n is rounded to zero; a negative degree gives 0. Where terms overflow with both signs
    the result is NaN. No gradient. Raises NotImplementedError for complex tensors, TypeError for
    two numbers.

    >>> facula.special.{name}(facula.tensor([0.5, 2.0]), 2)
    tensor([{at_two}])
    """
    op(body, namespace="special", method=False, out=True)


_KINDS = {
    "t": ("first", "-0.5000,  7.0000", "-1., 17."),
    "u": ("second", " 0., 15.", "-1., 35."),
    "v": ("third", "-1., 11.", "-1., 29."),
    "w": ("fourth", " 1., 19.", "-1., 41."),
}
for _kind, (_word, _at_two, _shifted_at_two) in _KINDS.items():

    def _plain(x: Any, n: Any, kind: str = _kind) -> Any:
        return _chebyshev(kind, x, n)

    def _shifted(x: Any, n: Any, kind: str = _kind) -> Any:
        return _chebyshev(kind, 2 * x - 1, n)

    _family(
        f"chebyshev_polynomial_{_kind}",
        _at_two,
        _plain,
        f"Chebyshev's polynomial of the {_word} kind.",
    )
    _family(
        f"shifted_chebyshev_polynomial_{_kind}",
        _shifted_at_two,
        _shifted,
        f"Chebyshev's polynomial of the {_word} kind at 2 input - 1: orthogonal on [0, 1].",
    )

_family(
    "hermite_polynomial_h",
    "-1., 14.",
    lambda x, n: _by_recurrence(x, n, 2 * x, lambda k, x, p, q: 2 * x * p - 2 * k * q),
    "Hermite's polynomial of the physicists: orthogonal under exp(-x^2).",
)
_family(
    "hermite_polynomial_he",
    "-0.7500,  3.0000",
    lambda x, n: _by_recurrence(x, n, x, lambda k, x, p, q: x * p - k * q),
    "Hermite's polynomial of the probabilists: orthogonal under exp(-x^2 / 2).",
)
_family(
    "laguerre_polynomial_l",
    " 0.1250, -1.0000",
    lambda x, n: _by_recurrence(
        x, n, 1 - x, lambda k, x, p, q: ((2 * k + 1 - x) * p - k * q) / (k + 1)
    ),
    "Laguerre's polynomial: orthogonal under exp(-x) on the positive numbers.",
)
_family(
    "legendre_polynomial_p",
    "-0.1250,  5.5000",
    lambda x, n: _by_recurrence(
        x, n, x, lambda k, x, p, q: ((2 * k + 1) * x * p - k * q) / (k + 1)
    ),
    "Legendre's polynomial: orthogonal on [-1, 1].",
)
