"""Losses of real numbers and of pairs. Those over classes are in `classification.py`."""

from __future__ import annotations

import math
from typing import Any

import facula
from facula._tensor.tape import attach
from facula.autograd.graph import Rule
from facula.errors import warn
from facula.ops.registry import DTYPE_NAMES, functional
from facula.ops.requirements import require

from .. import _reduction
from .._reduction import reduce_values
from .distance import pairwise_distance


def _chosen(reduction: str, size_average: Any, reduce: Any) -> str:
    if size_average is not None or reduce is not None:
        return _reduction.legacy_get_string(size_average, reduce)
    return reduction


def _warn_if_broadcast(input: Any, target: Any) -> None:
    if input.shape != target.shape:
        warn(f"Using a target size ({target.size()}) that is different to the input size "
             f"({input.size()}). This will likely lead to incorrect results due to broadcasting. "
             "Please ensure they have the same size.")


def _weighted(values: Any, weight: Any, reduction: str) -> Any:
    """Reduce values with a weight each; "mean" divides by the sum of the weights."""
    if weight.size() != values.size():
        raise ValueError("Weights and input must have the same size.")
    values = values * weight
    if reduction == "mean":
        return values.sum() / weight.sum()
    return reduce_values(values, reduction)


@functional
def mse_loss(input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
             weight: Any = None) -> Any:
    """`(input - target)^2`.

    Raises:
        ValueError: unknown reduction, or a weight of another shape.

    Example:
        >>> import facula
        >>> facula.nn.functional.mse_loss(facula.zeros(2), facula.ones(2)).item()
        1.0
    """
    if input.shape != target.shape:
        _warn_if_broadcast(input, target)
    if size_average is not None or reduce is not None:
        reduction = _reduction.legacy_get_string(size_average, reduce)
    difference = _difference(input, target, "mse")
    squares = difference * difference
    return reduce_values(squares, reduction) if weight is None else _weighted(squares, weight, reduction)


def _difference(input: Any, target: Any, what: str) -> Any:
    """`input - target` in the type of both together, which has to be a floating-point one."""
    if input.dtype is target.dtype and input.dtype.is_floating_point:
        return input - target
    of = facula.promote_types(input.dtype, target.dtype)
    if not of.is_floating_point:
        raise NotImplementedError(f"\"{what}_cpu\" not implemented for '{DTYPE_NAMES[of.name]}'")
    return input.to(of) - target.to(of)


@functional
def l1_loss(input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
            weight: Any = None) -> Any:
    """`|input - target|`."""
    _warn_if_broadcast(input, target)
    reduction = _chosen(reduction, size_average, reduce)
    values = (input - target).abs()
    return reduce_values(values, reduction) if weight is None else _weighted(values, weight, reduction)


@functional
def smooth_l1_loss(input: Any, target: Any, size_average: Any = None, reduce: Any = None,
                   reduction: str = "mean", beta: float = 1.0) -> Any:
    """`d^2 / (2 beta)` for differences d below `beta`, `|d| - beta / 2` above.

    Raises:
        RuntimeError: `beta` is negative.
    """
    _warn_if_broadcast(input, target)
    reduction = _chosen(reduction, size_average, reduce)
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    difference = _difference(input, target, "smooth_l1")
    distance = difference.abs()
    if beta == 0:
        return reduce_values(distance, reduction)
    far = distance >= beta
    # No infinity is squared: its slope would not be a number. And a difference bends at 0, a distance does not
    close = facula.where(far, 0.0, difference)
    return reduce_values(facula.where(far, distance - 0.5 * beta, close * close * 0.5 / beta), reduction)


@functional
def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0,
               weight: Any = None) -> Any:
    """`d^2 / 2` for differences d up to `delta`, `delta * (|d| - delta / 2)` above.

    Raises:
        RuntimeError: `delta` is not positive.
    """
    _warn_if_broadcast(input, target)
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    difference = _difference(input, target, "huber")
    distance = difference.abs()
    far = distance >= delta  # there, both are the same, but the slope bends no more
    close = facula.where(far, 0.0, difference)  # as above
    values = facula.where(far, delta * (distance - 0.5 * delta), 0.5 * close * close)
    if values.dtype is not input.dtype:  # torch writes what it computes into a tensor like the input
        if not input.dtype.is_floating_point:
            raise RuntimeError(f"result type {DTYPE_NAMES[values.dtype.name]} can't be cast to the desired output type "
                               f"{DTYPE_NAMES[input.dtype.name]}")
        values = values.to(input.dtype)
    if weight is not None:  # whose sum PyTorch does not divide by here
        values = _weighted(values, weight, "none")
    return reduce_values(values, reduction)


@functional
def poisson_nll_loss(input: Any, target: Any, log_input: bool = True, full: bool = False,
                     size_average: Any = None, eps: float = 1e-8, reduce: Any = None,
                     reduction: str = "mean") -> Any:
    """Minus the log-likelihood of counts under Poisson rates `input` (by default their logarithms)."""
    reduction = _chosen(reduction, size_average, reduce)
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(reduction + " is not a valid value for reduction")
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        stirling = target * target.log() - target + 0.5 * (2 * math.pi * target).log()
        loss = loss + stirling.masked_fill(target <= 1, 0)
    return reduce_values(loss, reduction)


_LIMITED = Rule("CloneBackward0", lambda ctx, g: (g,))  # the gradient passes as if nothing was limited


@functional
def gaussian_nll_loss(input: Any, target: Any, var: Any, full: bool = False, eps: float = 1e-6,
                      reduction: str = "mean") -> Any:
    """Minus the log-likelihood of `target` under normal distributions with mean `input` and variance `var`.

    Args:
        var: a number, or of input's shape, or one a sample (last dimension 1 or missing); at least `eps`
            counts.
        full: add the constant `log(2 pi) / 2`.

    Raises:
        ValueError: a negative variance, a shape that does not fit, an unknown reduction.
    """
    given = var
    if isinstance(var, float):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = var * facula.ones_like(input)
    if var.size() != input.size():
        if input.size()[:-1] == var.size():
            var = var.unsqueeze(-1)
        elif input.dim() != var.dim() or sum(m for n, m in zip(input.size(), var.size(), strict=False)
                                             if n != m) != 1:
            # fine is: exactly one dimension differs, and it is 1
            raise ValueError("var is of incorrect size")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(reduction + " is not valid")
    if not isinstance(given, float):
        require(given, lambda x: ~(x < 0), ValueError, "var has negative entry/entries")
    var = attach(var.detach().clamp(min=eps), _LIMITED, (var,))
    difference = input - target
    loss = 0.5 * (var.log() + difference * difference / var)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduce_values(loss, reduction)


@functional
def kl_div(input: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean",
           log_target: bool = False) -> Any:
    """`target * (log(target) - input)`: Kullback-Leibler divergence; `input` is log-probabilities.

    Args:
        reduction: also "batchmean": the sum divided by the batch size.
        log_target: whether `target` is given as logarithms.
    """
    if size_average is not None or reduce is not None:
        reduction = _reduction.legacy_get_string(size_average, reduce)
    elif reduction == "mean":
        warn("reduction: 'mean' divides the total loss by both the batch size and the support size."
             "'batchmean' divides only by the batch size, and aligns with the KL div math "
             "definition.'mean' will be changed to behave the same as 'batchmean' in the next major "
             "release.")
    if not input.dtype.is_floating_point or not target.dtype.is_floating_point:
        raise RuntimeError("kl_div: Integral inputs not supported.")
    if log_target:
        values = target.exp() * (target - input)
    else:
        values = facula.xlogy(target, target) - target * input
    if reduction == "batchmean":
        total = values.sum()
        return total / input.size(0) if input.dim() != 0 else total
    return reduce_values(values, reduction)


@functional
def hinge_embedding_loss(input: Any, target: Any, margin: float = 1.0, size_average: Any = None,
                         reduce: Any = None, reduction: str = "mean") -> Any:
    """`input` where `target` is 1, `max(0, margin - input)` where it is -1."""
    reduction = _chosen(reduction, size_average, reduce)
    zero = facula.zeros((), dtype=input.dtype, device=input.device)
    far = facula.where(target != 1, (margin - input).to(input.dtype).clamp(min=0), zero)
    near = facula.where(target != -1, input, zero)
    return reduce_values(far + near, reduction)


@functional
def cosine_embedding_loss(input1: Any, input2: Any, target: Any, margin: float = 0, size_average: Any = None,
                          reduce: Any = None, reduction: str = "mean") -> Any:
    """`1 - cos(x1, x2)` where `target` is 1, `max(0, cos(x1, x2) - margin)` where it is -1.

    Inputs (N, D) with target (N), or (D) with a 0-d target.

    Raises:
        RuntimeError: other shapes.
    """
    reduction = _chosen(reduction, size_average, reduce)
    if target.dim() not in (0, 1):
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if target.dim() == 1 and (input1.dim() != 2 or input2.dim() != 2):
        raise RuntimeError(f"1D target tensor expects 2D input tensors, but found inputs with sizes "
                           f"{list(input1.shape)} and {list(input2.shape)}.")
    if target.dim() == 0 and (input1.dim() != 1 or input2.dim() != 1):
        raise RuntimeError(f"0D target tensor expects 1D input tensors, but found inputs with sizes "
                           f"{list(input1.shape)} and {list(input2.shape)}.")
    tiny = 1e-12
    dim = target.dim()
    product = (input1 * input2).sum(dim)
    squares = ((input1 * input1).sum(dim) + tiny) * ((input2 * input2).sum(dim) + tiny)
    cosine = product / squares.sqrt()
    zero = facula.zeros_like(cosine)
    near = facula.where(target == 1, 1 - cosine, zero)
    far = facula.where(target == -1, (cosine - margin).clamp(min=0), zero)
    return reduce_values(near + far, reduction)


@functional
def margin_ranking_loss(input1: Any, input2: Any, target: Any, margin: float = 0, size_average: Any = None,
                        reduce: Any = None, reduction: str = "mean") -> Any:
    """`max(0, -target * (x1 - x2) + margin)`.

    Raises:
        RuntimeError: the numbers of dimensions differ.
    """
    reduction = _chosen(reduction, size_average, reduce)
    if not input1.dim() == input2.dim() == target.dim():
        raise RuntimeError("margin_ranking_loss : All input tensors should have same dimension but got "
                           f"sizes: input1: {input1.size()}, input2: {input2.size()}, target: "
                           f"{target.size()} ")
    return reduce_values((-target * (input1 - input2) + float(margin)).clamp(min=0), reduction)


@functional
def soft_margin_loss(input: Any, target: Any, size_average: Any = None, reduce: Any = None,
                     reduction: str = "mean") -> Any:
    """`log(1 + exp(-target * input))` with targets 1 and -1."""
    reduction = _chosen(reduction, size_average, reduce)
    if input.shape != target.shape and facula.broadcast_shapes(input.shape, target.shape) != input.shape:
        raise RuntimeError(f"soft_margin_loss: expected a target of the input's shape {list(input.shape)}, but got "
                           f"{list(target.shape)}; reshape one of them")
    return reduce_values((-target * input).exp().log1p(), reduction)


@functional
def triplet_margin_loss(anchor: Any, positive: Any, negative: Any, margin: float = 1.0, p: float = 2,
                        eps: float = 1e-6, swap: bool = False, size_average: Any = None, reduce: Any = None,
                        reduction: str = "mean") -> Any:
    """`max(0, |anchor - positive| - |anchor - negative| + margin)`.

    Raises:
        ValueError: `margin` is not positive.
        RuntimeError: the numbers of dimensions differ.
    """
    reduction = _chosen(reduction, size_average, reduce)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.dim() == positive.dim() == negative.dim():
        raise RuntimeError("The anchor, positive, and negative tensors are expected to have the same number "
                           f"of dimensions, but got: anchor {anchor.dim()}D, positive {positive.dim()}D, and "
                           f"negative {negative.dim()}D inputs")
    near = pairwise_distance(anchor, positive, p, eps)
    far = pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = facula.minimum(far, pairwise_distance(positive, negative, p, eps))
    return reduce_values((margin + near - far).clamp(min=0), reduction)


@functional
def triplet_margin_with_distance_loss(anchor: Any, positive: Any, negative: Any, *,
                                      distance_function: Any = None, margin: float = 1.0, swap: bool = False,
                                      reduction: str = "mean") -> Any:
    """`triplet_margin_loss` with any distance function of two tensors."""
    if distance_function is None:
        distance_function = pairwise_distance
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.dim() == positive.dim() == negative.dim():
        raise RuntimeError("The anchor, positive, and negative tensors are expected to have the same number "
                           f"of dimensions, but got: anchor {anchor.dim()}D, positive {positive.dim()}D, and "
                           f"negative {negative.dim()}D inputs")
    near, far = distance_function(anchor, positive), distance_function(anchor, negative)
    if swap:
        far = facula.minimum(far, distance_function(positive, negative))
    return reduce_values((margin + near - far).clamp(min=0), reduction)
