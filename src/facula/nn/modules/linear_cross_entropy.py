"""The cross entropy of a linear layer's logits, as one module."""

from __future__ import annotations

import math
from typing import Any

from .. import functional as F
from .linear import Linear
from .loss import _WeightedLoss

__all__ = ["LinearCrossEntropyLoss", "LinearCrossEntropyOptions"]


class LinearCrossEntropyOptions:
    """How PyTorch cuts `linear_cross_entropy` into chunks: kept, no result depends on it."""

    __slots__ = (
        "allow_retain_graph",
        "batch_chunk_size",
        "chunking_method",
        "acc_policy",
        "acc_dtype",
    )

    def __init__(
        self,
        allow_retain_graph: bool = False,
        batch_chunk_size: int | None = None,
        chunking_method: str | None = "auto",
        acc_policy: str = "auto",
        acc_dtype: Any = None,
    ) -> None:
        values = allow_retain_graph, batch_chunk_size, chunking_method, acc_policy, acc_dtype
        for name, value in zip(self.__slots__, values, strict=True):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"cannot assign to field {name!r}")

    def _fields(self) -> tuple[Any, ...]:
        return tuple([getattr(self, name) for name in self.__slots__])

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash(self._fields())

    def __reduce__(self) -> Any:
        return type(self), self._fields()

    def __repr__(self) -> str:
        inner = zip(self.__slots__, self._fields(), strict=True)
        return f"{type(self).__name__}({', '.join([f'{n}={v!r}' for n, v in inner])})"


class LinearCrossEntropyLoss(_WeightedLoss):
    """`CrossEntropyLoss()(Linear(in_features, num_classes)(input), target)`.

    Args:
        out_features: (d1, ...) for a loss at each of these places: targets (N, d1, ...).
        bias: whether the linear layer has one.
        weight: (C), a factor a class.
        options: LinearCrossEntropyOptions; results do not depend on them.

    Example:
        >>> import facula
        >>> loss = facula.nn.LinearCrossEntropyLoss(3, 4)
        >>> round(loss(facula.zeros(1, 3), facula.tensor([2])).item(), 4)
        1.3863
    """

    __constants__ = ["num_classes", "out_features", "reduction", "ignore_index", "label_smoothing"]

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: Any = None,
        dtype: Any = None,
        reduction: str = "mean",
        weight: Any = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: Any = None,
    ) -> None:
        super().__init__(weight, reduction=reduction)
        self.num_classes = num_classes
        self.out_features = tuple(out_features)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.options = options
        features = num_classes * math.prod(self.out_features)
        self.linear = Linear(in_features, features, bias=bias, device=device, dtype=dtype)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.linear.in_features}, num_classes={self.num_classes}, "
            f"out_features={self.out_features}, bias={self.linear.bias is not None}, "
            f"reduction={self.reduction}, ignore_index={self.ignore_index}, "
            f"label_smoothing={self.label_smoothing}, options={self.options}"
        )

    def forward(self, input: Any, target: Any) -> Any:
        shape = (self.num_classes, *self.out_features)
        bias = self.linear.bias
        return F.linear_cross_entropy(
            input,
            self.linear.weight.unflatten(0, shape),
            target,
            linear_bias=None if bias is None else bias.unflatten(0, shape),
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            options=self.options,
        )
