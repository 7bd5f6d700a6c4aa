"""`torch.distributed`, importable: there are no process groups in Facula yet.

`is_available()` is False and `is_initialized()` too, so programs that ask go their way for one process. What needs a
group raises `NotInFacula` (a NotImplementedError, and the ValueError that torch raises where no group is initialized);
classes are there to be named in annotations and asked with `isinstance`.

Example:
    >>> import facula.distributed as dist
    >>> dist.is_available() and dist.is_initialized()
    False
    >>> dist.get_rank()
    Traceback (most recent call last):
    facula.absent.NotInFacula: torch.distributed.get_rank is not in Facula yet: Facula runs in one process, ...
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from facula import absent

_WHY = "Facula runs in one process, ask torch.distributed.is_available() first"
_FUNCTIONS = (
    "all_gather", "all_gather_coalesced", "all_gather_into_tensor", "all_gather_object", "all_reduce",
    "all_reduce_coalesced", "all_to_all", "all_to_all_single", "barrier", "batch_isend_irecv", "broadcast",
    "broadcast_object_list", "destroy_process_group", "gather", "gather_object", "get_backend", "get_backend_config",
    "get_global_rank", "get_group_rank", "get_process_group_ranks", "get_rank", "get_world_size", "init_device_mesh",
    "init_process_group", "irecv", "isend", "monitored_barrier", "new_group", "new_subgroups",
    "new_subgroups_by_enumeration", "recv", "recv_object_list", "reduce", "reduce_scatter", "reduce_scatter_tensor",
    "register_rendezvous_handler", "rendezvous", "scatter", "scatter_object_list", "send", "send_object_list",
    "split_group",
)
_CLASSES = ("Backend", "DeviceMesh", "FileStore", "GradBucket", "HashStore", "P2POp", "PrefixStore", "ProcessGroup",
            "ReduceOp", "Reducer", "Store", "TCPStore", "Work", "reduce_op")
default_pg_timeout = timedelta(minutes=30)

__all__ = ["GroupMember",  # noqa: PLE0604
           "DistBackendError", "DistError", "DistNetworkError", "DistStoreError", "default_pg_timeout",
           "get_node_local_rank", "group", "is_available", "is_backend_available", "is_gloo_available",
           "is_initialized", "is_mpi_available", "is_nccl_available", "is_torchelastic_launched", "is_ucc_available",
           "is_xccl_available", *_FUNCTIONS, *_CLASSES]

for _name in _FUNCTIONS:
    globals()[_name] = absent.function(f"torch.distributed.{_name}", _WHY)
for _name in _CLASSES:
    globals()[_name] = absent.kind(f"torch.distributed.{_name}", _WHY)


class DistError(RuntimeError):
    """What goes wrong in a process group; nothing raises it yet."""


class DistBackendError(DistError):
    """A failure of a backend; nothing raises it yet."""


class DistNetworkError(DistError):
    """A failure of the network; nothing raises it yet."""


class DistStoreError(DistError):
    """A failure of a store; nothing raises it yet."""


class GroupMember:
    """Group membership: there is no world, so WORLD is None, as in PyTorch before `init_process_group`."""

    WORLD = None
    NON_GROUP_MEMBER = -100


group = GroupMember


def is_available() -> bool:
    """False: no process groups yet."""
    return False


def is_initialized() -> bool:
    """False: there is no process group."""
    return False


def is_torchelastic_launched() -> bool:
    """Was the program started by torchelastic? As its variable TORCHELASTIC_RUN_ID says."""
    return os.environ.get("TORCHELASTIC_RUN_ID") is not None


def is_backend_available(backend: str) -> bool:
    """False, whatever the backend."""
    return False


def is_gloo_available() -> bool:
    """False."""
    return False


is_mpi_available = is_nccl_available = is_ucc_available = is_xccl_available = is_gloo_available


def get_node_local_rank(fallback_rank: int | None = None) -> int:
    """The rank within this machine that the launcher has put into LOCAL_RANK, else `fallback_rank`.

    Raises:
        RuntimeError: neither is there.
    """
    found = os.environ.get("LOCAL_RANK", fallback_rank)
    if found is None:
        raise RuntimeError("LOCAL_RANK is not in the environment. Consider passing fallback_rank to allow "
                           "get_node_local_rank to work, assuming you are not running in a multi-device context and "
                           "want the code to run locally instead.")
    return int(found)


def __getattr__(name: str) -> Any:
    raise absent.missing("distributed", name)
