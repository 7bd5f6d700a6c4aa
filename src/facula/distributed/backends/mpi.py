"""`mpi`: over mpi4py, which `pip install 'facula[distributed]'` brings with an MPI, no compiler needed.

Start programs by `mpiexec -n N facula run program.py`. Everything goes by MPI's own point to point messages, with the
number of the call as their tag: so calls of several threads are not mixed up, sums have the order of `base.py`, and
a rank
that waits can be told to give up. It looks often at first and sleeps soon, so that it does not use up a processor.
A rank that dies takes all with it: that is mpiexec's doing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from facula.distributed.backends.base import Array, Backend, Call
from facula.distributed.constants import DistBackendError

_SPIN, _LONGEST = 200, 0.001  # looks before the first sleep; the longest one, in seconds
_POINT = 1 << 14  # tags below are the calls', those of users lie above


def library() -> Any:
    """mpi4py's MPI. ModuleNotFoundError that says what to install, where it is missing."""
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise ModuleNotFoundError("torch.distributed: the backend 'mpi' needs mpi4py and an MPI: pip install "
                                  f"'facula[distributed]', or pip install mpi4py mpich ({error})") from None
    if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
        raise DistBackendError("the backend 'mpi' needs an MPI that several threads may call (MPI_THREAD_MULTIPLE)")
    return MPI


def world_communicator() -> Any:
    """All ranks that mpiexec has started, to ourselves."""
    return library().COMM_WORLD.Dup()


def communicator_of(world: Any, ranks: Sequence[int]) -> Any:
    """A communicator of some ranks of the world; all ranks call this. None for those that do not belong to it."""
    mpi = library()
    made = world.Create(world.Get_group().Incl(list(ranks)))
    return None if made == mpi.COMM_NULL else made


class MPIGroup(Backend):
    """A group of ranks of the world communicator."""

    name = "mpi"

    def __init__(self, communicator: Any) -> None:
        super().__init__(communicator.Get_rank(), communicator.Get_size())
        self._mpi, self._all = library(), communicator
        self._highest = communicator.Get_attr(self._mpi.TAG_UB) or 32767
        self._broken = ""

    def begin(self, call: Call) -> None:
        """Refuse what comes after a failure."""
        if self._broken:
            raise DistBackendError(self._broken)

    def fail(self, why: str) -> None:
        """What comes later is refused, on this rank; MPI cannot tell the others."""
        self._broken = self._broken or why

    def close(self) -> None:
        """The communicator is left to the end of the program: freeing it would wait for all ranks."""
        self._broken = self._broken or "the process group has been destroyed"

    def exchange(self, call: Call, outgoing: Sequence[Array | None], incoming: Sequence[Array | None]) -> None:
        """Receives first, then sends, then wait for all."""
        tag = (call.number * 32 + call.step) % _POINT
        byte = self._mpi.BYTE
        requests, targets = [], []
        for rank, target in enumerate(incoming):
            if target is not None and rank != self.rank:
                requests.append(self._all.Irecv([target.reshape(-1).view(np.uint8), byte], rank, tag))
                targets.append((rank, target.nbytes))
        for shift in range(1, self.size):
            rank = (self.rank + shift) % self.size
            given = outgoing[rank]
            if given is not None:
                requests.append(self._all.Isend([given.reshape(-1).view(np.uint8), byte], rank, tag))
        own, target = outgoing[self.rank], incoming[self.rank]
        if own is not None and target is not None:
            target[...] = own
        statuses = [self._mpi.Status() for _ in requests]
        if not self._done(requests, call.until - time.monotonic(), statuses, call.note):
            waited = [rank for (rank, _), request in zip(targets, requests, strict=False) if not request.Test()]
            for request in requests:
                request.Cancel()
            raise DistBackendError(f"{call.note}, number {call.number} of its group: rank {self.rank} of the group has "
                                   f"waited {call.limit:g} s for ranks {waited}, which have not come to it")
        for (rank, size), status in zip(targets, statuses, strict=False):
            if status.Get_count(byte) != size:
                raise DistBackendError(f"{call.note}: rank {rank} has sent {status.Get_count(byte)} bytes, and "
                                       f"there is "
                                       f"room for {size}: the ranks' tensors differ")

    def _done(self, requests: list[Any], patience: float, statuses: list[Any], what: str) -> bool:
        until, looks, pause = time.monotonic() + patience, 0, 0.00002
        try:
            while not self._mpi.Request.Testall(requests, statuses):
                looks += 1
                if looks > _SPIN:
                    if time.monotonic() > until:
                        return False
                    time.sleep(pause)
                    pause = min(pause * 1.2, _LONGEST)
        except self._mpi.Exception as error:
            raise DistBackendError(f"{what}: {error}") from None
        return True

    def _tag(self, tag: int) -> int:
        if not 0 <= tag:
            raise ValueError(f"a tag is not negative, got {tag}")
        return _POINT + tag % (self._highest - _POINT)

    def send(self, array: Array, to: int, tag: int, limit: float) -> None:
        """Point to point."""
        request = self._all.Isend([array.reshape(-1).view(np.uint8), self._mpi.BYTE], to, self._tag(tag))
        if not self._done([request], limit, [self._mpi.Status()], "send"):
            request.Cancel()
            raise DistBackendError(f"sending to rank {to} of the group timed out after {limit:g} s: it does not "
                                   f"receive")

    def receive(self, array: Array, source: int | None, tag: int) -> _Awaited:
        """Point to point, from one rank or any."""
        where = self._mpi.ANY_SOURCE if source is None else source
        request = self._all.Irecv([array.reshape(-1).view(np.uint8), self._mpi.BYTE], where, self._tag(tag))
        return _Awaited(self, request, array)


class _Awaited:
    """A receive that has been posted."""

    def __init__(self, backend: MPIGroup, request: Any, array: Array) -> None:
        self._backend, self._request, self._array = backend, request, array
        self._status, self._came = backend._mpi.Status(), False
        self.source = -1

    def when_done(self, then: Any) -> None:
        """Nobody looks until somebody waits."""

    def wait(self, seconds: float) -> bool:
        """Until it has come and stands in the array."""
        if self._came:
            return True
        if not self._backend._done([self._request], seconds, [self._status], "recv"):
            return False
        self._came, self.source = True, self._status.Get_source()
        size = self._status.Get_count(self._backend._mpi.BYTE)
        if size != self._array.nbytes:
            raise DistBackendError(f"recv: rank {self.source} of the group has sent {size} bytes, and there is room "
                                   f"for "
                                   f"{self._array.nbytes}: the ranks' tensors differ")
        return True

    def withdraw(self) -> None:
        """Do not wait for it any more."""
        self._request.Cancel()
        self._request.Wait()
