"""Lines of elements in another number: which elements each of the result is made of along one dimension, and with what
weights. Tables of NumPy, made once for each pair of sizes.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

Array = Any


class Line(NamedTuple):
    """`table` (out, each): element o of the result is the sum of those at table[o], times `weights` (the same shape;
    NaN where there is no such element). No weights: one element each, as it is."""

    table: Array
    weights: Array | None


class Way(NamedTuple):
    """What a `Line` follows from."""

    kind: str
    size: int
    out: int
    factor: float | None = None
    corners: bool = False
    turned: bool = False  # the other way round: where each of `size` elements goes to


@functools.lru_cache(256)
def line(way: Way) -> Line:
    """The line of a way; its arrays must not be written."""
    if way.turned:
        return _turned(line(way._replace(turned=False)), way.size)
    table, weights = _KINDS[way.kind](*way[1:5])
    return Line(table, weights)


def _turned(given: Line, size: int) -> Line:
    """Of each of `size` elements the places that it goes to, in their order."""
    out, each = given.table.shape
    weights = np.ones((out, each)) if given.weights is None else given.weights
    place = np.repeat(np.arange(out), each)
    source, weight = given.table.reshape(-1), weights.reshape(-1)
    there = ~np.isnan(weight)
    source, place, weight = source[there], place[there], weight[there]
    order = np.argsort(source, kind="stable")
    source, place, weight = source[order], place[order], weight[order]
    counts = np.bincount(source, minlength=size)
    most = max(1, int(counts.max(initial=0)))
    table, back = np.zeros((size, most), np.int64), np.full((size, most), np.nan)
    rank = np.arange(len(source)) - (np.cumsum(counts) - counts)[source]
    table[source, rank], back[source, rank] = place, weight
    return Line(table, back)


def _scale(size: int, out: int, factor: float | None, corners: bool) -> float:
    """How far apart in the input neighbours of the result lie."""
    if corners:
        return (size - 1) / (out - 1) if out > 1 else 0.0
    return 1.0 / factor if factor is not None and factor > 0 else size / out


def _nearest(size: int, out: int, factor: float | None, exact: bool) -> tuple[Array, None]:
    at = np.arange(out, dtype=np.float32) + np.float32(0.5 if exact else 0.0)
    source = np.floor(at * np.float32(_scale(size, out, factor, False))).astype(np.int64)  # in single precision
    return np.minimum(source, size - 1)[:, None], None


def _linear(size: int, out: int, factor: float | None, corners: bool) -> tuple[Array, Array]:
    scale, at = _scale(size, out, factor, corners), np.arange(out)
    if size == out:  # as PyTorch, which meets each element twice, with 1 and 0
        return np.stack([at, at], 1), np.stack([np.ones(out), np.zeros(out)], 1)
    source = scale * at if corners else np.maximum(scale * (at + 0.5) - 0.5, 0.0)
    low = np.minimum(source.astype(np.int64), size - 1)
    part = np.clip(source - low, 0.0, 1.0)
    return np.stack([low, np.minimum(low + 1, size - 1)], 1), np.stack([1 - part, part], 1)


def cubic_weights(t: Any, a: float) -> list[Any]:
    """Of the four elements around a place, `t` behind the second one."""
    def near(x: Any) -> Any:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Any) -> Any:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _cubic(size: int, out: int, factor: float | None, corners: bool) -> tuple[Array, Array]:
    scale, at = _scale(size, out, factor, corners), np.arange(out)
    source = scale * at if corners else scale * (at + 0.5) - 0.5
    low = np.floor(source)
    table = np.clip(low.astype(np.int64)[:, None] + np.arange(-1, 3), 0, size - 1)
    return table, np.stack(cubic_weights(source - low, -0.75), 1)


def _smoothed(cubic: bool, size: int, out: int, factor: float | None, corners: bool) -> tuple[Array, Array]:
    """With antialiasing: the filter grows with the distance of neighbours."""
    scale = _scale(size, out, factor, corners)
    half = 2.0 if cubic else 1.0
    support = half * max(scale, 1.0)
    centre = scale * (np.arange(out) + 0.5)
    start = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    end = np.minimum((centre + support + 0.5).astype(np.int64), size)
    at = start[:, None] + np.arange(int((end - start).max(initial=1)))
    x = np.abs((at - centre[:, None] + 0.5) / max(scale, 1.0))
    if cubic:
        a = -0.5
        w = np.where(x < 1, ((a + 2) * x - (a + 3)) * x * x + 1,
                     np.where(x < 2, (((x - 5) * x + 8) * x - 4) * a, 0.0))
    else:
        w = np.maximum(1 - x, 0.0)
    w = np.where(at < end[:, None], w, 0.0)
    w = w / w.sum(1, keepdims=True)
    return np.minimum(at, end[:, None] - 1), np.where(w == 0, np.nan, w)


def shares(size: int, out: int) -> tuple[Array, Array]:
    """Where each of `out` nearly equal parts of `size` elements starts and ends."""
    at = np.arange(out)
    return at * size // out, -(-(at + 1) * size // out)


def _averaging(size: int, out: int, factor: float | None, corners: bool) -> tuple[Array, Array]:
    start, end = shares(size, out)
    at = start[:, None] + np.arange(int((end - start).max(initial=1)))
    return np.minimum(at, end[:, None] - 1), np.where(at < end[:, None], 1 / (end - start)[:, None], np.nan)


_KINDS: dict[str, Any] = {
    "nearest": lambda size, out, factor, corners: _nearest(size, out, factor, False),
    "nearest-exact": lambda size, out, factor, corners: _nearest(size, out, factor, True),
    "linear": _linear,
    "cubic": _cubic,
    "smooth linear": functools.partial(_smoothed, False),
    "smooth cubic": functools.partial(_smoothed, True),
    "averaging": _averaging,
}
