"""`torch.distributed.distributed_c10d`: the names of `torch.distributed`, where programs look for them too."""

from __future__ import annotations

from facula.distributed import *  # noqa: F403
from facula.distributed import __all__ as _names
from facula.distributed.world import _get_default_group, _get_default_store

__all__ = [*_names, "_get_default_group", "_get_default_store"]  # noqa: PLE0604
