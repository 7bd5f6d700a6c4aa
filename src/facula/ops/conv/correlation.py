"""The three bilinear forms behind every convolution: each is a contraction, and each one's gradients are the others.

With x (N, C, *size), w (O, C / groups, *kernel), y (N, O, *out), and 0 wherever x is left:

    y[n, o, p]   = sum over c, k of  w[o, c, k] x[n, c, p * stride + k * dilation - before]     correlate
    x[n, c, s]   = sum over o, k of  w[o, c, k] y[n, o, where p is read by s under k]           spread
    w[o, c, k]   = sum over n, p of  y[n, o, p] x[n, c, p * stride + k * dilation - before]     compare

The windows of x are a VIEW of x in zeros (a WRITE); the compiler reads through both, so neither is written to memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from facula._tensor.handle import Tensor, attach, new, read
from facula.autograd.graph import Rule
from facula.engine.graph.node import CONST, CONTRACT, VIEW, WRITE, Node, contiguous_strides, size_of
from facula.engine.recorder import record
from facula.ops.casting import constant
from facula.ops.severing import severed
from facula.ops.view.value_views import reshaped, turned

Ints = tuple[int, ...]
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


def correlate(x: Tensor, w: Tensor, at: Geometry) -> Tensor:
    """y of x and w."""
    shape = (x.shape[0], w.shape[0], *at.out)
    if _empty(x, w, shape):
        return _nothing(shape, x, w)
    node = _correlated(read(x), reshaped(read(w), (at.groups, shape[1] // at.groups, size_of(w.shape[1:]))), at)
    return attach(new(node), _CORRELATE, (x, w), (x, w, at))


def spread(y: Tensor, w: Tensor, at: Geometry) -> Tensor:
    """x of y and w: the transpose of `correlate`."""
    groups, each = at.groups, w.shape[1]
    shape = (y.shape[0], groups * each, *at.size)
    if _empty(y, w, shape):
        return _nothing(shape, y, w)
    node = read(y)
    before = [(k - 1) * d - b for k, d, b in zip(at.kernel, at.dilation, at.before, strict=True)]
    skipped = tuple([max(0, -(b // t)) for b, t in zip(before, at.stride, strict=True)])  # seen by no window
    if any(skipped):
        node = _without(node, skipped)
        before = [b + s * t for b, s, t in zip(before, skipped, at.stride, strict=True)]
        if not size_of(node.shape):
            return _nothing(shape, y, w)
    sizes = tuple(node.shape[2:])
    if any(t > 1 for t in at.stride):
        wide = tuple([b + (s - 1) * t + 1 for b, s, t in zip(before, sizes, at.stride, strict=True)])
        node = _in_zeros(node, wide, at.stride, tuple(before))
        sizes, before = wide, [0] * len(wide)
    ones = (1,) * len(sizes)
    back = Geometry(sizes, at.kernel, at.size, ones, tuple(before), at.dilation, groups)
    return attach(new(_correlated(node, _turned_round(read(w), groups), back)), _SPREAD, (y, w), (y, w, at))


def compare(x: Tensor, y: Tensor, at: Geometry) -> Tensor:
    """w of x and y: the gradient of `correlate` in it."""
    n, c = x.shape[:2]
    o, groups = y.shape[1], at.groups
    shape = (o, c // groups, *at.kernel)
    if _empty(x, y, shape):
        return _nothing(shape, x, y)
    source = _in_zeros(read(x), _reached(at), (1,) * len(at.size), at.before)
    places, window = size_of(at.out), size_of(at.kernel)
    s, g = contiguous_strides(source.shape), contiguous_strides(y.shape)
    windows = _seen(source, (groups, n, *at.out, c // groups, *at.kernel),
                    ((c // groups) * s[1], s[0], *_times(s[2:], at.stride), s[1], *_times(s[2:], at.dilation)))
    rows = _seen(read(y), (groups, o // groups, n, *at.out), (o // groups * g[1], g[1], g[0], *g[2:]))
    node = record(CONTRACT, (reshaped(rows, (groups, o // groups, n * places)),
                             reshaped(windows, (groups, n * places, c // groups * window))),
                  None, None, (groups, o // groups, c // groups * window), x.dtype)
    return attach(new(reshaped(node, shape)), _COMPARE, (x, y), (x, y, at))


# ---- gradients --------------------------------------------------------------------------------------------

def _pair(ctx: Any) -> tuple[Tensor, Tensor, Geometry]:
    a, b, at = ctx.saved
    return (a.conj(), b.conj(), at) if a.dtype.is_complex else (a, b, at)


def _correlate_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    x, w, at = _pair(ctx)
    return spread(g, w, at) if ctx.needs[0] else None, compare(x, g, at) if ctx.needs[1] else None


def _spread_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    y, w, at = _pair(ctx)
    return correlate(g, w, at) if ctx.needs[0] else None, compare(g, y, at) if ctx.needs[1] else None


def _compare_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    x, y, at = _pair(ctx)
    return spread(y, g, at) if ctx.needs[0] else None, correlate(x, g, at) if ctx.needs[1] else None


_CORRELATE = Rule("ConvolutionBackward0", _correlate_backward)
_SPREAD = Rule("ConvolutionBackward0", _spread_backward)
_COMPARE = Rule("ConvolutionBackwardBackward0", _compare_backward)


# ---- nodes ------------------------------------------------------------------------------------------------

def _empty(a: Tensor, b: Tensor, shape: Ints) -> bool:
    return not (size_of(a.shape) and size_of(b.shape) and size_of(shape))


def _nothing(shape: Ints, a: Tensor, b: Tensor) -> Tensor:
    return severed(new(constant(0, shape, a.dtype)), a, b, name="ConvolutionBackward0")


def _times(strides: Ints, steps: Ints) -> Ints:
    return tuple([a * b for a, b in zip(strides, steps, strict=True)])


def _seen(base: Node, shape: Ints, strides: Ints, offset: int = 0) -> Node:
    """A VIEW with a fixed offset: the compiler tells coordinates by it."""
    if base.op is CONST:
        return Node(CONST, (), None, base.scalars, shape, base.dtype)
    return record(VIEW, (base,), (strides, offset), None, shape, base.dtype)


def _without(node: Node, first: Ints) -> Node:
    """The last dimensions from `first` on."""
    plain = contiguous_strides(node.shape)
    shape = (*node.shape[:2], *[max(0, n - f) for n, f in zip(node.shape[2:], first, strict=True)])
    if not size_of(shape):
        return constant(0, shape, node.dtype)
    return _seen(node, shape, plain, sum(_times(plain[2:], first)))


def _in_zeros(node: Node, sizes: Ints, stride: Ints, before: Ints) -> Node:
    """Zeros of `sizes` in the last dimensions, with `node` from `before` on, `stride` apart."""
    if node.shape[2:] == sizes:
        return node
    full = (*node.shape[:2], *sizes)
    plain = contiguous_strides(full)
    steps = (*plain[:2], *_times(plain[2:], stride))
    return record(WRITE, (constant(0, full, node.dtype), node), (steps, sum(_times(plain[2:], before))), None, full,
                  node.dtype)


def _reached(at: Geometry) -> Ints:
    """The sizes in which all windows lie, and all of the value."""
    return tuple([max(b + s, (o - 1) * t + (k - 1) * d + 1) for s, k, o, t, b, d in zip(*at[:6], strict=True)])


def _correlated(x: Node, w: Node, at: Geometry) -> Node:
    """`correlate`, with w (groups, O / groups, C / groups * window)."""
    n, c = x.shape[:2]
    groups, each, depth = w.shape
    places = size_of(at.out)
    x = _in_zeros(x, _reached(at), (1,) * len(at.size), at.before)
    s = contiguous_strides(x.shape)
    window = (c // groups, *at.kernel), (s[1], *_times(s[2:], at.dilation))
    place, step = at.out, _times(s[2:], at.stride)
    group = c // groups * s[1]
    shape = (n, groups * each, *at.out)
    if n > 1 and places < OWN_PRODUCT:
        x = _seen(x, (groups, *window[0], n, *place), (group, *window[1], s[0], *step))
        node = record(CONTRACT, (w, reshaped(x, (groups, depth, n * places))), None, None,
                      (groups, each, n * places), x.dtype)
        return reshaped(turned(reshaped(node, (groups * each, n, places)), (1, 0, 2)), shape)
    x = _seen(x, (n, groups, *window[0], *place), (s[0], group, *window[1], *step))
    if n > 1:
        w = _seen(w, (n, groups, each, depth), (0, *contiguous_strides(w.shape)))
    node = record(CONTRACT, (reshaped(w, (n * groups, each, depth)), reshaped(x, (n * groups, depth, places))), None,
                  None, (n * groups, each, places), x.dtype)
    return reshaped(node, shape)


def _turned_round(w: Node, groups: int) -> Node:
    """The weight that leads back: (groups * A, B, *K) to (groups, B, A * K), the windows reversed."""
    a, b, *kernel = w.shape
    a //= groups
    s = contiguous_strides(w.shape)
    node = _seen(w, (groups, b, a, *kernel), (a * s[0], s[1], s[0], *[-k for k in s[2:]]), size_of(tuple(kernel)) - 1)
    return reshaped(node, (groups, b, a * size_of(tuple(kernel))))
