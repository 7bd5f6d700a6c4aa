"""The cross entropy of logits that a linear layer makes of the input."""

from __future__ import annotations

from typing import Any

from facula.nn.functional.classification import cross_entropy
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
    options        nn.LinearCrossEntropyOptions: accepted, and no result depends on it. PyTorch cuts the
                   batch into chunks by it, to save memory

    Returns a scalar, or with reduction 'none' a loss for each place. RuntimeError if shapes do not fit.

    >>> import facula
    >>> x, w = facula.eye(2), facula.tensor([[9.0, 0.0], [0.0, 9.0]])
    >>> facula.nn.functional.linear_cross_entropy(x, w, facula.tensor([0, 1])).item() < 0.001
    True
    """
    classes, *places, features = _checked(input, linear_weight, linear_bias)
    logits = linear(input, linear_weight.reshape(-1, features),
                    None if linear_bias is None else linear_bias.reshape(-1))
    if places:
        logits = logits.reshape(input.shape[0], classes, *places)
    return cross_entropy(logits, target, weight=weight, reduction=reduction, label_smoothing=label_smoothing,
                         ignore_index=NO_CLASS if ignore_index is None else ignore_index)


def _checked(input: Any, linear_weight: Any, linear_bias: Any) -> tuple[int, ...]:
    """The shape of `linear_weight`, if the others fit it."""
    shape = tuple(linear_weight.shape)
    if len(shape) < 2:
        raise RuntimeError("linear_cross_entropy: linear_weight must be (classes, features) or (classes, d1, ..., dK, "
                           f"features), got {list(shape)}")
    ranks = (2,) if len(shape) > 2 else (1, 2)
    if len(input.shape) not in ranks or input.shape[-1] != shape[-1]:
        wanted = f"(N, {shape[-1]})" if len(shape) > 2 else f"({shape[-1]},) or (N, {shape[-1]})"
        raise RuntimeError(f"linear_cross_entropy: with a linear_weight of {list(shape)}, input must be {wanted}, got "
                           f"{list(input.shape)}")
    if linear_bias is not None and tuple(linear_bias.shape) != shape[:-1]:
        raise RuntimeError(f"linear_cross_entropy: with a linear_weight of {list(shape)}, linear_bias must be "
                           f"{list(shape[:-1])}, got {list(linear_bias.shape)}")
    return shape
