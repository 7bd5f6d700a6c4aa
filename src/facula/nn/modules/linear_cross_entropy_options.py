"""How `linear_cross_entropy` is cut into chunks."""

from __future__ import annotations

import re
from typing import Any

from facula.dtypes import bfloat16, float16, float32, float64

__all__ = ["LinearCrossEntropyOptions"]


class LinearCrossEntropyOptions:
    """How `linear_cross_entropy` is cut into chunks of rows, whose logits are not kept.

    Args:
        allow_retain_graph: kept; a backward pass may always be repeated.
        batch_chunk_size: rows of a chunk.
        chunking_method: how many rows where no size is given. "aspect_ratio:k" (k is 2 if it is left out, and for
            "auto"): so many that a chunk's logits are not larger than k times the input. None: all rows at once.
        acc_policy: "accurate", "balanced", "compact" or "auto": kept, sums over chunks are always made in `acc_dtype`.
        acc_dtype: float dtype in which the gradients of weight and bias are summed over chunks (None: float32 for
            16-bit floats, else the input's own).

    Raises:
        ValueError: a value is none of these.

    Example:
        >>> import facula
        >>> facula.nn.LinearCrossEntropyOptions().rows(2048, 256, 20000)
        52
    """

    __slots__ = ("allow_retain_graph", "batch_chunk_size", "chunking_method", "acc_policy", "acc_dtype")

    allow_retain_graph: bool
    batch_chunk_size: int | None
    chunking_method: str | None
    acc_policy: str
    acc_dtype: Any

    def __init__(
        self,
        allow_retain_graph: bool = False,
        batch_chunk_size: int | None = None,
        chunking_method: str | None = "auto",
        acc_policy: str = "auto",
        acc_dtype: Any = None,
    ) -> None:
        if batch_chunk_size is not None and not (isinstance(batch_chunk_size, int) and batch_chunk_size > 0):
            raise ValueError(f"batch_chunk_size must be positive int or None, got {batch_chunk_size!r}")
        if chunking_method is not None and not (
                isinstance(chunking_method, str) and re.fullmatch(r"auto|aspect_ratio(:0*[1-9]\d*)?", chunking_method)):
            raise ValueError(f"invalid chunking_method: {chunking_method!r}")
        if acc_policy not in ("accurate", "balanced", "compact", "auto"):
            raise ValueError(f"invalid acc_policy: {acc_policy!r}")
        if acc_dtype not in (None, float16, bfloat16, float32, float64):
            raise ValueError("acc_dtype must be one of {None, torch.float16, torch.bfloat16, torch.float32, "
                             f"torch.float64}}, got {acc_dtype!r}. Pass acc_dtype=None to let the op pick "
                             "automatically.")
        values = allow_retain_graph, batch_chunk_size, chunking_method, acc_policy, acc_dtype
        for name, value in zip(self.__slots__, values, strict=True):
            object.__setattr__(self, name, value)

    def rows(self, batch: int, features: int, classes: int) -> int:
        """Rows of a chunk, for an input (batch, features)."""
        if self.batch_chunk_size is not None:
            return int(self.batch_chunk_size)
        if self.chunking_method is None:
            return max(batch, 1)
        _, _, ratio = self.chunking_method.partition(":")
        return max(1, min(batch, int(ratio or 2) * batch * features // max(classes, 1)))

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
