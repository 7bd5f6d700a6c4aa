"""`gloo`: collectives over the mesh of connections of this process's world."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from facula.autograd.profiler import listeners
from facula.distributed.backends.base import Array, Backend, Call
from facula.distributed.constants import DistBackendError
from facula.distributed.fabric import Mesh, Receipt
from facula.distributed.fabric.message import COLLECTIVE, POINT
from facula.errors import warn
from facula.undisturbed import reentrant_lock

SILENT_SECONDS = 20.0  # without a sign of life, and whoever waits says so


def bytes_of(array: Array) -> memoryview:
    """The memory of a contiguous array."""
    flat: Any = array.reshape(-1).view(np.uint8)
    return memoryview(flat)


class Sockets(Backend):
    """A group of ranks of one mesh.

    Args:
        mesh: the connections; ranks there are the world's.
        ranks: which of them belong to the group, in its order.
        group: its number, the same on each rank.
    """

    name = "gloo"

    def __init__(self, mesh: Mesh, ranks: Sequence[int], group: int) -> None:
        super().__init__(list(ranks).index(mesh.rank), len(ranks))
        self.mesh, self.ranks, self.group = mesh, list(ranks), group
        self._places = {world: place for place, world in enumerate(self.ranks)}
        self.broken, self._passed_on, self._passing_on = "", False, reentrant_lock()

    def begin(self, call: Call) -> None:
        """From now on messages of this number are expected to say the same."""
        self._usable()
        self.mesh.expected[self.group, call.number] = call.note
        other = self.mesh.mailbox.differing(self.group, call.number, call.note)
        if other is not None:
            self.differs(other[0], call.number, other[1])
            raise DistBackendError(self.broken)

    def end(self, call: Call) -> None:
        """What comes late for it is no concern of anybody."""
        self.mesh.expected.pop((self.group, call.number), None)

    def differs(self, world_rank: int, number: int, note: str) -> None:
        """A rank has come to a collective with another one than this rank."""
        mine = self.mesh.expected.get((self.group, number), "?")
        self.fail(f"ranks disagree about collective number {number} of this group: rank {self.mesh.rank} calls {mine}, "
                  f"rank {world_rank} calls {note}")

    def fail(self, why: str) -> None:
        """The group cannot be used any more, and every rank of it is told why.

        Also by those that have been told: so whoever sees this rank leave has heard the reason before."""
        self.broken = self.broken or why
        self._pass_on()
        self.mesh.mailbox.fail(DistBackendError(self.broken), group=self.group)

    def _pass_on(self) -> None:
        """Back when all ranks have been told what is wrong: the reader may be at it while the program finds out and
        would leave."""
        with self._passing_on:
            if not self._passed_on:
                self.mesh.abort(self.ranks, self.group, self.broken)
                self._passed_on = True

    def _usable(self) -> None:
        if self.broken:
            self._pass_on()
            raise DistBackendError(self.broken)

    def told(self, why: str) -> None:
        """Another rank has said that the group cannot be used any more."""
        self.broken = self.broken or why
        self.mesh.mailbox.fail(DistBackendError(self.broken), group=self.group)

    def close(self) -> None:
        """What has come and nobody has asked for is dropped."""
        with self._passing_on:
            self._passed_on = True  # what follows is no concern of the others
        self.broken = self.broken or "the process group has been destroyed"
        self.mesh.mailbox.forget(self.group)

    # ---- messages --------------------------------------------------------------------------------------------

    def exchange(self, call: Call, outgoing: Sequence[Array | None], incoming: Sequence[Array | None]) -> None:
        """Receives are posted first, so that nobody's sending waits for anybody's reading."""
        began = time.monotonic()
        key, note = (self.group, COLLECTIVE, call.number, call.step), call.note.encode()
        awaited: list[tuple[Receipt, Array]] = []
        for place, target in enumerate(incoming):
            if target is not None and place != self.rank:
                awaited.append((self.mesh.post(self.ranks[place], key, bytes_of(target)), target))
        if self.broken:  # said so between `begin` and the posts above
            self.mesh.mailbox.fail(DistBackendError(self.broken), group=self.group)
        for shift in range(1, self.size):
            place = (self.rank + shift) % self.size
            given = outgoing[place]
            if given is not None:
                try:
                    self.mesh.send(self.ranks[place], COLLECTIVE, self.group, call.number, call.step, note,
                                   bytes_of(given), max(call.until - time.monotonic(), 0.001))
                except DistBackendError as error:  # it may have left because another one has died: that is why, then
                    raise DistBackendError(self.broken or f"{call.note}: {error}") from None
        own, target = outgoing[self.rank], incoming[self.rank]
        if own is not None and target is not None:
            target[...] = own
        for receipt, target in awaited:
            self._take(call, receipt, target)
        if listeners and call.step == 0 and len(awaited) == self.size - 1:
            self._tell_arrivals({receipt.source: receipt.came - began for receipt, _ in awaited})

    def _tell_arrivals(self, after: dict[Any, float]) -> None:
        """Whoever listens to ranges and wants to know (facula.monitor) is told when the others have come to a
        collective: seconds after this rank. It does not raise."""
        for listener in listeners[:]:
            arrived = getattr(listener, "arrived", None)
            if arrived is not None:
                arrived(self.mesh.rank, after)

    def _take(self, call: Call, receipt: Receipt, target: Array) -> None:
        if not self._await(receipt, call.until - time.monotonic(), f"{call.note}, number {call.number} of its group"):
            self.mesh.mailbox.withdraw(receipt)
            why = (f"{call.note}, number {call.number} of its group: rank {self.mesh.rank} has waited {call.limit:g} s "
                   f"for rank {receipt.source}, which has not come to it{self._how_silent(receipt)}")
            raise DistBackendError(why)
        if receipt.error is not None:
            # a rank that has left may have said why: that is more than that it is gone
            raise DistBackendError(f"{call.note}: {self.broken or receipt.error}")
        self._land(receipt, target, call.note)

    def _await(self, receipt: Receipt, seconds: float, what: str) -> bool:
        """Wait for a message. Of a rank that gives no sign of life a warning says so long before the time is over."""
        until, told = time.monotonic() + seconds, False
        while not told and receipt.source is not None:
            silent = self.mesh.silence(receipt.source)
            rest = SILENT_SECONDS - silent
            if rest <= 0:
                told = True
                warn(f"{what}: rank {self.mesh.rank} waits for rank {receipt.source}, which has given no sign of life "
                     f"for {silent:.0f} s: it is stopped, or its machine cannot be reached")
            elif receipt.wait(min(rest, until - time.monotonic())):
                return True
            elif time.monotonic() >= until:
                return False
        return receipt.wait(until - time.monotonic())

    def _how_silent(self, receipt: Receipt) -> str:
        silent = 0.0 if receipt.source is None else self.mesh.silence(receipt.source)
        return f" and has given no sign of life for {silent:.0f} s" if silent >= SILENT_SECONDS else ""

    @staticmethod
    def _land(receipt: Receipt, target: Array, what: str) -> None:
        into = bytes_of(target)
        if receipt.length != into.nbytes:
            raise DistBackendError(f"{what}: rank {receipt.source} has sent {receipt.length} bytes, and there is room "
                                   f"for {into.nbytes}: the ranks' tensors differ")
        if receipt.view is not None and receipt.taken:
            into[:] = receipt.view

    def send(self, array: Array, to: int, tag: int, limit: float) -> None:
        """Point to point."""
        self._usable()
        self.mesh.send(self.ranks[to], POINT, self.group, tag, 0, b"", bytes_of(array), limit)

    def receive(self, array: Array, source: int | None, tag: int) -> _Awaited:
        """Point to point, from one rank or any."""
        self._usable()
        key = (self.group, POINT, tag, 0)
        if source is None:
            receipt = self.mesh.post_any(frozenset(r for r in self.ranks if r != self.mesh.rank), key)
        else:
            receipt = self.mesh.post(self.ranks[source], key, bytes_of(array))
        return _Awaited(self, receipt, array, source is None)


class _Awaited:
    """A receive that has been posted."""

    def __init__(self, backend: Sockets, receipt: Receipt, array: Array, anybody: bool) -> None:
        self._backend, self._receipt, self._array, self._anybody = backend, receipt, array, anybody
        self.source = -1

    def when_done(self, then: Any) -> None:
        """Call `then()` when it has come, in whatever thread sees it."""
        self._receipt.then = lambda _: then()
        if self._receipt.done:
            then()

    def wait(self, seconds: float) -> bool:
        """Until it has come and stands in the array."""
        receipt = self._receipt
        if not self._backend._await(receipt, seconds, "recv"):
            return False
        if receipt.error is not None:
            raise DistBackendError(f"recv: {receipt.error}")
        if self._anybody:
            receipt.taken = True
        self._backend._land(receipt, self._array, "recv")
        assert receipt.source is not None
        self.source = self._backend._places[receipt.source]
        return True

    def withdraw(self) -> None:
        """Do not wait for it any more."""
        self._backend.mesh.mailbox.withdraw(self._receipt)
