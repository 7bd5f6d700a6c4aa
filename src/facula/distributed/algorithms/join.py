"""Ranks with different numbers of batches: those that are done take part in what the others still do."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.distributed.reductions import ReduceOp
from facula.distributed.world import get_rank
from facula.dtypes import int64
from facula.errors import warn

__all__ = ["Join", "JoinHook", "Joinable"]


class JoinHook:
    """What a rank that is done does: `main_hook` while others go on, `post_hook` when all are done."""

    def main_hook(self) -> None:
        """Once for each turn of the others: the collectives that such a turn calls."""

    def post_hook(self, is_last_joiner: bool) -> None:
        """At the end; is this one of the ranks that have gone on longest?"""


class Joinable:
    """What can be used within `Join`: it calls `Join.notify_join_context(self)` before a turn's collectives.

    Subclasses define `join_hook(**kwargs)`, `join_device` and `join_process_group`.
    """

    _join: Join | None = None

    def join_hook(self, **kwargs: Any) -> JoinHook:
        """What this rank does when it is done."""
        raise NotImplementedError("a Joinable defines join_hook")

    @property
    def join_device(self) -> Any:
        """Where its collectives' tensors are."""
        raise NotImplementedError("a Joinable defines join_device")

    @property
    def join_process_group(self) -> Any:
        """The group of its collectives."""
        raise NotImplementedError("a Joinable defines join_process_group")


def _number(group: Any, value: int, op: Any, what: str) -> int:
    """The reduction of a number over a group."""
    box: list[np.ndarray] = []
    array = np.array([value], np.int64)
    group._call(f"Join: {what}", lambda call: group._backend.all_reduce(call, array, op, int64), box.append)
    return int(box[0][0])


class Join:
    """A context in which ranks may come to their end at different times.

    Args:
        joinables: modules and optimizers that take part, such as DistributedDataParallel.
        enable: False: the context does nothing.
        throw_on_early_termination: raise on all ranks when the first one is done.

    Raises:
        ValueError: nothing takes part, or several groups do.
    """

    def __init__(self, joinables: list[Joinable], enable: bool = True, throw_on_early_termination: bool = False,
                 **kwargs: Any) -> None:
        if not joinables:
            raise ValueError("The join context manager requires at least one joinable")
        if any(j.join_process_group is not joinables[0].join_process_group for j in joinables):
            raise ValueError("Using join context manager with multiple process groups")
        self._joinables, self._enabled, self._throw = joinables, enable, throw_on_early_termination
        self._group = joinables[0].join_process_group
        self._hooks = [j.join_hook(**kwargs) for j in joinables]

    def __enter__(self) -> Join:
        if self._enabled:
            for joinable in self._joinables:
                joinable._join = self
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        for joinable in self._joinables:
            joinable._join = None
        if not self._enabled or kind is not None:
            return
        turns = 0
        while _number(self._group, 0, ReduceOp.SUM, "how many go on"):
            if self._throw:
                _number(self._group, 1, ReduceOp.SUM, "is anybody done")
                raise RuntimeError(f"Detected at least one rank that exhausted inputs: rank {get_rank()}. Throwing "
                                   "across all ranks.")
            turns += 1
            if turns == 1000:
                warn(f"rank {get_rank()} has done 1000 turns with nothing of its own: the ranks' shares are "
                     "very uneven")
            for hook in self._hooks:
                hook.main_hook()
        for hook in self._hooks:
            hook.post_hook(turns == 0)

    @staticmethod
    def notify_join_context(joinable: Joinable) -> None:
        """A turn begins on this rank. RuntimeError if another rank is done and the context is to throw then."""
        join = joinable._join
        if join is None or join._joinables[0] is not joinable:
            return
        _number(join._group, 1, ReduceOp.SUM, "how many go on")
        if join._throw and _number(join._group, 0, ReduceOp.SUM, "is anybody done"):
            raise RuntimeError("Detected at least one rank that exhausted inputs. Throwing across all ranks.")
