"""Optimizers over process groups (`torch.distributed.optim`).

    zero_redundancy_optimizer.py   ZeroRedundancyOptimizer: each rank keeps the state of its share of the parameters
"""

from __future__ import annotations

from facula import absent
from facula.distributed.optim.zero_redundancy_optimizer import ZeroRedundancyOptimizer

_WHY = "use the optimizer itself, or ZeroRedundancyOptimizer"
DistributedOptimizer = absent.kind("torch.distributed.optim.DistributedOptimizer", _WHY)
PostLocalSGDOptimizer = absent.kind("torch.distributed.optim.PostLocalSGDOptimizer", _WHY)

__all__ = ["DistributedOptimizer", "PostLocalSGDOptimizer", "ZeroRedundancyOptimizer"]
