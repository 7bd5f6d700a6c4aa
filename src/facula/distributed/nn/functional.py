"""Collectives whose results are new tensors on the tape (`torch.distributed.nn.functional`).

The gradient of each is the collective that leads the other way: every rank has to run its backward pass too, in the
same order. Where ranks add up losses of their own, gradients add up likewise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import facula
from facula._tensor.handle import Tensor
from facula.autograd import Function
from facula.distributed import collectives
from facula.distributed.reductions import ReduceOp
from facula.distributed.world import chosen, get_group_rank


def _at(group: Any, rank: int) -> int:
    return get_group_rank(chosen(group), rank)


class _AllReduce(Function):
    @staticmethod
    def forward(ctx: Any, op: Any, group: Any, tensor: Tensor) -> Tensor:
        ctx.op, ctx.group = op, group
        result = tensor.clone()
        collectives.all_reduce(result, op, group)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return None, None, _AllReduce.apply(ctx.op, ctx.group, gradient)


class _Broadcast(Function):
    @staticmethod
    def forward(ctx: Any, src: int, group: Any, tensor: Tensor) -> Tensor:
        ctx.src, ctx.group = src, group
        result = tensor.clone()
        collectives.broadcast(result, src, group)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        summed: Tensor = _Reduce.apply(ctx.src, ReduceOp.SUM, ctx.group, gradient)
        here = chosen(ctx.group).rank() == _at(ctx.group, ctx.src)
        return None, None, summed if here else facula.zeros_like(gradient)


class _Reduce(Function):
    @staticmethod
    def forward(ctx: Any, dst: int, op: Any, group: Any, tensor: Tensor) -> Tensor:
        ctx.dst, ctx.group = dst, group
        result = tensor.clone()
        collectives.reduce(result, dst, op, group)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return None, None, None, _Broadcast.apply(ctx.dst, ctx.group, gradient)


class _AllGather(Function):
    @staticmethod
    def forward(ctx: Any, group: Any, tensor: Tensor) -> Any:
        ctx.group = group
        parts = [facula.empty_like(tensor) for _ in range(chosen(group).size())]
        collectives.all_gather(parts, tensor, group)
        return tuple(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        mine = facula.empty_like(gradients[chosen(ctx.group).rank()])
        return None, _ReduceScatter.apply(ReduceOp.SUM, ctx.group, mine, *gradients)


class _ReduceScatter(Function):
    @staticmethod
    def forward(ctx: Any, op: Any, group: Any, output: Tensor, *parts: Tensor) -> Tensor:
        ctx.group = group
        result: Tensor = facula.empty_like(output)
        collectives.reduce_scatter(result, list(parts), op, group)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return (None, None, None, *_AllGather.apply(ctx.group, gradient))


class _Gather(Function):
    @staticmethod
    def forward(ctx: Any, dst: int, group: Any, tensor: Tensor) -> Any:
        ctx.dst, ctx.group = dst, group
        # Ranks that gather nothing have zeros: the number of results is the same everywhere.
        parts = [facula.zeros_like(tensor) for _ in range(chosen(group).size())]
        here = chosen(group).rank() == _at(group, dst)
        collectives.gather(tensor, parts if here else None, dst, group)
        return tuple(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return None, None, _Scatter.apply(ctx.dst, ctx.group, *gradients)


class _Scatter(Function):
    @staticmethod
    def forward(ctx: Any, src: int, group: Any, *parts: Tensor) -> Tensor:
        ctx.src, ctx.group = src, group
        result: Tensor = facula.zeros_like(parts[0])
        here = chosen(group).rank() == _at(group, src)
        collectives.scatter(result, list(parts) if here else None, src, group)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return (None, None, *_Gather.apply(ctx.src, ctx.group, gradient))


class _AllToAll(Function):
    @staticmethod
    def forward(ctx: Any, group: Any, outs: Sequence[Tensor], *parts: Tensor) -> Any:
        ctx.group, ctx.shapes = group, [p.shape for p in parts]
        results = [facula.empty_like(out) for out in outs]
        collectives.all_to_all(results, list(parts), group)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        rooms = [facula.empty(tuple(shape), dtype=gradients[0].dtype) for shape in ctx.shapes]
        return (None, None, *_AllToAll.apply(ctx.group, rooms, *[g.contiguous() for g in gradients]))


class _AllToAllSingle(Function):
    @staticmethod
    def forward(ctx: Any, group: Any, output: Tensor, output_sizes: Any, input_sizes: Any, tensor: Tensor) -> Tensor:
        ctx.group, ctx.shape, ctx.sizes = group, tensor.shape, (output_sizes, input_sizes)
        result: Tensor = facula.empty_like(output)
        collectives.all_to_all_single(result, tensor, output_sizes, input_sizes, group)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        room = facula.empty(tuple(ctx.shape), dtype=gradient.dtype)
        back = _AllToAllSingle.apply(ctx.group, room, ctx.sizes[1], ctx.sizes[0], gradient.contiguous())
        return None, None, None, None, back


def all_reduce(tensor: Tensor, op: Any = ReduceOp.SUM, group: Any = None) -> Tensor:
    """The reduction of all ranks' tensors, as a new one.

    Example:
        >>> import facula, facula.distributed as dist
        >>> from facula.distributed.nn import all_reduce
        >>> dist.init_process_group("fake", rank=0, world_size=2)
        >>> x = facula.ones(2, requires_grad=True)
        >>> all_reduce(x).sum().backward()
        >>> x.grad
        tensor([1., 1.])
        >>> dist.destroy_process_group()
    """
    result: Tensor = _AllReduce.apply(op, group, tensor)
    return result


def broadcast(tensor: Tensor, src: int, group: Any = None) -> Tensor:
    """Rank `src`'s tensor, as a new one on every rank."""
    result: Tensor = _Broadcast.apply(src, group, tensor)
    return result


def reduce(tensor: Tensor, dst: int, op: Any = ReduceOp.SUM, group: Any = None) -> Tensor:
    """The reduction of all ranks' tensors on rank `dst`; a copy of its own tensor on the others."""
    result: Tensor = _Reduce.apply(dst, op, group, tensor)
    return result


def all_gather(tensor: Tensor, group: Any = None) -> tuple[Tensor, ...]:
    """All ranks' tensors, in their order."""
    result: tuple[Tensor, ...] = _AllGather.apply(group, tensor)
    return result


def gather(tensor: Tensor, dst: int = 0, group: Any = None) -> tuple[Tensor, ...]:
    """All ranks' tensors on rank `dst`; zeros on the others."""
    result: tuple[Tensor, ...] = _Gather.apply(dst, group, tensor)
    return result


def scatter(tensors: Sequence[Tensor], src: int = 0, group: Any = None) -> Tensor:
    """Rank `src`'s `tensors[rank]`; the other ranks give tensors of the same sizes."""
    result: Tensor = _Scatter.apply(src, group, *tensors)
    return result


def reduce_scatter(output: Tensor, input_list: Sequence[Tensor], op: Any = ReduceOp.SUM, group: Any = None) -> Tensor:
    """The reduction of all ranks' `input_list[rank]`, of the size of `output`."""
    result: Tensor = _ReduceScatter.apply(op, group, output, *input_list)
    return result


def all_to_all(output_tensor_list: Sequence[Tensor], input_tensor_list: Sequence[Tensor],
               group: Any = None) -> tuple[Tensor, ...]:
    """What each rank has for this one; sizes are those of `output_tensor_list`."""
    result: tuple[Tensor, ...] = _AllToAll.apply(group, output_tensor_list, *input_tensor_list)
    return result


def all_to_all_single(output: Tensor, input: Tensor, output_split_sizes: list[int] | None = None,
                      input_split_sizes: list[int] | None = None, group: Any = None) -> Tensor:
    """The pieces that come, one after the other, of the size of `output`."""
    result: Tensor = _AllToAllSingle.apply(group, output, output_split_sizes, input_split_sizes, input)
    return result
