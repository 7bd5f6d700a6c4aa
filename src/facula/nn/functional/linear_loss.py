"""The cross entropy of logits that a linear layer makes of the input: of all at once, or of a few rows at a time."""

from __future__ import annotations

from typing import Any

import facula
from facula._tensor.handle import Tensor
from facula.autograd.function import Function
from facula.dtypes import FLOAT, float32, int64
from facula.engine.realize import flush
from facula.errors import warn
from facula.nn.functional.classification import _average, cross_entropy
from facula.ops.index.picking import has_other, pick
from facula.ops.product.linear import linear
from facula.ops.registry import functional

NO_CLASS = -100  # the class that `cross_entropy` ignores unless it is told another


@functional
def linear_cross_entropy(input: Any, linear_weight: Any, target: Any, *, linear_bias: Any = None,
                         weight: Any = None, reduction: str = "mean", ignore_index: int | None = None,
                         label_smoothing: float = 0.0, options: Any = None) -> Any:
    """cross_entropy(linear(input, linear_weight, linear_bias), target): a loss of K dimensions for K >= 0.

    input          (E,) or (N, E); if K > 0, (N, E)
    linear_weight  (C, d1, ..., dK, E), for C classes
    linear_bias    (C, d1, ..., dK)
    target         classes, int64 of (), (N,) or (N, d1, ..., dK), or probabilities, floats of (C,), (N, C)
                   or (N, C, d1, ..., dK)
    weight         (C,): how much each class counts
    ignore_index   class that counts for nothing, of targets that are classes (None: -100)
    options        nn.LinearCrossEntropyOptions: the logits are made of a few rows of the input at a time and not
                   kept; the backward pass makes them again. A third more work, and memory for rows * C logits
                   instead of several times N * C. 16-bit floats are computed with in float32 (the weight is
                   there once more), and the result is rounded. Only for classes as targets, K = 0 and no
                   smoothing: otherwise a UserWarning says so, and all logits are made

    Returns a scalar, or with reduction 'none' a loss for each place. RuntimeError if shapes do not fit, or with
    an `ignore_index` for probabilities; IndexError if a target is no class.

    >>> import facula
    >>> x, w = facula.eye(2), facula.tensor([[9.0, 0.0], [0.0, 9.0]])
    >>> facula.nn.functional.linear_cross_entropy(x, w, facula.tensor([0, 1])).item() < 0.001
    True
    """
    classes, *places, features = _checked(input, linear_weight, linear_bias)
    if ignore_index is not None and (target.is_floating_point() or target.is_complex()):
        raise RuntimeError("ignore_index cannot be specified when target contains probabilities")
    ignored = NO_CLASS if ignore_index is None else ignore_index
    if options is not None:
        rows = options.rows(input.shape[0] if input.dim() == 2 else 1, features, classes)
        if places or label_smoothing or target.dtype is not int64 or reduction not in ("mean", "sum", "none"):
            warn(
                "linear_cross_entropy: ``options`` ignored; chunked path needs reduction in {'mean','sum','none'}, "
                f"label_smoothing == 0, target.dtype == int64, out_features == (). Got {reduction=}, "
                f"{label_smoothing=}, {target.dtype=}, out_features={tuple(places)}, tracing=False, "
                f"linear_bias.shape={None if linear_bias is None else tuple(linear_bias.shape)}.")
        elif target.shape == input.shape[:-1] and (weight is None or weight.shape == (classes,)):
            return _chunked(input, linear_weight, target, linear_bias, weight, reduction, ignored, rows,
                            options.acc_dtype)  # of other shapes cross_entropy says what is wrong
    logits = linear(input, linear_weight.reshape(-1, features),
                    None if linear_bias is None else linear_bias.reshape(-1))
    if places:
        logits = logits.reshape(input.shape[0], classes, *places)
    return cross_entropy(logits, target, weight=weight, reduction=reduction, label_smoothing=label_smoothing,
                         ignore_index=ignored)


def _checked(input: Any, linear_weight: Any, linear_bias: Any) -> tuple[int, ...]:
    """The shape of `linear_weight`, if the others fit it."""
    shape = tuple(linear_weight.shape)
    if len(shape) < 2:
        raise RuntimeError(f"expected linear_weight with dimensionality at least 2, got {len(shape)}")
    if input.dim() not in (1, 2):
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {input.dim()}")
    if input.shape[-1] != shape[-1]:
        raise RuntimeError("expected equal input and linear_weight last dimensions (in_features), got "
                           f"{input.shape[-1]} and {shape[-1]}, respectively")
    if len(shape) > 2 and input.dim() == 1:
        raise RuntimeError(f"K-dimensional loss defined by linear_weight shape {shape} requires batched input, (N, "
                           f"{shape[-1]}), got unbatched input with shape {tuple(input.shape)}")
    if linear_bias is not None and tuple(linear_bias.shape) != shape[:-1]:
        raise RuntimeError(f"expected linear_bias shape {shape[:-1]}, got {tuple(linear_bias.shape)}")
    return shape


# ---- a few rows at a time ------------------------------------------------------------------------


def _chunked(input: Tensor, linear_weight: Tensor, target: Tensor, linear_bias: Tensor | None, weight: Tensor | None,
             reduction: str, ignored: int, rows: int, acc_dtype: Any) -> Any:
    """Targets are classes, one for each row of the input."""
    shape = target.shape
    batch, target = input.reshape(-1, input.shape[-1]), target.reshape(-1)
    counts = None
    if has_other(target, linear_weight.shape[0], ignored):
        counts = target != ignored
        target = facula.where(counts, target, 0)
    losses = _Losses.apply(batch, linear_weight, linear_bias, target, rows, acc_dtype)
    factors = counts
    if weight is not None:
        factors = pick(weight.detach().expand(len(batch), -1), target, 1)
        losses = losses * factors
        factors = factors if counts is None else facula.where(counts, factors, 0.0)
    if counts is not None:
        losses = facula.where(counts, losses, 0.0)
    if reduction == "none":
        result = losses.reshape(shape)
    else:
        result = losses.sum() if reduction == "sum" else _average(losses, factors)
    return result.to(input.dtype)


def _wide(of: Any) -> Any:
    return float32 if of.category == FLOAT and of.itemsize < 4 else of


class _Losses(Function):
    """Minus the log-softmax of each row's class. No logits outlive the pass over their rows, neither here nor in
    backward, which makes them again.

    What is recorded of some rows is computed before the next are looked at: one graph of all would have the logits
    of all in memory at the same time, and be another graph for every number of rows."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, rows: int,
                acc_dtype: Any) -> Any:
        ctx.save_for_backward(input, weight, bias, target)
        ctx.rows, ctx.acc_dtype = rows, acc_dtype
        wide = _wide(input.dtype)
        if not len(input):
            return input.new_zeros(0, dtype=wide)
        losses = []
        weight, bias = weight.to(wide), None if bias is None else bias.to(wide)
        for x, t in zip(input.split(rows), target.split(rows), strict=True):
            losses.append(-pick(linear(x.to(wide), weight, bias).log_softmax(1), t, 1))
            flush()
        return facula.cat(losses)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        input, weight, bias, target = ctx.saved_tensors
        of_input, of_weight, of_bias = ctx.needs_input_grad[:3]
        wide = _wide(input.dtype)
        summed = ctx.acc_dtype or wide
        inputs, weights, biases = [], None, None
        w, b = weight.to(wide), None if bias is None else bias.to(wide)
        names = facula.arange(weight.shape[0])
        for x, t, g in zip(input.split(ctx.rows), target.split(ctx.rows), grads[0].split(ctx.rows), strict=True):
            right = names == t.unsqueeze(1)
            x = x.to(wide)
            slopes = (linear(x, w, b).softmax(1) - right.to(wide)) * g.unsqueeze(1)
            if of_input:
                inputs.append((slopes @ w).to(input.dtype))
            if of_weight:
                more = (slopes.t() @ x).to(summed)
                weights = more if weights is None else weights + more
            if of_bias:
                more = slopes.sum(0, dtype=summed)
                biases = more if biases is None else biases + more
            more = None
            del slopes, right
            flush()
        return (facula.cat(inputs) if of_input else None, weights.to(weight.dtype) if weights is not None else None,
                biases.to(bias.dtype) if biases is not None else None, None, None, None)
