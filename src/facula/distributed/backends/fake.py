"""`fake`: one process that takes itself for a rank among many. For tests of programs, and for planning.

Nothing is sent. What others would have sent is what this rank has sent itself: all_gather gives copies, all_reduce
gives the rank's own elements, receives leave what stood there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from facula.distributed import reductions
from facula.distributed.backends.base import Array, Backend, Call
from facula.dtypes import dtype


class _Here:
    """A receive of nothing."""

    def __init__(self, source: int) -> None:
        self.source = source

    def wait(self, seconds: float) -> bool:
        return True

    def when_done(self, then: Any) -> None:
        then()

    def withdraw(self) -> None:
        pass


class Fake(Backend):
    """A group whose other ranks are not there."""

    name = "fake"

    def exchange(self, call: Call, outgoing: Sequence[Array | None], incoming: Sequence[Array | None]) -> None:
        """This rank's own array stands for everybody's."""
        own = outgoing[self.rank]
        for target in incoming:
            if target is not None and own is not None and own.shape == target.shape:
                target[...] = own

    def all_reduce(self, call: Call, array: Array, op: Any, of: dtype) -> Array:
        """The rank's own elements."""
        return np.array(reductions.prepared(op, array, of))

    def reduce_scatter(self, call: Call, shares: Sequence[Array], op: Any, of: dtype) -> Array:
        """The rank's own share."""
        return np.array(reductions.prepared(op, shares[self.rank], of))

    def reduce(self, call: Call, array: Array, op: Any, of: dtype, root: int) -> Array | None:
        """The rank's own elements."""
        return np.array(reductions.prepared(op, array, of)) if self.rank == root else None

    def send(self, array: Array, to: int, tag: int, limit: float) -> None:
        """Nothing."""

    def receive(self, array: Array, source: int | None, tag: int) -> _Here:
        """Nothing."""
        return _Here(0 if source is None else source)
