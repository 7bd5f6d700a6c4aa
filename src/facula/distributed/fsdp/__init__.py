"""`torch.distributed.fsdp`: modules whose parameters lie in pieces on several ranks.

    _fully_shard.py     `fully_shard`, and what sharded modules can do
    _pieces.py          whole parameters of pieces, and pieces of gradients
    _policies.py        dtypes

`FullyShardedDataParallel`, the older wrapper, is not in Facula.
"""

from __future__ import annotations

from typing import Any

from facula import absent
from facula.distributed.fsdp._fully_shard import FSDPModule, fully_shard, register_fsdp_forward_method
from facula.distributed.fsdp._policies import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy

__all__ = ["BackwardPrefetch", "CPUOffload", "CPUOffloadPolicy", "FSDPModule", "FullStateDictConfig",
           "FullyShardedDataParallel", "MixedPrecision", "MixedPrecisionPolicy", "OffloadPolicy", "ShardingStrategy",
           "StateDictType", "fully_shard", "register_fsdp_forward_method"]

_INSTEAD = "fully_shard is there"
(BackwardPrefetch, CPUOffload, FullStateDictConfig, FullyShardedDataParallel, MixedPrecision, ShardingStrategy,
 StateDictType) = (absent.kind(f"torch.distributed.fsdp.{name}", _INSTEAD) for name in (
     "BackwardPrefetch", "CPUOffload", "FullStateDictConfig", "FullyShardedDataParallel", "MixedPrecision",
     "ShardingStrategy", "StateDictType"))


def __getattr__(name: str) -> Any:
    raise absent.missing("distributed.fsdp", name)
