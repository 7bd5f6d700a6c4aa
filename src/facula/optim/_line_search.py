"""A line search for the strong Wolfe conditions (Nocedal and Wright, algorithms 3.5 and 3.6)."""

from __future__ import annotations

from typing import Any


def cubic_interpolate(x1: float, f1: float, g1: float, x2: float, f2: float, g2: float,
                      bounds: tuple[float, float] | None = None) -> float:
    """Where the cubic through two points with these values and slopes is smallest, within the bounds."""
    low, high = bounds if bounds is not None else ((x1, x2) if x1 <= x2 else (x2, x1))
    d1 = g1 + g2 - 3 * (f1 - f2) / (x1 - x2)
    d2_square = d1 ** 2 - g1 * g2
    if d2_square < 0:
        return (low + high) / 2.0
    d2 = d2_square ** 0.5
    if x1 <= x2:
        at = x2 - (x2 - x1) * ((g2 + d2 - d1) / (g2 - g1 + 2 * d2))
    else:
        at = x1 - (x1 - x2) * ((g1 + d2 - d1) / (g1 - g2 + 2 * d2))
    return min(max(at, low), high)  # type: ignore[no-any-return]


def strong_wolfe(evaluate: Any, x: Any, t: float, d: Any, f: float, g: Any, gtd: float, c1: float = 1e-4,
                 c2: float = 0.9, tolerance_change: float = 1e-9, max_ls: int = 25) -> tuple[float, Any,
                                                                                             float, int]:
    """A step length t along d that lowers loss and slope enough: (loss, gradient, t, evaluations)."""
    longest = float(d.abs().max())
    f_new, g_new = evaluate(x, t, d)
    evaluations = 1
    slope = float(g_new.dot(d))

    # First phase: lengthen the step until an interval is known to hold a good one.
    t_before, f_before, g_before, slope_before = 0.0, f, g.clone(), gtd
    done = False
    iterations = 0
    bracket: list[Any] = []
    while iterations < max_ls:
        if f_new > f + c1 * t * gtd or (iterations > 1 and f_new >= f_before):
            bracket = [[t_before, f_before, g_before, slope_before], [t, f_new, g_new.clone(), slope]]
            break
        if abs(slope) <= -c2 * gtd:
            bracket, done = [[t, f_new, g_new, slope]], True
            break
        if slope >= 0:
            bracket = [[t_before, f_before, g_before, slope_before], [t, f_new, g_new.clone(), slope]]
            break
        shortest, furthest = t + 0.01 * (t - t_before), t * 10
        t_last = t
        t = cubic_interpolate(t_before, f_before, slope_before, t, f_new, slope, (shortest, furthest))
        t_before, f_before, g_before, slope_before = t_last, f_new, g_new.clone(), slope
        f_new, g_new = evaluate(x, t, d)
        evaluations += 1
        slope = float(g_new.dot(d))
        iterations += 1
    if iterations == max_ls:
        bracket = [[0.0, f, g, gtd], [t, f_new, g_new, slope]]

    # Second phase: narrow the interval down.
    stalled = False
    low, high = (0, -1) if bracket[0][1] <= bracket[-1][1] else (1, 0)
    while not done and iterations < max_ls:
        ends = (bracket[0][0], bracket[1][0])
        if abs(ends[1] - ends[0]) * longest < tolerance_change:
            break
        t = cubic_interpolate(bracket[0][0], bracket[0][1], bracket[0][3], bracket[1][0], bracket[1][1],
                              bracket[1][3])
        # Too near an end twice, or at it: step in by a tenth.
        margin = 0.1 * (max(ends) - min(ends))
        if min(max(ends) - t, t - min(ends)) < margin:
            if stalled or t >= max(ends) or t <= min(ends):
                t = max(ends) - margin if abs(t - max(ends)) < abs(t - min(ends)) else min(ends) + margin
                stalled = False
            else:
                stalled = True
        else:
            stalled = False
        f_new, g_new = evaluate(x, t, d)
        evaluations += 1
        slope = float(g_new.dot(d))
        iterations += 1
        if f_new > f + c1 * t * gtd or f_new >= bracket[low][1]:
            bracket[high] = [t, f_new, g_new.clone(), slope]
            low, high = (0, 1) if bracket[0][1] <= bracket[1][1] else (1, 0)
        else:
            if abs(slope) <= -c2 * gtd:
                done = True
            elif slope * (bracket[high][0] - bracket[low][0]) >= 0:
                bracket[high] = bracket[low]
            bracket[low] = [t, f_new, g_new.clone(), slope]
    t, f_new, g_new, _ = bracket[low]
    return f_new, g_new, t, evaluations
