"""The cross entropy of a linear map's logits."""

from __future__ import annotations

from typing import Any

from .classification import cross_entropy
from .linear import linear


def _check(input: Any, weight: Any, bias: Any) -> None:
    if input.dim() not in (1, 2):
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {input.dim()}")
    if weight.dim() < 2:
        raise RuntimeError(
            f"expected linear_weight with dimensionality at least 2, got {weight.dim()}"
        )
    if input.shape[-1] != weight.shape[-1]:
        raise RuntimeError(
            "expected equal input and linear_weight last dimensions (in_features), "
            f"got {input.shape[-1]} and {weight.shape[-1]}, respectively"
        )
    if bias is not None and bias.shape != weight.shape[:-1]:
        raise RuntimeError(
            f"expected linear_bias shape {tuple(weight.shape[:-1])}, got {tuple(bias.shape)}"
        )
    if weight.dim() > 2 and input.dim() == 1:
        raise RuntimeError(
            f"K-dimensional loss defined by linear_weight shape {tuple(weight.shape)} requires "
            f"batched input, (N, {input.shape[0]}), got unbatched input with shape "
            f"{tuple(input.shape)}"
        )


def linear_cross_entropy(
    input: Any,
    linear_weight: Any,
    target: Any,
    *,
    linear_bias: Any = None,
    weight: Any = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Any:
    """`cross_entropy(linear(input, linear_weight, linear_bias), target)`.

    Args:
        input: (N, in) or (in), of floats.
        linear_weight: (C, in), or (C, d1, ..., in) for a loss at each place of d1, ...
        target: class indices (N, d1, ...) or probabilities (N, C, d1, ...), without N as input.
        linear_bias: (C, d1, ...).
        weight: (C), a factor a class.
        ignore_index: a target index that counts nothing, -100 by default.
        label_smoothing: how much of the target is spread evenly over all classes.
        options: how PyTorch cuts the work into chunks; results do not depend on it, nor does
            anything here.

    Raises:
        RuntimeError: sizes that do not fit, or `ignore_index` with probabilities.

    Example:
        >>> import facula
        >>> x, w = facula.zeros(1, 3), facula.ones(4, 3)
        >>> loss = facula.nn.functional.linear_cross_entropy(x, w, facula.tensor([2]))
        >>> round(loss.item(), 4)
        1.3863
    """
    _check(input, linear_weight, linear_bias)
    shape = linear_weight.shape[:-1]
    if linear_weight.dim() > 2:
        linear_weight = linear_weight.flatten(0, -2)
        linear_bias = None if linear_bias is None else linear_bias.flatten()
    logits = linear(input, linear_weight, linear_bias)
    if len(shape) > 1:
        logits = logits.unflatten(-1, tuple(shape))
    if ignore_index is not None and target.shape == logits.shape:
        raise RuntimeError("ignore_index cannot be specified when target contains probabilities")
    return cross_entropy(
        logits,
        target,
        weight,
        ignore_index=-100 if ignore_index is None else ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )
