"""`save` and `async_save`: what the ranks of a group have, as one checkpoint."""

from __future__ import annotations

import enum
import uuid
import weakref
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import facula
from facula._tensor.handle import Tensor
from facula.distributed import groups, world
from facula.distributed.checkpoint.api import Ranks
from facula.distributed.checkpoint.filesystem import FileSystemWriter
from facula.distributed.checkpoint.flattening import flattened
from facula.distributed.checkpoint.metadata import Metadata, MetadataIndex, StorageMeta, _StorageInfo
from facula.distributed.checkpoint.pieces import piece_of
from facula.distributed.checkpoint.planner import DefaultSavePlanner, items_of, shared_out
from facula.distributed.checkpoint.stateful import states_of
from facula.distributed.tensors import array_of

__all__ = ["AsyncCheckpointerType", "async_save", "save", "save_state_dict"]


class AsyncCheckpointerType(enum.Enum):
    """Who writes while the program goes on."""

    THREAD = "thread"
    PROCESS = "process"


class _Saving:
    """One saving. Steps are taken in their order, each by all ranks."""

    def __init__(self, state_dict: Mapping[str, Any], checkpoint_id: Any, storage_writer: Any, planner: Any,
                 ranks: Ranks) -> None:
        self.ranks, self.state_dict = ranks, state_dict
        self.writer = _writer(checkpoint_id, storage_writer)
        if planner is not None and not isinstance(planner, DefaultSavePlanner):
            raise NotImplementedError(f"distributed.checkpoint: planners of a program's own ({type(planner).__name__}) "
                                      "are not in Facula; DefaultSavePlanner is")
        self.lowest = planner is not None and planner.lowest
        self.entries: list[tuple[MetadataIndex, Any]] = []

    def plan(self) -> None:
        """Agree on who writes what."""
        def offer() -> Any:
            self.values, _, told = flattened(states_of(self.state_dict))
            return items_of(self.values), told
        self.ranks.told(self.writer.prepare)
        offers = self.ranks.together(offer)
        chosen, self.metadata = shared_out([items for items, _ in offers], self.lowest)
        self.metadata.planner_data = {name: path for _, paths in offers for name, path in paths.items()}
        self.entries = [(index, self._value_of(index.fqn)) for index in chosen[self.ranks.rank]]

    def _value_of(self, name: str) -> Any:
        value = self.values[name]
        if not isinstance(value, Tensor):
            return value
        piece = piece_of(value)
        assert piece is not None
        return piece.local

    def stage(self) -> None:
        """Copies of what is to be written, which the program does not change any more."""
        with facula.no_grad():
            self.entries = [(index, _copied(value)) for index, value in self.entries]
        del self.values, self.state_dict

    def write(self, ranks: Ranks) -> Metadata:
        """Write, and say of the checkpoint that it is complete."""
        mine: dict[MetadataIndex, _StorageInfo] = {}

        def write() -> Any:
            mine.update(self.writer.write(ranks.rank, ((i, _compact(value)) for i, value in self.entries)))
            return mine
        try:
            self.metadata.storage_data = {
                index: info for part in ranks.together(write) for index, info in part.items()}
            self.metadata.storage_meta = StorageMeta(self.writer.path, str(uuid.uuid4()))
            ranks.told(lambda: self.writer.finish(self.metadata))
        except BaseException:
            self.writer.drop({info.relative_path for info in mine.values()})
            raise
        return self.metadata


def _copied(value: Any) -> Any:
    if not isinstance(value, Tensor):
        import copy
        return copy.deepcopy(value)
    copied = value.detach().cpu().clone(memory_format=facula.contiguous_format)
    array_of(copied)  # computed here: what it is computed from may be gone when a thread asks
    return copied


def _compact(value: Any) -> Any:
    """The tensor with no more memory than it needs: `torch.save` writes all that it is a view of."""
    if not isinstance(value, Tensor):
        return value
    with facula.no_grad():
        return value.detach().cpu().clone(memory_format=facula.contiguous_format)


def _writer(checkpoint_id: Any, given: Any) -> FileSystemWriter:
    if given is None:
        if checkpoint_id is None:
            raise RuntimeError("`checkpoint_id` must be specified if storage_reader/storage_writer is None.")
        return FileSystemWriter(checkpoint_id)
    if not isinstance(given, FileSystemWriter):
        raise NotImplementedError(f"distributed.checkpoint: a {type(given).__name__} as storage_writer is not in Facula"
                                  "; FileSystemWriter is")
    if checkpoint_id is None:
        return given
    return FileSystemWriter(checkpoint_id, sync_files=given.sync_files, overwrite=given.overwrite)


def save(state_dict: Mapping[str, Any], *, checkpoint_id: Any = None, storage_writer: Any = None, planner: Any = None,
         process_group: Any = None, no_dist: bool = False, use_collectives: bool = True) -> Metadata:
    """Write what the ranks of a group have into one checkpoint, in PyTorch's format. All of them call this.

    Of a DTensor each rank writes its piece; what several ranks have under one name is written once. Values with
    `state_dict` and `load_state_dict` (modules, optimizers) are asked for theirs. The previous checkpoint of a folder
    stays whole until the new one is complete.

    Args:
        state_dict: names to tensors, numbers, strings, and lists and dictionaries of them.
        checkpoint_id: a folder, unless there is a `storage_writer`.
        process_group: whose ranks; those of the world if left out. Without one, or with `no_dist`, this process alone.

    Raises:
        CheckpointException: on all ranks, where one has failed; `failures` says why.

    Example:
        >>> import facula, tempfile
        >>> import facula.distributed.checkpoint as dcp
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = dcp.save({"x": facula.ones(2), "step": 3}, checkpoint_id=folder)
        ...     state = {"x": facula.zeros(2), "step": 0}
        ...     dcp.load(state, checkpoint_id=folder)
        >>> state
        {'x': tensor([1., 1.]), 'step': 3}
    """
    ranks = Ranks(process_group, no_dist)
    saving = _Saving(state_dict, checkpoint_id, storage_writer, planner, ranks)
    saving.plan()
    return saving.write(ranks)


def save_state_dict(state_dict: Mapping[str, Any], storage_writer: Any, process_group: Any = None,
                    coordinator_rank: int = 0, no_dist: bool = False, planner: Any = None) -> Metadata:
    """The older name of `save`."""
    if coordinator_rank:
        raise NotImplementedError("save_state_dict: rank 0 coordinates; another coordinator_rank is not in Facula")
    return save(state_dict, storage_writer=storage_writer, process_group=process_group, no_dist=no_dist,
                planner=planner)


_writing: list[ThreadPoolExecutor] = []  # one thread: what is saved first is complete first
_apart: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()  # group -> one for the thread that writes


def _apart_from(group: Any) -> Any:
    """A group of the same ranks that only the writing thread uses: its collectives would come between others'."""
    made = _apart.get(group)
    if made is None:
        made = groups.new_group(world.get_process_group_ranks(group), use_local_synchronization=True, sort_ranks=False,
                                group_desc="checkpoints")
        _apart[group] = made
    return made


def async_save(state_dict: Mapping[str, Any], *, checkpoint_id: Any = None, storage_writer: Any = None,
               planner: Any = None, process_group: Any = None, async_checkpointer_type: Any =
               AsyncCheckpointerType.THREAD, async_stager: Any = None, no_dist: bool = False,
               use_collectives: bool = True) -> Future[Metadata]:
    """`save` in a thread: returns when the values have been copied, with a future of the Metadata.

    Savings are carried out one after the other. A process waits for them when it ends.

    Example:
        >>> import facula, tempfile
        >>> import facula.distributed.checkpoint as dcp
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     future = dcp.async_save({"x": facula.ones(2)}, checkpoint_id=folder)
        ...     list(future.result().state_dict_metadata)
        ['x']
    """
    if async_checkpointer_type is not AsyncCheckpointerType.THREAD or async_stager is not None:
        raise NotImplementedError("async_save: processes that write and stagers are not in Facula; a thread writes")
    ranks = Ranks(process_group, no_dist)
    saving = _Saving(state_dict, checkpoint_id, storage_writer, planner, ranks)
    saving.plan()
    saving.stage()
    writers = ranks if ranks.group is None else Ranks(_apart_from(ranks.group))
    if not _writing:
        _writing.append(ThreadPoolExecutor(1, "facula checkpoint"))
    return _writing[0].submit(saving.write, writers)
