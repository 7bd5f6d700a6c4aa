"""Convolutions of each channel with a kernel of its own, as sums of a few products.

There a contraction would multiply a row with a matrix for each channel and image, most of which is packing: the taps
are written out instead, one formula of shifted images, which one pass of vectors along the rows computes. So are the
sums of the weight's gradient, one for each tap: one pass adds up rows of products, position by position.
"""

from __future__ import annotations

import functools
from itertools import product

from facula._tensor.reading import view_node
from facula.dtypes import FLOAT, dtype
from facula.engine.graph.expr import cast, function, make, operand, where
from facula.engine.graph.node import SUM, Formula, Node, contiguous_strides, size_of
from facula.engine.recorder import record
from facula.ops.casting import cast_node

Ints = tuple[int, ...]
MOST_TAPS = 25  # with more a contraction is quicker
LEAST_ROW = 3  # positions: shorter rows leave most lanes empty
MOST_STRIDE = 2  # along the rows: further apart, lanes are read one by one


def are_taps_few(x: Node, groups: int, each: int, kernel: Ints, out: Ints, stride: Ints) -> bool:
    """Is the convolution of `x` (N, C, *S), with `each` results of each group, one for this page?"""
    return (each == 1 and x.shape[1] == groups and size_of(kernel) <= MOST_TAPS and out[-1] >= LEAST_ROW
            and x.dtype.category == FLOAT and stride[-1] <= MOST_STRIDE)


@functools.cache  # of MOST_TAPS at most
def _products(taps: int) -> Formula:
    terms = [operand(k) * operand(taps + k) for k in range(taps)]
    return Formula("convolution", functools.reduce(lambda a, b: a + b, terms))


def are_sums_few(x: Node, y: Node, groups: int, kernel: Ints, stride: Ints) -> bool:
    """As `are_taps_few`, of the gradient in the weight. Rows have to be several, or their sums are most of the work."""
    out = y.shape[2:]
    return (are_taps_few(x, groups, y.shape[1] // groups, kernel, out, stride)
            and y.shape[0] * size_of(out[:-1]) >= size_of(kernel))


def _images(x: Node, kernel: Ints, out: Ints, stride: Ints, dilation: Ints) -> list[Node]:
    """What each tap sees of x (N, C, *S)."""
    strides = contiguous_strides(x.shape)
    steps = (*strides[:2], *[a * b for a, b in zip(strides[2:], stride, strict=True)])
    places = [sum(k * d * s for k, d, s in zip(tap, dilation, strides[2:], strict=True))
              for tap in product(*map(range, kernel))]
    return [view_node(x, (*x.shape[:2], *out), steps, place, fixed=True) for place in places]


def sum_of_taps(x: Node, w: Node, kernel: Ints, out: Ints, stride: Ints, dilation: Ints) -> Node:
    """(N, C, *out) of x (N, C, *S), which has all windows, and w (C, 1, taps)."""
    shape = (*x.shape[:2], *out)
    taps = size_of(kernel)
    images = _images(x, kernel, out, stride, dilation)
    weights = [view_node(w, shape, (0, taps, *[0] * len(out)), k, fixed=True) for k in range(taps)]
    return record(_products(taps), (*images, *weights), None, None, shape, x.dtype)


@functools.cache
def _product(wide: dtype) -> Formula:
    return Formula("product", cast(operand(0), wide) * cast(operand(1), wide))


@functools.cache  # of MOST_TAPS at most
def _one_of(taps: int) -> Formula:
    """Along dimension 1, one operand after another."""
    chosen = operand(taps - 1)
    for k in reversed(range(taps - 1)):
        chosen = where(function("eq")(make("index", value=1), k), operand(k), chosen)
    return Formula("one of", chosen)


def taps_of_sums(x: Node, y: Node, kernel: Ints, stride: Ints, dilation: Ints) -> Node:
    """(C, taps), the gradient in the weight of `sum_of_taps` where that in its result is y (N, C, *out)."""
    out = y.shape[2:]
    c, taps, wide = y.shape[1], size_of(kernel), x.dtype.compute
    lines = (0, *range(2, len(y.shape) - 1))  # all but channels and what the vectors lie along
    rows = []
    for image in _images(x, kernel, out, stride, dilation):
        products = record(_product(wide), (image, y), None, None, y.shape, wide)
        row = record(SUM, (products,), (lines,), None, (c, out[-1]), wide)
        rows.append(view_node(row, (c, 1, out[-1]), (out[-1], 0, 1), 0))
    whole = record(_one_of(taps), tuple(rows), None, None, (c, taps, out[-1]), wide)
    return cast_node(record(SUM, (whole,), ((2,),), None, (c, taps), wide), x.dtype)
