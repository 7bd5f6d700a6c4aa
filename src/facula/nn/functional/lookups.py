"""Linear maps and look-up tables as functions."""

from __future__ import annotations

import itertools
import math
from typing import Any

import facula
from facula.errors import warn
from facula.ops.registry import functional
from facula.ops.view.value_views import reshape_value


@functional(also=("bilinear",))
def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
    """`x1^T W_k x2 + b_k`: (*, in1) and (*, in2) with W (out, in1, in2) to (*, out).

    Raises:
        RuntimeError: the sizes do not fit.
    """
    if input1.dim() != input2.dim():
        raise RuntimeError(f"bilinear(): input dimensions do not match: got {input1.dim()} and "
                           f"{input2.dim()}")
    for i in range(input1.dim() - 1):
        if input1.size(i) != input2.size(i):
            raise RuntimeError(f"bilinear(): input batch dimensions do not match at dim {i}: got "
                               f"{input1.size(i)} and {input2.size(i)}")
    outputs, first, second = weight.shape
    if input1.size(-1) != first:
        raise RuntimeError(f"bilinear(): input1 size does not match weight size: got {input1.size(-1)} but "
                           f"expected {first}")
    if input2.size(-1) != second:
        raise RuntimeError(f"bilinear(): input2 size does not match weight size: got {input2.size(-1)} but "
                           f"expected {second}")
    if bias is not None and bias.size(0) != outputs:
        raise RuntimeError(f"bilinear(): bias size does not match weight size: got {bias.size(0)} but "
                           f"expected {outputs}")
    batch = tuple(input1.shape[:-1])
    count = math.prod(batch)
    rows = input1.reshape(count, first) @ weight.permute(1, 0, 2).reshape(first, outputs * second)
    rows = rows.reshape(count, outputs, second)
    if rows.dtype is not input1.dtype:  # by autocast, which leaves the result's type
        result = (rows @ input2.reshape(count, second, 1)).to(input1.dtype).reshape(batch + (outputs,))
    else:
        mixed = rows * input2.reshape(count, 1, second)
        result = mixed.sum(-1, dtype=mixed.dtype).reshape(batch + (outputs,))
    return result if bias is None else result + bias


def _renormalize_rows(weight: Any, indices: Any, max_norm: float, norm_type: float) -> None:
    """Scale the rows looked up whose norm is above `max_norm` down to it, in place."""
    with facula.no_grad():
        rows = weight.detach().index_select(0, indices)
        norms = rows.norm(norm_type, dim=1, keepdim=True)
        scaled = facula.where(norms > max_norm, rows * (max_norm / (norms + 1e-7)), rows)
        weight.detach().index_copy_(0, indices, scaled)


def _scale_gradient(rows: Any, scale: Any) -> Any:
    """`rows`, with the gradient multiplied by `scale`."""
    class ScaledGradient(facula.autograd.Function):
        @staticmethod
        def forward(ctx: Any, values: Any, factor: Any) -> Any:
            ctx.save_for_backward(factor)
            return values.view_as(values)

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            return gradient * ctx.saved_tensors[0], None
    return ScaledGradient.apply(rows, scale)


@functional
def embedding(input: Any, weight: Any, padding_idx: int | None = None, max_norm: float | None = None,
              norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False) -> Any:
    """Rows of `weight` (n, dim) by index: (*) integers to (*, dim). See `nn.Embedding`.

    Raises:
        RuntimeError: the indices are not int32 or int64, or `weight` is not 2-d.
        IndexError: an index is out of range.

    Example:
        >>> import facula
        >>> facula.nn.functional.embedding(facula.tensor([1]), facula.eye(2))
        tensor([[0., 1.]])
    """
    if input.dtype is not facula.int64 and input.dtype is not facula.int32:
        raise RuntimeError("Expected tensor for argument #1 'indices' to have one of the following scalar "
                           f"types: Long, Int; but got {input.type()} instead (while checking arguments for "
                           "embedding)")
    if weight.dim() != 2:
        raise RuntimeError("'weight' must be 2-D")
    if padding_idx is not None:
        if padding_idx > 0:
            if padding_idx >= weight.size(0):
                raise AssertionError("Padding_idx must be within num_embeddings")
        elif padding_idx < 0:
            if padding_idx < -weight.size(0):
                raise AssertionError("Padding_idx must be within num_embeddings")
            padding_idx = weight.size(0) + padding_idx
    indices = input.reshape(-1)
    if max_norm is not None:
        _renormalize_rows(weight, indices, max_norm, norm_type)
    rows = weight.index_select(0, indices)
    if rows.requires_grad:
        if padding_idx is not None:
            padded = (indices == padding_idx).unsqueeze(1)
            rows = facula.where(padded, rows.detach(), rows)  # the same values, but no gradient
        if scale_grad_by_freq and not indices.is_meta:
            ones = facula.ones_like(indices)
            counts = facula.zeros(weight.size(0), dtype=indices.dtype).index_add(0, indices, ones)
            rows = _scale_gradient(rows, (1.0 / counts.index_select(0, indices)).to(rows.dtype).unsqueeze(1))
    return reshape_value(rows, tuple(input.shape) + (weight.size(1),))


def _check_bag(input: Any, weight: Any, offsets: Any, mode: str, scale_grad_by_freq: bool, sparse: bool,
               per_sample_weights: Any, include_last_offset: bool) -> None:
    if weight.dtype is facula.int64 and input.is_floating_point():
        warn("Argument order of nn.functional.embedding_bag was changed. Usage "
             "`embedding_bag(weight, input, ...)` is deprecated, and should now be "
             "`embedding_bag(input, weight, ...)`.")
    if per_sample_weights is not None and input.size() != per_sample_weights.size():
        raise ValueError(f"embedding_bag: If per_sample_weights ({per_sample_weights.shape}) is not None, "
                         f"then it must have the same shape as the input ({input.shape})")
    if weight.dim() != 2:
        raise ValueError(f"weight has to be a 2D Tensor, but got Tensor of dimension {weight.dim()}")
    if input.dim() == 2:
        if offsets is not None:
            kind = "<unknown>" if not isinstance(offsets, facula.Tensor) else str(type(offsets))
            raise ValueError("if input is 2D, then offsets has to be None, as input is treated is a "
                             f"mini-batch of fixed length sequences. However, found offsets of type {kind}")
    elif input.dim() == 1:
        if offsets is None:
            raise ValueError("offsets has to be a 1D Tensor but got None")
        if offsets.dim() != 1:
            raise ValueError("offsets has to be a 1D Tensor")
    else:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.dim()}")
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    for k, (name, index) in enumerate((("indices", input), ("offsets", offsets))):
        if index is not None and index.dtype not in (facula.int64, facula.int32):
            raise RuntimeError(f"Expected tensor for argument #{k + 1} '{name}' to have one of the following scalar "
                               f"types: Long, Int; but got {index.type()} instead (while checking arguments for "
                               "embedding_bag)")
    if mode == "max":
        if scale_grad_by_freq:
            raise ValueError("max mode does not support scaling the gradient by the frequency")
        if sparse:
            raise ValueError("max mode does not support sparse weights")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError("embedding_bag: per_sample_weights was not None. per_sample_weights is "
                                  f"only supported for mode='sum' (got mode='{mode}'). Please open a feature "
                                  "request on GitHub.")


@functional
def embedding_bag(input: Any, weight: Any, offsets: Any = None, max_norm: float | None = None,
                  norm_type: float = 2, scale_grad_by_freq: bool = False, mode: str = "mean",
                  sparse: bool = False, per_sample_weights: Any = None, include_last_offset: bool = False,
                  padding_idx: int | None = None) -> Any:
    """Sums, means or maxima of bags of rows of `weight`: see `nn.EmbeddingBag`.

    Args:
        input: (B, N): B bags of N indices; or (N) with `offsets` (B), where each bag starts.
        include_last_offset: `offsets` (B + 1) has the end of the last bag, too. Indices beyond it are in no bag.

    Raises:
        ValueError: shapes or mode do not fit.
        RuntimeError: offsets do not begin with 0, decrease, or reach beyond the indices.
    """
    _check_bag(input, weight, offsets, mode, scale_grad_by_freq, sparse, per_sample_weights,
               include_last_offset)
    if padding_idx is not None:
        if not -weight.size(0) <= padding_idx < weight.size(0):
            raise AssertionError("padding_idx must be within the number of embeddings")
        padding_idx %= weight.size(0)
    flat = input.reshape(-1)
    count = flat.size(0)
    if input.dim() == 2:
        starts = list(range(0, count + 1, input.size(1))) if input.size(1) else [0] * (input.size(0) + 1)
    else:
        # where the bags of a meta tensor start makes no difference: all elements go to the last one
        starts = [0] * len(offsets) if offsets.is_meta else [int(v) for v in offsets.tolist()]
        if starts and starts[0] != 0:
            raise RuntimeError("offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to "
                               f"start from position 0. However, got {starts[0]}")
        if starts and starts[-1] > count:
            raise RuntimeError(f"offsets[-1] can not be greater than input's length {count} but got offsets[-1] of "
                               f"{starts[-1]}")
        if not include_last_offset:
            starts.append(count)
        elif offsets.is_meta:
            starts[-1] = count
        if any(end < start for start, end in itertools.pairwise(starts)):
            raise RuntimeError(f"embedding_bag: offsets are where bags begin, one after the other, so they must not "
                               f"decrease; got {starts if include_last_offset else starts[:-1]}")
    bags = len(starts) - 1
    owner = [b for b in range(bags) for _ in range(starts[b + 1] - starts[b])]
    flat = flat[:len(owner)]
    owners = facula.tensor(owner, dtype=facula.int64, device=weight.device)

    rows = embedding(flat, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
    used = facula.ones_like(flat) if padding_idx is None else (flat != padding_idx).to(flat.dtype)
    width = weight.size(1)
    if mode == "max":
        return _bag_maxima(rows, used, owners, bags)
    factors = used.to(rows.dtype)
    if per_sample_weights is not None:
        factors = factors * per_sample_weights.reshape(-1)[:len(owner)]
    sums = facula.zeros((bags, width), dtype=rows.dtype, device=rows.device).index_add(
        0, owners, rows * factors.unsqueeze(1))
    if mode == "sum":
        return sums
    sizes = facula.zeros(bags, dtype=rows.dtype, device=rows.device).index_add(0, owners, used.to(rows.dtype))
    return sums / sizes.clamp(min=1).unsqueeze(1)


def _bag_maxima(rows: Any, used: Any, owners: Any, bags: int) -> Any:
    """The maximum of each bag, the first of equal ones; 0 for an empty one. NaN is one only as the first of its bag."""
    if not used.is_meta:
        kept = used.nonzero().reshape(-1)
        rows, owners = rows.index_select(0, kept), owners.index_select(0, kept)
    count, width = rows.shape
    index = owners.unsqueeze(1).expand(-1, width)
    values = rows.detach()
    unordered = values.isnan()
    values = values.masked_fill(unordered, float("-inf"))
    lowest = facula.full((bags, width), float("-inf"), dtype=rows.dtype, device=rows.device)
    most = lowest.scatter_reduce(0, index, values, "amax")
    leads = facula.cat([owners.new_ones(1, dtype=facula.bool), owners[1:] != owners[:-1]])[:count].unsqueeze(1)
    taken = (values == most.gather(0, index)) & ~unordered | unordered & leads
    at = facula.where(taken, facula.arange(count, device=rows.device).unsqueeze(1), count)
    nowhere = facula.full((bags, width), count, dtype=facula.int64, device=rows.device)
    at = nowhere.scatter_reduce(0, index, at, "amin")
    return facula.cat([rows, rows.new_zeros(1, width)]).gather(0, at)  # the row behind the last is an empty bag's
