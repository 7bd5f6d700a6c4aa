"""`load`: a checkpoint into the tensors of any number of ranks, however those that wrote it had divided them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import facula
from facula._tensor.handle import Tensor
from facula.distributed.checkpoint import catalogue
from facula.distributed.checkpoint.api import Ranks
from facula.distributed.checkpoint.filesystem import FileSystemReader, piece_read
from facula.distributed.checkpoint.flattening import flattened, put
from facula.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorStorageMetadata,
    _StorageInfo,
)
from facula.distributed.checkpoint.pieces import overlap, piece_of, whole_size
from facula.distributed.checkpoint.planner import DefaultLoadPlanner
from facula.distributed.checkpoint.stateful import Stateful, states_of
from facula.serialization.limits import DamagedFile
from facula.size import Size

__all__ = ["load", "load_state_dict"]


def _reader(checkpoint_id: Any, given: Any) -> FileSystemReader:
    if given is None:
        if checkpoint_id is None:
            raise RuntimeError("`checkpoint_id` must be specified if storage_reader/storage_writer is None.")
        return FileSystemReader(checkpoint_id)
    if not isinstance(given, FileSystemReader):
        raise NotImplementedError(f"distributed.checkpoint: a {type(given).__name__} as storage_reader is not in Facula"
                                  "; FileSystemReader is")
    return given if checkpoint_id is None else FileSystemReader(checkpoint_id)


def load(state_dict: dict[str, Any], *, checkpoint_id: Any = None, storage_reader: Any = None, planner: Any = None,
         process_group: Any = None, no_dist: bool = False) -> None:
    """Read a checkpoint, `save`'s or PyTorch's, into the tensors of `state_dict`, in place. All ranks of the group call
    this; each reads the parts that its tensors have.

    What is no tensor is replaced in `state_dict`; values with `load_state_dict` are given theirs. Names that the
    checkpoint has and `state_dict` lacks are left out. Nothing in the files is run.

    Args:
        planner: `DefaultLoadPlanner(allow_partial_load=True)` leaves what the checkpoint lacks as it is.

    Raises:
        CheckpointException: on all ranks, where one has failed: a name or a file is missing, sizes differ, a file is
            damaged. `failures` says which.
    """
    ranks, reader = Ranks(process_group, no_dist), _reader(checkpoint_id, storage_reader)
    if planner is not None and not isinstance(planner, DefaultLoadPlanner):
        raise NotImplementedError(f"distributed.checkpoint: planners of a program's own ({type(planner).__name__}) are "
                                  "not in Facula; DefaultLoadPlanner is")
    partial = planner is not None and planner.allow_partial_load
    content = ranks.told(reader.catalogue)
    states: dict[str, Any] = {}

    def read() -> None:
        states.update(states_of(state_dict))
        _read(states, catalogue.read(content), reader, partial)
    ranks.together(read)
    for name, value in list(state_dict.items()):
        if isinstance(value, Stateful):
            value.load_state_dict(states[name])
        else:
            state_dict[name] = states[name]


def load_state_dict(state_dict: dict[str, Any], storage_reader: Any, process_group: Any = None,
                    coordinator_rank: int = 0, no_dist: bool = False, planner: Any = None) -> None:
    """The older name of `load`."""
    load(state_dict, storage_reader=storage_reader, process_group=process_group, no_dist=no_dist, planner=planner)


def _read(state_dict: dict[str, Any], metadata: Metadata, reader: FileSystemReader, partial: bool) -> None:
    values, paths, _ = flattened(state_dict)
    wanted: list[tuple[_StorageInfo, Any]] = []
    for name, value in values.items():
        known = metadata.state_dict_metadata.get(name)
        if known is None:
            if not partial:
                raise RuntimeError(f"Missing key in checkpoint state_dict: {name}.")
        elif isinstance(value, Tensor):
            wanted += _pieces_for(name, value, known, metadata)
        elif not isinstance(known, BytesStorageMetadata):
            raise ValueError(f"Invalid checkpoint metadata for {name}, expected {BytesStorageMetadata} but found "
                             f"{type(known)}")
        else:
            wanted.append((_place(metadata, MetadataIndex(name)), name))
    for tag, value in reader.entries(wanted):
        if isinstance(tag, str):
            put(state_dict, paths[tag], value)
        else:
            name, size, of, target, there, here = tag
            found = piece_read(value, name, size, of)
            with facula.no_grad():
                (target[here] if target.dim() else target).copy_(found[there] if target.dim() else found)


def _place(metadata: Metadata, index: MetadataIndex) -> _StorageInfo:
    found: _StorageInfo | None = metadata.storage_data.get(index)
    if found is None:
        raise DamagedFile(f"the checkpoint does not say where {index.fqn} lies")
    return found


def _pieces_for(name: str, value: Tensor, known: Any, metadata: Metadata) -> Iterator[tuple[_StorageInfo, Any]]:
    """What has to be read for a tensor, and where it goes."""
    if not isinstance(known, TensorStorageMetadata):
        raise ValueError(f"Invalid checkpoint metadata for {name}, expected {TensorStorageMetadata} but found "
                         f"{type(known)}")
    if known.size != whole_size(value):
        raise ValueError(f"Size mismatch between saved {known.size} and current: {whole_size(value)} for {name}")
    piece = piece_of(value)
    if piece is None:
        return
    found = 0
    for chunk in known.chunks:
        if not value.dim():
            common: Any = ((), ())
        else:
            common = overlap(piece.offsets, Size(piece.local.shape), chunk.offsets, chunk.sizes)
        if common is not None:
            here, there = common
            found += Size([s.stop - s.start for s in here]).numel()
            yield (_place(metadata, MetadataIndex(name, chunk.offsets)),
                   (name, chunk.sizes, known.properties.dtype, piece.local, there, here))
    if found != piece.local.numel():
        raise DamagedFile(f"the checkpoint has {found} of the {piece.local.numel()} elements of {name} that this rank "
                          "needs")
