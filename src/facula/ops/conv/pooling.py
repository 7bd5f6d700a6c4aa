"""Pooling: windows over the last dimensions, and their largest element or mean.

A window is a VIEW, so a pool is one reduction. The gradient of a mean is a sum over windows of the spread-out
gradient; that of a maximum goes to the element that was chosen.
"""

from __future__ import annotations

import math
from operator import index
from typing import Any

import numpy as np

from facula._tensor.handle import Tensor, new
from facula._tensor.reading import read
from facula._tensor.tape import attach
from facula.autograd.graph import Rule
from facula.dtypes import BOOL, FLOAT, int64
from facula.engine.graph.node import ARGMAX, MAX, size_of
from facula.engine.realize import leaf
from facula.engine.recorder import record
from facula.ops.arrange.padding import constant_pad_nd
from facula.ops.casting import constant, to_dtype
from facula.ops.conv.convolutions import several
from facula.ops.conv.lines import Way, shares
from facula.ops.conv.taps import taps
from facula.ops.conv.window_sums import window_sums, windows
from facula.ops.elementwise.arithmetic import div
from facula.ops.elementwise.comparison import maximum, minimum
from facula.ops.images import closed, opened
from facula.ops.index.index_nodes import checked, index_leaf
from facula.ops.index.indexed_rows import add_rows, set_rows
from facula.ops.registry import DTYPE_NAMES, also, op
from facula.ops.severing import leaned, leaning, severed
from facula.ops.view.value_views import reshape_value
from facula.size import Size

Ints = tuple[int, ...]


def _sizes(what: str, n: int, kernel: Any, stride: Any, padding: Any, dilation: Any = 1) -> list[Ints]:
    if stride is None or isinstance(stride, (list, tuple)) and not stride:
        stride = kernel
    found = [several(kernel, n, what, "kernel_size"), several(stride, n, what, "stride"),
             several(padding, n, what, "padding"), several(dilation, n, what, "dilation")]
    if min(found[0]) <= 0:
        raise RuntimeError(f"{what}: kernel size should be greater than zero, but got {list(found[0])}")
    if min(found[1]) <= 0:
        raise RuntimeError(f"{what}: stride should be greater than zero, but got {list(found[1])}")
    if min(found[3]) <= 0:
        raise RuntimeError(f"{what}: dilation should be greater than zero, but got {list(found[3])}")
    for k, p, d in zip(found[0], found[2], found[3], strict=True):
        if p < 0:
            raise RuntimeError(f"pad must be non-negative, but got pad: {p}")
        if p > ((k - 1) * d + 1) // 2:
            raise RuntimeError("pad should be at most half of effective kernel size, but got "
                               f"pad={p}, kernel_size={k} and dilation={d}")
    return found


def _output(size: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil: bool) -> Ints:
    """How many windows there are. With `ceil`, the last may reach over the padding, but starts before it."""
    out = []
    for s, k, t, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
        room = s + 2 * p - d * (k - 1) - 1
        n = (-(-room // t) if ceil else room // t) + 1
        if ceil and (n - 1) * t >= s + p:
            n -= 1
        out.append(n)
    if min(out) < 1:
        raise RuntimeError(f"Given input size: {list(size)}. Calculated output size: {out}. Output size is too small")
    return tuple(out)


# Where torch has another name for the kernel that refuses a dtype.
_KERNELS = {"avg_pool1d": "avg_pool2d", "avg_pool3d": "avg_pool3d_out_frame",
            "adaptive_avg_pool1d": "adaptive_avg_pool2d", "adaptive_avg_pool3d": "adaptive_avg_pool3d_cpu",
            "adaptive_max_pool1d": "adaptive_max_pool2d", "adaptive_max_pool3d": "adaptive_max_pool3d_cpu"}


def _batched(what: str, n: int, x: Any) -> tuple[Tensor, bool]:
    if not isinstance(x, Tensor):
        raise TypeError(f"{what}(): argument 'input' (position 1) must be Tensor, not {type(x).__name__}")
    channels_only = len(x.shape) == n + 1 and not what.startswith("adaptive")  # those take no channels at all
    if len(x.shape) < n + 1 and what.startswith("adaptive") and n > 1:
        raise ValueError(f"{what}: Input dimension should be at least {n + 1}, but got shape {list(x.shape)}")
    bare = n < 3 and what.startswith("adaptive_avg")  # takes no channels, too
    if len(x.shape) not in (n + 1, n + 2) or 0 in x.shape[-n:] or not bare and (
            len(x.shape) == n + 2 and not x.shape[1] or channels_only and not x.shape[0]):
        raise RuntimeError(f"Expected {n + 1}D or {n + 2}D (batch mode) tensor with optional 0 dim batch size for "
                           f"input, but got: {list(x.shape)}")
    of = x.dtype
    if not of.is_floating_point and not (of is int64 and what.startswith("avg")) and not (
            what.startswith("max") and not of.is_complex and of.category != BOOL) and not (
            what.startswith("adaptive_avg") and of.is_complex):
        raise NotImplementedError(f"\"{_KERNELS.get(what, what)}\" not implemented for '{DTYPE_NAMES[of.name]}'")
    batched = len(x.shape) == n + 2
    return (x if batched else reshape_value(x, (1, *x.shape))), batched


def _around(x: Tensor, size: Ints, before: Ints, value: Any, first: int) -> Tensor:
    """`x` with `value` around it, so that its dimensions from `first` on have `size`."""
    old = tuple(x.shape[first:first + len(size)])
    if old == size:
        return x
    pads = [q for s, o, b in reversed(list(zip(size, old, before, strict=True))) for q in (b, s - o - b)]
    return constant_pad_nd(x, [0, 0] * (2 - first) + pads, value)


# ---- the mean ---------------------------------------------------------------------------------------------

def _counts(size: Ints, out: Ints, kernel: Ints, stride: Ints, padding: Ints, padded: bool) -> Any:
    """How many elements each window has: those of the input, or of the padded input."""
    total: Any = np.ones((), np.int64)
    for s, o, k, t, p in zip(size, out, kernel, stride, padding, strict=True):
        start = np.arange(o) * t - p
        end = np.minimum(start + k, s + p)
        if not padded:
            start, end = np.maximum(start, 0), np.minimum(end, s)
        total = total[..., None] * (end - start)
    return total


def _avg_pool(n: int) -> Any:
    what = f"avg_pool{n}d"

    def body(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
             count_include_pad: bool = True, divisor_override: int | None = None) -> Tensor:
        kernel, step, pad, one = _sizes(what, n, kernel_size, stride, padding)
        x, batched = _batched(what, n, input)
        if divisor_override == 0:
            raise RuntimeError("divisor must be not zero")
        size = tuple(x.shape[2:])
        out = _output(size, kernel, step, pad, one, ceil_mode)
        need = tuple([max(s + p, (o - 1) * t + k - p) + p
                      for s, o, k, t, p in zip(size, out, kernel, step, pad, strict=True)])
        of = x.dtype
        x, first = opened(x)
        sums = window_sums(_around(to_dtype(x, of.compute), need, pad, 0, first), out, kernel, step, first)
        if divisor_override is not None:
            result = sums / divisor_override
        else:
            count = _counts(size, out, kernel, step, pad, count_include_pad)
            if first == 1:
                count = count[..., None]
            common = count.reshape(-1)[0]
            divisor: Any = float(common) if of.category >= FLOAT else int(common)
            if (count != common).any():
                divisor = new(leaf(np.ascontiguousarray(count, sums.dtype.numpy), count.shape, sums.dtype))
            result = div(sums, divisor, rounding_mode=None if of.category >= FLOAT else "trunc")
        result = closed(to_dtype(result, of), first)
        return result if batched else reshape_value(result, tuple(result.shape[1:]))
    body.__name__ = body.__qualname__ = what
    body.__doc__ = "The mean of each window."
    return op(body, method=False, namespace="nn.functional", out=n > 1)


avg_pool1d, avg_pool2d, avg_pool3d = (_avg_pool(n) for n in (1, 2, 3))
also(avg_pool1d, "avg_pool1d")


def _adaptive_sizes(what: str, n: int, x: Tensor, size: Any) -> Ints:
    if isinstance(size, (Tensor, np.ndarray)):
        size = size.tolist()
    if isinstance(size, (tuple, list)) and len(size) not in (1, n):
        raise RuntimeError(f"{what}: output_size must be {n}")
    sizes = size if isinstance(size, (tuple, list)) else (size,) * n
    sizes = tuple(sizes) * (n if len(sizes) == 1 else 1)
    try:
        found = tuple([x.shape[2 + k] if s is None else index(s) for k, s in enumerate(sizes)])
    except TypeError:
        raise TypeError(f"{what}(): argument 'output_size' (position 2) must be tuple of ints, not {size!r}") from None
    if min(found) < 0:
        raise RuntimeError(f"{what}: elements of output_size must be greater than or equal to 0, but received "
                           f"{list(found)}")
    return found


def _adaptive_avg_pool(n: int) -> Any:
    what = f"adaptive_avg_pool{n}d"

    def body(input: Tensor, output_size: Any) -> Tensor:
        x, batched = _batched(what, n, input)
        out = _adaptive_sizes(what, n, x, output_size)
        of = x.dtype
        if of.is_complex and any(o != 1 for o in out):  # one part is a mean, as of all elements
            raise NotImplementedError(f"\"{_KERNELS.get(what, what)}\" not implemented for "
                                      f"'{DTYPE_NAMES[of.name]}'")
        size = tuple(x.shape[2:])
        x, first = opened(x)
        x = to_dtype(x, of.compute)
        if size_of(out) and all(s % o == 0 for s, o in zip(size, out, strict=True)):
            kernel = tuple([s // o for s, o in zip(size, out, strict=True)])
            x = window_sums(x, out, kernel, kernel, first) / float(size_of(kernel))
        else:
            x = leaned(x)
            for k, (s, o) in enumerate(zip(size, out, strict=True)):
                x = taps(x, first + k, Way("averaging", s, o)) if o else x.narrow(first + k, 0, 0)
        x = closed(to_dtype(x, of), first)
        return x if batched else reshape_value(x, tuple(x.shape[1:]))
    body.__name__ = body.__qualname__ = what
    body.__doc__ = "The mean of nearly equal parts, as many as `output_size` says."
    return op(body, method=False, namespace="nn.functional")


adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = (_adaptive_avg_pool(n) for n in (1, 2, 3))
also(adaptive_avg_pool1d, "adaptive_avg_pool1d")


# ---- the maximum ------------------------------------------------------------------------------------------

def _plane_rows(indices: Any, size: int, first: int = 2) -> Any:
    """Positions within each plane, as rows of all the planes."""
    shape = tuple(indices.shape)
    if first == 1:
        n, c = shape[0], shape[-1]
        inner = [1] * (len(shape) - 2)
        base = np.arange(n, dtype=np.int64).reshape(n, *inner, 1) * size * c + np.arange(c, dtype=np.int64)
        return read(indices * c + new(index_leaf(base)))
    base = (np.arange(shape[0] * shape[1], dtype=np.int64) * size).reshape(*shape[:2], *[1] * (len(shape) - 2))
    return read(indices + new(index_leaf(base)))


def _max_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    indices, first = ctx.saved
    shape = ctx.shapes[0]
    total = size_of(shape)
    at = _plane_rows(indices, size_of(tuple(shape[first:first + len(shape) - 2])), first)
    return (add_rows(new(constant(0, shape, g.dtype)), at, g, total, 1),)


_MAX_POOL = Rule("MaxPoolBackward0", leaning(_max_backward))


def chosen(x: Tensor, window: Any, n: int, lines: list[tuple[Any, int, Any, Any]],
           first: int) -> tuple[Tensor, Tensor]:
    """Largest element and its place in the plane, for a node (N, C, *out, *kernel) of windows on x, or of
    (N, *out, C, *kernel).

    `lines[k]` is (start, step, lowest, highest): the coordinate in dimension k of element j of window o is
    start[o] + step * j, but lowest[o] or highest[o] if it is beyond. None for a bound that it never passes.
    """
    dims = tuple(range(2 + n, 2 + 2 * n))
    shape = tuple.__new__(Size, window.shape[:2 + n])
    kernel = window.shape[2 + n:]
    values = new(record(MAX, (window,), (dims,), None, shape, window.dtype))
    at = new(record(ARGMAX, (window,), (dims,), None, shape, int64))
    place: Any = 0
    inner = 1
    step = 1
    for k in reversed(range(n)):
        j = at % kernel[k] if inner == 1 else at // inner % kernel[k]
        inner *= kernel[k]
        start, apart, lowest, highest = lines[k]
        along = [-1 if d == first + k else 1 for d in range(2 + n)]
        j = (j if apart == 1 else j * apart) + new(index_leaf(np.array(start, np.int64).reshape(along)))
        if lowest is not None:
            j = maximum(j, new(index_leaf(np.array(lowest, np.int64).reshape(along))))
        if highest is not None:
            j = minimum(j, new(index_leaf(np.array(highest, np.int64).reshape(along))))
        place = place + j * step
        step *= x.shape[first + k]
    return closed(attach(values, _MAX_POOL, (x,), (place, first)), first), closed(place, first)


def _lowest(x: Tensor) -> Any:
    return -math.inf if x.dtype.category >= FLOAT else int(np.iinfo(x.dtype.numpy).min)


def max_pool(what: str, n: int, input: Tensor, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
             ceil_mode: bool) -> tuple[Tensor, Tensor]:
    """Largest elements and their places."""
    kernel, step, pad, dil = _sizes(what, n, kernel_size, stride, padding, dilation)
    x, batched = _batched(what, n, input)
    size = tuple(x.shape[2:])
    out = _output(size, kernel, step, pad, dil, ceil_mode)
    need = tuple([max(s + p, (o - 1) * t + (k - 1) * d + 1 - p) + p
                  for s, o, k, t, p, d in zip(size, out, kernel, step, pad, dil, strict=True)])
    if not size_of(x.shape):
        shape = (*x.shape[:2], *out) if batched else (*x.shape[1:2], *out)
        empty = severed(new(constant(0, shape, x.dtype)), input, name="MaxPoolBackward0", leans=True)
        return empty, new(constant(0, shape, int64))
    x, axis = opened(x)
    wide = _around(x.detach(), need, pad, _lowest(x), axis)
    lines: list[tuple[Any, int, Any, Any]] = []
    for s, o, k, t, p, d in zip(size, out, kernel, step, pad, dil, strict=True):
        first = np.arange(o) * t - p
        # a window of nothing but -inf takes its first element that is not padding
        lines.append((first, d, first % d if p else None, np.full(o, s - 1) if first[-1] + d * (k - 1) >= s else None))
    values, at = chosen(x, windows(read(wide), out, kernel, step, dil, axis), n, lines, axis)
    if batched:
        return values, at
    return reshape_value(values, tuple(values.shape[1:])), reshape_value(at, tuple(at.shape[1:]))


def _max_pool(n: int) -> Any:
    what = f"max_pool{n}d"

    def body(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
             ceil_mode: bool = False, return_indices: bool = False) -> Any:
        if n == 1 and not return_indices and isinstance(input, Tensor) and not input.dtype.is_floating_point:
            raise NotImplementedError(f"\"max_pool1d_impl\" not implemented for '{DTYPE_NAMES[input.dtype.name]}'")
        both = max_pool(what, n, input, kernel_size, stride, padding, dilation, ceil_mode)
        return both if return_indices else both[0]

    def with_indices(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
                     ceil_mode: bool = False, return_indices: bool = True) -> Any:
        return max_pool(what, n, input, kernel_size, stride, padding, dilation, ceil_mode)
    body.__name__ = body.__qualname__ = what
    body.__doc__ = "The largest element of each window, and with `return_indices` where it is."
    with_indices.__name__ = with_indices.__qualname__ = what + "_with_indices"
    at_root = (what + "_with_indices",) if n == 1 else ()  # torch has no other at its root
    op(with_indices, method=False, namespace="nn.functional", also=at_root)
    return op(body, method=False, namespace="nn.functional", also=(what,))


max_pool1d, max_pool2d, max_pool3d = (_max_pool(n) for n in (1, 2, 3))


def _adaptive_max_pool(n: int) -> Any:
    what = f"adaptive_max_pool{n}d"

    def both(input: Tensor, output_size: Any) -> tuple[Tensor, Tensor]:
        x, batched = _batched(what, n, input)
        out = _adaptive_sizes(what, n, x, output_size)
        if not size_of((*x.shape, *out)):
            shape = (*x.shape[:2], *out) if batched else (*x.shape[1:2], *out)
            empty = severed(new(constant(0, shape, x.dtype)), input, name="AdaptiveMaxPoolBackward0", leans=True)
            return empty, new(constant(0, shape, int64))
        lines: list[tuple[Any, int, Any, Any]] = []
        kernel = []
        sizes = tuple(x.shape[2:])
        x, first = opened(x)
        part = x.detach()
        for k, (s, o) in enumerate(zip(sizes, out, strict=True)):
            start, end = shares(s, o)
            longest = int((end - start).max())
            table = np.minimum(start[:, None] + np.arange(longest), end[:, None] - 1)  # the last one again
            lines.append((start, 1, None, end - 1))
            kernel.append(longest)
            part = part.index_select(first + k, new(index_leaf(table.reshape(-1))))
        split = reshape_value(part, (*x.shape[:first], *[v for o, k in zip(out, kernel, strict=True) for v in (o, k)],
                                     *x.shape[first + n:]))
        order = (*range(first), *range(first, first + 2 * n, 2), *range(first + 2 * n, 2 + 2 * n),
                 *range(first + 1, first + 2 * n, 2))
        values, at = chosen(x, read(split.permute(order)), n, lines, first)
        if batched:
            return values, at
        return reshape_value(values, tuple(values.shape[1:])), reshape_value(at, tuple(at.shape[1:]))

    def body(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        found = both(input, output_size)
        return found if return_indices else found[0]

    def with_indices(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        return both(input, output_size)
    body.__name__ = body.__qualname__ = what
    body.__doc__ = "The largest element of nearly equal parts, as many as `output_size` says."
    with_indices.__name__ = with_indices.__qualname__ = what + "_with_indices"
    op(with_indices, method=False, namespace="nn.functional", also=(what,) if n == 1 else ())
    return op(body, method=False, namespace="nn.functional")


adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = (_adaptive_max_pool(n) for n in (1, 2, 3))


def _unpool(n: int) -> Any:
    what = f"max_unpool{n}d"

    def body(input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
             output_size: Any = None) -> Tensor:
        kernel, step, pad, _ = _sizes(what, n, kernel_size, stride, padding)
        x, batched = _batched(what, n, input)
        if indices.dtype is not int64:
            raise RuntimeError(f"elements in indices should be type int64 but got: {DTYPE_NAMES[indices.dtype.name]}")
        if not input.dtype.is_floating_point:
            raise NotImplementedError(f"\"{what if n == 3 else 'max_unpool2d'}\" not implemented for "
                                      f"'{DTYPE_NAMES[input.dtype.name]}'")
        if indices.shape != input.shape:
            raise RuntimeError(f"Expected shape of indices to be same as that of the input tensor "
                               f"({list(input.shape)}) but got indices tensor with shape: {list(indices.shape)}")
        size = tuple([(s - 1) * t + k - 2 * p for s, t, k, p in zip(x.shape[2:], step, kernel, pad, strict=True)])
        if output_size is not None:
            wanted = tuple(output_size)[-n:]
            if any(not d - t < s < d + t for s, d, t in zip(wanted, size, step, strict=True)):
                raise ValueError(f"invalid output_size {list(wanted)} (dim must be near {list(size)})")
            size = tuple([int(s) for s in wanted])
        shape = (*x.shape[:2], *size)
        if not size_of(x.shape):
            out = severed(new(constant(0, shape, x.dtype)), x, name="MaxUnpoolBackward0")
        else:
            plane = size_of(size)
            sizes = " x ".join(map(str, size))
            at = checked(indices, plane, 0, RuntimeError, False,
                         "Found an invalid max index: {i} (output volumes are of size " + sizes + ")")
            flat = _plane_rows(reshape_value(new(at), x.shape), plane)
            out = set_rows(new(constant(0, shape, x.dtype)), flat, x, size_of(shape), 1)
        return out if batched else reshape_value(out, tuple(out.shape[1:]))
    body.__name__ = body.__qualname__ = what
    body.__doc__ = "The inverse of max_pool as far as there is one: each element at its index, zeros elsewhere."
    return op(body, method=False, namespace="nn.functional")


max_unpool1d, max_unpool2d, max_unpool3d = (_unpool(n) for n in (1, 2, 3))


# ---- the norm ---------------------------------------------------------------------------------------------

def _lp_pool(n: int) -> Any:
    mean = (avg_pool1d, avg_pool2d, avg_pool3d)[n - 1]

    def body(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None,
             ceil_mode: bool = False) -> Tensor:
        kernel = several(kernel_size, n, f"lp_pool{n}d", "kernel_size")
        out = mean(input.pow(norm_type), kernel, stride, 0, ceil_mode)
        return (out.sign() * out.abs().relu() * size_of(kernel)).pow(1.0 / norm_type)  # type: ignore[no-any-return]
    body.__name__ = body.__qualname__ = f"lp_pool{n}d"
    body.__doc__ = "The p-norm of each window."
    return op(body, method=False, namespace="nn.functional")


lp_pool1d, lp_pool2d, lp_pool3d = (_lp_pool(n) for n in (1, 2, 3))
