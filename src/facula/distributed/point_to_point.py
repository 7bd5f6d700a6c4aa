"""From one rank to another: send, recv, isend, irecv, and several of them at once.

A message goes to the receive of the same group, rank and tag that was called first. Its number of bytes has to be
that of the tensor there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula._tensor.handle import Tensor
from facula.distributed.constants import DistBackendError
from facula.distributed.process_group import ProcessGroup
from facula.distributed.tensors import array_of, check_tensor, room_for, write
from facula.distributed.work import Work
from facula.distributed.world import chosen, get_global_rank, get_group_rank, get_rank, outside, warn_outside


def _other(group: ProcessGroup, given: int | None, in_group: int | None, what: str, name: str) -> int:
    if given is not None and in_group is not None:
        raise ValueError(f"Can't specify both group_{name} and {name}")
    if given is None and in_group is None:
        raise ValueError(f"Must specify {name} or group_{name}")
    if in_group is not None:
        get_global_rank(group, in_group)
        place = in_group
    else:
        assert given is not None
        place = get_group_rank(group, given)
    if place == group.rank():
        raise ValueError(f"Invalid {what} rank: {what} rank should not be the same as the rank of the current process.")
    return place


def send(tensor: Tensor, dst: int | None = None, group: Any = None, tag: int = 0, group_dst: int | None = None) -> None:
    """Send to rank `dst`: back when the tensor may be written again.

    Raises:
        ValueError: that is this rank, or none of the group.
        DistBackendError: it has gone, or takes nothing.
    """
    work = isend(tensor, dst, group, tag, group_dst)
    if work is not None:
        work.wait()


def isend(tensor: Tensor, dst: int | None = None, group: Any = None, tag: int = 0,
          group_dst: int | None = None) -> Work | None:
    """Send to rank `dst`; the Work is done when the tensor may be written again."""
    check_tensor(tensor, "tensor")
    if outside(group):
        warn_outside("isend")
        return None
    found = chosen(group)
    to = _other(found, dst, group_dst, "destination", "dst")
    array = array_of(tensor)
    work = Work(tensor, f"send(to {to}, {tensor.numel()} elements)")
    if array.nbytes <= 1 << 16 and not found._sending:  # a socket takes it at once
        found._backend.send(array, to, tag, found._limit)
        work._complete()
    else:
        found._post_send(array, to, tag, work)
    return work


def recv(tensor: Tensor, src: int | None = None, group: Any = None, tag: int = 0, group_src: int | None = None) -> int:
    """Receive from rank `src`, from whichever sends first if it is None, into `tensor`; the sender's rank.

    Raises:
        ValueError: that is this rank, or none of the group.
        DistBackendError: nothing came in time; the rank has gone; the message has another size.
    """
    work = irecv(tensor, src, group, tag, group_src)
    if work is None:
        return -1
    work.wait()
    return work._source


def irecv(tensor: Tensor, src: int | None = None, group: Any = None, tag: int = 0,
          group_src: int | None = None) -> Work | None:
    """Receive from rank `src`, or from any; `tensor` has the elements when the Work is waited for."""
    check_tensor(tensor, "tensor")
    if outside(group):
        warn_outside("irecv")
        return None
    found = chosen(group)
    source = None if src is None and group_src is None else _other(found, src, group_src, "source", "src")
    room = room_for(tensor)
    awaited = found._backend.receive(room, source, tag)
    where = "any rank" if source is None else f"rank {get_global_rank(found, source)}"
    what = f"recv(from {where}, {tensor.numel()} elements)"

    def take() -> None:
        awaited.wait(0)
        work._source = get_global_rank(found, awaited.source)
        write(tensor, room)

    def pump(limit: float | None) -> None:
        patience = found._limit if limit is None else limit
        try:
            came = awaited.wait(patience)
        except DistBackendError as error:
            work._complete(error)
            return
        if came:
            work._complete()
            return
        awaited.withdraw()
        work._complete(DistBackendError(f"{what}: rank {get_rank()} has waited {patience:g} s and nothing has come"))
    work = Work(tensor, what, take)
    work._pump = pump
    awaited.when_done(work._complete)
    return work


class P2POp:
    """One of the operations of `batch_isend_irecv`.

    Args:
        op: `isend` or `irecv`. ValueError of anything else.
        tensor, peer, group, tag: its arguments; `peer` is a rank of the world, `group_peer` one of the group.
    """

    def __init__(self, op: Callable[..., Any], tensor: Tensor, peer: int | None = None, group: Any = None, tag: int = 0,
                 group_peer: int | None = None) -> None:
        if op not in (isend, irecv):
            raise ValueError("Invalid ``op``. Expected ``op`` to be of type ``torch.distributed.isend`` or "
                             "``torch.distributed.irecv``.")
        check_tensor(tensor, "tensor")
        self.op, self.tensor, self.tag = op, tensor, tag
        self.group = chosen(group)
        if peer is not None and group_peer is not None:
            raise ValueError("Can't specify both group_peer and peer")
        if peer is None and group_peer is None:
            raise ValueError("Must specify peer or group_peer")
        if group_peer is not None:
            peer = get_global_rank(self.group, group_peer)
        assert peer is not None
        self.peer, self.group_peer = peer, get_group_rank(self.group, peer)

    def __repr__(self) -> str:
        return (f"P2POp({self.op.__name__} pg={self.group.group_name}, self={get_rank()}, peer={self.peer}, "
                f"{tuple(self.tensor.shape)}, {self.tensor.dtype})")


def batch_isend_irecv(p2p_op_list: list[P2POp]) -> list[Work]:
    """All of these sends and receives at once; their Works, in order.

    ValueError of an empty list, of anything but P2POps, or of several groups.

    Example:
        >>> import facula, facula.distributed as dist
        >>> dist.init_process_group("fake", rank=0, world_size=2)
        >>> x, y = facula.ones(2), facula.zeros(2)
        >>> works = dist.batch_isend_irecv([dist.P2POp(dist.isend, x, 1), dist.P2POp(dist.irecv, y, 1)])
        >>> [work.wait() for work in works]
        [True, True]
        >>> dist.destroy_process_group()
    """
    if not isinstance(p2p_op_list, list) or not p2p_op_list or not all(isinstance(p, P2POp) for p in p2p_op_list):
        raise ValueError("Invalid ``p2p_op_list``. Each op is expected to to be of type "
                         "``torch.distributed.P2POp``.")
    if any(p.group is not p2p_op_list[0].group for p in p2p_op_list):
        raise ValueError("All ops need to use the same group.")
    order = sorted(range(len(p2p_op_list)), key=lambda k: p2p_op_list[k].op is isend)  # receives are posted first
    works: list[Any] = [None] * len(p2p_op_list)
    for k in order:
        p = p2p_op_list[k]
        works[k] = p.op(p.tensor, p.peer, p.group, p.tag)
    return works
