"""What this process knows of groups, and what may be asked about them. `groups.py` makes and ends them."""

from __future__ import annotations

import os
from typing import Any

from facula.distributed.backend_names import Backend
from facula.distributed.fabric import Mesh
from facula.distributed.process_group import ProcessGroup
from facula.distributed.store import Store
from facula.errors import warn


class _NonMember:
    """What `new_group` gives to those that do not belong to it."""

    def __repr__(self) -> str:
        return "<torch.distributed: no member of this group>"

    def __bool__(self) -> bool:
        return True


class _GroupMeta(type):
    @property
    def WORLD(cls) -> ProcessGroup | None:
        """The group of all processes; None before `init_process_group`."""
        return world.default

    @WORLD.setter
    def WORLD(cls, group: ProcessGroup | None) -> None:
        world.default = group


class GroupMember(metaclass=_GroupMeta):
    """`GroupMember.WORLD`, the group of all processes, and `NON_GROUP_MEMBER`."""

    NON_GROUP_MEMBER: Any = _NonMember()


class group(metaclass=_GroupMeta):
    """`group.WORLD`: the group of all processes; None before `init_process_group`."""


class _World:
    """What this process knows of groups."""

    def __init__(self) -> None:
        self.default: ProcessGroup | None = None
        self.rank, self.size = 0, 1
        self.mesh: Mesh | None = None
        self.store: Store | None = None
        self.groups: list[ProcessGroup] = []
        self.count = 0  # of groups made, for their names
        self.backend = Backend.UNDEFINED
        self.communicator: Any = None  # of MPI


world = _World()


def is_initialized() -> bool:
    """Has there been an `init_process_group`?"""
    return world.default is not None


def _default() -> ProcessGroup:
    if world.default is None:
        raise ValueError("Default process group has not been initialized, please make sure to call init_process_group.")
    return world.default


def chosen(given: Any) -> ProcessGroup:
    """The group that an argument names: the default one for None."""
    if given is None or given is group or given is GroupMember:
        return _default()
    if not isinstance(given, ProcessGroup):
        raise ValueError(f"Invalid process group specified: {given!r}")
    return given


def outside(given: Any) -> bool:
    """Does this process not belong to the group?"""
    return given is GroupMember.NON_GROUP_MEMBER


def warn_outside(name: str) -> None:
    """Say that a collective does nothing here."""
    warn(f"Running {name} on global rank {world.rank if world.default else -1} which does not belong to the given "
         f"group.")


def get_rank(group: Any = None) -> int:
    """This process's rank in a group; -1 if it does not belong to it. ValueError without a default group."""
    if outside(group):
        return -1
    if group is None:
        _default()
        return world.rank
    return chosen(group).rank()


def get_world_size(group: Any = None) -> int:
    """How many ranks a group has; -1 if this process does not belong to it."""
    return -1 if outside(group) else chosen(group).size()


def get_backend(group: Any = None) -> Backend:
    """The name of a group's backend."""
    if outside(group):
        raise ValueError("Invalid process group specified")
    found: Backend = Backend(chosen(group).name())
    return found


def get_backend_config(group: Any = None) -> str:
    """Its backends by device."""
    return f"cpu:{get_backend(group)}"


def get_default_backend_for_device(device: Any) -> str:
    """The backend for a kind of device. ValueError of one that has none."""
    kind = device.type if hasattr(device, "type") else str(device).partition(":")[0]
    found = Backend.default_device_backend_map.get(kind)
    if found is None:
        raise ValueError(f"Default backend not registered for device : {device}")
    return found


def get_process_group_ranks(group: Any = None) -> list[int]:
    """The ranks of a group, as the world counts them."""
    return list(chosen(group)._ranks)


def get_group_rank(group: Any, global_rank: int) -> int:
    """What a rank of the world is called within a group. ValueError if it does not belong to it."""
    found = chosen(group)
    if global_rank not in found._ranks:
        raise ValueError(f"Global rank {global_rank} is not part of group {found}")
    return found._ranks.index(global_rank)


def get_global_rank(group: Any, group_rank: int) -> int:
    """What a group's rank is called in the world. ValueError if there is none."""
    found = chosen(group)
    if not 0 <= group_rank < len(found._ranks):
        raise ValueError(f"Group rank {group_rank} is not part of group {found}")
    return found._ranks[group_rank]


def get_pg_count() -> int:
    """How many groups there are."""
    return len(world.groups)


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


def is_torchelastic_launched() -> bool:
    """Was the program started by torchelastic? As its variable TORCHELASTIC_RUN_ID says."""
    return os.environ.get("TORCHELASTIC_RUN_ID") is not None


def _get_default_group() -> ProcessGroup:
    """The default group."""
    return _default()


def _get_default_store() -> Store:
    """The default group's store."""
    _default()
    assert world.store is not None
    return world.store
