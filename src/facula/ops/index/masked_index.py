"""Indexing where a mask holds: places outside of it may have any index. PyTorch's compiler writes such calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from facula._tensor.handle import Tensor
from facula.ops.elementwise.comparison import clamp
from facula.ops.index.indexing import index_put
from facula.ops.index.masking import masked_fill
from facula.ops.registry import op


def _within(input: Tensor, indices: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    """The indices, those that are out of range at the nearest end."""
    return tuple([None if i is None else clamp(i, -size, size - 1)
                  for i, size in zip(indices, input.shape, strict=False)])


@op(method=False)
def _unsafe_masked_index(input: Tensor, mask: Tensor, indices: Sequence[Tensor | None], fill: Any) -> Tensor:
    """`input[indices]` where `mask` holds, else `fill`.

    Example:
        >>> import facula
        >>> places = facula.tensor([0, 9])
        >>> facula._unsafe_masked_index(facula.tensor([5., 6.]), places < 2, [places], -1.0)
        tensor([ 5., -1.])
    """
    key = tuple([slice(None) if i is None else i for i in _within(input, indices)])
    return masked_fill(input[key], mask.logical_not(), fill)


@op(method=False)
def _unsafe_masked_index_put_accumulate(input: Tensor, mask: Tensor, indices: Sequence[Tensor | None],
                                        values: Tensor) -> Tensor:
    """`input` with `values` added at `indices` where `mask` holds: the gradient of `_unsafe_masked_index`."""
    given = masked_fill(values, mask.logical_not(), 0)
    return index_put(input, _within(input, indices), given, accumulate=True)  # type: ignore[no-any-return]
