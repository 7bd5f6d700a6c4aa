"""Losses over classes: indices, probabilities, and several labels a sample."""

from __future__ import annotations

import math
from typing import Any

import facula
from facula._tensor.tape import attach
from facula.autograd.graph import Rule
from facula.dtypes import can_cast
from facula.ops.elementwise.activations import logsigmoid
from facula.ops.index.picking import has_other, pick
from facula.ops.registry import DTYPE_NAMES, functional
from facula.ops.requirements import require
from facula.ops.severing import leaned

from .. import _reduction
from .._reduction import reduce_values
from .loss import _chosen


def _check_classes(input: Any, target: Any, weight: Any) -> None:
    """The shapes of `nll_loss`: input (N, C, *) or (C), target (N, *) or ()."""
    if input.dim() == 0:
        raise RuntimeError("input tensor should be 1D or more, but got 0 dimensions")
    classes = input.size(0 if input.dim() == 1 else 1)
    if input.dim() >= 2:
        if target.dim() == 0 or input.size(0) != target.size(0):
            raise ValueError(f"Expected input batch_size ({input.size(0)}) to match target batch_size "
                             f"({target.size(0) if target.dim() else 0}).")
    if input.dim() <= 2 and target.dim() > 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if input.dim() >= 2:
        expected = (input.size(0), *input.shape[2:])
        if tuple(target.shape) != expected:
            raise RuntimeError(f"Expected target size {list(expected)}, got {list(target.shape)}")
    elif target.dim() > 0 and not (target.dim() == 1 and target.size(0) == 1):
        raise ValueError(f"For 1D input, 1D target must have size 1, but got target size: {target.numel()}")
    if target.dtype is not facula.int64 and target.dtype is not facula.uint8:
        raise RuntimeError(f"expected target dtype to be Long or Byte, but got {target.type()[6:-6]}")
    if weight is not None and (weight.dim() != 1 or weight.numel() != classes):
        raise RuntimeError(f"weight tensor should be defined either for all {classes} classes or no classes "
                           f"but got weight tensor of shape: {list(weight.shape)}")
    if weight is not None and weight.dtype is not input.dtype:
        raise RuntimeError(f"expected scalar type {input.type()[6:-6]} but found {weight.type()[6:-6]}")


def _picked(log_probabilities: Any, target: Any, weight: Any, ignore_index: int) -> Any:
    """(loss of each target, weight of each target, which targets count); ignored ones are 0 in the first two. The
    weights are None where all are 1, the last is None where all count.

    Raises:
        IndexError: a target is no class.
    """
    dim = 0 if log_probabilities.dim() == 1 else 1
    if target.dtype is not facula.int64:
        target = target.to(facula.int64)
    shape = target.shape
    if dim == 0 and target.dim() == 1:
        target = target.reshape(())
    counts = None
    classes = log_probabilities.size(dim)
    if has_other(target, classes, ignore_index):
        counts = target != ignore_index
    picked = pick(log_probabilities, target, dim)
    # What is no class picks nothing: 0, which is not to become -0. One formula, whatever is known of the target by now.
    zeroed = counts is not None and not 0 <= ignore_index < classes
    losses = 0.0 - picked
    factors = None
    if weight is not None:
        factors = pick(_per_class(weight, log_probabilities).expand_as(log_probabilities), target, dim)
    if counts is not None and not zeroed:
        losses = facula.where(counts, losses, 0.0)
        factors = None if factors is None else facula.where(counts, factors, 0.0)
    if counts is not None:
        factors = counts if factors is None else factors
        counts = counts.reshape(shape)
    if weight is not None:
        losses = losses * factors
    return losses if losses.shape == shape else losses.reshape(shape), factors, counts


def _average(losses: Any, factors: Any) -> Any:
    return losses.sum() / (losses.numel() if factors is None else factors.sum())


@functional
def nll_loss(input: Any, target: Any, weight: Any = None, size_average: Any = None, ignore_index: int = -100,
             reduce: Any = None, reduction: str = "mean") -> Any:
    """Minus the log-probability of the right class: input (N, C, *) or (C), target (N, *) or ().

    Args:
        weight: (C), a factor a class; "mean" divides by the sum of the factors used.
        ignore_index: a target that counts nothing.

    Raises:
        ValueError: the batch sizes differ, or the reduction is not known.
        RuntimeError: other shapes do not fit.
        IndexError: a target is no class.
    """
    reduction = _chosen(reduction, size_average, reduce)
    _check_classes(input, target, weight)
    losses, factors, _ = _picked(leaned(input), target, weight, ignore_index)
    if reduction == "mean":
        return _average(losses, factors)
    return reduce_values(losses, reduction)


@functional
def cross_entropy(input: Any, target: Any, weight: Any = None, size_average: Any = None,
                  ignore_index: int = -100, reduce: Any = None, reduction: str = "mean",
                  label_smoothing: float = 0.0) -> Any:
    """Minus the log-softmax of the right class: logits (N, C, *) or (C).

    Args:
        target: class indices (N, *) or (), or probabilities of input's shape.
        weight: (C), a factor a class.
        ignore_index: a target index that counts nothing.
        label_smoothing: how much of the target is spread evenly over all classes.

    Raises:
        ValueError, RuntimeError, IndexError: as `nll_loss`.

    Example:
        >>> import facula
        >>> loss = facula.nn.functional.cross_entropy(facula.zeros(2, 10), facula.tensor([1, 7]))
        >>> round(loss.item(), 4)
        2.3026
    """
    reduction = _chosen(reduction, size_average, reduce)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    class_dim = 0 if input.dim() == 1 else 1
    if input.shape == target.shape and (target.is_floating_point() or target.is_complex()):
        if ignore_index >= 0:
            raise RuntimeError("ignore_index is not supported for floating point target")
        return _cross_entropy_of_probabilities(input, target, weight, reduction, label_smoothing, class_dim)
    if input.shape == target.shape and input.dim():
        raise RuntimeError("Expected floating point type for target with class probabilities, got "
                           f"{target.type()[6:-6]}")
    _check_classes(input, target, weight)
    log_probabilities = input.log_softmax(class_dim)
    losses, factors, counts = _picked(log_probabilities, target, weight, ignore_index)
    result = _average(losses, factors) if reduction == "mean" else reduce_values(losses, reduction)
    if label_smoothing == 0.0:
        return result
    spread = log_probabilities if weight is None else log_probabilities * _per_class(weight, input)
    smooth = -spread.sum(class_dim)
    if counts is not None:
        smooth = facula.where(counts, smooth, 0.0)
    smooth = _average(smooth, factors) if reduction == "mean" else reduce_values(smooth, reduction)
    return (1 - label_smoothing) * result + smooth * (label_smoothing / (input.size(class_dim) or math.nan))


def _per_class(weight: Any, input: Any) -> Any:
    """Class weights in the shape that multiplies (N, C, *)."""
    return weight if input.dim() == 1 else weight.reshape(1, -1, *(1,) * (input.dim() - 2))


def _cross_entropy_of_probabilities(input: Any, target: Any, weight: Any, reduction: str,
                                    label_smoothing: float, class_dim: int) -> Any:
    classes = input.size(class_dim)
    if weight is not None and (weight.dim() != 1 or weight.numel() != classes):
        raise RuntimeError(f"cross_entropy: weight tensor should be defined either for all {classes} classes "
                           f"or no classes but got weight tensor of shape: {list(weight.shape)}")
    log_probabilities = input.log_softmax(class_dim)
    if label_smoothing > 0.0:
        target = target * (1 - label_smoothing) + label_smoothing / (classes or math.nan)
    values = log_probabilities * target
    if weight is not None:
        values = values * _per_class(weight, input)
    if reduction == "none":
        return -values.sum(class_dim)
    if reduction == "mean":
        return -values.sum() / (input.numel() // classes if input.numel() else 0.0)
    return -reduce_values(values, reduction)


def _binary_gradients(ctx: Any, gradient: Any) -> Any:
    """By hand: what is derived from `max(log(x), -100)` is NaN at 0 and 1."""
    input, target = ctx.saved
    for_input = for_target = None
    if ctx.needs[0]:
        with facula.no_grad():
            for_input = gradient * (input - target) / ((1 - input) * input).clamp(min=1e-12)
        for_input = attach(for_input, _BINARY_AGAIN, (gradient, input, target), (gradient, input, target))
    if ctx.needs[1]:
        log_of_not = (-input).log1p().clamp(min=-100.0)
        for_target = gradient * (log_of_not - input.log().clamp(min=-100.0))
    return for_input, for_target


def _binary_second_gradients(ctx: Any, second: Any) -> Any:
    """By hand, too: where x is t, 0 or 1, what is derived from the clamped denominator is 1e12."""
    gradient, input, target = ctx.saved
    below = ((1 - input) * input).clamp(min=1e-12)
    for_gradient = second * (input - target) / below if ctx.needs[0] else None
    for_input = second * gradient * (input * (input - 2 * target) + target) / (below * below) if ctx.needs[1] else None
    return for_gradient, for_input, -second * gradient / below if ctx.needs[2] else None


_BINARY_AGAIN = Rule("BinaryCrossEntropyBackwardBackward0", _binary_second_gradients)
_BINARY = Rule("BinaryCrossEntropyBackward0", _binary_gradients)


def _binary(input: Any, target: Any) -> Any:
    with facula.no_grad():
        log_of_not = (-input).log1p().clamp(min=-100.0)
        values = (target - 1) * log_of_not - target * input.log().clamp(min=-100.0)
    return attach(values, _BINARY, (input, target), (input, target))


@functional
def binary_cross_entropy(input: Any, target: Any, weight: Any = None, size_average: Any = None,
                         reduce: Any = None, reduction: str = "mean") -> Any:
    """`-(t * log(x) + (1 - t) * log(1 - x))` of probabilities x; logarithms are kept above -100.

    Args:
        weight: a factor an element; anything that broadcasts.

    Raises:
        ValueError: the shapes differ.
    """
    reduction = _chosen(reduction, size_average, reduce)
    if target.size() != input.size():
        raise ValueError(f"Using a target size ({target.size()}) that is different to the input size "
                         f"({input.size()}) is deprecated. Please ensure they have the same size.")
    if not input.is_floating_point() or target.dtype is not input.dtype:
        raise RuntimeError(f"Found dtype {target.dtype} but expected {input.dtype}")
    values = _binary(input, target)
    if weight is not None:
        values = values * weight.expand(target.shape)
    return reduce_values(values, reduction)


@functional
def binary_cross_entropy_with_logits(input: Any, target: Any, weight: Any = None, size_average: Any = None,
                                     reduce: Any = None, reduction: str = "mean",
                                     pos_weight: Any = None) -> Any:
    """`binary_cross_entropy(sigmoid(input), target)`, computed without overflow.

    Args:
        weight: a factor an element.
        pos_weight: a factor for positive targets; anything that broadcasts.

    Raises:
        ValueError: the shapes differ.
    """
    reduction = _chosen(reduction, size_average, reduce)
    if target.size() != input.size():
        raise ValueError(f"Target size ({target.size()}) must be the same as input size ({input.size()})")
    log_sigmoid = logsigmoid(input)
    if pos_weight is not None:
        log_sigmoid = log_sigmoid * ((pos_weight - 1) * target + 1)
    values = (1 - target) * input - log_sigmoid
    if values.dtype is not target.dtype:  # torch computes in the target's
        if not can_cast(values.dtype, target.dtype):
            raise RuntimeError(
                f"result type {DTYPE_NAMES[values.dtype.name]} can't be cast to the desired output type "
                f"{DTYPE_NAMES[target.dtype.name]}"
            )
        values = values.to(target.dtype)
    if weight is not None:
        values = values * weight
    return reduce_values(values, reduction)


@functional
def multilabel_soft_margin_loss(input: Any, target: Any, weight: Any = None, size_average: Any = None,
                                reduce: Any = None, reduction: str = "mean") -> Any:
    """Binary cross entropy of logits (*, C) and targets 0 or 1, averaged over the classes."""
    reduction = _chosen(reduction, size_average, reduce)
    values = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    if weight is not None:
        values = values * weight
    return reduce_values(values.sum(-1) / input.size(-1), reduction)


@functional
def multi_margin_loss(input: Any, target: Any, p: int = 1, margin: float = 1.0, weight: Any = None,
                      size_average: Any = None, reduce: Any = None, reduction: str = "mean") -> Any:
    """`sum over other classes i of max(0, margin - x[y] + x[i])^p / C`.

    Input (N, C) or (C), target (N) or ().

    Raises:
        ValueError: p is not 1 or 2, or the weight is not 1-d.
        RuntimeError: the shapes do not fit.
    """
    reduction = _chosen(reduction, size_average, reduce)
    _reduction.get_enum(reduction)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.dim() != 1:
        raise ValueError(f"weight must be one-dimensional, got {weight.dim()} dimensions")
    if input.dim() > 2 or (input.numel() == 0 and (input.dim() < 2 or input.size(1) == 0)):
        raise RuntimeError("Expected non-empty vector or matrix with optional 0-dim batch size, but got: "
                           f"{list(input.shape)}")
    rows = input.reshape(1, -1) if input.dim() < 2 else input
    if target.dim() > 1 or target.numel() != rows.size(0):
        raise RuntimeError(f"inconsistent target size, expected {rows.size(0)} but got {list(target.shape)}")
    classes = rows.size(1)
    if weight is not None and weight.size(0) != classes:
        raise RuntimeError(f"inconsistent weight size, expected {classes} but got {list(weight.shape)}")
    require(target, lambda x: (x >= 0) & (x < classes), RuntimeError, "target out of range")
    if target.dtype is not facula.int64:
        raise RuntimeError(f"expected scalar type Long but found {DTYPE_NAMES[target.dtype.name]}")
    index = target.reshape(-1, 1)
    values = (margin - rows.gather(1, index) + rows).clamp(min=0)
    if p == 2:
        values = values * values
    if weight is not None:
        values = values * weight.index_select(0, target.reshape(-1)).unsqueeze(1)
    others = facula.arange(classes, device=input.device) != index
    losses = facula.where(others, values, 0.0).sum(1) / classes
    if reduction == "none" and target.dim() == 0:
        return losses.reshape(())
    return reduce_values(losses, reduction)


@functional
def multilabel_margin_loss(input: Any, target: Any, size_average: Any = None, reduce: Any = None,
                           reduction: str = "mean") -> Any:
    """Hinge loss of right classes against all others: target (N, C) lists the right ones first, then -1.

    Raises:
        RuntimeError: the shapes do not fit.
    """
    reduction = _chosen(reduction, size_average, reduce)
    _reduction.get_enum(reduction)
    if input.dim() > 2 or (input.numel() == 0 and (input.dim() < 2 or input.size(1) == 0)):
        raise RuntimeError("Expected non-empty vector or matrix with optional 0-dim batch size, but got: "
                           f"{list(input.shape)}")
    if target.shape != input.shape and not (input.dim() == 0 and target.numel() == 1):
        raise RuntimeError(f"inconsistent target size: {list(target.shape)} for input of size: "
                           f"{list(input.shape)}")
    rows = input.reshape(1, -1) if input.dim() < 2 else input
    if target.dtype is not facula.int64:
        raise RuntimeError(f"expected scalar type Long but found {DTYPE_NAMES[target.dtype.name]}")
    labels = target.reshape(rows.shape)
    classes = rows.size(1)
    require(labels, lambda x: (x >= -1) & (x < classes), RuntimeError, "argument #2 'target' is out of range")
    listed = (labels < 0).to(facula.int64).cumsum(1) == 0  # labels before the first -1
    safe = facula.where(listed, labels, 0)
    matches = (safe.unsqueeze(2) == facula.arange(classes, device=input.device)) & listed.unsqueeze(2)
    right = matches.any(1)
    values = (1 - rows.gather(1, safe).unsqueeze(2) + rows.unsqueeze(1)).clamp(min=0)
    counted = listed.unsqueeze(2) & ~right.unsqueeze(1)
    losses = facula.where(counted, values, 0.0).sum((1, 2)) / classes
    if reduction == "none" and input.dim() < 2:
        return losses.reshape(())
    return reduce_values(losses, reduction)
