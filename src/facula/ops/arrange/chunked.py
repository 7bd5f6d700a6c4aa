"""`_chunk_cat`: several tensors, each in as many pieces, the pieces side by side, as sharded training has them."""

from __future__ import annotations

from collections.abc import Sequence

from facula._tensor.handle import Tensor
from facula.engine.graph.node import size_of
from facula.ops.arguments import wrap_dim
from facula.ops.arrange.joining import cat
from facula.ops.arrange.padding import constant_pad_nd
from facula.ops.registry import op


@op(method=False, out=True)
def _chunk_cat(tensors: Sequence[Tensor], dim: int, num_chunks: int) -> Tensor:
    """Row k holds what `chunk` would give each tensor as its k-th piece, flattened from `dim` on.

    Each tensor is continued with zeros along `dim` to a multiple of `num_chunks`: (*lead, n, *rest) becomes
    (*lead, num_chunks, m), and these are joined along m.

    Raises:
        RuntimeError: no tensors, an empty one, leading sizes or dtypes that differ, num_chunks below 1.

    Example:
        >>> import facula
        >>> facula._chunk_cat([facula.ones(3), facula.full((2,), 2.0)], 0, 2)
        tensor([[1., 1., 2.],
                [1., 0., 2.]])
    """
    items = list(tensors)
    if not items:
        raise RuntimeError("_chunk_cat expects a non-empty input tensor list")
    if num_chunks < 1:
        raise RuntimeError(f"_chunk_cat expects positive num_chunks, got {num_chunks}")
    first = items[0]
    for t in items:
        if not size_of(t.shape):
            raise RuntimeError(f"_chunk_cat expects non-empty tensor, got shape {list(t.shape)}")
        if t.dtype is not first.dtype:
            raise RuntimeError("_chunk_cat expects all input tensors with the same dtype, got "
                               f"{first.dtype} and {t.dtype}")
        if dim < 0 and len(t.shape) != len(first.shape):
            raise RuntimeError("_chunk_cat expects non-negative dim when input tensors have different ndims")
    if dim < 0:
        dim = wrap_dim(dim, len(first.shape))
    rows = []
    for t in items:
        if dim >= len(t.shape):
            raise RuntimeError(f"_chunk_cat expects dim < ndim for all input tensors, got dim={dim} and shape "
                               f"{list(t.shape)}")
        if t.shape[:dim] != first.shape[:dim]:
            raise RuntimeError("_chunk_cat expects same sizes of 0,...,dim-1 dimensions for all tensors, got "
                               f"{list(first.shape)} and {list(t.shape)} with dim={dim}")
        short = -t.shape[dim] % num_chunks
        if short:
            t = constant_pad_nd(t, [0, 0] * (len(t.shape) - 1 - dim) + [0, short])
        rows.append(t.reshape(*t.shape[:dim], num_chunks, -1))
    return cat(rows, dim + 1)
