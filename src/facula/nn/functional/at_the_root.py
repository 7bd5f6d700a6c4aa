"""Functions that PyTorch has at its root too, as its compiled side knows them: `torch.kl_div(x, y, 1)` beside
`nn.functional.kl_div(x, y, reduction="mean")`. Reductions are numbers: 0 none (which is the default here, other than in
`nn.functional`: so it is in PyTorch), 1 the mean, 2 the sum.
"""

from __future__ import annotations

from typing import Any

import facula
from facula._tensor.handle import Tensor
from facula.nn import functional as F
from facula.nn.functional.dropping import _feature_dropout
from facula.nn.functional.lookups import _renormalize_rows

__all__ = ["affine_grid_generator", "alpha_dropout_", "binary_cross_entropy_with_logits", "conv_tbc",
           "cosine_embedding_loss", "ctc_loss", "dropout_", "embedding_bag", "embedding_renorm_",
           "feature_alpha_dropout_", "feature_dropout", "feature_dropout_", "hinge_embedding_loss", "kl_div",
           "margin_ranking_loss", "native_dropout", "poisson_nll_loss", "slice_copy", "triplet_margin_loss"]

_REDUCTIONS = "none", "mean", "sum"


def _named(function: str, reduction: Any) -> str:
    if isinstance(reduction, bool) or not isinstance(reduction, int):
        raise TypeError(f"{function}(): argument 'reduction' must be int, not {type(reduction).__name__}")
    return _REDUCTIONS[reduction] if 0 <= reduction < 3 else "none"


def kl_div(input: Any, target: Any, reduction: int = 0, *, log_target: bool = False) -> Any:
    """`nn.functional.kl_div`, where reduction 1 is the mean of all elements.

    Example:
        >>> import facula
        >>> facula.kl_div(facula.zeros(2), facula.ones(2), 2)
        tensor(0.)
    """
    found = F.kl_div(input, target, reduction="none", log_target=log_target)
    name = _named("kl_div", reduction)
    return found if name == "none" else found.mean() if name == "mean" else found.sum()


def cosine_embedding_loss(input1: Any, input2: Any, target: Any, margin: float = 0.0, reduction: int = 0) -> Any:
    """`nn.functional.cosine_embedding_loss` with a number for the reduction."""
    return F.cosine_embedding_loss(input1, input2, target, margin,
                                   reduction=_named("cosine_embedding_loss", reduction))


def hinge_embedding_loss(input: Any, target: Any, margin: float = 1.0, reduction: int = 0) -> Any:
    """`nn.functional.hinge_embedding_loss` with a number for the reduction."""
    return F.hinge_embedding_loss(input, target, margin, reduction=_named("hinge_embedding_loss", reduction))


def margin_ranking_loss(input1: Any, input2: Any, target: Any, margin: float = 0.0, reduction: int = 0) -> Any:
    """`nn.functional.margin_ranking_loss` with a number for the reduction."""
    return F.margin_ranking_loss(input1, input2, target, margin, reduction=_named("margin_ranking_loss", reduction))


def poisson_nll_loss(input: Any, target: Any, log_input: bool, full: bool, eps: float, reduction: int) -> Any:
    """`nn.functional.poisson_nll_loss` with a number for the reduction."""
    return F.poisson_nll_loss(input, target, log_input=log_input, full=full, eps=eps,
                              reduction=_named("poisson_nll_loss", reduction))


def triplet_margin_loss(anchor: Any, positive: Any, negative: Any, margin: float = 1.0, p: float = 2.0,
                        eps: float = 1e-6, swap: bool = False, reduction: int = 0) -> Any:
    """`nn.functional.triplet_margin_loss` with a number for the reduction."""
    return F.triplet_margin_loss(anchor, positive, negative, margin, p, eps, swap,
                                 reduction=_named("triplet_margin_loss", reduction))


def binary_cross_entropy_with_logits(input: Any, target: Any, weight: Any = None, pos_weight: Any = None,
                                     reduction: int = 0) -> Any:
    """`nn.functional.binary_cross_entropy_with_logits` with a number for the reduction."""
    return F.binary_cross_entropy_with_logits(input, target, weight, pos_weight=pos_weight,
                                              reduction=_named("binary_cross_entropy_with_logits", reduction))


def ctc_loss(log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int = 0,
             reduction: int = 0, zero_infinity: bool = False) -> Any:
    """`nn.functional.ctc_loss` with a number for the reduction."""
    return F.ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, _named("ctc_loss", reduction),
                      zero_infinity)


def affine_grid_generator(theta: Any, size: Any, align_corners: bool) -> Any:
    """`nn.functional.affine_grid`: theta (N, 2, 3) to (N, H, W, 2), or (N, 3, 4) to (N, D, H, W, 3)."""
    return F.affine_grid(theta, list(size), align_corners)


def embedding_bag(weight: Any, indices: Any, offsets: Any, scale_grad_by_freq: bool = False, mode: int = 0,
                  sparse: bool = False, per_sample_weights: Any = None, include_last_offset: bool = False,
                  padding_idx: int | None = None) -> tuple[Any, Any, Any, Any]:
    """Sums (mode 0), means (1) or maxima (2) of rows in bags, and whatever PyTorch's gradient wants to know: of which
    bag each index is, how many each bag has (0 of sums), and where its maxima are (the sizes again of means).

    weight (V, D), indices (N,), offsets (B,): (B, D), (N,), (B,), (B,) or (B, D).
    """
    if padding_idx is not None:
        if not -weight.size(0) <= padding_idx < weight.size(0):
            raise RuntimeError(f"padding_idx must be within the number of embeddings, -{weight.size(0)} through "
                               f"{weight.size(0) - 1}, but got {padding_idx}")
        padding_idx %= weight.size(0)
    if not 0 <= mode < 3:
        raise RuntimeError("`mode` must be sum, mean, or max.")
    name = ("sum", "mean", "max")[mode]
    out = F.embedding_bag(indices, weight, offsets, scale_grad_by_freq=scale_grad_by_freq, mode=name, sparse=sparse,
                          per_sample_weights=per_sample_weights, include_last_offset=include_last_offset,
                          padding_idx=padding_idx)
    starts = offsets[:-1] if include_last_offset else offsets
    count, bags = indices.size(0), starts.size(0)
    bag = facula.searchsorted(starts.contiguous(), facula.arange(count, dtype=starts.dtype), right=True) - 1
    if not mode:
        nothing = facula.zeros(offsets.size(0), dtype=offsets.dtype)
        return out, bag.to(offsets.dtype), nothing, nothing.clone()
    counted = facula.ones(count, dtype=offsets.dtype) if padding_idx is None else (indices != padding_idx).to(
        offsets.dtype)
    sizes = facula.zeros(bags, dtype=offsets.dtype).index_add(0, bag, counted)
    if mode == 1:
        return out, bag.to(offsets.dtype), sizes, sizes.clone()
    there = weight.detach()[indices] == out.detach()[bag]  # the first row of a bag that has its maximum
    if padding_idx is not None:
        there = there & (indices != padding_idx)[:, None]
    place = facula.where(there, facula.arange(count)[:, None], count)
    first = facula.full((bags, weight.size(1)), count).scatter_reduce(
        0, bag[:, None].expand(-1, weight.size(1)), place, "amin")
    rows = facula.cat([indices, indices.new_zeros(1)])[first]
    return out, bag.to(offsets.dtype), sizes, rows.to(offsets.dtype)


def embedding_renorm_(weight: Any, indices: Any, max_norm: float, norm_type: float) -> Any:
    """Scale the rows that are looked up down to a norm, in place; returns `weight` (V, D)."""
    if weight.requires_grad and weight.is_leaf and facula.is_grad_enabled():
        raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
    _renormalize_rows(weight, indices.reshape(-1), max_norm, norm_type)
    return weight


def native_dropout(input: Any, p: float, train: bool | None) -> tuple[Any, Any]:
    """`nn.functional.dropout`, and the bool mask of what stays (all of it if `train` is False; None trains)."""
    if train is not None and not train:
        return input.clone(), facula.ones_like(input, dtype=facula.bool)
    mask = facula.empty_like(input).bernoulli_(1 - p).bool()
    return input * mask * (0.0 if p == 1 else 1 / (1 - p)), mask


def _check_probability(p: float) -> None:
    if not 0.0 <= p <= 1.0:  # a RuntimeError, other than in nn.functional
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {p:g}")


def _in_place(x: Tensor, y: Any) -> Tensor:
    x.copy_(y)
    return x


def dropout_(input: Any, p: float, train: bool) -> Any:
    """`nn.functional.dropout`, in place."""
    _check_probability(p)
    return F.dropout(input, p, train, inplace=True)


def alpha_dropout_(input: Any, p: float, train: bool) -> Any:
    """`nn.functional.alpha_dropout`, in place."""
    _check_probability(p)
    return _in_place(input, F.alpha_dropout(input, p, train))


def feature_alpha_dropout_(input: Any, p: float, train: bool) -> Any:
    """`nn.functional.feature_alpha_dropout`, in place."""
    _check_probability(p)
    return _in_place(input, F.feature_alpha_dropout(input, p, train))


def feature_dropout(input: Any, p: float, train: bool) -> Any:
    """Whole channels (N, C, *) to zero, with probability `p`, the others scaled by 1 / (1 - p); `input` itself unless
    `train`."""
    _check_probability(p)
    return _feature_dropout(input, p, train, False)


def feature_dropout_(input: Any, p: float, train: bool) -> Any:
    """`feature_dropout`, in place."""
    _check_probability(p)
    return _feature_dropout(input, p, train, True)


def conv_tbc(input: Any, weight: Any, bias: Any, pad: int = 0) -> Any:
    """A convolution over time first: input (T, N, C), weight (K, C, O), bias (O,), to (T + 2 * pad - K + 1, N, O).

    Raises:
        RuntimeError: channels do not fit.
    """
    if input.dim() != 3 or weight.dim() != 3 or bias.dim() != 1:
        raise RuntimeError(f"conv_tbc: expected input, weight and bias of 3, 3 and 1 dimensions, got {input.dim()}, "
                           f"{weight.dim()} and {bias.dim()}")
    if input.size(2) != weight.size(1):
        raise RuntimeError("Input dim 2 (input channels) is not == dim 1 in the weight tensor")
    if weight.size(2) != bias.size(0):
        raise RuntimeError("Bias size must equal dim 2 in the weight tensor (output channels).")
    found = F.conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad)
    return found.permute(2, 0, 1).contiguous()


def slice_copy(input: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Any:
    """`input[start:end:step]` along a dimension, as a tensor of its own.

    Example:
        >>> import facula
        >>> facula.slice_copy(facula.arange(6), 0, 1, None, 2)
        tensor([1, 3, 5])
    """
    places = [slice(None)] * input.dim()
    places[dim] = slice(start, end, step)
    return input[tuple(places)].clone(memory_format=facula.contiguous_format)
