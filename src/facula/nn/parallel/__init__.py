"""Modules over several devices (`torch.nn.parallel`).

    data_parallel.py   DataParallel: replicas of a module on several devices of this process
    scattering.py      what it consists of: scatter, replicate, parallel_apply, gather
    comm.py            tensors sent to several devices, and added up on one
    parallel_apply.py, replicate.py, scatter_gather.py     the same under PyTorch's names of modules
    distributed.py     DistributedDataParallel: a replica in each process of a group
"""

from __future__ import annotations

from typing import Any

from facula import absent
from facula.nn.parallel.data_parallel import DataParallel, data_parallel
from facula.nn.parallel.parallel_apply import parallel_apply
from facula.nn.parallel.replicate import replicate
from facula.nn.parallel.scatter_gather import gather, scatter, scatter_kwargs

__all__ = ["DataParallel", "DistributedDataParallel", "data_parallel", "gather", "parallel_apply", "replicate",
           "scatter", "scatter_kwargs"]


def __getattr__(name: str) -> Any:
    if name == "DistributedDataParallel":  # torch.distributed comes with it, which few programs need
        from facula.nn.parallel.distributed import DistributedDataParallel
        return DistributedDataParallel
    raise absent.missing("nn.parallel", name)
