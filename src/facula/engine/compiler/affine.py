"""Affine maps: which element of a flat base each point of a loop space reads.

An `Affine` maps the points of a row-major space `dims` to flat element positions:

    position = const + sum(scale * nums[at] for at, scale in nums) + sum(i_d * strides[d])

Values are contiguous, so a position *is* an element, whatever shape the value has. The same map can be
written over different factorisations of a space: (6,) with stride 1 is (2, 3) with strides (3, 1). `refine`
moves to a finer one, `joined` finds the common one of several.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import mod
from typing import NamedTuple

from facula.engine.compiler.symbols import called, remembered, row_major, tracing
from facula.engine.graph.node import Node, offset_of, size_of


class Affine(NamedTuple):
    dims: tuple[int, ...]
    strides: tuple[int, ...]
    const: int = 0
    nums: tuple[tuple[int, int], ...] = ()  # (position among the run-time numbers, factor)

    def shifted(self, const: int, nums: tuple[tuple[int, int], ...]) -> Affine:
        return Affine(self.dims, self.strides, self.const + const, self.nums + nums)


def identity(shape: tuple[int, ...]) -> Affine:
    """Point number i reads position i."""
    return Affine(shape, row_major(shape))


def broadcast(shape: tuple[int, ...], to: tuple[int, ...]) -> Affine:
    """How an operand of `shape` is read at the points of `to`, as NumPy broadcasts."""
    lead = len(to) - len(shape)
    own = row_major(shape)
    strides = (0,) * lead + tuple(0 if n == 1 else s for n, s in zip(shape, own, strict=True))
    return Affine(to, strides)


def view_map(node: Node, number_at: int) -> Affine:
    """The map of a VIEW. The offset is a run-time number, unless it is fixed or only one lets the region fit."""
    assert node.attrs is not None
    strides: tuple[int, ...] = node.attrs[0]  # type: ignore[assignment]
    if len(node.attrs) > 1:
        return Affine(node.shape, strides, offset_of(node))
    low = sum((n - 1) * s for n, s in zip(node.shape, strides, strict=True) if s < 0)
    high = sum((n - 1) * s for n, s in zip(node.shape, strides, strict=True) if s > 0)
    if high - low == size_of(node.inputs[0].shape) - 1:
        return Affine(node.shape, strides, -low)
    return Affine(node.shape, strides, 0, ((number_at, 1),))


@remembered
def normal(map: Affine) -> Affine:
    """The coarsest way to write `map`: neighbours merged where one stride serves both, ones dropped."""
    dims: list[int] = []
    strides: list[int] = []
    for n, s in zip(map.dims, map.strides, strict=True):
        if n == 1:
            continue
        if dims and strides[-1] == s * n:
            dims[-1] *= n
            strides[-1] = s
        else:
            dims.append(n)
            strides.append(s)
    return Affine(tuple(dims), tuple(strides), map.const, map.nums)


def is_identity(map: Affine, size: int) -> bool:
    """Does every point read its own number, over all of a value of `size` elements?"""
    if map.const or map.nums or size_of(map.dims) != size:
        return False
    flat = normal(map)
    return flat.dims == () or (len(flat.dims) == 1 and flat.strides == (1,))


def joined(spaces: Iterable[tuple[int, ...]]) -> tuple[int, ...] | None:
    """The coarsest factorisation that refines all of `spaces` (of one size), or None if there is none."""
    return _joined(tuple(spaces))


@remembered
def _joined(spaces: tuple[tuple[int, ...], ...]) -> tuple[int, ...] | None:
    cuts: set[int] = set()
    for dims in spaces:
        product = 1
        for n in reversed(dims):
            product *= n
            cuts.add(product)
    cuts.discard(1)
    if 0 in cuts:
        return None  # no points: nothing says how their number would factor
    if tracing and not called(_divide, 0, *cuts):  # one question, whichever cut is the larger one
        return None
    out: list[int] = []
    below = 1
    for cut in sorted(cuts):
        if cut % below:
            return None
        out.append(cut // below)
        below = cut
    return tuple(reversed(out))


def _divide(*cuts: int) -> bool:
    """Does each of them divide all that are larger?"""
    ordered = sorted(cuts)
    return not any(map(mod, ordered[1:], ordered))


def refine(map: Affine, dims: tuple[int, ...]) -> Affine:
    """`map` over the finer factorisation `dims` of its space (without ones)."""
    if map.dims == dims:
        return map
    strides: list[int] = []
    at = len(dims) - 1
    for n, s in zip(reversed(map.dims), reversed(map.strides), strict=True):
        done = 1
        while done < n:
            strides.append(s * done)
            done *= dims[at]
            at -= 1
    return Affine(dims, tuple(reversed(strides)), map.const, map.nums)


def decode(
    map: Affine, shape: tuple[int, ...]
) -> tuple[tuple[int, ...], list[tuple[tuple[int, ...], int]]] | None:
    """Coordinates in `shape` of the position that `map` gives, as affine functions of the point.

    Returns (dims, [(coefficients over dims, constant) for each dimension of shape]), where dims may be
    finer than the map's.
    None when a coordinate is not affine (a window that wraps around a row), or the offset is not known.
    """
    if map.nums:
        return None
    steps = row_major(shape)
    dims, strides = _split(map, shape, steps)
    starts: list[int] = []
    rest = map.const
    for step, n in zip(steps, shape, strict=True):
        starts.append(rest // step if n > 1 else 0)
        rest -= starts[-1] * step
    columns: list[tuple[int, ...]] = []
    for n, s in zip(dims, strides, strict=True):
        left, sign = abs(s) if n > 1 else 0, -1 if s < 0 else 1
        column = []
        for step, m in zip(steps, shape, strict=True):
            q = left // step if m > 1 else 0
            left -= q * step
            column.append(sign * q)
        if left:
            return None
        columns.append(tuple(column))
    out: list[tuple[tuple[int, ...], int]] = []
    for k, size in enumerate(shape):
        row = tuple(c[k] for c in columns)
        low = starts[k] + sum(c * (n - 1) for c, n in zip(row, dims, strict=True) if c < 0)
        high = starts[k] + sum(c * (n - 1) for c, n in zip(row, dims, strict=True) if c > 0)
        if low < 0 or high >= size:  # a carry from one coordinate into the next: not affine
            return None
        out.append((row, starts[k]))
    return dims, out


def _split(
    map: Affine, shape: tuple[int, ...], steps: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Cut dimensions of `map` that run across several dimensions of `shape` (a reshape) at the borders."""
    dims: list[int] = []
    strides: list[int] = []
    for n, s in zip(map.dims, map.strides, strict=True):
        parts: list[tuple[int, int]] = []
        size, stride = n, abs(s)
        sign = -1 if s < 0 else 1
        if stride:
            for step, m in zip(reversed(steps), reversed(shape), strict=True):
                border = step * m
                if m > 1 and stride < border and border % stride == 0:
                    inner = border // stride
                    if size > inner and size % inner == 0:
                        parts.append((inner, sign * stride))
                        size //= inner
                        stride = border
        parts.append((size, sign * stride))
        for size, stride in reversed(parts):
            dims.append(size)
            strides.append(stride)
    return tuple(dims), tuple(strides)


@remembered
def compose(outer: Affine, inner: Affine) -> Affine | None:
    """The map that reads through `inner` what `outer` reads of a value in between; None if it is not affine.

    `outer` gives positions in the value in between, whose points `inner.dims` describes.
    """
    flat = normal(inner)
    if len(flat.dims) <= 1:
        step = flat.strides[0] if flat.dims else 0
        return Affine(
            outer.dims,
            tuple(s * step for s in outer.strides),
            inner.const + step * outer.const,
            inner.nums + tuple((at, scale * step) for at, scale in outer.nums),
        )
    found = decode(outer, flat.dims)
    if found is None:
        return None
    dims, coordinates = found
    strides = [0] * len(dims)
    const = inner.const
    for (row, start), step in zip(coordinates, flat.strides, strict=True):
        const += start * step
        for d, c in enumerate(row):
            strides[d] += c * step
    return Affine(dims, tuple(strides), const, inner.nums)
