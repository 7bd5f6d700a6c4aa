"""Several processes that compute as one (`torch.distributed`).

    groups.py                    groups: made and ended; world.py: those there are; process_group.py: one of them
    rendezvous.py, store/        how processes find each other
    collectives.py               of tensors; reductions.py: how several become one
    device_mesh.py               ranks as an array, a group along each dimension
    point_to_point.py, barriers.py, objects.py, work.py
    backends/, fabric/           who moves the bytes: sockets ("gloo"), MPI, nobody ("fake")
    nn/                          collectives with gradients
    run.py, launcher/            `torchrun`, `facula launch`

Who is trusted: every process of a group may run code in every other (objects travel as pickles), and whoever reaches
the store may become one. So the launcher makes a secret that each side proves to know before anything is sent; without
one stores and groups listen on this machine alone. Nothing is encrypted.

Example:
    >>> import facula, facula.distributed as dist
    >>> dist.is_available(), dist.is_initialized()
    (True, False)
    >>> dist.get_rank()
    Traceback (most recent call last):
    ValueError: Default process group has not been initialized, please make sure to call init_process_group.
"""

from __future__ import annotations

import enum
import os
from typing import Any

from facula import absent
from facula.distributed.backend_names import (
    Backend,
    is_available,
    is_backend_available,
    is_gloo_available,
    is_mpi_available,
    is_nccl_available,
    is_ucc_available,
    is_xccl_available,
)
from facula.distributed.barriers import _coalescing_manager, barrier, monitored_barrier
from facula.distributed.collectives import (
    all_gather,
    all_gather_coalesced,
    all_gather_into_tensor,
    all_gather_single,
    all_reduce,
    all_reduce_coalesced,
    all_to_all,
    all_to_all_single,
    broadcast,
    gather,
    reduce,
    reduce_scatter,
    reduce_scatter_single,
    reduce_scatter_tensor,
    scatter,
)
from facula.distributed.constants import (
    DistBackendError,
    DistError,
    DistNetworkError,
    DistStoreError,
    QueueEmptyError,
    default_pg_timeout,
)
from facula.distributed.device_mesh import DeviceMesh, init_device_mesh
from facula.distributed.groups import (
    destroy_process_group,
    init_process_group,
    new_group,
    new_subgroups,
    new_subgroups_by_enumeration,
    split_group,
)
from facula.distributed.objects import (
    all_gather_object,
    broadcast_object_list,
    gather_object,
    recv_object_list,
    scatter_object_list,
    send_object_list,
)
from facula.distributed.point_to_point import P2POp, batch_isend_irecv, irecv, isend, recv, send
from facula.distributed.process_group import ProcessGroup, flight_record
from facula.distributed.reducer import GradBucket, Reducer
from facula.distributed.reductions import ReduceOp, _make_nccl_premul_sum, reduce_op, supports_complex
from facula.distributed.rendezvous import register_rendezvous_handler, rendezvous
from facula.distributed.store import FileStore, HashStore, PrefixStore, Store, TCPStore
from facula.distributed.work import Work
from facula.distributed.world import (
    GroupMember,
    _get_default_group,
    _get_default_store,
    get_backend,
    get_backend_config,
    get_default_backend_for_device,
    get_global_rank,
    get_group_rank,
    get_node_local_rank,
    get_pg_count,
    get_process_group_ranks,
    get_rank,
    get_world_size,
    group,
    is_initialized,
    is_torchelastic_launched,
)

_all_gather_base, _reduce_scatter_base = all_gather_into_tensor, reduce_scatter_tensor

__all__ = [
    "Backend", "DebugLevel", "DeviceMesh", "DistBackendError", "DistError", "DistNetworkError", "DistStoreError",
    "FileStore", "GradBucket", "GroupMember", "HashStore", "P2POp", "PrefixStore", "ProcessGroup", "QueueEmptyError",
    "ReduceOp", "Reducer", "Store", "TCPStore", "Work", "_coalescing_manager", "_get_default_group",
    "_get_default_store", "_make_nccl_premul_sum", "all_gather", "all_gather_coalesced", "all_gather_into_tensor",
    "all_gather_object", "all_gather_single", "all_reduce", "all_reduce_coalesced", "all_to_all", "all_to_all_single",
    "barrier", "batch_isend_irecv", "broadcast", "broadcast_object_list", "default_pg_timeout",
    "destroy_process_group", "flight_record", "gather", "gather_object", "get_backend", "get_backend_config",
    "get_debug_level", "get_default_backend_for_device", "get_global_rank", "get_group_rank", "get_node_local_rank",
    "get_pg_count", "get_process_group_ranks", "get_rank", "get_world_size", "group", "init_device_mesh",
    "init_process_group", "irecv", "is_available", "is_backend_available", "is_gloo_available", "is_initialized",
    "is_mpi_available", "is_nccl_available", "is_torchelastic_launched", "is_ucc_available", "is_xccl_available",
    "isend", "monitored_barrier", "new_group", "new_subgroups", "new_subgroups_by_enumeration", "recv",
    "recv_object_list", "reduce", "reduce_op", "reduce_scatter", "reduce_scatter_single", "reduce_scatter_tensor",
    "register_rendezvous_handler", "rendezvous", "scatter", "scatter_object_list", "send", "send_object_list",
    "set_debug_level", "set_debug_level_from_env", "split_group", "supports_complex",
]


class DebugLevel(enum.Enum):
    """How much is looked at and told: `TORCH_DISTRIBUTED_DEBUG`. Ranks that disagree are found at every level."""

    OFF = 0
    INFO = 1
    DETAIL = 2


_level = [DebugLevel.OFF]


def get_debug_level() -> DebugLevel:
    """The level that is set."""
    return _level[0]


def set_debug_level(level: DebugLevel) -> None:
    """Set the level."""
    _level[0] = DebugLevel(level)


def set_debug_level_from_env() -> None:
    """Set the level to what TORCH_DISTRIBUTED_DEBUG says. RuntimeError where that is no level."""
    name = os.environ.get("TORCH_DISTRIBUTED_DEBUG", "OFF").upper()
    if name not in DebugLevel.__members__:
        raise RuntimeError(f"The value of TORCH_DISTRIBUTED_DEBUG must be OFF, INFO, or DETAIL, got {name}")
    set_debug_level(DebugLevel[name])


set_debug_level_from_env()


def __getattr__(name: str) -> Any:
    if name in ("nn", "run", "optim", "launcher", "distributed_c10d", "algorithms", "tensor", "fsdp",
                "checkpoint"):
        import importlib
        return importlib.import_module(f"facula.distributed.{name}")
    raise absent.missing("distributed", name)
