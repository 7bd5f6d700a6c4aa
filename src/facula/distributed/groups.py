"""Making groups, of all processes or of some, and ending them."""

from __future__ import annotations

import atexit
import hashlib
import multiprocessing.util
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from facula.distributed import backend_names
from facula.distributed.backend_names import Backend
from facula.distributed.backends.base import Backend as Carrier
from facula.distributed.backends.fake import Fake
from facula.distributed.backends.sockets import Sockets
from facula.distributed.constants import default_pg_timeout, seconds
from facula.distributed.fabric import Mesh
from facula.distributed.fabric.address import own_address
from facula.distributed.process_group import ProcessGroup
from facula.distributed.rendezvous import rendezvous
from facula.distributed.store import HashStore, PrefixStore, Store
from facula.distributed.world import GroupMember, _default, chosen, get_world_size, world


def init_process_group(backend: str | None = None, init_method: str | None = None, timeout: timedelta | None = None,
                       world_size: int = -1, rank: int = -1, store: Store | None = None, group_name: str = "",
                       pg_options: Any = None, device_id: Any = None, _ranks: list[int] | None = None) -> None:
    """Make the default group, of all processes. All of them call this, and come back when all are there.

    Args:
        backend: "gloo" (sockets; the default), "mpi" (mpi4py; rank and size are MPI's) or "fake" (one process that
            takes itself for one of many). "nccl" is not in Facula.
        init_method: a URL: "env://" (the default), "tcp://host:port" or "file:///path".
        timeout: of making groups and of each collective, 30 minutes unless told.
        world_size, rank: how many there are, and which this one is, unless the launcher has said so.
        store: where they find each other, instead of a URL.
        pg_options, device_id: accepted; they are about accelerators' backends, and so are those of the other makers.

    Raises:
        ValueError: a backend nobody knows; an argument is missing; it has been called before.
        DistNetworkError, DistStoreError: not all have come in time.

    Example:
        >>> import facula.distributed as dist
        >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        >>> dist.get_rank(), dist.get_world_size()
        (0, 1)
        >>> dist.destroy_process_group()
    """
    if world.default is not None:
        raise ValueError("trying to initialize the default process group twice!")
    if store is not None and init_method is not None:
        raise AssertionError("Cannot specify both init_method and store.")
    if timeout is not None and not isinstance(timeout, timedelta):
        raise ValueError(f"Expected timeout argument to be of type datetime.timedelta, got {timeout}")
    name = backend_names.of_cpu(backend)
    if name not in Backend.backend_list or name == Backend.UNDEFINED:
        raise ValueError(f"Invalid backend: '{backend}'; there are {', '.join(Backend.backend_list[1:])}")
    if name in ("nccl", "ucc", "xccl"):
        raise NotImplementedError(f"torch.distributed: backend {name!r} is not in Facula; use 'gloo' or 'mpi'")
    limit = seconds(timeout, default_pg_timeout.total_seconds())
    if name == "mpi":
        from facula.distributed.backends.mpi import world_communicator
        world.communicator = world_communicator()
        world.rank, world.size = world.communicator.Get_rank(), world.communicator.Get_size()
        world.store = HashStore() if store is None else store
    else:
        if store is None:
            if name == "fake" and init_method is None:
                store = HashStore()
            else:
                found = rendezvous(init_method or "env://", rank, world_size,
                                   timeout=timedelta(seconds=limit))
                store, rank, world_size = next(found)
                store.set_timeout(timedelta(seconds=limit))
        if rank < 0 or world_size < 1:
            raise AssertionError("rank and world_size have to be given together with a store, got "
                                 f"rank={rank}, world_size={world_size}")
        if rank >= world_size:
            raise ValueError(f"rank {rank} in a world of {world_size}")
        world.rank, world.size, world.store = rank, world_size, PrefixStore("default_pg", store)
        if name == "gloo":
            world.mesh = _connected(world.store, limit)
    world.backend = str(backend).lower() if backend else name
    try:
        world.default = _made(group_name or "0", list(range(world.size)), name, limit, "default_pg")
    except BaseException:
        _end()
        raise


def _connected(store: Store, limit: float) -> Mesh:
    mesh = Mesh(PrefixStore("mesh", store), world.rank, world.size, limit, own_address(store))
    mesh.on_death = _died
    mesh.on_abort, mesh.on_difference = _aborted, _differs
    return mesh


def _aborted(rank: int, group: int, why: str) -> None:
    for carrier in _socket_groups():
        if carrier.group == group:
            carrier.told(why)


def _differs(rank: int, group: int, number: int, note: str) -> None:
    for carrier in _socket_groups():
        if carrier.group == group:
            carrier.differs(rank, number, note)


def _socket_groups() -> list[Sockets]:
    return [g._backend for g in list(world.groups) if isinstance(g._backend, Sockets)]


def _died(rank: int, why: str) -> None:
    for carrier in _socket_groups():
        if rank in carrier.ranks:
            carrier.told(f"rank {rank} has died: its connection was closed without a word ({why})")


def _made(name: str, ranks: list[int], backend: str, limit: float, desc: str, options: Any = None) -> ProcessGroup:
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
    carrier: Carrier
    if backend == "gloo":
        if world.mesh is None:
            world.mesh = _connected(world.store or HashStore(), limit)
        carrier = Sockets(world.mesh, ranks, number)
    elif backend == "mpi":
        from facula.distributed.backends.mpi import MPIGroup, communicator_of
        carrier = MPIGroup(communicator_of(world.communicator, ranks))
    elif backend == "fake":
        carrier = Fake(ranks.index(world.rank), len(ranks))
    else:
        carrier = backend_names._created[backend](ranks.index(world.rank), len(ranks))
    store = None if world.store is None else PrefixStore(name, world.store)
    made = ProcessGroup(name, ranks, carrier, limit, store, desc)
    made._configured = backend  # type: ignore[attr-defined]
    world.groups.append(made)
    world.count += 1
    return made


def new_group(ranks: Sequence[int] | None = None, timeout: timedelta | None = None, backend: str | None = None,
              pg_options: Any = None, use_local_synchronization: bool = False, group_desc: str | None = None,
              device_id: Any = None, sort_ranks: bool = True) -> Any:
    """A group of some ranks. All ranks of the world call this, those that do not belong to it too.

    Args:
        ranks: which; all unless told. In the group they are numbered in ascending order, unless `sort_ranks` is False.
        timeout: of its collectives; the default group's unless told.
        backend: "gloo", "mpi" or "fake"; the default group's unless told.
        use_local_synchronization: the members alone call this.

    Returns:
        The group; `GroupMember.NON_GROUP_MEMBER` for those that do not belong to it.
    """
    default = _default()
    wanted = list(range(world.size)) if ranks is None else [int(r) for r in ranks]
    if len(set(wanted)) != len(wanted):
        raise ValueError(f"new_group: ranks come twice in {wanted}")
    if len(wanted) > world.size:
        raise ValueError("the new group's world size should be less or equal to the world size set by "
                         "init_process_group")
    if any(not 0 <= r < world.size for r in wanted):
        raise ValueError("The new group's rank should be within the world_size set by init_process_group")
    if sort_ranks:
        wanted.sort()
    if use_local_synchronization:
        if "mpi" in (backend, world.backend):
            raise ValueError("MPI backend doesn't support use_local_synchronization=True")
        if world.rank not in wanted:
            return None
        name = "local" + hashlib.sha1(repr(wanted).encode()).hexdigest() \
            + f":{sum(g._ranks == wanted and g._name.startswith('local') for g in world.groups)}"
    else:
        name = str(world.count)
    name_of_backend = backend_names.of_cpu(backend or world.backend)
    if name_of_backend not in Backend.backend_list:
        raise ValueError(f"Invalid backend: '{backend}'")
    if name_of_backend in ("nccl", "ucc", "xccl"):
        raise NotImplementedError(f"torch.distributed: backend {name_of_backend!r} is not in Facula")
    limit = seconds(timeout, default._limit)
    if world.rank not in wanted:
        if name_of_backend == "mpi":
            from facula.distributed.backends.mpi import communicator_of
            communicator_of(world.communicator, wanted)  # making a communicator is everybody's business
        world.count += 1
        return GroupMember.NON_GROUP_MEMBER
    return _made(name, wanted, name_of_backend, limit, group_desc or "undefined")


def new_subgroups(group_size: int | None = None, group: Any = None, timeout: timedelta | None = None,
                  backend: str | None = None, pg_options: Any = None, group_desc: str | None = None) -> Any:
    """The world in groups of `group_size` ranks that follow each other: (this process's group, all of them).

    ValueError where the size of the world is no multiple of it, or there is none.
    """
    if group_size is None:
        group_size = int(os.environ.get("LOCAL_WORLD_SIZE", 0)) or None
        if group_size is None:
            raise ValueError("Default group size only takes effect when CUDA is available or LOCAL_WORLD_SIZE is set")
    if group_size <= 0:
        raise ValueError(f"The arg 'group_size' ({group_size}) must be positive")
    total = get_world_size()
    if total < group_size:
        raise ValueError(f"The arg 'group_size' ({group_size}) must not exceed the world size ({total})")
    if total % group_size:
        raise ValueError(f"The world size ({total}) must be divisible by '{group_size=}'")
    lists = [list(range(k, k + group_size)) for k in range(0, total, group_size)]
    return new_subgroups_by_enumeration(lists, timeout, backend, pg_options, group_desc)


def new_subgroups_by_enumeration(ranks_per_subgroup_list: Sequence[Sequence[int]], timeout: timedelta | None = None,
                                 backend: str | None = None, pg_options: Any = None,
                                 group_desc: str | None = None) -> Any:
    """A group for each list of ranks, of which none comes twice: (this process's group or None, all of them)."""
    if not ranks_per_subgroup_list:
        raise ValueError("The arg 'ranks_per_subgroup_list' cannot be empty")
    seen: set[int] = set()
    for ranks in ranks_per_subgroup_list:
        if seen & set(ranks):
            raise ValueError(f"Rank {min(seen & set(ranks))} has appeared in two subgroups")
        seen |= set(ranks)
    groups, mine = [], None
    for ranks in ranks_per_subgroup_list:
        made = new_group(list(ranks), timeout, backend, pg_options, group_desc=group_desc)
        groups.append(made)
        if world.rank in ranks:
            mine = made
    return mine, groups


def split_group(parent_pg: Any = None, split_ranks: Any = None, timeout: timedelta | None = None,
                pg_options: Any = None, group_desc: str | None = None, backend: Any = None) -> Any:
    """Not in Facula: `new_group` makes groups of any ranks."""
    raise NotImplementedError("torch.distributed.split_group splits NCCL's communicators: use new_group")


def destroy_process_group(group: Any = None) -> None:
    """End a group; without an argument, or with the default one: all of them."""
    if group is GroupMember.NON_GROUP_MEMBER:
        return
    if group is None and world.default is None:
        raise AssertionError("Process group cannot be None")
    ended = chosen(group)
    if ended is world.default:
        _end()
        return
    if ended not in world.groups:
        raise ValueError("Invalid process group specified or has been destroyed.")
    ended.shutdown()
    world.groups.remove(ended)


def _end() -> None:
    for each in reversed(world.groups):
        each.shutdown()
    world.groups.clear()
    world.default = None
    if world.mesh is not None:
        world.mesh.close()
        world.mesh = None
    world.rank, world.size, world.count, world.backend = 0, 1, 0, Backend.UNDEFINED
    world.store = world.communicator = None


@atexit.register
def _leave() -> None:
    """A program that ends says goodbye; one that dies does not, and the others notice."""
    mesh = world.mesh
    if mesh is not None:
        mesh.close(goodbye=not _raised())


def _raised() -> bool:
    """Is the process ending by an exception?"""
    kind, error, _ = sys.exc_info()
    if isinstance(error, SystemExit):
        return error.code not in (None, 0)
    return kind is not None or getattr(sys, "last_type", None) not in (None, SystemExit)


# Children of `multiprocessing` do not come to atexit's functions.
multiprocessing.util.Finalize(None, _leave, exitpriority=10)


def _forget_in_child() -> None:
    """A forked process is no rank: it has the parent's connections, and must not use them."""
    mesh = world.mesh
    if mesh is not None:
        mesh._closing = True
        for peer in mesh._peers.values():
            os.close(peer.sock.detach())
    world.__init__()  # type: ignore[misc]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
