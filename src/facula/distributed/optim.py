"""Optimizers over process groups (`torch.distributed.optim`): names only, there are no process groups yet."""

from __future__ import annotations

from facula import absent

_WHY = "Facula runs in one process, use the optimizer itself"
ZeroRedundancyOptimizer = absent.kind("torch.distributed.optim.ZeroRedundancyOptimizer", _WHY)
DistributedOptimizer = absent.kind("torch.distributed.optim.DistributedOptimizer", _WHY)
PostLocalSGDOptimizer = absent.kind("torch.distributed.optim.PostLocalSGDOptimizer", _WHY)

__all__ = ["DistributedOptimizer", "PostLocalSGDOptimizer", "ZeroRedundancyOptimizer"]
