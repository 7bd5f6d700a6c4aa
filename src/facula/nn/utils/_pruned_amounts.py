"""How much is pruned, and of what: checks and masks that the methods of `prune` share."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import facula
from facula._tensor.handle import Tensor


def check_amount(amount: Any) -> None:
    """TypeError if it is no number, ValueError if it is negative, or a part greater than 1."""
    if not isinstance(amount, Real):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    if isinstance(amount, Integral) and float(amount) < 0 \
            or not isinstance(amount, Integral) and not 0.0 <= float(amount) <= 1.0:
        raise ValueError(f"amount={amount} should either be a float in the range [0, 1] or a non-negative integer")


def amount_of(amount: Any, size: int) -> int:
    """How many of `size` are pruned. ValueError if there are fewer."""
    if not isinstance(amount, Integral):
        return round(float(amount) * size)
    if amount > size:  # type: ignore[operator]
        raise ValueError(f"amount={amount} should be smaller than the number of parameters to prune={size}")
    return int(amount)


def check_structured(t: Tensor, dim: int) -> None:
    """ValueError if a tensor has no channels, IndexError if it has no such dimension."""
    if len(t.shape) <= 1:
        raise ValueError("Structured pruning can only be applied to multidimensional tensors. Found tensor of shape "
                         f"{t.shape} with {len(t.shape)} dims")
    if dim >= t.dim():
        raise IndexError(f"Invalid index {dim} for tensor of size {t.shape}")


def keep_largest_channels(scores: Tensor, count: int, t: Tensor, dim: int, mask: Tensor) -> Any:
    """`mask`, with all channels along `dim` but those of the `count` largest scores at zero."""
    largest = facula.topk(scores, k=count, largest=True)
    channels = facula.zeros_like(t)
    where: list[Any] = [slice(None)] * t.ndim
    where[dim] = largest.indices
    channels[tuple(where)] = 1
    return channels * mask.to(dtype=channels.dtype)
