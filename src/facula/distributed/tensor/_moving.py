"""From one layout to another: what ranks hand to each other, and what that does to gradients.

The gradient of a tensor in pieces is in the same pieces; that of a whole tensor is whole on each rank; and that of
summands is whole too, since each of them counts as it is. So a gradient's layout follows from the tensor's, and the
gradient of a move is the move back. Where an operation reads a whole tensor but each rank computes a part of the
result only, the gradient that a rank finds is a summand: `spread` marks these places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import facula
from facula._tensor.handle import Tensor
from facula.autograd import Function
from facula.distributed import collectives
from facula.distributed.device_mesh import DeviceMesh
from facula.distributed.reductions import ReduceOp
from facula.distributed.tensor._layout import Placements, bounds, coordinate
from facula.distributed.tensor.placement_types import Partial, Placement, Replicate, Shard

_OPS = {"sum": ReduceOp.SUM, "avg": ReduceOp.AVG, "max": ReduceOp.MAX, "min": ReduceOp.MIN,
        "product": ReduceOp.PRODUCT}


def of_gradient(placements: Placements) -> Placements:
    """How the gradient lies of a tensor that lies so."""
    return tuple(Replicate() if isinstance(p, Partial) else p for p in placements)


def _cut(local: Tensor, dim: int, parts: int) -> list[Tensor]:
    edges = [bounds(local.shape[dim], parts, k) for k in range(parts)]
    return [local.narrow(dim, start, end - start) for start, end in edges]


def _exchanged(given: list[Tensor], mine: Tensor, dim: int, whole: int, group: Any) -> Tensor:
    """Each rank gives each other a piece of what is `whole` long along a dimension, and joins what it gets. `mine`: the
    piece for itself."""
    shape, rooms = list(mine.shape), []
    for k in range(len(given)):
        start, end = bounds(whole, len(given), k)
        rooms.append(facula.empty(*shape[:dim], end - start, *shape[dim + 1:], dtype=mine.dtype))
    collectives.all_to_all(rooms, given, group)
    found: Tensor = facula.cat(rooms, dim)
    return found


def _step(local: Tensor, before: Placement, after: Placement, sizes: Sequence[int], group: Any) -> Tensor:
    """One dimension of the mesh. `sizes`: of the tensor, once it is whole along this dimension."""
    parts, me = group.size(), group.rank()
    if isinstance(before, Partial):
        op = _OPS.get(before.reduce_op)
        if op is None:
            raise NotImplementedError(f"DTensor: {before!r} has no reduction; there are {sorted(_OPS)}")
        if isinstance(after, Replicate):
            summed: Tensor = local.clone(memory_format=facula.contiguous_format)
            collectives.all_reduce(summed, op, group)
            return summed
        if isinstance(after, Shard):
            shares = [part.contiguous() for part in _cut(local, after.dim, parts)]
            room: Tensor = facula.empty_like(shares[me])
            collectives.reduce_scatter(room, shares, op, group)
            return room
        raise NotImplementedError(f"DTensor: {before!r} cannot become {after!r}")
    if isinstance(before, Replicate):
        if isinstance(after, Shard):
            mine: Tensor = _cut(local, after.dim, parts)[me].clone(memory_format=facula.contiguous_format)
            return mine
        assert isinstance(after, Partial)
        if after.reduce_op == "sum":
            local = local if me == 0 else facula.zeros_like(local)
        return local.clone()  # of equals the mean, the largest and the least are what they are
    assert isinstance(before, Shard)
    if isinstance(after, Shard):
        given = [part.contiguous() for part in _cut(local, after.dim, parts)]
        return _exchanged(given, given[me], before.dim, sizes[before.dim], group)
    whole = _exchanged([local.contiguous()] * parts, local, before.dim, sizes[before.dim], group)
    return whole if isinstance(after, Replicate) else _step(whole, Replicate(), after, sizes, group)


def _sizes_within(shape: Sequence[int], mesh: DeviceMesh, placements: Sequence[Placement], upto: int,
                  at: Sequence[int]) -> list[int]:
    """The sizes of what the ranks along a mesh's dimension have together: pieces of the dimensions before it."""
    sizes = list(shape)
    for dim in range(upto):
        placement = placements[dim]
        if isinstance(placement, Shard):
            start, end = bounds(sizes[placement.dim], mesh.size(dim), at[dim])
            sizes[placement.dim] = end - start
    return sizes


def move(local: Tensor, mesh: DeviceMesh, shape: Sequence[int], before: Placements, after: Placements) -> Tensor:
    """What this rank has of a tensor of that shape in another layout. Without history.

    Where two dimensions of the mesh cut the same dimension of the tensor, the later one cuts pieces of the earlier
    one's: it has to be undone first where the earlier one changes.
    """
    at, now = coordinate(mesh), list(before)
    for dim in reversed(range(len(now))):
        mine = now[dim]
        if isinstance(mine, Shard) and any(now[k] != after[k] and mine in (now[k], after[k]) for k in range(dim)):
            now[dim], local = _turned(local, mesh, shape, now, dim, Replicate(), at)
    for dim in range(len(now)):
        if now[dim] != after[dim]:
            now[dim], local = _turned(local, mesh, shape, now, dim, after[dim], at)
    return local


def _turned(local: Tensor, mesh: DeviceMesh, shape: Sequence[int], now: Sequence[Placement], dim: int,
            wanted: Placement, at: Sequence[int]) -> tuple[Placement, Tensor]:
    sizes = _sizes_within(shape, mesh, now, dim, at)
    return wanted, _step(local, now[dim], wanted, sizes, mesh.get_group(dim))


class _Move(Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor, mesh: DeviceMesh, shape: Any, before: Placements, after: Placements) -> Tensor:
        ctx.how = mesh, shape, before, after
        return move(local, mesh, shape, before, after)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        mesh, shape, before, after = ctx.how
        for was, becomes in zip(before, after, strict=True):
            if was != becomes and isinstance(was, Partial) and was.reduce_op != "sum":
                raise NotImplementedError(f"DTensor: a gradient through {was!r} is not in Facula")
        return moved(gradient, mesh, shape, of_gradient(after), of_gradient(before)), None, None, None, None


class _Spread(Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor, mesh: DeviceMesh, shape: Any, before: Placements, after: Placements) -> Tensor:
        ctx.how = mesh, shape, before, after
        return local.view_as(local)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return moved(gradient, *ctx.how), None, None, None, None


def moved(local: Tensor, mesh: DeviceMesh, shape: Any, before: Placements, after: Placements) -> Tensor:
    """`move`, with a gradient."""
    if before == after:
        return local
    if not (local.requires_grad and facula.is_grad_enabled()):
        with facula.no_grad():
            return move(local, mesh, shape, before, after)
    found: Tensor = _Move.apply(local, mesh, shape, before, after)
    return found


def spread(local: Tensor, mesh: DeviceMesh, shape: Any, placements: Placements, dims: Sequence[int]) -> Tensor:
    """A tensor that is whole along some dimensions of the mesh where each rank finds a summand of its gradient."""
    if not dims or not (local.requires_grad and facula.is_grad_enabled()):
        return local
    after = of_gradient(placements)
    before = tuple(Partial() if k in dims else p for k, p in enumerate(after))
    found: Tensor = _Spread.apply(local, mesh, shape, before, after)
    return found


def agreed(local: Tensor, mesh: DeviceMesh, placements: Placements) -> Tensor:
    """`local`, where it should be whole with the elements of the first rank."""
    for dim, placement in enumerate(placements):
        if isinstance(placement, Replicate):
            group = mesh.get_group(dim)
            found = local.detach().clone(memory_format=facula.contiguous_format)
            collectives.broadcast(found, group_src=0, group=group)
            local = found.requires_grad_(local.requires_grad)
    return local


class _Regarded(Function):
    """A tensor whose gradient lies in another way than the tensor says."""

    @staticmethod
    def forward(ctx: Any, local: Tensor, mesh: Any, shape: Any, before: Any, after: Any) -> Tensor:
        ctx.how = mesh, shape, before, after
        return local.view_as(local)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return moved(gradient, *ctx.how), None, None, None, None


def regarded(local: Tensor, mesh: DeviceMesh, shape: Any, placements: Placements, given: Placements,
              entering: bool) -> Tensor:
    """`local` with a gradient that lies as `given` outside: what comes `entering` goes out so, else comes in so."""
    own = of_gradient(placements)
    if own == given or not local.requires_grad:
        return local
    found: Tensor = _Regarded.apply(local, mesh, shape, *((own, given) if entering else (given, own)))
    return found
