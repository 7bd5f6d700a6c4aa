"""The sums of a matrix product by NumPy, in the order that the product states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from facula.engine.compiler.program.ordered import Order

Array = np.ndarray[Any, Any]
Add = Callable[[Array, Array, Array], Array]


def ordered_product(a: Array, b: Array, order: Order, fused: bool) -> Array:
    """(batch, m, k) times (batch, k, n)."""
    add = _unfused if not fused else _fused32 if a.dtype == np.float32 else _fused64
    a, b = np.moveaxis(a, 2, 0)[..., None], np.moveaxis(b, 1, 0)[:, :, None]  # (k, batch, m, 1) and (k, batch, 1, n)
    if not order.piece:
        return _piece(a, b, order, add)
    total = _zeros(a, b)
    for start in range(0, len(a), order.piece):
        total = total + _piece(a[start:start + order.piece], b[start:start + order.piece], order, add)
    return total


def _zeros(a: Array, b: Array) -> Array:
    return np.zeros((a.shape[1], a.shape[2], b.shape[3]), a.dtype)


def _piece(a: Array, b: Array, order: Order, add: Add) -> Array:
    total = _zeros(a, b) if order.zero or not len(a) else None
    start = 0
    for size in order.blocks or (len(a),):
        last = size == (order.blocks or (size,))[-1]
        while start + size <= len(a) or last and start < len(a):
            found = _block(a[start:start + size], b[start:start + size], order, add)
            total = found if total is None else total + found
            start += size
    assert total is not None
    return total


def _block(a: Array, b: Array, order: Order, add: Add) -> Array:
    sums = np.zeros((order.lanes[0], *_zeros(a, b).shape), a.dtype)
    start = 0
    for lanes in order.lanes:
        sums = _folded(sums, lanes)
        while start + lanes <= len(a):
            sums = add(a[start:start + lanes], b[start:start + lanes], sums)
            start += lanes
    if order.padded:
        pad = ((0, order.lanes[-1] - len(a) + start), (0, 0), (0, 0), (0, 0))
        sums = add(np.pad(a[start:], pad), np.pad(b[start:], pad), sums)
    return np.asarray(_folded(sums, 1)[0])


def _folded(sums: Array, until: int) -> Array:
    """The first half added to the second."""
    while len(sums) > until:
        half = len(sums) // 2
        sums = sums[:half] + sums[half:]
    return sums


def _unfused(x: Array, y: Array, z: Array) -> Array:
    return x * y + z


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """a + b, and what rounding has taken from it (Knuth)."""
    s = a + b
    back = s - a
    return s, (a - (s - back)) + (b - back)


def _to_odd(s: Array, rest: Array) -> Array:
    """s + rest for a double s and what rounding took from it, rounded to odd: to the neighbour whose last bit is set,
    if it is none of the two. Rounded once more to fewer bits, that is right (Boldo and Melquiond, 2008)."""
    bits = s.view(np.int64)
    inexact = (rest != 0) & (bits & 1 == 0) & np.isfinite(s)
    return np.where(inexact, np.where((rest > 0) == (s > 0), bits + 1, bits - 1), bits).view(np.float64)


def _fused32(x: Array, y: Array, z: Array) -> Array:
    product = x.astype(np.float64) * y  # exact
    return _to_odd(*_two_sum(product, z.astype(np.float64))).astype(np.float32)


def _halves(x: Array) -> tuple[Array, Array]:
    """x as a sum of two numbers of 26 bits (Veltkamp)."""
    scaled = x * 134217729.0
    high = scaled - (scaled - x)
    return high, x - high


def _fused64(x: Array, y: Array, z: Array) -> Array:
    """x * y + z rounded once, but where an intermediate result leaves the range of doubles."""
    product = x * y
    (x1, x2), (y1, y2) = _halves(x), _halves(y)
    low = ((x1 * y1 - product) + x1 * y2 + x2 * y1) + x2 * y2
    upper, upper_rest = _two_sum(z, low)
    total, total_rest = _two_sum(product, upper)
    found = total + _to_odd(*_two_sum(upper_rest, total_rest))
    return np.where(np.isfinite(found), found, product + z)
