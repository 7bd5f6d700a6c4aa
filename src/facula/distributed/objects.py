"""Collectives of Python objects. They travel as pickles, so each rank of a group is trusted to run code in the others:
who is let into a group is a question of the secret (`store/wire.py`).
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from facula.distributed.collectives import _root
from facula.distributed.constants import DistBackendError
from facula.distributed.process_group import ProcessGroup
from facula.distributed.world import chosen, outside, warn_outside


def _packed(value: Any) -> np.ndarray:
    buffer = io.BytesIO()
    pickle.Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(value)
    return np.frombuffer(buffer.getvalue(), np.uint8)


def _unpacked(data: np.ndarray) -> Any:
    return pickle.loads(data.tobytes())


def _exchanged(group: ProcessGroup, note: str, given: list[np.ndarray | None], expected: list[bool]) -> list[Any]:
    """Hand each rank some bytes, of whatever length, and take what is `expected` from each: lengths first."""
    def run(call: Any) -> list[np.ndarray | None]:
        sizes: list[Any] = [None if g is None else np.array([g.size], np.int64) for g in given]
        rooms: list[Any] = [np.empty(1, np.int64) if e else None for e in expected]
        group._backend.exchange(call, sizes, rooms)
        call.step += 1
        found: list[Any] = [None if r is None else np.empty(int(r[0]), np.uint8) for r in rooms]
        group._backend.exchange(call, given, found)
        return found
    box: list[Any] = []
    group._call(note, run, box.append)
    found: list[Any] = box[0]
    return found


def all_gather_object(object_list: list[Any], obj: Any, group: Any = None) -> None:
    """`object_list[r]` becomes rank r's `obj`.

    Example:
        >>> import facula.distributed as dist
        >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        >>> found = [None]
        >>> dist.all_gather_object(found, {"a": 1})
        >>> found
        [{'a': 1}]
        >>> dist.destroy_process_group()
    """
    if outside(group):
        warn_outside("all_gather_object")
        return
    found = chosen(group)
    if len(object_list) < found.size():
        raise ValueError(f"all_gather_object: object_list has {len(object_list)} places for {found.size()} ranks")
    data = _packed(obj)
    for rank, part in enumerate(_exchanged(found, "all_gather_object", [data] * found.size(), [True] * found.size())):
        object_list[rank] = _unpacked(part)


def gather_object(obj: Any, object_gather_list: list[Any] | None = None, dst: int | None = None, group: Any = None,
                  group_dst: int | None = None) -> None:
    """On rank `dst` (0 unless told) `object_gather_list[r]` becomes rank r's `obj`."""
    if outside(group):
        warn_outside("gather_object")
        return
    found = chosen(group)
    root = _root(found, dst, group_dst, "dst", 0)
    here = found.rank() == root
    if here and not object_gather_list:
        raise ValueError("Argument ``gather_list`` must be specified on destination rank.")
    if not here and object_gather_list:
        raise ValueError("Argument ``gather_list`` must NOT be specified on non-destination ranks.")
    data = _packed(obj)
    parts = _exchanged(found, f"gather_object(to {root})", [data if r == root else None for r in range(found.size())],
                       [here] * found.size())
    if here:
        assert object_gather_list is not None
        for rank, part in enumerate(parts):
            object_gather_list[rank] = _unpacked(part)


def broadcast_object_list(object_list: list[Any], src: int | None = None, group: Any = None, device: Any = None,
                          group_src: int | None = None) -> None:
    """Each rank's list gets the objects of rank `src`'s (0 unless told), one by one."""
    if outside(group):
        warn_outside("broadcast_object_list")
        return
    found = chosen(group)
    root = _root(found, src, group_src, "src", 0)
    here = found.rank() == root
    data = _packed(list(object_list)) if here else np.empty(0, np.uint8)

    def run(call: Any) -> np.ndarray:
        size = np.array([data.size], np.int64)
        found._backend.broadcast(call, size, root)
        call.step += 1
        room = data if here else np.empty(int(size[0]), np.uint8)
        found._backend.broadcast(call, room, root)
        return room
    box: list[Any] = []
    found._call(f"broadcast_object_list(from {root}, {len(object_list)} objects)", run, box.append)
    if not here:
        object_list[:] = _unpacked(box[0])


def scatter_object_list(scatter_object_output_list: list[Any], scatter_object_input_list: list[Any] | None = None,
                        src: int | None = None, group: Any = None, group_src: int | None = None) -> None:
    """`scatter_object_output_list[0]` becomes what rank `src` (0 unless told) has for this rank in its input list."""
    if outside(group):
        warn_outside("scatter_object_list")
        return
    if not isinstance(scatter_object_output_list, list) or not scatter_object_output_list:
        raise ValueError("Expected argument scatter_object_output_list to be a list of size at least 1.")
    found = chosen(group)
    root = _root(found, src, group_src, "src", 0)
    given: list[Any] = [None] * found.size()
    if found.rank() == root:
        if scatter_object_input_list is None or len(scatter_object_input_list) != found.size():
            raise ValueError(f"scatter_object_list: rank {root} has to have an object for each of {found.size()} ranks")
        given = [_packed(value) for value in scatter_object_input_list]
    parts = _exchanged(found, f"scatter_object_list(from {root})", given, [r == root for r in range(found.size())])
    scatter_object_output_list[0] = _unpacked(parts[root])


_SIZES, _OBJECTS = 0x7D000001, 0x7D000002  # tags


def send_object_list(object_list: list[Any], dst: int | None = None, group: Any = None, device: Any = None,
                     group_dst: int | None = None, use_batch: bool = False) -> None:
    """Send objects to rank `dst`, which calls `recv_object_list`. ValueError if that is this rank."""
    if outside(group):
        warn_outside("send_object_list")
        return
    found = chosen(group)
    to = _root(found, dst, group_dst, "dst")
    if to == found.rank():
        raise ValueError("Invalid destination rank: destination rank should not be the same as the rank of the current "
                         "process.")
    data = _packed(list(object_list))
    found._backend.send(np.array([data.size], np.int64), to, _SIZES, found._limit)
    found._backend.send(data, to, _OBJECTS, found._limit)


def recv_object_list(object_list: list[Any], src: int | None = None, group: Any = None, device: Any = None,
                     group_src: int | None = None, use_batch: bool = False) -> int:
    """Receive objects into the list, from rank `src`, or any if it is None; the sender's rank."""
    if outside(group):
        warn_outside("recv_object_list")
        return -1
    found = chosen(group)
    source = None if src is None and group_src is None else _root(found, src, group_src, "src")
    size = np.empty(1, np.int64)
    awaited = found._backend.receive(size, source, _SIZES)
    if not awaited.wait(found._limit):
        awaited.withdraw()
        raise DistBackendError(f"recv_object_list: nothing has come within {found._limit:g} s")
    data = np.empty(int(size[0]), np.uint8)
    rest = found._backend.receive(data, awaited.source, _OBJECTS)
    if not rest.wait(found._limit):
        rest.withdraw()
        raise DistBackendError(f"recv_object_list: the objects have not come within {found._limit:g} s")
    object_list[:] = _unpacked(data)
    return int(found._ranks[awaited.source])
