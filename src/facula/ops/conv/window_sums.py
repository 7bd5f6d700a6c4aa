"""Sums over windows, and their transpose: each element given to all of its window. Each is the gradient of the other.

Images are (N, C, *S), or, opened with their channels innermost (`ops/images.py`), (N, *S, C): `first` is the first
dimension of positions.
"""

from __future__ import annotations

from typing import Any

from facula._tensor.handle import Tensor, new
from facula._tensor.reading import read, view_node
from facula._tensor.tape import attach
from facula.autograd.graph import Rule
from facula.engine.graph.node import SUM, WRITE, Node, contiguous_strides, size_of
from facula.engine.recorder import record
from facula.ops.casting import constant
from facula.ops.conv.windows import in_zeros
from facula.ops.severing import leaning, severed
from facula.ops.view.value_views import reshaped
from facula.size import Size

Ints = tuple[int, ...]


def windows(x: Node, out: Ints, kernel: Ints, stride: Ints, dilation: Ints, first: int) -> Node:
    """x (N, C, *S) seen as (N, C, *out, *kernel), or (N, *S, C) as (N, *out, C, *kernel)."""
    end = first + len(out)
    s = contiguous_strides(x.shape)
    return view_node(x, (*x.shape[:first], *out, *x.shape[end:], *kernel),
                     (*s[:first], *[a * b for a, b in zip(s[first:end], stride, strict=True)], *s[end:],
                      *[a * b for a, b in zip(s[first:end], dilation, strict=True)]), 0, x.dtype)


def _with_sizes(shape: Ints, sizes: Ints, first: int) -> Size:
    return tuple.__new__(Size, (*shape[:first], *sizes, *shape[first + len(sizes):]))


def window_sums(x: Tensor, out: Ints, kernel: Ints, stride: Ints, first: int) -> Tensor:
    """The sum over each window of `x`."""
    shape = _with_sizes(x.shape, out, first)
    if not size_of(shape):
        return severed(new(constant(0, shape, x.dtype)), x, name="AvgPoolBackward0", leans=True)
    return attach(new(_sums(read(x), out, kernel, stride, first)), _SUMS, (x,), (kernel, stride, first))


def _sums(x: Node, out: Ints, kernel: Ints, stride: Ints, first: int) -> Node:
    n = len(kernel)
    node = windows(x, out, kernel, stride, (1,) * n, first)
    return record(SUM, (node,), (tuple(range(2 + n, 2 + 2 * n)),), None, _with_sizes(x.shape, out, first), x.dtype)


def given_out(g: Tensor, sizes: Ints, kernel: Ints, stride: Ints, first: int) -> Tensor:
    """Images of `sizes`: the sum of those elements of `g` whose windows they are in."""
    shape = _with_sizes(g.shape, sizes, first)
    if not size_of(shape) or not size_of(g.shape):
        return severed(new(constant(0, shape, g.dtype)), g, name="AvgPoolBackwardBackward0", leans=True)
    # Along some dimensions no two windows meet: nothing is to be added up there, however large they are.
    apart = tuple([t >= k for k, t in zip(kernel, stride, strict=True)])
    node = read(g)
    if not all(apart):
        node = _added(node, sizes, kernel, stride, apart, first)
    if any(apart):
        node = _repeated(node, sizes, kernel, stride, apart, first)
    return attach(new(node), _GIVEN, (g,), (kernel, stride, first))


def _added(g: Node, sizes: Ints, kernel: Ints, stride: Ints, apart: tuple[bool, ...], first: int) -> Node:
    """`given_out` along the dimensions in which windows overlap: sums over the elements `stride` apart, in zeros."""
    ways = list(zip(g.shape[first:], sizes, kernel, stride, apart, strict=False))
    taps = tuple([1 if alone else k for _, _, k, _, alone in ways])
    out = tuple([o if alone else s for o, s, _, _, alone in ways])
    steps = tuple([1 if alone else t for *_, t, alone in ways])
    wide = tuple([s + k - 1 for s, k in zip(out, taps, strict=True)])
    g = in_zeros(g, wide, steps, tuple([k - 1 for k in taps]), first == 1)
    return _sums(g, out, taps, (1,) * len(taps), first)


def _repeated(g: Node, sizes: Ints, kernel: Ints, stride: Ints, apart: tuple[bool, ...], first: int) -> Node:
    """`given_out` along the dimensions in which windows stand apart: each element as often as its window is long."""
    end = first + len(sizes)
    shape = _with_sizes(g.shape, sizes, first)
    plain, steps = contiguous_strides(g.shape), contiguous_strides(shape)
    each: list[int] = []  # of windows and of their elements along each dimension: how many, ...
    read_at: list[int] = []  # ... how far apart where they are read, ...
    laid_at: list[int] = []  # ... and where they are written
    for d, k, t, alone in zip(range(first, end), kernel, stride, apart, strict=True):
        each += (g.shape[d], k if alone else 1)
        read_at += (plain[d], 0)
        laid_at += (steps[d] * (t if alone else 1), steps[d])
    parts = (*g.shape[:first], *each, *g.shape[end:])
    node = view_node(g, parts, (*plain[:first], *read_at, *plain[end:]), 0)
    if size_of(parts) == size_of(shape):  # windows side by side
        return reshaped(node, shape)
    strides = (*steps[:first], *laid_at, *steps[end:])
    return record(WRITE, (constant(0, shape, g.dtype), node), (strides, 0), None, shape, g.dtype)


def _sums_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    kernel, stride, first = ctx.saved
    return (given_out(g, tuple(ctx.shapes[0][first:first + len(kernel)]), kernel, stride, first),)


def _given_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    kernel, stride, first = ctx.saved
    return (window_sums(g, tuple(ctx.shapes[0][first:first + len(kernel)]), kernel, stride, first),)


_SUMS = Rule("AvgPoolBackward0", leaning(_sums_backward))
_GIVEN = Rule("AvgPoolBackwardBackward0", _given_backward)
