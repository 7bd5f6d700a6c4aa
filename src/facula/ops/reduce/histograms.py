"""Histograms: counted on the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from facula._tensor.handle import Tensor, is_meta, new
from facula.dtypes import CPP_NAMES, FLOAT, bool_, float32, float64, int64
from facula.engine.graph.node import size_of
from facula.engine.placing import meta_node
from facula.ops.arguments import check_tensor
from facula.ops.create.conversion import from_array, host_array
from facula.ops.registry import DTYPE_NAMES, op
from facula.ops.return_types import result_type
from facula.ops.sized_types import BINS, GRID
from facula.ops.type_rules import COUNTS


@op(out=True, types=COUNTS)
def histc(input: Tensor, bins: int = 100, min: Any = 0, max: Any = 0) -> Tensor:
    check_tensor(input, "histc")
    if bins <= 0:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0")
    if input.dtype.category != FLOAT:
        raise NotImplementedError(f'"histogram_cpu" not implemented for \'{DTYPE_NAMES[input.dtype.name]}\'')
    if is_meta(input):
        return new(meta_node((bins,), input.dtype))
    x = host_array(input).reshape(-1)
    low, high = float(min), float(max)
    if low == high and x.size:
        low, high = float(x.min()), float(x.max())
    if low == high:  # a difference that large elements do not have
        low, high, x = low - 1, high + 1, x.astype(np.float64)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise RuntimeError(f"torch.histc: range of [{low:g}, {high:g}] is not finite")
    if low > high:
        raise RuntimeError("torch.histc: max must be larger than min")
    x = x[(x >= low) & (x <= high)]
    with np.errstate(over="ignore"):
        span = x.dtype.type(high - low)
    if not np.isfinite(span):  # torch counts nothing there
        x = x[:0]
    at = np.minimum(((x - x.dtype.type(low)) / span * bins).astype(np.int64), bins - 1)
    return from_array(np.bincount(at, minlength=bins), input.dtype)


@op
def bincount(input: Tensor, weights: Any = None, minlength: int = 0) -> Tensor:
    check_tensor(input, "bincount")
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    if input.dtype.category >= FLOAT or input.dtype is bool_:
        raise NotImplementedError(f'"bincount_cpu" not implemented for \'{DTYPE_NAMES[input.dtype.name]}\'')
    x = host_array(input)
    if x.size == 0 and x.ndim == 1:
        return from_array(np.zeros(minlength), int64)
    if x.ndim != 1 or (x.dtype.kind == "i" and x.min() < 0):
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    x = x.astype(np.int64)
    if weights is None:
        return from_array(np.bincount(x, minlength=minlength), int64)
    if weights.shape != input.shape:
        raise RuntimeError("weights should be 1-d and have the same length as input")
    counted = np.bincount(x, host_array(weights).astype(np.float64), minlength)
    return from_array(counted, float32 if weights.dtype is float32 else float64)


def _check(input: Tensor, bins: Sequence[Any], weight: Any) -> None:
    """Refuse what torch refuses of points (..., n), bins for each of the n, and weights."""
    what, rank = "torch.histogramdd", len(input.shape)
    if rank < 2:
        raise RuntimeError(f"{what}: input tensor should have at least 2 dimensions")
    if len(bins) != input.shape[-1]:
        raise RuntimeError("histogramdd: The size of bins must be equal to the innermost dimension of the input.")
    for k, each in enumerate(bins):
        if isinstance(each, Tensor):
            if each.dtype is not input.dtype:
                raise RuntimeError(f"{what}: input tensor and bins tensors should have the same dtype, but got input "
                                   f"with dtype {CPP_NAMES[input.dtype.name]} and bins for dimension {k} with dtype "
                                   f"{CPP_NAMES[each.dtype.name]}")
            if len(each.shape) != 1:
                raise RuntimeError(f"{what}: bins tensor should have one dimension, but got {len(each.shape)} "
                                   f"dimensions in the bins tensor for dimension {k}")
            if not each.shape[0]:
                raise RuntimeError(f"{what}: bins tensor should have at least 1 element, but got 0 elements in the "
                                   f"bins tensor for dimension {k}")
        count = each.shape[0] - 1 if isinstance(each, Tensor) else each
        if count <= 0:
            raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {count} for dimension {k}")
    if weight is not None:
        if weight.dtype is not input.dtype:
            raise RuntimeError(f"{what}: if weight tensor is provided, input tensor and weight tensor should have the "
                               f"same dtype, but got input({CPP_NAMES[input.dtype.name]}), and "
                               f"weight({CPP_NAMES[weight.dtype.name]})")
        if weight.shape != input.shape[:-1]:
            raise RuntimeError(f"{what}: if weight tensor is provided it should have the same shape as the input "
                               f"tensor excluding its innermost dimension, but got input with shape "
                               f"{list(input.shape)} and weight with shape {list(weight.shape)}")


def _edges(points: Any, bins: Sequence[Any], ends: Any) -> list[Any]:
    """The edges of the bins along each dimension of points (m, n)."""
    n = points.shape[1]
    if ends is not None and len(ends) != 2 * n:
        raise RuntimeError(f"torch.histogramdd: for a {n}-dimensional histogram range should have {2 * n} elements, "
                           f"but got {len(ends)}")
    found = []
    for k, each in enumerate(bins):
        if isinstance(each, Tensor):
            found.append(host_array(each))
            continue
        x = points[:, k]
        low, high = ends[2 * k:2 * k + 2] if ends is not None else (x.min(), x.max()) if x.size else (0, 1)
        if not (np.isfinite(low) and np.isfinite(high)):
            raise RuntimeError(f"torch.histogramdd: dimension {k}'s range [{low:g}, {high:g}] is not finite")
        if low > high:
            raise RuntimeError(f"torch.histogramdd: min should not exceed max, but got min {low:g} max {high:g} for "
                               f"dimension {k}")
        low, high = (low - 0.5, high + 0.5) if low == high else (low, high)
        found.append(np.linspace(low, high, each + 1, dtype=x.dtype))
    return found


def _counted(points: Any, edges: Sequence[Any], weight: Any, density: bool) -> Any:
    """Counts (or sums of weights) over the grid that the edges make."""
    inside = np.ones(len(points), bool)
    places = []
    for k, edge in enumerate(edges):
        x = points[:, k]
        inside &= (x >= edge[0]) & (x <= edge[-1])
        places.append(np.minimum(np.searchsorted(edge, x, side="right") - 1, len(edge) - 2))
    shape = tuple([len(e) - 1 for e in edges])
    at = np.ravel_multi_index([np.maximum(p[inside], 0) for p in places], shape)
    weights = None if weight is None else host_array(weight).reshape(-1)[inside]
    counts = np.bincount(at, weights, minlength=size_of(shape)).reshape(shape).astype(points.dtype)
    if density:
        volume = np.ones(())
        for edge in edges:
            volume = volume[..., None] * np.diff(edge)
        counts = counts / (counts.sum() * volume)
    return counts


def _refuse(input: Tensor, searched: bool) -> None:
    """Refuse dtypes that torch refuses. `searched`: the ends of the bins are those of the elements."""
    of = input.dtype
    if not of.is_floating_point or of.compute is not of and searched:
        kernel = "histogramdd" if searched else "histogram_cpu"
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{DTYPE_NAMES[of.name]}'")


@op(out=True, types=BINS)
def histogram(input: Tensor, bins: Any = 100, *, range: Any = None, weight: Any = None, density: bool = False) -> Any:
    """How many elements are in each bin, and the edges of the bins."""
    check_tensor(input, "histogram")
    _refuse(input, not isinstance(bins, Tensor) and range is None)
    points = input.reshape(-1, 1)
    _check(points, [bins], None if weight is None else weight.reshape(-1))
    values = host_array(points)
    edges = _edges(values, [bins], range)
    return result_type("histogram")(
        from_array(_counted(values, edges, weight, density), input.dtype), from_array(edges[0], input.dtype))


@op(method=False, types=GRID)
def histogramdd(input: Tensor, bins: Any, range: Any = None, weight: Any = None, density: bool = False) -> Any:
    """Counts over a grid of points (..., n), and the edges along each of the n dimensions."""
    check_tensor(input, "histogramdd")
    if not input.shape:
        raise IndexError("Dimension specified as -1 but tensor has no dimensions")
    n = input.shape[-1]
    bins = [bins] * n if isinstance(bins, int) else bins
    _check(input, bins, weight)
    _refuse(input, range is None and not all(isinstance(each, Tensor) for each in bins))
    points = host_array(input).reshape(-1, n)
    edges = _edges(points, bins, range)
    return result_type("histogramdd")(
        from_array(_counted(points, edges, weight, density), input.dtype),
        tuple([from_array(e, input.dtype) for e in edges]))
