"""The time line of a run as the page asks for it: rows of steps put together into a bounded number of bars."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.monitor.reading import RunFile, Series

PHASES = ("data", "forward", "backward", "optimizer")
MOST = 1000  # bars


def _beside(whole: Series, part: Series) -> np.ndarray:
    """Values of `part` at the steps of `whole`; 0 where there are none."""
    if len(part.steps) == len(whole.steps) and (part.steps == whole.steps).all():
        values = part.values
    elif not len(part.steps):
        return np.zeros(len(whole.steps))
    else:
        at = np.minimum(np.searchsorted(part.steps, whole.steps), len(part.steps) - 1)
        values = np.where(part.steps[at] == whole.steps, part.values[at], 0.0)
    return _seconds(values)


def _seconds(values: np.ndarray) -> np.ndarray:
    """Whatever a file says, as times that can be added up."""
    return np.clip(np.where(np.isfinite(values), values, 0.0), 0.0, 1e15)


def bars(run: RunFile, first: float | None = None, last: float | None = None, most: int = 300) -> dict[str, Any]:
    """Means of "time/..." over stretches of rows.

    Args:
        first, last: the range of steps, both ends included.
        most: how many bars, at most `MOST`.

    Returns:
        "steps", where each bar begins; "end", where the last one does end; "rows", how many rows are in each; and by
        phase, "other" for the rest, seconds a step.
    """
    most = min(max(most, 1), MOST)
    whole = run.series("time/step")
    low = 0 if first is None else int(np.searchsorted(whole.steps, first))
    high = len(whole.steps) if last is None else int(np.searchsorted(whole.steps, last, "right"))
    if low >= high:
        return {"steps": [], "rows": [], "end": 0, **{phase: [] for phase in (*PHASES, "other")}}
    count = high - low
    starts = np.unique(np.linspace(0, count, min(most, count) + 1).astype(np.int64)[:-1])
    rows = np.diff(starts, append=count)
    columns = {phase: _beside(whole, run.series(f"time/{phase}"))[low:high] for phase in PHASES}
    total = _seconds(whole.values[low:high])
    columns["other"] = np.maximum(total - sum(columns.values()), 0.0)
    steps = whole.steps[low:high]
    width = max((int(steps[-1]) - int(steps[0])) // max(count - 1, 1), 1)
    return {"steps": steps[starts].tolist(), "rows": rows.tolist(), "end": int(steps[-1]) + width,
            **{phase: (np.add.reduceat(column, starts) / rows).tolist() for phase, column in columns.items()}}
