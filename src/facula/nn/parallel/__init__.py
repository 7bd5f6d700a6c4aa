"""Modules over several devices (`torch.nn.parallel`).

    data_parallel.py   DataParallel: replicas of a module on several devices of this process
    scattering.py      what it consists of: scatter, replicate, parallel_apply, gather

`DistributedDataParallel` needs process groups, which are not in Facula yet.
"""

from __future__ import annotations

from typing import Any

from facula import absent
from facula.nn.parallel.data_parallel import DataParallel, data_parallel
from facula.nn.parallel.scattering import gather, parallel_apply, replicate, scatter, scatter_kwargs

DistributedDataParallel = absent.kind("torch.nn.parallel.DistributedDataParallel",
                                      "Facula runs in one process, use the module itself")

__all__ = ["DataParallel", "DistributedDataParallel", "data_parallel", "gather", "parallel_apply", "replicate",
           "scatter", "scatter_kwargs"]


def __getattr__(name: str) -> Any:
    raise absent.missing("nn.parallel", name)
