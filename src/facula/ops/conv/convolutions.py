"""Convolutions and transposed convolutions as users call them; correlation.py has what they compute."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index as as_int
from typing import Any

from facula._tensor.handle import Tensor, new
from facula._tensor.layout import Layout
from facula._tensor.reading import lay
from facula.engine.graph.node import contiguous_strides, size_of
from facula.ops.casting import constant
from facula.ops.conv.correlation import correlate, spread
from facula.ops.conv.windows import Geometry
from facula.ops.images import closed, opened
from facula.ops.product.product_checks import type_name
from facula.ops.registry import op
from facula.ops.result_layouts import format_of, line_layout
from facula.ops.view.regions import region_put, region_view
from facula.ops.view.value_views import reshape_value

Ints = tuple[int, ...]


# ---- what pools and resampling share ----------------------------------------------------------------------

def reach(size: int, stride: int, dilation: int) -> int:
    """How far apart the first and the last element of a window of `size` are, plus 1."""
    return (size - 1) * dilation + 1


def spread_out(x: Tensor, sizes: Ints, stride: Ints, before: Ints, first: int = 2) -> Tensor:
    """Zeros of `sizes` from dimension `first` on, with `x` from `before` on, `stride` apart."""
    end = first + len(sizes)
    full = (*x.shape[:first], *sizes, *x.shape[end:])
    plain = contiguous_strides(full)
    steps = (*plain[:first], *[a * b for a, b in zip(plain[first:end], stride, strict=True)], *plain[end:])
    offset = sum(a * b for a, b in zip(plain[first:end], before, strict=True))
    return region_put(new(constant(0, full, x.dtype)), x, steps, offset)


def cropped(x: Tensor, sizes: Ints, before: Ints) -> Tensor:
    """`sizes` of the last dimensions of `x`, from `before` on."""
    lead = len(x.shape) - len(sizes)
    shape = (*x.shape[:lead], *sizes)
    if shape == x.shape:
        return x
    plain = contiguous_strides(x.shape)
    return region_view(x, shape, plain, sum(a * b for a, b in zip(plain[lead:], before, strict=True)))


# ---- arguments --------------------------------------------------------------------------------------------

def several(x: Any, n: int, what: str, name: str) -> Ints:
    """A number for each of `n` dimensions."""
    if isinstance(x, (tuple, list)):
        found = tuple([as_int(v) for v in x])
        if len(found) == 1:
            return found * n
        if len(found) != n:
            raise RuntimeError(f"expected {name} to be a single integer value or a list of {n} values to match the "
                               f"convolution dimensions, but got {name}={list(found)}")
        return found
    try:
        return (as_int(x),) * n
    except TypeError:
        raise TypeError(f"{what}(): argument '{name}' must be tuple of ints, not {type(x).__name__}") from None


def _check(what: str, n: int, x: Any, w: Any, bias: Any, groups: int, transposed: bool) -> None:
    for place, (name, t) in enumerate((("input", x), ("weight", w), ("bias", bias))):
        if not isinstance(t, Tensor) and not (name == "bias" and t is None):
            raise TypeError(f"{what}(): argument '{name}' (position {place + 1}) must be Tensor, not "
                            f"{type(t).__name__}")
    if len(x.shape) not in (n + 1, n + 2):
        raise RuntimeError(f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {what}, but got input of "
                           f"size: {list(x.shape)}")
    if 0 in x.shape[-n:]:
        raise RuntimeError("Only zero batch or zero channel inputs are supported, but got input shape: "
                           f"{list(x.shape)}")
    if len(w.shape) != n + 2:
        raise RuntimeError(f"weight should have at least three dimensions and as many as the input, got "
                           f"{list(w.shape)}")
    if x.dtype is not w.dtype:
        raise RuntimeError(f"Input type ({_c_name(x)}) and weight type ({_c_name(w)}) should be the same")
    if bias is not None and bias.dtype is not x.dtype:
        raise RuntimeError(f"Input type ({_c_name(x)}) and bias type ({_c_name(bias)}) should be the same")
    if groups < 1:
        raise RuntimeError("non-positive groups is not supported")
    if w.shape[0] % groups or (w.shape[0] < groups):
        raise RuntimeError(f"Given groups={groups}, expected weight to be at least {groups} at dimension 0 and "
                           f"divisible by it, but got weight of size {list(w.shape)} instead")
    channels = x.shape[-n - 1]
    takes = w.shape[0] if transposed else w.shape[1] * groups
    if channels != takes:
        raise RuntimeError(f"Given {'transposed=1' if transposed else f'groups={groups}'}, weight of size "
                           f"{list(w.shape)}, expected input{list(x.shape)} to have {takes} channels, but got "
                           f"{channels} channels instead")
    gives = w.shape[1] * groups if transposed else w.shape[0]
    if bias is not None and tuple(bias.shape) != (gives,):
        raise RuntimeError(f"Given {'transposed=1' if transposed else f'groups={groups}'}, weight of size "
                           f"{list(w.shape)}, expected bias to be 1-dimensional with {gives} elements, but got bias "
                           f"of size {list(bias.shape)} instead")


def _c_name(t: Tensor) -> str:
    return {"float32": "float", "float64": "double", "int64": "long int", "bfloat16": "c10::BFloat16",
            "float16": "c10::Half"}.get(t.dtype.name, type_name(t.dtype))


def _positive(stride: Ints, padding: Ints, dilation: Ints) -> None:
    if min(padding) < 0:
        raise RuntimeError("negative padding is not supported")
    if min(stride) < 1:
        raise RuntimeError("non-positive stride is not supported")
    if min(dilation) < 1:
        raise RuntimeError("dilation should be greater than zero")


def _finished(out: Tensor, bias: Tensor | None, n: int, x: Tensor, w: Tensor, groups: int) -> Tensor:
    """The result for the input `x` (given with or without a batch), laid out as torch's."""
    batched = len(x.shape) == n + 2
    if bias is not None:
        images, first = opened(out)
        out = closed(images + (bias if first == 1 else reshape_value(bias, (1, bias.shape[0], *[1] * n))), first)
    if not batched:
        out = reshape_value(out, tuple(out.shape[1:]))
    if x._storage is not None or w._storage is not None:
        lay(out, _layout(out.shape, n, x, w, groups))
    return out


def _layout(shape: Ints, n: int, x: Tensor, w: Tensor, groups: int) -> Layout | None:
    """How the result lies, of the input `x`, given with or without a batch."""
    if n == 1:
        return line_layout(shape, [w])  # what is given is made row-major first
    return format_of(shape, [x, w]) if len(x.shape) == n + 2 and (n == 2 or _large(x, w, groups)) else None


def _last(n: int, x: Tensor, w: Tensor, groups: int) -> bool:
    """Has the result its channels innermost?"""
    if x._storage is None and w._storage is None:
        return False
    return _layout((2,) * len(x.shape), n, x, w, groups) is not None


def _large(x: Tensor, w: Tensor, groups: int) -> bool:
    """Does torch compute this convolution of 3 dimensions by a routine that knows channels_last_3d?"""
    return x.dtype.itemsize <= 4 and (groups > 1 or min(w.shape[-2:]) > 3 or x.shape[0] > 1
                                      or size_of(x.shape[:4]) > 20480)


def convolve(what: str, n: int, x: Tensor, w: Tensor, bias: Any, stride: Any, padding: Any, dilation: Any,
             groups: int) -> Tensor:
    """A convolution over the last `n` dimensions, with the checks of PyTorch's."""
    _check(what, n, x, w, bias, groups, False)
    stride, dilation = several(stride, n, what, "stride"), several(dilation, n, what, "dilation")
    kernel = tuple(w.shape[2:])
    if padding == "valid":
        before = after = (0,) * n
    elif padding == "same":
        if any(s != 1 for s in stride):
            raise RuntimeError("padding='same' is not supported for strided convolutions")
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        before = tuple([t // 2 for t in total])
        after = tuple([t - t // 2 for t in total])
    elif isinstance(padding, str):
        raise RuntimeError(f"Invalid padding string: '{padding}'")
    else:
        before = after = several(padding, n, what, "padding")
    _positive(stride, before, dilation)
    given = x
    if len(x.shape) == n + 1:
        x = reshape_value(x, (1, *x.shape))
    size = tuple([s + a + b for s, a, b in zip(x.shape[2:], before, after, strict=True)])
    if any(s < reach(k, 1, d) for s, k, d in zip(size, kernel, dilation, strict=True)):
        text = [" x ".join(str(v) for v in sizes) for sizes in (size, kernel)]
        raise RuntimeError(f"Calculated padded input size per channel: ({text[0]}). Kernel size: ({text[1]}). Kernel "
                           "size can't be greater than actual input size")
    out = tuple([(s - reach(k, 1, d)) // t + 1 for s, k, t, d in zip(size, kernel, stride, dilation, strict=True)])
    at = Geometry(tuple(x.shape[2:]), kernel, out, stride, before, dilation, groups)
    return _finished(correlate(x, w, at, _last(n, given, w, groups)), bias, n, given, w, groups)


def convolve_back(what: str, n: int, x: Tensor, w: Tensor, bias: Any, stride: Any, padding: Any, extra: Any,
                  groups: int, dilation: Any) -> Tensor:
    """A transposed convolution; `extra` is output_padding."""
    _check(what, n, x, w, bias, groups, True)
    stride, dilation = several(stride, n, what, "stride"), several(dilation, n, what, "dilation")
    padding, extra = several(padding, n, what, "padding"), several(extra, n, what, "output_padding")
    _positive(stride, padding, dilation)
    if min(extra) < 0:
        raise RuntimeError("negative output_padding is not supported")
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise RuntimeError(f"output padding must be smaller than either stride or dilation, but got output_padding: "
                           f"{list(extra)} stride: {list(stride)} dilation: {list(dilation)}")
    given = x
    if len(x.shape) == n + 1:
        x = reshape_value(x, (1, *x.shape))
    whole = tuple([(s - 1) * t + reach(k, 1, d) + e for s, t, k, d, e in zip(
        x.shape[2:], stride, w.shape[2:], dilation, extra, strict=True)])
    size = tuple([a - 2 * p for a, p in zip(whole, padding, strict=True)])
    if min(size) < 0 or (min(size) == 0 and min(x.shape[2:]) > 0):
        raise RuntimeError(f"Given input size per channel: {list(x.shape[2:])}. Calculated output size per channel: "
                           f"{list(size)}. Output size is too small")
    at = Geometry(size, tuple(w.shape[2:]), tuple(x.shape[2:]), stride, padding, dilation, groups)
    return _finished(spread(x, w, at, _last(n, given, w, groups)), bias, n, given, w, groups)


# ---- the public functions ---------------------------------------------------------------------------------

def _forward(n: int) -> Any:
    what = f"conv{n}d"

    def body(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int | Sequence[int] = 1,
             padding: str | int | Sequence[int] = 0, dilation: int | Sequence[int] = 1, groups: int = 1) -> Tensor:
        return convolve(what, n, input, weight, bias, stride, padding, dilation, groups)
    body.__name__ = body.__qualname__ = what
    body.__doc__ = f"The convolution of (N, C, *size) or (C, *size), {n} dimensions, with (O, C / groups, *window)."
    return op(body, method=False, also=("nn.functional." + what,))


def _backward(n: int) -> Any:
    what = f"conv_transpose{n}d"

    def body(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int | Sequence[int] = 1,
             padding: int | Sequence[int] = 0, output_padding: int | Sequence[int] = 0, groups: int = 1,
             dilation: int | Sequence[int] = 1) -> Tensor:
        return convolve_back(what, n, input, weight, bias, stride, padding, output_padding, groups, dilation)
    body.__name__ = body.__qualname__ = what
    body.__doc__ = f"The transpose of conv{n}d: (N, C, *size) with (C, O / groups, *window)."
    return op(body, method=False, also=("nn.functional." + what,))


conv1d, conv2d, conv3d = (_forward(n) for n in (1, 2, 3))
conv_transpose1d, conv_transpose2d, conv_transpose3d = (_backward(n) for n in (1, 2, 3))


@op(method=False)
def convolution(input: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: Sequence[int],
                dilation: Sequence[int], transposed: bool, output_padding: Sequence[int], groups: int) -> Tensor:
    """conv or conv_transpose of as many dimensions as `weight` has windows."""
    n = len(weight.shape) - 2
    if transposed:
        return convolve_back(f"conv_transpose{n}d", n, input, weight, bias, stride, padding, output_padding, groups,
                             dilation)
    return convolve(f"conv{n}d", n, input, weight, bias, stride, padding, dilation, groups)
