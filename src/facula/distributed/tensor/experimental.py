"""`torch.distributed.tensor.experimental`: `implicit_replication`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from facula.distributed.tensor import _dispatch

__all__ = ["implicit_replication"]


@contextlib.contextmanager
def implicit_replication() -> Iterator[None]:
    """Within, plain tensors in calls with DTensors count as whole on each rank.

    Example:
        >>> import facula, facula.distributed as dist
        >>> from facula.distributed.tensor import ones
        >>> from facula.distributed.tensor.experimental import implicit_replication
        >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        >>> x = ones(2, device_mesh=dist.init_device_mesh("cpu", (1,)))
        >>> with implicit_replication():
        ...     y = x + facula.ones(2)
        >>> y.to_local()
        tensor([2., 2.])
        >>> dist.destroy_process_group()
    """
    _dispatch.implicit.append(True)
    try:
        yield
    finally:
        _dispatch.implicit.pop()
