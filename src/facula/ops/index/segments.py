"""Reductions of consecutive segments of a dimension: `segment_reduce`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from facula._tensor.handle import Tensor, is_meta, new
from facula._tensor.reading import read
from facula._tensor.tape import attach
from facula.autograd.graph import Rule
from facula.dtypes import FLOAT, float64, int64
from facula.engine.graph.node import size_of
from facula.engine.placing import meta_node
from facula.engine.realize import leaf, value_of
from facula.ops.create.creation import full, zeros_like
from facula.ops.elementwise.comparison import isnan
from facula.ops.registry import DTYPE_NAMES, alias_of, op

_REDUCTIONS = {"sum": "sum", "mean": "mean", "prod": "prod", "max": "amax", "min": "amin"}
_REDUCTIONS |= {"amax": "amax", "amin": "amin"}
_NEUTRAL = {"sum": 0.0, "mean": 0.0, "prod": 1.0, "amax": -math.inf, "amin": math.inf}


def _bounds(lengths: Tensor | None, offsets: Tensor | None, n: int, unsafe: bool) -> Any:
    """Where each segment begins, and where the last ends: (*, segments + 1)."""
    given = offsets if lengths is None else lengths
    if given is None:
        raise RuntimeError("segment_reduce(): Either lengths or offsets must be defined.")
    if given.dtype.name not in ("int32", "int64"):
        raise NotImplementedError(
            '"_segment_reduce_lengths_cpu_kernel1" not implemented for '
            f"'{DTYPE_NAMES[given.dtype.name]}'"
        )
    array = value_of(read(given)).astype(np.int64)
    if lengths is not None:
        if not unsafe and (array < 0).any():
            raise RuntimeError("lengths contains negative value!")
        if not unsafe and (array.sum(-1) != n).any():
            raise RuntimeError(
                "segment_reduce(): Expected all rows of lengths along axis to sum to "
                "data.size(lengths.dim()-1) when !unsafe."
            )
        array = np.concatenate([np.zeros((*array.shape[:-1], 1), np.int64), array.cumsum(-1)], -1)
    if (np.diff(array) < 0).any() or (array.size and (array.min() < 0 or array.max() > n)):
        raise RuntimeError(
            "segment_reduce(): segments must not have negative lengths nor reach past the "
            f"{n} elements of data"
        )
    return array


def _lines(bounds: Any, n: int) -> Any:
    """The segment of each element, counted through all rows; those of no segment have the last
    number of their row."""
    count = bounds.shape[-1]  # the segments, and one for what is in none
    rows = bounds.reshape(-1, count)
    out = np.empty((len(rows), n), np.int64)
    for k, row in enumerate(rows):
        at = np.searchsorted(row, np.arange(n), side="right") - 1
        out[k] = np.where((at < 0) | (at >= count - 1), count - 1, at) + k * count
    return out.reshape(-1)


def _extreme_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    """Evenly to the elements of a segment that are its extreme, which an `initial` is not."""
    data, out, at = ctx.saved
    chosen = ((data == out[at]) | isnan(data)).to(g.dtype)
    counts = zeros_like(g).index_add(0, at, chosen)
    return (chosen * (g / counts.clamp(min=1))[at],)


_EXTREME = Rule("SegmentReduceBackward0", _extreme_backward)


def _reduced(x: Tensor, at: Tensor, segments: int, how: str, start: float) -> Tensor:
    """The rows of x (elements, inner) reduced into `segments` rows."""
    shape = (segments, *x.shape[1:])
    out: Tensor = full(shape, start, dtype=x.dtype, device=x.device)
    if how in ("sum", "mean"):
        return out.index_add(0, at, x)
    if how == "prod":
        index = at.reshape(-1, *[1] * (len(x.shape) - 1)).expand(x.shape)
        return out.scatter_reduce(0, index, x, "prod")
    values = out.index_reduce(0, at, x.detach(), how)
    return attach(values, _EXTREME, (x,), (x, values, at))


@op(method=False)
def segment_reduce(
    data: Tensor,
    reduce: str,
    *,
    lengths: Tensor | None = None,
    indices: Tensor | None = None,
    offsets: Tensor | None = None,
    axis: int = 0,
    unsafe: bool = False,
    initial: float | None = None,
) -> Tensor:
    """The sum, mean, prod, max or min of each of the consecutive segments of a dimension.

    data: (*, n, ...) of floats, `axis` the place of n. The segments are given by their lengths
    (*, segments) or by offsets (*, segments + 1), which are where they begin and where the last
    one ends; both are integers and may differ from row to row. initial: what each segment starts
    with, and all that an empty one has: without it 0, NaN, 1, -inf or inf.
    Raises RuntimeError for lengths that do not sum to n (unless `unsafe`: then what is left over
    counts nothing), NotImplementedError for integers.

    >>> facula.segment_reduce(facula.tensor([1.0, 5.0, 2.0]), "max", lengths=facula.tensor([2, 1]))
    tensor([5., 2.])
    """
    how = _REDUCTIONS.get(reduce)
    if how is None:
        raise RuntimeError(
            f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}"
        )
    if indices is not None:
        raise RuntimeError("segment_reduce(): indices based reduction is not supported yet.")
    if data.dtype.category != FLOAT:
        raise NotImplementedError(
            f"\"_segment_reduce_cpu\" not implemented for '{DTYPE_NAMES[data.dtype.name]}'"
        )
    given = offsets if lengths is None else lengths
    depth = len(given.shape) if given is not None else 0
    axis = axis + len(data.shape) if axis < 0 else axis
    if given is not None and (not 0 < depth <= len(data.shape) or axis != depth - 1):
        raise RuntimeError(
            f"segment_reduce(): Expected axis to be the last dimension of lengths but got {axis}."
        )
    if given is not None and given.shape[:-1] != data.shape[:axis]:
        raise RuntimeError(
            f"segment_reduce(): Expected a row of segments for each of {list(data.shape[:axis])}, "
            f"but got {list(given.shape[:-1])}."
        )
    n, lead, rest = data.shape[axis], tuple(data.shape[:axis]), tuple(data.shape[axis + 1 :])
    if lengths is not None and not unsafe and not size_of(lengths.shape):
        raise RuntimeError("segment_reduce(): Expected lengths to have elements when !unsafe.")
    if given is not None and lengths is None and not given.shape[-1]:
        raise RuntimeError("segment_reduce(): Expected offsets to have elements.")
    rows = size_of(lead)
    if given is not None and is_meta(given):
        count = given.shape[-1] - (lengths is None)
        bounds = np.broadcast_to(0, (*lead, count + 1))
        at = new(meta_node((rows * n,), int64))
    else:
        bounds = _bounds(lengths, offsets, n, unsafe)
        count = bounds.shape[-1] - 1
        flat = _lines(bounds, n)
        at = new(leaf(flat, flat.shape, int64))
    start = _NEUTRAL[how] if initial is None else float(initial)
    out = _reduced(data.reshape(rows * n, *rest), at, rows * (count + 1), how, start)
    out = out.reshape(*lead, count + 1, *rest).narrow(axis, 0, count)
    if how == "mean":
        sizes = np.diff(bounds).reshape(*lead, count, *[1] * len(rest))
        # an empty segment is its initial value, or 0 / 0
        sizes = np.where(sizes == 0, 0.0 if initial is None else 1.0, sizes).astype(np.float64)
        out = out / new(leaf(sizes, sizes.shape, float64)).to(data.dtype)
    return out.clone() if out._base is not None else out


alias_of("segment_reduce", "_segment_reduce")
