"""The collectives of tensors: each checks, reads elements, has the group's backend move them, and writes what has come.

All of them are called by every rank of a group, in the same order. Tensors may have any strides and any number of
elements, none too. With `async_op=True` a Work is returned at once, else None when it is done; those that do not belong
to the group are warned and get None.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from facula._tensor.handle import Tensor
from facula.distributed import reductions
from facula.distributed.process_group import ProcessGroup
from facula.distributed.reductions import ReduceOp
from facula.distributed.tensors import (
    array_of,
    check_list,
    check_same_dtype,
    check_tensor,
    room_for,
    write,
    write_all,
)
from facula.distributed.work import Work
from facula.distributed.world import chosen, get_group_rank, outside, warn_outside


def _root(group: ProcessGroup, given: int | None, given_in_group: int | None, name: str,
          otherwise: int | None = None) -> int:
    """A rank of the group, from a rank of the world or of the group."""
    if given_in_group is not None:
        if given is not None:
            raise ValueError(f"Can't specify both group_{name} and {name}")
        if not 0 <= given_in_group < group.size():
            raise ValueError(f"Group rank {given_in_group} is not part of group {group}")
        return given_in_group
    if given is None:
        if otherwise is None:
            raise ValueError(f"Must specify {name} or group_{name}")
        return otherwise
    return get_group_rank(group, given)


def all_reduce(tensor: Tensor, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False) -> Work | None:
    """Reduce the tensors of all ranks, element by element; each rank's `tensor` becomes the result.

    The result has the same bits on all ranks and on every run: ranks are added in their order.

    Raises:
        ValueError: the type of the elements has no such reduction.
        DistBackendError: a rank has gone, was late, or has called something else.

    Example:
        >>> import facula
        >>> import facula.distributed as dist
        >>> dist.init_process_group("fake", rank=0, world_size=4)
        >>> x = facula.ones(2)
        >>> dist.all_reduce(x)
        >>> x
        tensor([1., 1.])
        >>> dist.destroy_process_group()
    """
    check_tensor(tensor, "tensor")
    if outside(group):
        warn_outside("all_reduce")
        return None
    found, of = chosen(group), tensor.dtype
    reductions.check(op, of, "all_reduce")
    if found._coalescing is not None:
        found._coalescing.append(lambda: all_reduce_coalesced([tensor], op, found, True))
        return None
    array = array_of(tensor)
    return found._call(f"all_reduce({reductions.kind_of(op).name}, {of.name}, {tensor.numel()} elements)",
                       lambda call: found._backend.all_reduce(call, array, op, of),
                       lambda result: write(tensor, result), tensor, async_op)


def all_reduce_coalesced(tensors: Sequence[Tensor], op: Any = ReduceOp.SUM, group: Any = None,
                         async_op: bool = False) -> Work | None:
    """`all_reduce` of several tensors of one dtype, as one."""
    if isinstance(tensors, Tensor):
        tensors = [tensors]
    check_list(tensors, "tensors")
    if outside(group):
        warn_outside("all_reduce_coalesced")
        return None
    of = check_same_dtype(tensors)
    reductions.check(op, of, "all_reduce")
    found = chosen(group)
    array = _joined(tensors)

    def put(result: np.ndarray) -> None:
        place = 0
        for tensor in tensors:
            write(tensor, np.array(result[place:place + tensor.numel()]))
            place += tensor.numel()
    return found._call(f"all_reduce_coalesced({reductions.kind_of(op).name}, {of.name}, "
                       f"{[t.numel() for t in tensors]} elements)"[:4000],
                       lambda call: found._backend.all_reduce(call, array, op, of), put, list(tensors), async_op)


def _joined(tensors: Sequence[Tensor]) -> np.ndarray:
    parts = [array_of(t).reshape(-1) for t in tensors]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def reduce(tensor: Tensor, dst: int | None = None, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False,
           group_dst: int | None = None) -> Work | None:
    """Reduce the tensors of all ranks; the `tensor` of rank `dst` becomes the result, the others stay what they are."""
    check_tensor(tensor, "tensor")
    if outside(group):
        warn_outside("reduce")
        return None
    found, of = chosen(group), tensor.dtype
    reductions.check(op, of, "reduce")
    root = _root(found, dst, group_dst, "dst")
    array = array_of(tensor)
    return found._call(f"reduce({reductions.kind_of(op).name} to {root}, {of.name}, {tensor.numel()} elements)",
                       lambda call: found._backend.reduce(call, array, op, of, root),
                       lambda result: None if result is None else write(tensor, result), tensor, async_op)


def broadcast(tensor: Tensor, src: int | None = None, group: Any = None, async_op: bool = False,
              group_src: int | None = None) -> Work | None:
    """Every rank's `tensor` gets the elements of rank `src`'s."""
    check_tensor(tensor, "tensor")
    if outside(group):
        warn_outside("broadcast")
        return None
    found, of = chosen(group), tensor.dtype
    root = _root(found, src, group_src, "src")
    array = array_of(tensor) if found.rank() == root else room_for(tensor)
    return found._call(f"broadcast(from {root}, {of.name}, {tensor.numel()} elements)",
                       lambda call: found._backend.broadcast(call, array, root),
                       lambda _: None if found.rank() == root else write(tensor, array), tensor, async_op)


def _gathered(found: ProcessGroup, note: str, outs: list[Tensor], array: np.ndarray, outputs: Any,
              async_op: bool) -> Work | None:
    """Every rank's array into every rank's list."""
    rooms = [room_for(t) for t in outs]
    return found._call(note, lambda call: found._backend.exchange(call, [array] * found.size(), rooms),
                       lambda _: write_all(outs, rooms), outputs, async_op)


def all_gather(tensor_list: list[Tensor], tensor: Tensor, group: Any = None, async_op: bool = False) -> Work | None:
    """`tensor_list[r]` gets the elements of rank r's `tensor`, on all ranks.

    ValueError where the list has not a tensor of the same size and dtype for each rank.
    """
    check_list(tensor_list, "tensor_list")
    check_tensor(tensor, "tensor")
    of = check_same_dtype(tensor_list, tensor)
    if outside(group):
        warn_outside("all_gather")
        return None
    found = chosen(group)
    _fits("all_gather", found, tensor_list, tensor)
    return _gathered(found, f"all_gather({of.name}, {tensor.numel()} elements)", list(tensor_list), array_of(tensor),
                     [tensor_list], async_op)


def _fits(name: str, group: ProcessGroup, tensors: Sequence[Tensor], like: Tensor) -> None:
    if len(tensors) != group.size():
        raise ValueError(f"{name}: invalid list of tensors: there are {len(tensors)}, and {group.size()} ranks")
    for tensor in tensors:
        if tensor.shape != like.shape:
            raise ValueError(f"{name}: invalid tensor size in the list: {tuple(tensor.shape)}, expected "
                             f"{tuple(like.shape)}")


def all_gather_into_tensor(output_tensor: Tensor, input_tensor: Tensor, group: Any = None,
                           async_op: bool = False) -> Work | None:
    """The ranks' `input_tensor`s, one after the other, in `output_tensor`: joined along the first dimension, or
    stacked.

    ValueError where it has not world size times as many elements.
    """
    check_tensor(output_tensor, "output_tensor")
    check_tensor(input_tensor, "input_tensor")
    of = check_same_dtype(output_tensor, input_tensor)
    if outside(group):
        warn_outside("all_gather_into_tensor")
        return None
    found = chosen(group)
    if output_tensor.numel() != input_tensor.numel() * found.size():
        raise ValueError("output tensor size must be equal to world_size times input tensor size")
    room, array = np.empty((found.size(), input_tensor.numel()), of.numpy), array_of(input_tensor).reshape(-1)
    return found._call(f"all_gather_into_tensor({of.name}, {input_tensor.numel()} elements)",
                       lambda call: found._backend.exchange(call, [array] * found.size(), list(room)),
                       lambda _: write(output_tensor, room), output_tensor, async_op)


all_gather_single = all_gather_into_tensor


def all_gather_coalesced(output_tensor_lists: list[list[Tensor]], input_tensor_list: list[Tensor], group: Any = None,
                         async_op: bool = False) -> Work | None:
    """`all_gather` of several tensors: `output_tensor_lists[r]` gets rank r's list."""
    check_list(input_tensor_list, "input_tensor_list")
    if not isinstance(output_tensor_lists, list):
        raise TypeError("Invalid function argument: output_tensor_lists should be a list")
    for tensors in output_tensor_lists:
        check_list(tensors, "output_tensor_lists")
        check_same_dtype(tensors)
    if outside(group):
        warn_outside("all_gather_coalesced")
        return None
    found = chosen(group)
    if len(output_tensor_lists) != found.size() or any(
            [t.shape for t in tensors] != [t.shape for t in input_tensor_list] for tensors in output_tensor_lists):
        raise ValueError("all_gather_coalesced: each rank's list has to have tensors like those of the input")
    raw = _raw(input_tensor_list)
    rooms = np.empty((found.size(), raw.size), np.uint8)

    def put(_: Any) -> None:
        for tensors, room in zip(output_tensor_lists, rooms, strict=True):
            place = 0
            for tensor in tensors:
                size = tensor.numel() * tensor.dtype.itemsize
                write(tensor, np.array(room[place:place + size]).view(tensor.dtype.numpy))
                place += size
    return found._call(f"all_gather_coalesced({len(input_tensor_list)} tensors, {raw.size} bytes)",
                       lambda call: found._backend.exchange(call, [raw] * found.size(), list(rooms)), put,
                       output_tensor_lists, async_op)


def _raw(tensors: Sequence[Tensor]) -> np.ndarray:
    parts = [array_of(t).reshape(-1).view(np.uint8) for t in tensors]
    return np.concatenate(parts) if parts else np.empty(0, np.uint8)


def gather(tensor: Tensor, gather_list: list[Tensor] | None = None, dst: int | None = None, group: Any = None,
           async_op: bool = False, group_dst: int | None = None) -> Work | None:
    """On rank `dst` (0 unless told) `gather_list[r]` gets the elements of rank r's `tensor`; others give no list."""
    check_tensor(tensor, "tensor")
    if outside(group):
        warn_outside("gather")
        return None
    found, of = chosen(group), tensor.dtype
    root = _root(found, dst, group_dst, "dst", 0)
    note = f"gather(to {root}, {of.name}, {tensor.numel()} elements)"
    if found.rank() == root:
        if not gather_list:
            raise ValueError("Argument ``gather_list`` must be specified on destination rank.")
        check_list(gather_list, "gather_list")
        check_same_dtype(gather_list, tensor)
        _fits("gather", found, gather_list, tensor)
    elif gather_list:
        raise ValueError("Argument ``gather_list`` must NOT be specified on non-destination ranks.")
    array, outs = array_of(tensor), list(gather_list or ())
    rooms: list[Any] = [room_for(t) for t in outs] or [None] * found.size()
    return found._call(note, lambda call: found._backend.exchange(
        call, [array if r == root else None for r in range(found.size())], rooms),
        lambda _: write_all(outs, rooms), outs, async_op)


def scatter(tensor: Tensor, scatter_list: list[Tensor] | None = None, src: int | None = None, group: Any = None,
            async_op: bool = False, group_src: int | None = None) -> Work | None:
    """Rank r's `tensor` gets the elements of `scatter_list[r]` of rank `src` (0 unless told); others give no list."""
    check_tensor(tensor, "tensor")
    if outside(group):
        warn_outside("scatter")
        return None
    found, of = chosen(group), tensor.dtype
    root = _root(found, src, group_src, "src", 0)
    if found.rank() == root:
        if not scatter_list:
            raise ValueError("Argument ``scatter_list`` must be specified on source rank.")
        check_list(scatter_list, "scatter_list")
        check_same_dtype(scatter_list, tensor)
        _fits("scatter", found, scatter_list, tensor)
    elif scatter_list:
        raise ValueError("Argument ``scatter_list`` must NOT be specified on non-source ranks.")
    arrays: list[Any] = [array_of(t) for t in scatter_list or ()] or [None] * found.size()
    room = room_for(tensor)
    return found._call(f"scatter(from {root}, {of.name}, {tensor.numel()} elements)",
                       lambda call: found._backend.exchange(
                           call, arrays, [room if r == root else None for r in range(found.size())]),
                       lambda _: write(tensor, room), tensor, async_op)


def reduce_scatter(output: Tensor, input_list: list[Tensor], op: Any = ReduceOp.SUM, group: Any = None,
                   async_op: bool = False) -> Work | None:
    """Rank r's `output` becomes the reduction of all ranks' `input_list[r]`."""
    check_tensor(output, "output")
    check_list(input_list, "input_list")
    of = check_same_dtype(output, input_list)
    if outside(group):
        warn_outside("reduce_scatter")
        return None
    found = chosen(group)
    reductions.check(op, of, "reduce_scatter")
    if len(input_list) != found.size():
        raise ValueError(f"reduce_scatter: there are {len(input_list)} tensors, and {found.size()} ranks")
    if input_list[found.rank()].numel() != output.numel():
        raise ValueError("reduce_scatter: the output has not as many elements as this rank's share")
    return _reduce_scattered(found, "reduce_scatter", output, [array_of(t).reshape(-1) for t in input_list], op,
                             async_op)


def _reduce_scattered(found: ProcessGroup, name: str, output: Tensor, shares: list[np.ndarray], op: Any,
                      async_op: bool) -> Work | None:
    """The reduction of all ranks' `shares[r]` into rank r's output."""
    of = output.dtype
    return found._call(f"{name}({reductions.kind_of(op).name}, {of.name}, {sum(s.size for s in shares)} elements)",
                       lambda call: found._backend.reduce_scatter(call, shares, op, of),
                       lambda result: write(output, result), output, async_op)


def reduce_scatter_tensor(output: Tensor, input: Tensor, op: Any = ReduceOp.SUM, group: Any = None,
                          async_op: bool = False) -> Work | None:
    """Rank r's `output` becomes the reduction of the r-th share of all ranks' `input`."""
    check_tensor(output, "output")
    check_tensor(input, "input")
    of = check_same_dtype(output, input)
    if outside(group):
        warn_outside("reduce_scatter_tensor")
        return None
    found = chosen(group)
    reductions.check(op, of, "reduce_scatter_tensor")
    if input.numel() != output.numel() * found.size():
        raise ValueError("input tensor must be the same size as output size times world size")
    shares = list(array_of(input).reshape(found.size(), -1) if input.numel() else
                  np.empty((found.size(), 0), of.numpy))
    return _reduce_scattered(found, "reduce_scatter_tensor", output, shares, op, async_op)


reduce_scatter_single = reduce_scatter_tensor


def all_to_all(output_tensor_list: list[Tensor], input_tensor_list: list[Tensor], group: Any = None,
               async_op: bool = False) -> Work | None:
    """`output_tensor_list[r]` gets what rank r has for this rank in its `input_tensor_list`. Sizes may differ."""
    check_list(output_tensor_list, "output_tensor_list")
    check_list(input_tensor_list, "input_tensor_list")
    of = check_same_dtype(output_tensor_list, input_tensor_list)
    if outside(group):
        warn_outside("all_to_all")
        return None
    found = chosen(group)
    if len(output_tensor_list) != found.size() or len(input_tensor_list) != found.size():
        raise ValueError(f"all_to_all: lists of {found.size()} tensors are expected, one for each rank")
    outs = list(output_tensor_list)
    arrays, rooms = [array_of(t) for t in input_tensor_list], [room_for(t) for t in outs]
    me = found.rank()
    if arrays[me].size != rooms[me].size:
        raise ValueError("all_to_all: what this rank has for itself has another size than the room for it")
    rooms[me] = rooms[me].reshape(arrays[me].shape)
    return found._call(f"all_to_all({of.name})", lambda call: found._backend.exchange(call, arrays, rooms),
                       lambda _: write_all(outs, rooms), outs, async_op)


def all_to_all_single(output: Tensor, input: Tensor, output_split_sizes: list[int] | None = None,
                      input_split_sizes: list[int] | None = None, group: Any = None,
                      async_op: bool = False) -> Work | None:
    """`input` cut along its first dimension, a piece for each rank; the pieces that come, one after the other, in
    `output`.

    Without sizes all pieces are of one size. ValueError or RuntimeError where the sizes do not fit.
    """
    check_tensor(output, "output")
    check_tensor(input, "input")
    of = check_same_dtype(output, input)
    if outside(group):
        warn_outside("all_to_all_single")
        return None
    found = chosen(group)
    pieces = _pieces(array_of(input), input_split_sizes, found.size(), "input")
    room = room_for(output)
    rooms = _pieces(room, output_split_sizes, found.size(), "output")
    me = found.rank()
    if pieces[me].shape != rooms[me].shape:
        raise ValueError("all_to_all_single: what this rank has for itself has another size than the room for it")
    return found._call(f"all_to_all_single({of.name})", lambda call: found._backend.exchange(call, pieces, rooms),
                       lambda _: write(output, room), output, async_op)


def _pieces(array: np.ndarray, sizes: list[int] | None, ranks: int, name: str) -> list[np.ndarray]:
    length = array.shape[0] if array.ndim else 0
    if not sizes:
        if length % ranks:
            raise RuntimeError(f"Tensor's dim 0 does not divide equally across group size: {name} has {length}, and "
                               f"there are {ranks} ranks")
        sizes = [length // ranks] * ranks
    if len(sizes) != ranks:
        raise RuntimeError(f"Number of tensor splits not equal to group size: {len(sizes)} for {name}, {ranks} ranks")
    if sum(sizes) != length:
        raise RuntimeError(f"Split sizes doesn't match total dim 0 size: {name} has {length}, sizes are {list(sizes)}")
    found, place = [], 0
    for size in sizes:
        found.append(array[place:place + size])
        place += size
    return found
