"""Minimax polynomials by the Remez exchange, in high precision, with coefficients that fit a float.

Rounding a minimax polynomial's coefficients to 24 or 53 bits spoils the ones that matter most. So the first
few are rounded one at a time, lowest power first, and the rest fitted again around what was rounded (as
Sollya's `fpminimax` does with a lattice, here greedily; see Muller et al., Handbook of Floating-Point
Arithmetic, ch. 10, and Brisebarre & Chevillard, Efficient polynomial L-infinity approximations, 2007).

The exchange works on a dense grid of Chebyshev points instead of refining extrema: at 40 points per
coefficient the loss is far below a bit of error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
from mpmath import mp

mp.dps = 50
Function = Callable[[Any], Any]


def identity(x: Any) -> Any:
    return x


def one(x: Any) -> Any:
    return mpmath.mpf(1)


def rounded(c: Any, bits: int) -> Any:
    """`c` to the nearest number of `bits` significant bits (no exponent limits)."""
    if c == 0:
        return c
    mantissa, exponent = mpmath.frexp(c)
    return mpmath.ldexp(mpmath.nint(mpmath.ldexp(mantissa, bits)), int(exponent) - bits)


def chebyshev_points(a: Any, b: Any, count: int) -> list[Any]:
    a, b = mpmath.mpf(a), mpmath.mpf(b)
    angles = [mpmath.pi * (2 * i + 1) / (2 * count) for i in range(count)]
    return [(a + b) / 2 - (b - a) / 2 * mpmath.cos(angle) for angle in angles]


def _solve(points: list[tuple[Any, Any, Any]], powers: list[int]) -> list[Any]:
    """Coefficients (and the levelled error, last) of the polynomial that alternates on `points`."""
    size = len(powers) + 1
    matrix, right = mpmath.matrix(size, size), mpmath.matrix(size, 1)
    for j, (u, t, w) in enumerate(points):
        for i, power in enumerate(powers):
            matrix[j, i] = u ** power
        matrix[j, size - 1] = (-1) ** j / w
        right[j] = t
    return list(mpmath.lu_solve(matrix, right))


def _extrema(errors: list[Any], wanted: int) -> list[int]:
    """Grid indices of `wanted` alternating extrema of the error, the largest that are adjacent."""
    found: list[int] = []
    for i, e in enumerate(errors):
        if found and (e > 0) == (errors[found[-1]] > 0):
            if abs(e) > abs(errors[found[-1]]):
                found[-1] = i
        else:
            found.append(i)
    while len(found) > wanted:
        if len(found) - wanted == 1:
            found.pop(0 if abs(errors[found[0]]) < abs(errors[found[-1]]) else -1)
        else:  # drop the smallest, with the neighbour that would break the alternation
            k = min(range(len(found)), key=lambda k: abs(errors[found[k]]))
            if k in (0, len(found) - 1):
                found.pop(k)
            else:
                other = k - 1 if abs(errors[found[k - 1]]) < abs(errors[found[k + 1]]) else k
                del found[other:other + 2]
    return found


def _remez(grid: list[tuple[Any, Any, Any]], powers: list[int]) -> tuple[list[Any], Any]:
    size = len(powers) + 1
    chosen = [(len(grid) - 1) * j // (size - 1) for j in range(size)]  # the grid is Chebyshev-dense already
    for _ in range(30):
        solution = _solve([grid[i] for i in chosen], powers)
        coefficients, level = solution[:-1], abs(solution[-1])
        top = max(powers)
        dense = [mpmath.mpf(0)] * (top + 1)
        for power, c in zip(powers, coefficients, strict=True):
            dense[power] = c
        dense.reverse()
        errors = [w * (t - mpmath.polyval(dense, u)) for u, t, w in grid]
        worst = max(abs(e) for e in errors)
        if worst <= level * mpmath.mpf("1.003"):
            break
        new = _extrema(errors, size)
        if len(new) < size or new == chosen:
            break
        chosen = new
    return coefficients, worst


def minimax(target: Function, count: int, interval: tuple[Any, Any], weight: Function = one,
            variable: Function = identity, bits: int = 53, careful: int = 3,
            first_bits: int | None = None) -> tuple[list[Any], float]:
    """`count` coefficients c (lowest first) and the largest |weight * (target - sum c[i] * variable**i)|.

    The first coefficient may be given more bits (`first_bits`), for a sum of two floats.

    Up to `careful` coefficients are rounded to `bits` one by one with the rest fitted again. How many is
    tried out: what remains, u * polynomial, vanishes at 0, and when 0 is inside the interval the exchange
    may fail (no Haar condition there).
    """
    xs = chebyshev_points(*interval, 40 * count)
    grid = [(variable(x), target(x), weight(x)) for x in xs]
    fixed: list[Any] = []
    best: tuple[Any, list[Any]] | None = None
    for _ in range(min(careful, count - 1) + 1):
        rest = [(u, t - mpmath.polyval(fixed[::-1], u) if fixed else t, w) for u, t, w in grid]
        coefficients, _level = _remez(rest, list(range(len(fixed), count)))
        widths = [bits if fixed else first_bits or bits] + [bits] * (len(coefficients) - 1)
        all_rounded = fixed + [rounded(c, width) for c, width in zip(coefficients, widths, strict=True)]
        worst = max(abs(w * (t - mpmath.polyval(all_rounded[::-1], u))) for u, t, w in grid)
        if best is None or worst < best[0]:
            best = worst, all_rounded
        fixed.append(rounded(coefficients[0], widths[0]))
    assert best is not None
    return best[1], float(best[0])
