"""What a backend does, and the collectives that are made of it.

All is made of `exchange`: each rank hands an array (or nothing) to each other one. Reductions of large arrays share the
elements out: each rank gets one share from everybody, adds in the order of the ranks, and hands the sum round. So the
sums have the same bits whatever the share. Broadcasts go down a tree, barriers take log2(ranks) rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from facula.distributed import reductions
from facula.dtypes import dtype

Array = np.ndarray
SMALL = 1 << 14  # bytes up to which a reduction is one round: everybody sends everything to everybody
FEW = 8  # ranks up to which that is so


class Call:
    """One collective under way: which it is, what it says of itself, until when."""

    __slots__ = ("number", "note", "until", "step", "limit")

    def __init__(self, number: int, note: str, until: float, limit: float) -> None:
        self.number, self.note, self.until, self.limit = number, note, until, limit
        self.step = 0  # of the rounds within the call


class Backend:
    """The processes of one group as one of them sees it. Ranks are the group's own, 0 to size - 1.

    Arrays are C-contiguous; what is received into an array is written there.
    """

    name = "undefined"

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    # ---- what each kind defines ------------------------------------------------------------------------------

    def exchange(self, call: Call, outgoing: Sequence[Array | None], incoming: Sequence[Array | None]) -> None:
        """Hand `outgoing[r]` to each rank r and take `incoming[r]` from it, its own included."""
        raise NotImplementedError(f"{self.name}: exchange")

    def send(self, array: Array, to: int, tag: int, limit: float) -> None:
        """Send to a rank; back when the array may be written again."""
        raise NotImplementedError(f"{self.name}: send")

    def receive(self, array: Array, source: int | None, tag: int) -> Any:
        """Await a message of a rank, None: of any. What is returned has `wait(seconds) -> bool` and, then, `source`."""
        raise NotImplementedError(f"{self.name}: receive")

    def begin(self, call: Call) -> None:
        """A collective begins: others that come to this number with another note are wrong."""

    def end(self, call: Call) -> None:
        """It has come to its end."""

    def fail(self, why: str) -> None:
        """The group is of no use any more: tell all, and whoever waits."""

    def close(self) -> None:
        """The group has ended."""

    # ---- what is made of it ----------------------------------------------------------------------------------

    def _nothing(self) -> list[Array | None]:
        return [None] * self.size

    def broadcast(self, call: Call, array: Array, root: int) -> None:
        """Everybody gets the root's elements."""
        place = (self.rank - root) % self.size
        span = 1
        while span < self.size:
            span *= 2
        if place:
            low = place & -place  # who hands it on is where this bit is 0
            incoming = self._nothing()
            incoming[(place - low + root) % self.size] = array
            self.exchange(call, self._nothing(), incoming)
        else:
            low = span
        step = low // 2
        while step:
            if place + step < self.size:
                outgoing = self._nothing()
                outgoing[(place + step + root) % self.size] = array
                self.exchange(call, outgoing, self._nothing())
            step //= 2

    def barrier(self, call: Call) -> None:
        """Nobody goes on until everybody has come."""
        span, empty = 1, np.empty(0, np.uint8)
        while span < self.size:
            outgoing, incoming = self._nothing(), self._nothing()
            outgoing[(self.rank + span) % self.size] = empty
            incoming[(self.rank - span) % self.size] = empty
            self.exchange(call, outgoing, incoming)
            call.step += 1
            span *= 2

    def _sum(self, parts: Sequence[Array], op: Any, of: dtype) -> Array:
        total = np.array(parts[0])
        for part in parts[1:]:
            reductions.combine(op, total, part, of)
        reductions.finish(op, total, self.size, of)
        return total

    def all_reduce(self, call: Call, array: Array, op: Any, of: dtype) -> Array:
        """The reduction of everybody's elements, for everybody."""
        array = reductions.prepared(op, array, of)
        flat = array.reshape(-1)
        if self.size == 1:
            return np.array(array)
        if flat.nbytes <= SMALL and self.size <= FEW:
            parts: list[Array] = [np.empty_like(flat) if r != self.rank else flat for r in range(self.size)]
            self.exchange(call, [None if r == self.rank else flat for r in range(self.size)],
                          [None if r == self.rank else p for r, p in enumerate(parts)])
            return self._sum(parts, op, of).reshape(array.shape)
        bounds = self.bounds(flat.size)
        mine = self._shares(call, [flat[a:b] for a, b in bounds], op, of)
        call.step += 1
        result = np.empty_like(flat)
        pieces: list[Array] = [result[a:b] for a, b in bounds]
        pieces[self.rank][...] = mine
        self.exchange(call, [None if r == self.rank else mine for r in range(self.size)],
                      [None if r == self.rank else p for r, p in enumerate(pieces)])
        return result.reshape(array.shape)

    def bounds(self, count: int) -> list[tuple[int, int]]:
        """Each rank's share of so many elements."""
        edges = [count * r // self.size for r in range(self.size + 1)]
        return list(zip(edges[:-1], edges[1:], strict=True))

    def _shares(self, call: Call, shares: Sequence[Array], op: Any, of: dtype) -> Array:
        """The reduction of the share that is this rank's."""
        mine = shares[self.rank]
        parts: list[Array] = [mine if r == self.rank else np.empty_like(mine) for r in range(self.size)]
        self.exchange(call, [None if r == self.rank else s for r, s in enumerate(shares)],
                      [None if r == self.rank else p for r, p in enumerate(parts)])
        return self._sum(parts, op, of)

    def reduce_scatter(self, call: Call, shares: Sequence[Array], op: Any, of: dtype) -> Array:
        """The reduction of everybody's `shares[rank]`."""
        return self._shares(call, [reductions.prepared(op, s, of) for s in shares], op, of)

    def reduce(self, call: Call, array: Array, op: Any, of: dtype, root: int) -> Array | None:
        """The reduction of everybody's elements, for the root; None for the others."""
        array = reductions.prepared(op, array, of)
        flat = array.reshape(-1)
        if flat.nbytes <= SMALL or self.size <= 2:
            parts: list[Array] = [flat] * self.size
            if self.rank != root:
                outgoing = self._nothing()
                outgoing[root] = flat
                self.exchange(call, outgoing, self._nothing())
                return None
            parts = [flat if r == root else np.empty_like(flat) for r in range(self.size)]
            self.exchange(call, self._nothing(), [None if r == root else p for r, p in enumerate(parts)])
            return self._sum(parts, op, of).reshape(array.shape)
        bounds = self.bounds(flat.size)
        mine = self._shares(call, [flat[a:b] for a, b in bounds], op, of)
        call.step += 1
        outgoing, incoming = self._nothing(), self._nothing()
        if self.rank != root:
            outgoing[root] = mine
            self.exchange(call, outgoing, incoming)
            return None
        result = np.empty_like(flat)
        pieces: list[Array] = [result[a:b] for a, b in bounds]
        pieces[root][...] = mine
        self.exchange(call, outgoing, [None if r == root else p for r, p in enumerate(pieces)])
        return result.reshape(array.shape)
