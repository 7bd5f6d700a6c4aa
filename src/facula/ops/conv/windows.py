"""The contractions behind correlation.py, as nodes: windows, zeros around values, weights turned round.

Images lie in one of two ways: (N, C, *S), or `last`, (N, *S, C), where the windows are the rows of the product and not
its columns, so that its result has the channels innermost too.
Their VIEWs and WRITEs have fixed offsets: the compiler tells coordinates by them.
"""

from __future__ import annotations

import math
from itertools import product
from typing import NamedTuple

from facula._tensor.reading import view_node
from facula.autograd.graph import mode
from facula.engine.graph.node import CONTRACT, WINDOWS, WRITE, Node, contiguous_strides, size_of
from facula.engine.recorder import record
from facula.ops.casting import constant
from facula.ops.conv.depthwise import are_taps_few, sum_of_taps
from facula.ops.view.value_views import reshaped, turned

Ints = tuple[int, ...]
MOST_PHASES = 8  # of a stride: above, the places of `spread` are put into zeros
# Positions of one image from which images are multiplied one by one: results lie in place then. Below, those of all
# images are the columns of one product, which wastes no lanes, and the result is turned round.
OWN_PRODUCT = 128


class Geometry(NamedTuple):
    """`size` positions, of which windows of `kernel` are looked at from `out` places; see the module."""

    size: Ints
    kernel: Ints
    out: Ints
    stride: Ints
    before: Ints
    dilation: Ints
    groups: int


def times(strides: Ints, steps: Ints) -> Ints:
    return tuple([a * b for a, b in zip(strides, steps, strict=True)])


def in_memory(shape: Ints, last: bool) -> Ints:
    """The sizes of images (N, C, *S) as they lie in memory."""
    return (shape[0], *shape[2:], shape[1]) if last else tuple(shape)


def steps_of(shape: Ints, last: bool) -> Ints:
    """The strides of images (N, C, *S) in that memory."""
    steps = contiguous_strides(in_memory(shape, last))
    return (steps[0], steps[-1], *steps[1:-1]) if last else steps


def in_zeros(node: Node, sizes: Ints, stride: Ints, before: Ints, last: bool = False) -> Node:
    """Zeros of `sizes` in the dimensions of positions, with `node` from `before` on, `stride` apart."""
    first = 1 if last else 2
    end = first + len(sizes)
    if node.shape[first:end] == sizes:
        return node
    full = (*node.shape[:first], *sizes, *node.shape[end:])
    plain = contiguous_strides(full)
    steps = (*plain[:first], *times(plain[first:end], stride), *plain[end:])
    return record(WRITE, (constant(0, full, node.dtype), node), (steps, sum(times(plain[first:end], before))), None,
                  full, node.dtype)


def reached(at: Geometry) -> Ints:
    """The sizes in which all windows lie, and all of the value."""
    return tuple([max(b + s, (o - 1) * t + (k - 1) * d + 1) for s, k, o, t, b, d in zip(*at[:6], strict=True)])


def correlation_node(x: Node, w: Node, at: Geometry) -> Node:
    """`correlate`, with w (groups, O / groups, C / groups * window)."""
    n, c = x.shape[:2]
    groups, each, depth = w.shape
    places = size_of(at.out)
    x = in_zeros(x, reached(at), (1,) * len(at.size), at.before)
    if are_taps_few(x, groups, each, at.kernel, at.out, at.stride):
        return sum_of_taps(x, w, at.kernel, at.out, at.stride, at.dilation)
    s = contiguous_strides(x.shape)
    window = (c // groups, *at.kernel), (s[1], *times(s[2:], at.dilation))
    place, step = at.out, times(s[2:], at.stride)
    group = c // groups * s[1]
    shape = (n, groups * each, *at.out)
    if n > 1 and places < OWN_PRODUCT:
        x = view_node(x, (groups, *window[0], n, *place), (group, *window[1], s[0], *step), fixed=True)
        node = record(CONTRACT, (w, reshaped(x, (groups, depth, n * places))), mode.products or WINDOWS, None,
                      (groups, each, n * places), x.dtype)
        return reshaped(turned(reshaped(node, (groups * each, n, places)), (1, 0, 2)), shape)
    x = view_node(x, (n, groups, *window[0], *place), (s[0], group, *window[1], *step), fixed=True)
    if n > 1:
        w = view_node(w, (n, groups, each, depth), (0, *contiguous_strides(w.shape)), fixed=True)
    node = record(CONTRACT, (reshaped(w, (n * groups, each, depth)), reshaped(x, (n * groups, depth, places))),
                  mode.products or WINDOWS, None, (n * groups, each, places), x.dtype)
    return reshaped(node, shape)


def window_rows(x: Node, at: Geometry) -> Node:
    """The windows of x (N, *S, C) as rows: (N * places, window * C)."""
    n, c = x.shape[0], x.shape[-1]
    x = in_zeros(x, reached(at), (1,) * len(at.size), at.before, True)
    s = contiguous_strides(x.shape)
    x = view_node(x, (n, *at.out, *at.kernel, c),
                  (s[0], *times(s[1:-1], at.stride), *times(s[1:-1], at.dilation), 1), fixed=True)
    return reshaped(x, (n * size_of(at.out), size_of(at.kernel) * c))


def correlation_last(x: Node, w: Node, at: Geometry) -> Node:
    """`correlate` of one group, `last`: x (N, *S, C) and w (window * C, O) to (N, *out, O)."""
    rows = window_rows(x, at)
    node = record(CONTRACT, (rows, w), mode.products or WINDOWS, None, (rows.shape[0], w.shape[1]), x.dtype)
    return reshaped(node, (x.shape[0], *at.out, w.shape[1]))


def columns_of(w: Node, shape: Ints, steps: Ints) -> Node:
    """The weight (O, C, *K), which has these strides in the memory of `w`, as (window * C, O)."""
    o, c = shape[:2]
    node = view_node(w, (*shape[2:], c, o), (*steps[2:], steps[1], steps[0]), fixed=True)
    return reshaped(node, (size_of(shape[1:]), o))


class Phase(NamedTuple):
    """Along one dimension: of the positions start, start + stride, ... (`size` of them), which taps of the kernel lead
    there, and from where: position number q and tap number j (the last is 0) from the place q + j * dilation - before.
    """

    start: int
    size: int
    taps: tuple[int, int, int]  # first, number, distance
    before: int
    dilation: int


def _phases(size: int, kernel: int, stride: int, before: int, dilation: int) -> list[Phase]:
    """The positions that some window sees, by their remainders."""
    out = []
    common = math.gcd(stride, dilation)
    apart, pace = stride // common, dilation // common
    for start in range(min(stride, size)):
        first = next((k for k in range(min(apart, kernel)) if (start + before - k * dilation) % stride == 0), None)
        if first is None:
            continue
        number = -(-(kernel - first) // apart)
        zero = (start + before - first * dilation) // stride  # the place that position 0 has from the first tap
        out.append(Phase(start, -(-(size - start) // stride), (first, number, apart), (number - 1) * pace - zero, pace))
    return out


def spread_node(y: Node, w: Node, of_w: Ints, steps: Ints, at: Geometry, last: bool) -> Node | None:
    """`spread`, of w that has the shape `of_w` and these strides in its memory; None if no window sees a position. The
    positions of one remainder (by the stride) are a correlation of y with the taps that lead there, the last one first.
    """
    dims = list(zip(at.size, at.kernel, at.stride, at.before, at.dilation, strict=True))
    if size_of(at.stride) > MOST_PHASES:
        wide = tuple([(s - 1) * t + 1 for s, t in zip(at.out, at.stride, strict=True)])
        zeros = (0,) * len(wide)
        y = in_zeros(y, wide, at.stride, zeros, last)
        dims = [(s, k, 1, b, d) for s, k, _, b, d in dims]
    shape = in_memory((y.shape[0], at.groups * of_w[1], *at.size), last)
    first = 1 if last else 2
    end = first + len(dims)
    plain = contiguous_strides(shape)
    apart = (*plain[:first], *[p * t for p, (_, _, t, _, _) in zip(plain[first:end], dims, strict=True)], *plain[end:])
    whole: Node | None = None
    for phases in product(*(_phases(*dim) for dim in dims)):
        part = _phase(y, w, of_w, steps, at.groups, phases, last)
        if part is None:
            continue
        if part.shape == shape:
            return part
        offset = sum(p * phase.start for p, phase in zip(plain[first:end], phases, strict=True))
        whole = record(WRITE, (whole or constant(0, shape, y.dtype), part), (apart, offset), None, shape, y.dtype)
    return whole


def _phase(y: Node, w: Node, of_w: Ints, steps: Ints, groups: int, phases: tuple[Phase, ...],
           last: bool) -> Node | None:
    first = 1 if last else 2
    end = first + len(phases)
    skipped = tuple([max(0, -p.before) for p in phases])  # places that are seen from nowhere
    if any(skipped):
        shape = (*y.shape[:first], *[n - s for n, s in zip(y.shape[first:end], skipped, strict=True)], *y.shape[end:])
        if min(shape) <= 0:
            return None
        plain = contiguous_strides(y.shape)
        y = view_node(y, shape, plain, sum(times(plain[first:end], skipped)), fixed=True)
    back = Geometry(tuple(y.shape[first:end]), tuple([p.taps[1] for p in phases]), tuple([p.size for p in phases]),
                    (1,) * len(phases), tuple([p.before + s for p, s in zip(phases, skipped, strict=True)]),
                    tuple([p.dilation for p in phases]), groups)
    turned_round = _turned_round(w, of_w, steps, groups, phases, last)
    return correlation_last(y, turned_round, back) if last else correlation_node(y, turned_round, back)


def _turned_round(w: Node, of_w: Ints, s: Ints, groups: int, phases: tuple[Phase, ...], last: bool) -> Node:
    """The weight that leads back: (groups * A, B, *K) to (groups, B, A * taps), or (taps * A, B) if `last`; the last
    tap first."""
    a, b = of_w[0] // groups, of_w[1]
    taps = tuple([p.taps[1] for p in phases])
    offset = sum(k * (p.taps[0] + (p.taps[1] - 1) * p.taps[2]) for k, p in zip(s[2:], phases, strict=True))
    back = [-k * p.taps[2] for k, p in zip(s[2:], phases, strict=True)]
    if last:
        return reshaped(view_node(w, (*taps, a, b), (*back, s[0], s[1]), offset, fixed=True), (size_of(taps) * a, b))
    node = view_node(w, (groups, b, a, *taps), (a * s[0], s[1], s[0], *back), offset, fixed=True)
    return reshaped(node, (groups, b, a * size_of(taps)))
