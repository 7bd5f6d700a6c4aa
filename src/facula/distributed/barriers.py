"""Barriers, and collectives that are gathered into one call."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np

from facula.distributed.constants import DistBackendError, seconds
from facula.distributed.process_group import ProcessGroup
from facula.distributed.work import Work
from facula.distributed.world import chosen, get_global_rank, outside, warn_outside


def barrier(group: Any = None, async_op: bool = False, device_ids: Any = None,
            timeout: timedelta | None = None) -> Work | None:
    """Wait until all ranks of the group have come here.

    DistBackendError if they have not within `timeout`, or else the group's.
    """
    if outside(group):
        warn_outside("barrier")
        return None
    if device_ids is not None and not isinstance(device_ids, list):
        raise TypeError("Invalid function argument: device_ids type should be List[int]")
    if device_ids is not None:
        raise RuntimeError("Function argument device_ids not supported for the selected backend "
                           f"{chosen(group).name()}")
    found = chosen(group)
    return found._call("barrier", found._backend.barrier, None, None, async_op,
                       None if timeout is None else seconds(timeout, found._limit))


_MONITOR = 0x7E7E7E7E  # the tag of a monitored barrier's messages


def monitored_barrier(group: Any = None, timeout: timedelta | None = None, wait_all_ranks: bool = False) -> None:
    """A barrier whose rank 0 says which ranks have not come.

    Args:
        timeout: of this call; the group's unless told.
        wait_all_ranks: name all that have not come, not only the first.

    Raises:
        DistBackendError: on rank 0, of the ranks that have not come; on the others, of rank 0.
    """
    if outside(group):
        warn_outside("monitored_barrier")
        return
    found = chosen(group)
    if found.name() not in ("gloo", "mpi", "fake"):
        raise ValueError("monitored_barrier is only implemented for GLOO backend.")
    limit = seconds(timeout, found._limit)
    found._settle()
    carrier, empty = found._backend, np.empty(0, np.uint8)
    if carrier.rank:
        try:
            carrier.send(empty, 0, _MONITOR, limit)
            # Rank 0 may wait for others as long as we do, and for us before.
            came = carrier.receive(empty, 0, _MONITOR).wait(limit * 2)
        except DistBackendError as error:
            raise DistBackendError(f"monitored_barrier: {error}") from None
        if not came:
            raise DistBackendError(f"Rank {get_global_rank(found, carrier.rank)} successfully reached "
                                   f"monitoredBarrier, "
                                   f"but received errors while waiting for send/recv from rank 0 in {limit:g} s. "
                                   "Please check rank 0 logs for faulty rank.")
        return
    until, missing = time.monotonic() + limit, []
    for rank in range(1, carrier.size):
        why = f"has not come within {limit:g} s"
        awaited = None
        try:
            awaited = carrier.receive(empty, rank, _MONITOR)
            if awaited.wait(max(until - time.monotonic(), 0)):
                continue
        except DistBackendError as error:
            why = str(error)
        if awaited is not None:
            awaited.withdraw()
        missing.append((get_global_rank(found, rank), why))
        if not wait_all_ranks:
            break
    if missing:
        raise DistBackendError("[Rank 0]: Ranks " + ", ".join(str(r) for r, _ in missing)
                               + f" failed to pass monitoredBarrier in {round(limit * 1000)} ms: "
                               + "; ".join(f"rank {r}: {why}" for r, why in missing))
    for rank in range(1, carrier.size):
        carrier.send(empty, rank, _MONITOR, limit)


class _CoalescingManager:
    """What `_coalescing_manager` gives: the Works of what was called inside."""

    def __init__(self) -> None:
        self.works: list[Work] = []

    def append(self, work: Work | None) -> None:
        """One more."""
        if work is not None:
            self.works.append(work)

    def wait(self) -> None:
        """Until all of them are done."""
        for work in self.works:
            work.wait()


@contextlib.contextmanager
def _coalescing_manager(group: Any = None, device: Any = None,
                        async_ops: bool | None = False) -> Iterator[_CoalescingManager]:
    """Collectives called inside begin when it is left; with `async_ops`, the manager has to be waited for.

    Example:
        >>> import facula, facula.distributed as dist
        >>> dist.init_process_group("fake", rank=0, world_size=2)
        >>> with dist._coalescing_manager(async_ops=True) as manager:
        ...     for x in (facula.ones(1), facula.ones(2)): dist.all_reduce(x)
        >>> manager.wait()
        >>> dist.destroy_process_group()
    """
    found: ProcessGroup = chosen(group)
    if found._coalescing is not None:
        raise ValueError("ProcessGroup has non-empty op list at the start of coalescing")
    found._coalescing = []
    manager = _CoalescingManager()
    try:
        yield manager
        waiting, found._coalescing = found._coalescing, None
        for call in waiting or ():
            manager.append(call())
    finally:
        found._coalescing = None
    if not async_ops:
        manager.wait()
