"""How PyTorch cuts `linear_cross_entropy` into chunks."""

from __future__ import annotations

from typing import Any

__all__ = ["LinearCrossEntropyOptions"]


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
