"""ARGSORT: where the elements of a stable sort were, or some of them that follow each other.

With a fourth attribute, a name of `WAYS`, equal elements come as that method leaves them (unstable.py), among as many
ranks as it gives: `sort` all of them, `top` and `some` the first ones, `nth` one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from facula.dtypes import int64
from facula.engine.graph.node import ARGSORT, Node, size_of
from facula.engine.graph.primitives import unstable
from facula.engine.graph.primitives.elements import attributes
from facula.engine.graph.primitives.kind import Array, Kind, dims_move_up

_LOOK = 1 << 12  # elements that are compared at once
_SHORT = 64  # rows up to which all of it is sorted
WAYS = ("sort", "top", "some", "nth")


def is_few(way: object, n: int, count: int) -> bool:
    """Does this way find so many of n by a heap of them? Then nothing else of a row needs to be kept."""
    return way in ("top", "some") and 64 * count <= n  # as unstable.top has it


def _wrong(node: Node) -> str:
    dim, _, start, *way = attributes(node.attrs)
    source = node.inputs[0].shape
    fits = node.dtype is int64 and 0 <= dim < max(len(source), 1) and len(node.shape) == len(source) and start >= 0
    if fits and way:
        n, count = (source[dim], node.shape[dim]) if source else (1, 1)
        fits = len(way) == 1 and (count == 1 if way[0] == "nth" else start == 0 and count == n if way[0] == "sort" else
                                  start == 0 and count >= 1 and way[0] in WAYS)
    if fits and source:
        fits = node.shape == (*source[:dim], node.shape[dim], *source[dim + 1:]) \
            and start + node.shape[dim] <= source[dim]
    return "" if fits else f"the order of {node.inputs[0]!r}"


def _meaning(node: Node, inputs: list[Array]) -> Array:
    dim, descending, start, *way = attributes(node.attrs)
    x = inputs[0]
    if x.ndim == 0:
        return np.zeros((), np.int64)
    n, count = x.shape[dim], node.shape[dim]
    if way:
        return np.moveaxis(_by_way(np.moveaxis(x, dim, -1), descending, way[0], start, count), -1, dim)
    if descending:  # ascending ranks from the other end, turned round
        start = n - start - count
    x = np.moveaxis(x, dim, -1)
    if n <= _SHORT or 4 * count > n or not x.size or not count:
        order = _whole(x, descending)[..., start:start + count]
    else:
        order = _part(x.reshape(-1, n), start, count, descending).reshape(*x.shape[:-1], count)
    return np.moveaxis(np.flip(order, -1) if descending else order, -1, dim)


def _whole(x: Array, last_first: bool) -> Array:
    """Where the elements of each row are in its ascending order, NaN last; of equals the last first, or the first."""
    keys = _keys(x)
    if keys is not None:  # numbers that carry their place: NumPy sorts them with vectors, and no two are equal
        places = np.arange(x.shape[-1])
        np.bitwise_or(keys, places[::-1] if last_first else places, out=keys)
        keys.sort(axis=-1)
        np.bitwise_and(keys, 0xFFFFFFFF, out=keys)
        return np.subtract(len(places) - 1, keys, out=keys) if last_first else keys
    if not last_first:
        return np.argsort(x, axis=-1, kind="stable")
    order: Array = x.shape[-1] - 1 - np.argsort(np.flip(x, -1), axis=-1, kind="stable")
    return order


def _keys(x: Array) -> Array | None:
    """int64 numbers in the order of the elements, whose lower half is free. None if the elements need all of it."""
    if x.shape[-1] >= 1 << 32:
        return None
    if x.dtype.kind == "f" and x.itemsize <= 4:
        bits = (x.astype(np.float32) + np.float32(0)).view(np.int32)  # -0.0 is 0.0
        bits ^= (bits >> 31) & 0x7FFFFFFF  # sign and magnitude -> complement
        nan = np.isnan(x)
        if nan.any():
            bits[nan] = 0x7FFFFFFF
        keys = bits.astype(np.int64)
    elif x.dtype.kind in "biu" and (x.itemsize <= 4 or x.dtype.kind == "i" and x.size
                                    and -1 << 31 <= x.min() and x.max() < 1 << 31):
        keys = x.astype(np.int64)
    else:
        return None
    keys <<= 32
    return keys


def _part(rows: Array, start: int, count: int, last_first: bool) -> Array:
    """`_whole`'s ranks from start to start + count. What is certainly below or above is left out of the sort. (Nothing
    is below or above NaN: with it among the bounds there is more to sort, and no other result.)"""
    n = rows.shape[1]
    wanted = np.ones(rows.shape, bool)
    below: Array | int = 0
    if start > 0:  # a bound at a time: for several at once NumPy has no vectors
        lower = rows < np.partition(rows, start)[:, start, None]
        below = lower.sum(1)
        wanted ^= lower
    if start + count < n:
        wanted &= ~(rows > np.partition(rows, start + count - 1)[:, start + count - 1, None])
    places = np.flatnonzero(wanted)
    if last_first:
        places = places[::-1]
    row = places // n
    places = places[np.lexsort((rows.reshape(-1)[places], row))]  # stable
    first = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(rows)))[:-1]]) + start - below
    found: Array = places[first[:, None] + np.arange(count)] % n
    return found


def order_keys(x: Array) -> Array:
    """int64 numbers in the order of the elements: zeros are equal, NaN is above all."""
    if x.dtype.kind != "f":
        return x.astype(np.int64)
    bits: Array = (x + x.dtype.type(0)).view(f"i{x.itemsize}")
    most = np.iinfo(bits.dtype).max
    bits = np.where(np.isnan(x), most, np.where(bits < 0, bits ^ most, bits))  # sign and magnitude -> complement
    return bits.astype(np.int64)


def _by_way(x: Array, down: bool, way: str, start: int, count: int) -> Array:
    """Row by row. Where no two elements are equal there is one order, which NumPy finds sooner."""
    keys = order_keys(np.ascontiguousarray(x))
    if down:
        keys = ~keys
    n = x.shape[-1]
    if is_few(way, n, count):
        return np.array([_few(row, count) for row in keys.reshape(-1, n)]).reshape(*x.shape[:-1], count)
    found = np.argsort(keys, axis=-1, kind="stable")
    alone = np.take_along_axis(keys, found, -1)
    other = np.any(alone[..., 1:] == alone[..., :-1], -1) if way != "some" else np.ones(x.shape[:-1], bool)
    calls: dict[str, Callable[[Any, Any], object]] = {
        "sort": lambda k, p: unstable.sort(k, p, 0, n), "nth": lambda k, p: unstable.nth(k, p, start, n),
        "top": lambda k, p: unstable.top(k, p, count, n), "some": lambda k, p: unstable.some(k, p, count, n)}
    for row in np.argwhere(other):
        at = tuple(row)
        places = list(range(n))
        calls[way](keys[at].tolist(), places)
        found[at] = places
    return found[..., start:start + count]


def _few(row: Array, count: int) -> list[int]:
    """unstable.partial_sort of a row, most of which is only looked at."""
    keys, places = row[:count].tolist(), list(range(count))
    unstable.make_heap(keys, places, 0, count)
    for start in range(count, len(row), _LOOK):
        for k in np.flatnonzero(row[start:start + _LOOK] < keys[0]).tolist():
            key = int(row[start + k])
            if key < keys[0]:
                unstable.take_in(keys, places, count, key, start + k)
    unstable.sort_heap(keys, places, 0, count)
    return places


def _cost(node: Node) -> tuple[int, int]:
    size = size_of(node.inputs[0].shape)
    return 48 * size, 20 * size * (1 + size.bit_length())


KIND = Kind(inputs=1, wrong=_wrong, meaning=_meaning, cost=_cost, tangents={ARGSORT: None}, batching=dims_move_up)
