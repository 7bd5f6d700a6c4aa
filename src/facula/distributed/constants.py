"""Time-outs and exceptions of process groups (`torch.distributed.constants`, and the errors of `torch.distributed`)."""

from __future__ import annotations

from datetime import timedelta

__all__ = ["DistBackendError", "DistError", "DistNetworkError", "DistStoreError", "QueueEmptyError",
           "default_pg_timeout"]

default_pg_timeout = timedelta(minutes=30)


class DistError(RuntimeError):
    """What goes wrong between processes."""


class DistBackendError(DistError):
    """A collective has failed: a rank has gone, was late, or asked for something else."""


class DistNetworkError(DistError):
    """A connection could not be made, or was lost."""


class DistStoreError(DistError):
    """A store has not got a key in time."""


class QueueEmptyError(DistStoreError):
    """`queue_pop(block=False)` of an empty queue."""


def seconds(timeout: timedelta | float | None, otherwise: float) -> float:
    """A time-out as seconds; `otherwise` where there is none. ValueError of a negative one."""
    if timeout is None:
        return otherwise
    found = timeout.total_seconds() if isinstance(timeout, timedelta) else float(timeout)
    if found < 0:
        raise ValueError(f"a timeout has to be positive, got {timeout}")
    return found
