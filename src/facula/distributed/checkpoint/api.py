"""`CheckpointException`: what has gone wrong on which rank; and steps that all ranks take or none."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from typing import Any

from facula.distributed import objects, world

__all__ = ["CheckpointException"]

Failures = dict[int, tuple[BaseException, Any]]


class CheckpointException(BaseException):
    """A checkpoint could not be written or read: `failures` has the exception of each rank that failed."""

    def __init__(self, msg: str, failures: Failures) -> None:
        super().__init__(msg, failures)
        self._failures = failures

    @property
    def failures(self) -> Failures:
        """Rank -> (exception, its traceback as text)."""
        return self._failures

    def __str__(self) -> str:
        text = f"{self.args[0]} ranks:{self._failures.keys()}\n"
        for rank, (error, trace) in self._failures.items():
            text += f"Traceback (most recent call last): (RANK {rank})\n{trace}" if trace else f"(RANK {rank}) "
            text += f"{type(error).__name__}: {error}\n"
        return text


class Ranks:
    """Who writes or reads a checkpoint together: the ranks of a group, or this process alone."""

    def __init__(self, group: Any = None, alone: bool = False) -> None:
        self.alone = alone or not world.is_initialized()
        self.group = None if self.alone else world.chosen(group)
        self.rank = 0 if self.group is None else self.group.rank()
        self.size = 1 if self.group is None else self.group.size()

    @property
    def leads(self) -> bool:
        """Does this rank write what there is one of?"""
        return self.rank == 0

    def together(self, step: Callable[[], Any]) -> list[Any]:
        """What `step()` gives on each rank, on all ranks. CheckpointException on all where it raises on one."""
        value: Any = None
        failure: tuple[BaseException, str] | None = None
        try:
            value = step()
        except Exception as error:
            failure = _portable(error), "".join(traceback.format_tb(error.__traceback__))
        found: list[Any] = [None] * self.size
        if self.group is None:
            found[0] = failure, value
        else:
            objects.all_gather_object(found, (failure, value), self.group)
        failures = {rank: failed for rank, (failed, _) in enumerate(found) if failed is not None}
        if failures:
            raise CheckpointException("CheckpointException", failures)
        return [value for _, value in found]

    def told(self, step: Callable[[], Any]) -> Any:
        """What `step()` gives on the rank that leads, on all ranks."""
        return self.together(lambda: step() if self.leads else None)[0]


def _portable(error: Exception) -> Exception:
    """The exception, or one that says the same and can travel."""
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
