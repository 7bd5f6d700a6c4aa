"""Which part of a tensor a rank has: arithmetic of sizes, placements and the mesh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from facula.distributed.device_mesh import DeviceMesh
from facula.distributed.tensor.placement_types import Partial, Placement, Replicate, Shard
from facula.size import Size

Placements = tuple[Placement, ...]


def bounds(size: int, parts: int, number: int) -> tuple[int, int]:
    """Where piece `number` of so many begins and ends: all are of one size but the last ones, which may be empty."""
    step = -(-size // parts)
    return min(step * number, size), min(step * (number + 1), size)


def checked(placements: Any, mesh: DeviceMesh, ndim: int, what: str) -> Placements:
    """The placements, one for each dimension of the mesh, counted from the first dimension of the tensor.

    ValueError or RuntimeError where they do not fit.
    """
    found = [Replicate() for _ in range(mesh.ndim)] if placements is None else list(placements)
    if len(found) != mesh.ndim:
        raise ValueError(f"`placements` must have the same length as `device_mesh.ndim`! Found placements length: "
                         f"{len(found)}, and device_mesh.ndim: {mesh.ndim}.")
    made: list[Placement] = []
    for placement in found:
        if isinstance(placement, Shard):
            if not -ndim <= placement.dim < ndim:
                raise ValueError(f"{what}: {placement!r} of a tensor of {ndim} dimensions")
            made.append(Shard(placement.dim % ndim))
        elif isinstance(placement, (Replicate, Partial)):
            made.append(placement)
        else:
            raise TypeError(f"{what}: placements are Shard, Replicate and Partial, got {placement!r}")
    return tuple(made)


def coordinate(mesh: DeviceMesh) -> list[int]:
    """Where this rank stands. NotImplementedError if it does not belong to the mesh."""
    found = mesh.get_coordinate()
    if found is None:
        raise NotImplementedError(f"DTensor: rank {mesh.get_rank()} does not belong to {mesh}; ranks without a piece "
                                  "are not in Facula")
    return found


def local_part(shape: Sequence[int], mesh: DeviceMesh, placements: Placements,
               at: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(sizes, offsets) of what the rank that stands at `at` has of a tensor of that shape."""
    sizes, offsets = list(shape), [0] * len(shape)
    for dim, placement in enumerate(placements):
        if isinstance(placement, Shard):
            start, end = bounds(sizes[placement.dim], mesh.size(dim), at[dim])
            sizes[placement.dim], offsets[placement.dim] = end - start, offsets[placement.dim] + start
    return tuple(sizes), tuple(offsets)


def whole_shape(local: Sequence[int], mesh: DeviceMesh, placements: Placements) -> Size:
    """The shape of a tensor whose pieces are all like this one."""
    shape = list(local)
    for dim, placement in enumerate(placements):
        if isinstance(placement, Shard):
            shape[placement.dim] *= mesh.size(dim)
    return Size(shape)
