"""Images in another size or seen through a grid, and their windows as columns."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np

from facula._tensor.handle import Tensor, new
from facula._tensor.reading import read
from facula.dtypes import BOOL, FLOAT, float64, int32, int64, uint8
from facula.engine.graph.node import contiguous_strides, size_of
from facula.engine.realize import leaf
from facula.errors import warn
from facula.ops.casting import constant, to_dtype
from facula.ops.conv.convolutions import cropped, several, spread_out
from facula.ops.conv.lines import Way, cubic_weights, line
from facula.ops.conv.pooling import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from facula.ops.conv.taps import taps
from facula.ops.elementwise.arithmetic import fmod
from facula.ops.elementwise.comparison import clamp
from facula.ops.elementwise.refusals import refuse_mixed, refuse_unless_floating
from facula.ops.elementwise.rounding import abs as magnitude
from facula.ops.elementwise.rounding import floor
from facula.ops.elementwise.rounding import round as nearest
from facula.ops.images import closed, opened
from facula.ops.index.index_nodes import index_leaf
from facula.ops.index.indexed_rows import rows
from facula.ops.index.masking import where
from facula.ops.product.matrix_products import matmul
from facula.ops.registry import DTYPE_NAMES, alias_of, op
from facula.ops.severing import leaned, severed
from facula.ops.view.regions import region_add, region_view
from facula.ops.view.value_views import reshape_value

# ---- interpolation ----------------------------------------------------------------------------------------


def _byte_taps(x: Tensor, dim: int, table: Any, weights: Any) -> Tensor:
    """`taps` of bytes, as PyTorch computes them: weights are rounded to 16 bits with as many binary places as the
    largest leaves room for, sums to whole bytes. x and the result are int32."""
    weights = np.nan_to_num(weights, nan=0.0)
    for k in range(1, table.shape[1]):  # an element met twice in a row, at an edge, has one weight
        again = table[:, k] == table[:, k - 1]
        weights[again, k] += weights[again, k - 1]
        weights[again, k - 1] = 0
    places, largest = 0, weights.max()
    while places < 22 and 0.5 + largest * (1 << places + 1) < 1 << 15:
        places += 1
    whole = np.trunc(weights * (1 << places) + np.where(weights < 0, -0.5, 0.5)).astype(np.int32)
    out, each = table.shape
    part = x.index_select(dim, new(index_leaf(table.reshape(-1))))
    part = reshape_value(part, (*x.shape[:dim], out, each, *x.shape[dim + 1:]))
    whole = whole.reshape(out, each, *[1] * (len(x.shape) - dim - 1))
    total = (part * new(leaf(whole, whole.shape, int32))).sum(dim + 1, dtype=int32)
    return clamp((total + (1 << places - 1)) >> places, 0, 255)  # type: ignore[no-any-return]


_MODES = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}


def _sizes(x: Tensor, size: Any, factor: Any, recompute: Any) -> tuple[list[int], list[Any]]:
    n = len(x.shape) - 2
    if size is not None and factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is not None:
        wanted = list(size) if isinstance(size, (tuple, list)) else [size] * n
        if len(wanted) != n:
            raise ValueError(f"Input and output must have the same number of spatial dimensions, but got input with "
                             f"spatial dimensions of {list(x.shape[2:])} and output size of {size}. Please provide "
                             "input tensor in (N, C, d1, d2, ...,dK) format and output size in (o1, o2, ...,oK) "
                             "format.")
        if recompute:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        return [int(s) for s in wanted], [None] * n
    if factor is None:
        raise ValueError("either size or scale_factor should be defined")
    factors = list(factor) if isinstance(factor, (tuple, list)) else [factor] * n
    if len(factors) != n:
        raise ValueError(f"Input and scale_factor must have the same number of spatial dimensions, but got input "
                         f"with spatial dimensions of {list(x.shape[2:])} and scale_factor of shape {factor}. Please "
                         "provide input tensor in (N, C, d1, d2, ...,dK) format and scale_factor in (s1, s2, ...,sK) "
                         "format.")
    out = [int(np.floor(float(s) * float(f))) for s, f in zip(x.shape[2:], factors, strict=True)]
    return out, [None] * n if recompute else [float(f) for f in factors]


@op(method=False, namespace="nn.functional")
def interpolate(input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
                align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
                antialias: bool = False) -> Tensor:
    """(N, C, *size) in another size: by mode nearest, nearest-exact, area, linear, bilinear, trilinear, bicubic."""
    plain = mode in ("nearest", "nearest-exact", "area")
    if plain and align_corners is not None:
        raise ValueError("align_corners option can only be set with the interpolating modes: linear | bilinear | "
                         "bicubic | trilinear")
    n = len(input.shape) - 2
    out, factors = _sizes(input, size, scale_factor, recompute_scale_factor)
    if antialias and not (mode in ("bilinear", "bicubic") and n == 2):
        raise ValueError("Anti-alias option is restricted to bilinear and bicubic modes and requires a 4-D tensor as "
                         "input")
    if not plain and _MODES.get(mode) != n or plain and n not in (1, 2, 3):
        if mode in _MODES and n in (1, 2, 3):
            raise NotImplementedError(f"Got {n + 2}D input, but {mode} mode needs {_MODES[mode] + 2}D input")
        raise NotImplementedError("Input Error: Only 3D, 4D and 5D input Tensors supported (got "
                                  f"{n + 2}D) for the modes: nearest | linear | bilinear | bicubic | trilinear | area "
                                  f"| nearest-exact (got {mode})")
    if min(out) <= 0 or 0 in input.shape[1:]:
        raise RuntimeError(f"Input and output sizes should be greater than 0, but got input {list(input.shape[2:])} "
                           f"and output {out}")
    if mode == "area":
        return _AREA[n](input, out)  # type: ignore[no-any-return]
    of = input.dtype
    if plain and of is not uint8:
        refuse_unless_floating(f"upsample_nearest{n}d_channels_last", input)
    bytes_ = of is uint8 and not plain and n == 2
    if not plain and (of.category < FLOAT and not bytes_ or of.is_complex):
        raise NotImplementedError(f'"compute_indices_weights_linear" not implemented for '
                                  f"'{DTYPE_NAMES[of.name]}'")
    if not input.shape[0]:
        return severed(new(constant(0, (*input.shape[:2], *out), of)), input, name="UpsampleBackward0")
    corners = bool(align_corners)
    x, first = opened(input)
    x = x if plain else to_dtype(x, int32 if bytes_ else of.compute)
    kind = mode if plain else ("smooth " if antialias else "") + ("cubic" if mode == "bicubic" else "linear")
    ways = [(first + k, Way(kind, s, o, f, corners))
            for k, (s, o, f) in enumerate(zip(input.shape[2:], out, factors, strict=True))]
    if bytes_:
        for k, way in reversed(ways):  # of bytes, which are rounded in between, rows come first
            x = _byte_taps(x, k, *line(way))
    else:
        # What becomes shorter first. Along the rows elements come one by one: that while there are few rows.
        for k, way in sorted(ways, key=lambda one: (one[1].out / one[1].size,
                                                    one[0] if one[1].out < one[1].size else -one[0])):
            x = taps(x, k, way)
    return closed(to_dtype(x, of), first)


_AREA = {1: adaptive_avg_pool1d, 2: adaptive_avg_pool2d, 3: adaptive_avg_pool3d}


@op(method=False, namespace="nn.functional")
def upsample(input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
             align_corners: bool | None = None) -> Tensor:
    """`interpolate`, under its old name."""
    warn("`nn.functional.upsample` is deprecated. Use `nn.functional.interpolate` instead.")
    return interpolate(input, size, scale_factor, mode, align_corners)


@op(method=False, namespace="nn.functional")
def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` by the nearest element, under its old name."""
    warn("`nn.functional.upsample_nearest` is deprecated. Use `nn.functional.interpolate` instead.")
    return interpolate(input, size, scale_factor, mode="nearest")


@op(method=False, namespace="nn.functional")
def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` bilinearly with aligned corners, under its old name."""
    warn("`nn.functional.upsample_bilinear` is deprecated. Use `nn.functional.interpolate` instead.")
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)


# ---- grids ------------------------------------------------------------------------------------------------

@op(method=False, namespace="nn.functional")
def affine_grid(theta: Tensor, size: Any, align_corners: bool | None = None) -> Tensor:
    """The grid for `grid_sample` that applies the affine maps theta (N, 2, 3) or (N, 3, 4) to images of `size`."""
    if align_corners is None:
        warn("Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. "
             "Please specify align_corners=True if the old behavior is desired. See the documentation of "
             "grid_sample for details.")
    if not theta.dtype.is_floating_point:
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    n = len(size) - 2
    if n not in (2, 3):
        raise NotImplementedError("affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, "
                                  f"respectively. Got size {tuple(size)}.")
    if tuple(theta.shape[1:]) != (n, n + 1) or len(theta.shape) != 3:
        raise ValueError(f"Expected a batch of {n}D affine matrices of shape Nx{n}x{n + 1} for size {tuple(size)}. "
                         f"Got {tuple(theta.shape)}.")
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {tuple(size)}")
    places = size[2:]
    axes = [np.linspace(-1, 1, s) * (1 if align_corners else (s - 1) / s) if s > 1 else np.zeros(1) for s in places]
    base = np.stack([*reversed(np.meshgrid(*axes, indexing="ij")), np.ones(tuple(places))], -1)
    if theta.shape[0] != size[0]:
        raise RuntimeError(f"affine_grid: expected {size[0]} matrices for size {tuple(size)}, got {theta.shape[0]}")
    flat = np.ascontiguousarray(base.reshape(-1, n + 1), np.float64)
    points = to_dtype(new(leaf(flat, flat.shape, float64)), theta.dtype)
    grid = matmul(points, theta.transpose(1, 2))
    return reshape_value(grid, (theta.shape[0], *places, n))


def _reflected(x: Tensor, low: float, high: float) -> Tensor:
    """`x` as a ray between two mirrors."""
    if low == high:
        return x * 0
    span = high - low
    x = magnitude(x - low)
    extra = fmod(x, span)
    even = floor((x / span).detach()) % 2 == 0
    return where(even, extra + low, span + low - extra)  # type: ignore[no-any-return]


def _source(x: Tensor, size: int, padding: str, corners: bool) -> Tensor:
    """Where in a dimension of `size` a coordinate in [-1, 1] lies."""
    x = (x + 1) / 2 * (size - 1) if corners else ((x + 1) * size - 1) / 2
    return _placed(x, size, padding, corners)


def _placed(x: Tensor, size: int, padding: str, corners: bool) -> Tensor:
    if padding == "reflection":
        x = _reflected(x, 0, size - 1) if corners else _reflected(x, -0.5, size - 0.5)
    return x if padding == "zeros" else clamp(where(x.detach().isnan(), 0.0, x), 0, size - 1)  # NaN is at the start


def _fetched(input: Tensor, corner: list[Tensor]) -> Tensor:
    """(N, C, *places): the elements at whole coordinates, 0 outside."""
    n, c, *size = input.shape
    inside: Any = None
    flat: Any = 0
    for x, s in zip(corner, size, strict=True):
        ok = (x >= 0) & (x <= s - 1)
        inside = ok if inside is None else inside & ok
        flat = flat * s + clamp(to_dtype(x, int64), 0, s - 1)
    inner = size_of(tuple(size))
    planes = new(index_leaf((np.arange(n * c, dtype=np.int64) * inner).reshape(n, c, *[1] * len(size))))
    at = read(planes + flat.unsqueeze(1))
    values = rows(input, at, n * c * inner, 1, at.shape)
    return where(inside.unsqueeze(1), values, 0.0)  # type: ignore[no-any-return]


def _bicubic(input: Tensor, coordinates: list[Tensor], padding: str, corners: bool) -> Tensor:
    sizes = input.shape[2:]
    bottoms = [floor(x.detach()) for x in coordinates]
    weights = [cubic_weights(x - low, -0.75) for x, low in zip(coordinates, bottoms, strict=True)]
    total: Any = 0
    for i, j in itertools.product(range(4), repeat=2):
        corner = [_placed(low + (k - 1), s, padding, corners)
                  for low, k, s in zip(bottoms, (i, j), sizes, strict=True)]
        total = total + _fetched(input, corner) * (weights[0][i] * weights[1][j]).unsqueeze(1)
    return total  # type: ignore[no-any-return]


@op(method=False, namespace="nn.functional")
def grid_sample(input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros",
                align_corners: bool | None = None) -> Tensor:
    """(N, C, *size) looked up at the places of grid (N, *places, n), coordinates from -1 to 1, last one first."""
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError("nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but "
                         f"got: '{mode}'")
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError("nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or "
                         f"'reflection', but got: '{padding_mode}'")
    if align_corners is None:
        warn("Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. "
             "Please specify align_corners=True if the old behavior is desired. See the documentation of "
             "grid_sample for details.")
    n = len(input.shape) - 2
    if n not in (2, 3) or len(grid.shape) != n + 2:
        raise RuntimeError(f"grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got "
                           f"input with sizes {list(input.shape)} and grid with sizes {list(grid.shape)}")
    if input.shape[0] != grid.shape[0]:
        raise RuntimeError(f"grid_sampler(): expected grid and input to have same batch size, but got input with "
                           f"sizes {list(input.shape)} and grid with sizes {list(grid.shape)}")
    if grid.shape[-1] != n:
        raise RuntimeError(f"grid_sampler(): expected grid to have size {n} in last dimension, but got grid with "
                           f"sizes {list(grid.shape)}")
    refuse_mixed(input, grid)
    refuse_unless_floating("grid_sampler_cpu_kernel_impl", input)
    if 0 in input.shape[2:]:
        raise RuntimeError(f"grid_sampler(): expected input to have non-empty spatial dimensions, but input has sizes "
                           f"{list(input.shape)}")
    if mode == "bicubic" and n == 3:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    corners = bool(align_corners)
    if not size_of(input.shape) or not size_of(grid.shape):
        shape = (*input.shape[:2], *grid.shape[1:-1])
        return severed(new(constant(0, shape, input.dtype)), input, grid, name="GridSamplerBackward0")
    input = leaned(input, False)
    sizes = input.shape[2:]
    parts = [grid.select(-1, n - 1 - k) for k in range(n)]
    if mode == "bicubic":
        plain = [_source(x, s, "zeros", corners) for x, s in zip(parts, sizes, strict=True)]
        return _bicubic(input, plain, padding_mode, corners)
    places = [_source(x, s, padding_mode, corners) for x, s in zip(parts, sizes, strict=True)]
    if mode == "nearest":
        out = _fetched(input, [nearest(x.detach()) for x in places])
        return out + severed(new(constant(0, (), out.dtype)), grid, name="GridSamplerBackward0", leans=True)
    lows = [floor(x.detach()) for x in places]
    total: Any = 0
    for corner in itertools.product((0, 1), repeat=n):
        weight = functools.reduce(lambda a, b: a * b, [
            x - low if k else low + 1 - x for x, low, k in zip(places, lows, corner, strict=True)])
        at = [low + k for low, k in zip(lows, corner, strict=True)]
        total = total + _fetched(input, at) * weight.unsqueeze(1)
    return total  # type: ignore[no-any-return]


# ---- windows as columns -----------------------------------------------------------------------------------

def _columns(what: str, size: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    """(kernel, padding, padded size, number of windows, strides of a plane seen as (*kernel, *windows))."""
    kernel, step, pad, dil = (several(v, 2, what, name) for v, name in (
        (kernel_size, "kernel_size"), (stride, "stride"), (padding, "padding"), (dilation, "dilation")))
    for values, name in ((kernel, "kernel size"), (step, "stride"), (dil, "dilation")):
        if min(values) <= 0:
            raise RuntimeError(f"{name} should be greater than zero, but got {name.replace(' ', '_')}_height: "
                               f"{values[0]} {name.replace(' ', '_')}_width: {values[1]}")
    if min(pad) < 0:
        raise RuntimeError(f"padding should be non-negative, but got pad_height: {pad[0]} pad_width: {pad[1]}")
    padded = tuple([int(s) + 2 * p for s, p in zip(size, pad, strict=True)])
    count = tuple([(s - d * (k - 1) - 1) // t + 1 for s, k, t, d in zip(padded, kernel, step, dil, strict=True)])
    strides = (dil[0] * padded[1], dil[1], step[0] * padded[1], step[1])
    return kernel, pad, padded, count, strides


def _refuse_integers(kernel: str, x: Tensor) -> None:
    if BOOL < x.dtype.category < FLOAT:  # torch has it for bool
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{DTYPE_NAMES[x.dtype.name]}'")


@op(method=False, namespace="nn.functional")
def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The windows of (N, C, H, W) as columns: (N, C * window, number of windows)."""
    if len(input.shape) not in (3, 4) or 0 in input.shape[-3:]:
        raise RuntimeError("Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero "
                           f"dimensions for input, but got: {list(input.shape)}")
    _refuse_integers("im2col_out_cpu", input)
    x = input if len(input.shape) == 4 else reshape_value(input, (1, *input.shape))
    kernel, pad, padded, count, strides = _columns("unfold", x.shape[2:], kernel_size, dilation, padding, stride)
    if min(count) < 1:
        raise RuntimeError(f"Given input with spatial size ({x.shape[2]}, {x.shape[3]}), kernel_size={kernel}, "
                           f"calculated shape of the array of sliding blocks as {count}, but its components must be "
                           "at least one.")
    if any(pad):
        x = spread_out(x, padded, (1, 1), pad)
    n, c = x.shape[:2]
    plain = contiguous_strides(x.shape)
    out = region_view(x, (n, c, *kernel, *count), (*plain[:2], *strides), 0, "Im2ColBackward0")
    out = reshape_value(out, (n, c * size_of(kernel), size_of(count)))
    return out if len(input.shape) == 4 else reshape_value(out, tuple(out.shape[1:]))


@op(method=False, namespace="nn.functional")
def fold(input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
         stride: Any = 1) -> Tensor:
    """The transpose of `unfold`: columns (N, C * window, number) added up where they overlap, (N, C, *size)."""
    if len(input.shape) not in (2, 3):
        raise RuntimeError("Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and non-zero "
                           f"dimensions for input, but got: {list(input.shape)}")
    _refuse_integers("col2im_out_cpu", input)
    size = several(output_size, 2, "fold", "output_size")
    x = input if len(input.shape) == 3 else reshape_value(input, (1, *input.shape))
    kernel, pad, padded, count, strides = _columns("fold", size, kernel_size, dilation, padding, stride)
    if x.shape[1] % size_of(kernel):
        raise RuntimeError("Expected size of input's dimension 1 to be divisible by the product of kernel_size, but "
                           f"got input.size(1)={x.shape[1]} and kernel_size={kernel}.")
    if x.shape[2] != size_of(count) or min(count) < 1:
        raise RuntimeError(f"Given output_size={size}, kernel_size={kernel}, expected size of input's dimension 2 to "
                           f"match the calculated number of sliding blocks {count[0]} * {count[1]} = "
                           f"{size_of(count)}, but got input.size(2)={x.shape[2]}.")
    n, c = x.shape[0], x.shape[1] // size_of(kernel)
    plain = contiguous_strides((n, c, *padded))
    pieces = reshape_value(x, (n, c, *kernel, *count))
    out = cropped(region_add(pieces, (n, c, *padded), (*plain[:2], *strides), 0), size, pad)
    return out if len(input.shape) == 3 else reshape_value(out, tuple(out.shape[1:]))



@op(method=False)
def grid_sampler(input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int,
                 align_corners: bool) -> Tensor:
    """`nn.functional.grid_sample`, its modes as numbers."""
    return grid_sample(input, grid, ("bilinear", "nearest", "bicubic")[interpolation_mode],
                       ("zeros", "border", "reflection")[padding_mode], align_corners)


alias_of("grid_sampler", "grid_sampler_2d", "grid_sampler_3d")
