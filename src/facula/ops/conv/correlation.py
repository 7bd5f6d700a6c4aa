"""The three bilinear forms behind every convolution: each is a contraction, and each one's gradients are the others.

With x (N, C, *size), w (O, C / groups, *kernel), y (N, O, *out), and 0 wherever x is left:

    y[n, o, p]   = sum over c, k of  w[o, c, k] x[n, c, p * stride + k * dilation - before]     correlate
    x[n, c, s]   = sum over o, k of  w[o, c, k] y[n, o, where p is read by s under k]           spread
    w[o, c, k]   = sum over n, p of  y[n, o, p] x[n, c, p * stride + k * dilation - before]     compare

The windows of x are a VIEW of x in zeros (a WRITE); the compiler reads through both, so neither is written to memory.

`last`: the result is to have its channels (of a weight, dimension 1) innermost in memory. It is computed so, and what
lies so is read as it lies. (Groups are computed row after row, and laid out after that; so is what has few channels,
which would leave most lanes of a vector empty.)
"""

from __future__ import annotations

from typing import Any

from facula._tensor.handle import Tensor, laid, new
from facula._tensor.layout import strides_in
from facula._tensor.reading import read, read_in, view_node
from facula._tensor.tape import attach
from facula.autograd.graph import Rule, mode
from facula.engine.graph.node import CONTRACT, WINDOWS, Node, contiguous_strides, size_of
from facula.engine.recorder import record
from facula.ops.casting import constant
from facula.ops.conv.depthwise import are_sums_few, taps_of_sums
from facula.ops.conv.windows import (
    Geometry,
    Ints,
    columns_of,
    correlation_last,
    correlation_node,
    in_zeros,
    reached,
    spread_node,
    steps_of,
    times,
    window_rows,
)
from facula.ops.images import channels_inside, lies_last
from facula.ops.severing import leaning, severed
from facula.ops.view.value_views import reshaped, turned

FEW = 8  # channels


def correlate(x: Tensor, w: Tensor, at: Geometry, last: bool = False) -> Tensor:
    """y of x and w."""
    shape = (x.shape[0], w.shape[0], *at.out)
    if _empty(x, w, shape):
        return _nothing(shape, x, w)
    if last and at.groups == 1 and shape[1] >= FEW:
        weight, steps = _as_it_lies(w)
        node = correlation_last(_read_last(x), columns_of(weight, w.shape, steps), at)
        return attach(_laid_last(node, shape), _CORRELATE, (x, w), (x, w, at))
    node = correlation_node(read(x), reshaped(read(w), (at.groups, shape[1] // at.groups, size_of(w.shape[1:]))), at)
    return attach(new(node), _CORRELATE, (x, w), (x, w, at))


def spread(y: Tensor, w: Tensor, at: Geometry, last: bool = False) -> Tensor:
    """x of y and w: the transpose of `correlate`."""
    shape = (y.shape[0], at.groups * w.shape[1], *at.size)
    if _empty(y, w, shape):
        return _nothing(shape, y, w)
    last = last and at.groups == 1 and shape[1] >= FEW
    weight, steps = _as_it_lies(w)
    node = spread_node(_read_last(y) if last else read(y), weight, w.shape, steps, at, last)
    if node is None:
        return _nothing(shape, y, w)
    return attach(_laid_last(node, shape) if last else new(node), _SPREAD, (y, w), (y, w, at))


def compare(x: Tensor, y: Tensor, at: Geometry, last: bool = False) -> Tensor:
    """w of x and y: the gradient of `correlate` in it."""
    n, c = x.shape[:2]
    o, groups = y.shape[1], at.groups
    shape = (o, c // groups, *at.kernel)
    if _empty(x, y, shape):
        return _nothing(shape, x, y)
    if last and groups == 1 and c >= FEW:
        rows = window_rows(_read_last(x), at)
        images = reshaped(_read_last(y), (rows.shape[0], o))
        node = record(CONTRACT, (turned(images, (1, 0)), rows), mode.products or WINDOWS, None,
                      (o, rows.shape[1]), x.dtype)
        return attach(_laid_last(reshaped(node, (o, *at.kernel, c)), shape), _COMPARE, (x, y), (x, y, at))
    source = in_zeros(read(x), reached(at), (1,) * len(at.size), at.before)
    if are_sums_few(source, read(y), groups, at.kernel, at.stride):
        node = taps_of_sums(source, read(y), at.kernel, at.stride, at.dilation)
        return attach(new(reshaped(node, shape)), _COMPARE, (x, y), (x, y, at))
    places, window = size_of(at.out), size_of(at.kernel)
    s, g = contiguous_strides(source.shape), contiguous_strides(y.shape)
    windows = view_node(source, (groups, n, *at.out, c // groups, *at.kernel),
                        ((c // groups) * s[1], s[0], *times(s[2:], at.stride), s[1], *times(s[2:], at.dilation)),
                        fixed=True)
    rows = view_node(read(y), (groups, o // groups, n, *at.out), (o // groups * g[1], g[1], g[0], *g[2:]), fixed=True)
    node = record(CONTRACT, (reshaped(rows, (groups, o // groups, n * places)),
                             reshaped(windows, (groups, n * places, c // groups * window))),
                  mode.products or WINDOWS, None, (groups, o // groups, c // groups * window), x.dtype)
    return attach(new(reshaped(node, shape)), _COMPARE, (x, y), (x, y, at))


# ---- memory -------------------------------------------------------------------------------------------------

def _read_last(t: Tensor) -> Node:
    return read_in(t, channels_inside(len(t.shape)))


def _laid_last(node: Node, shape: Ints) -> Tensor:
    return laid(node, shape, strides_in(shape, channels_inside(len(shape))))


def _as_it_lies(w: Tensor) -> tuple[Node, Ints]:
    """A node of the elements of `w`, and the strides that `w` has in it."""
    last = lies_last(w)
    return _read_last(w) if last else read(w), steps_of(w.shape, last)


# ---- gradients --------------------------------------------------------------------------------------------

def _pair(ctx: Any) -> tuple[Tensor, Tensor, Geometry]:
    a, b, at = ctx.saved
    return (a.conj(), b.conj(), at) if a.dtype.is_complex else (a, b, at)


def _correlate_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    x, w, at = _pair(ctx)
    last = lies_last(x, w, g)
    return spread(g, w, at, last) if ctx.needs[0] else None, compare(x, g, at, last) if ctx.needs[1] else None


def _spread_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    y, w, at = _pair(ctx)
    last = lies_last(y, w, g)
    return correlate(g, w, at, last) if ctx.needs[0] else None, compare(g, y, at, last) if ctx.needs[1] else None


def _compare_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    x, y, at = _pair(ctx)
    last = lies_last(x, y, g)
    return spread(y, g, at, last) if ctx.needs[0] else None, correlate(x, g, at, last) if ctx.needs[1] else None


_CORRELATE = Rule("ConvolutionBackward0", leaning(_correlate_backward, False))
_SPREAD = Rule("ConvolutionBackward0", leaning(_spread_backward, False))
_COMPARE = Rule("ConvolutionBackwardBackward0", leaning(_compare_backward, False))


def _empty(a: Tensor, b: Tensor, shape: Ints) -> bool:
    return not (size_of(a.shape) and size_of(b.shape) and size_of(shape))


def _nothing(shape: Ints, a: Tensor, b: Tensor) -> Tensor:
    return severed(new(constant(0, shape, a.dtype)), a, b, name="ConvolutionBackward0")
