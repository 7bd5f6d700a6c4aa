"""`torch.distributed.checkpoint.default_planner`: see `planner.py`."""

from __future__ import annotations

from facula.distributed.checkpoint.planner import DefaultLoadPlanner, DefaultSavePlanner

__all__ = ["DefaultLoadPlanner", "DefaultSavePlanner"]
