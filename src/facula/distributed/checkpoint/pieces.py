"""The part of a tensor that this rank has, and what parts of two layouts have in common."""

from __future__ import annotations

from typing import NamedTuple

from facula._tensor.handle import Tensor
from facula.size import Size


class Piece(NamedTuple):
    """A part of a tensor: where it begins in the whole, and its elements."""

    offsets: Size
    local: Tensor


def whole_size(tensor: Tensor) -> Size:
    """The size of the whole tensor."""
    return Size(tensor.shape)


def piece_of(tensor: Tensor) -> Piece | None:
    """What this rank has of a tensor: all of it, if it is not a DTensor. None if it has nothing.

    NotImplementedError of a DTensor whose elements are still to be added.
    """
    from facula.distributed.tensor import DTensor
    if isinstance(tensor, DTensor):
        found = tensor._piece()
        return None if found is None else Piece(Size(found[0]), found[1].detach())
    return Piece(Size([0] * tensor.dim()), tensor.detach())


def overlap(at: Size, size: Size, other_at: Size, other_size: Size) -> tuple[tuple[slice, ...],
                                                                           tuple[slice, ...]] | None:
    """What two pieces of one tensor share, as places in the first and in the second. None if nothing."""
    first, second = [], []
    for a, n, b, m in zip(at, size, other_at, other_size, strict=True):
        start, end = max(a, b), min(a + n, b + m)
        if start >= end:
            return None
        first.append(slice(start - a, end - a))
        second.append(slice(start - b, end - b))
    return tuple(first), tuple(second)
