"""Who writes what: pieces that several ranks have are written once, by those with the least to write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from facula._tensor.handle import Tensor
from facula.distributed.checkpoint.metadata import (
    VERSION,
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from facula.distributed.checkpoint.pieces import piece_of, whole_size
from facula.size import Size

__all__ = ["DefaultLoadPlanner", "DefaultSavePlanner", "LoadPlanner", "SavePlanner"]


class SavePlanner:
    """Base class of planners of saving. Facula has `DefaultSavePlanner`; planners of a program's own are refused."""


class LoadPlanner:
    """Base class of planners of loading. Facula has `DefaultLoadPlanner`; planners of a program's own are refused."""


class DefaultSavePlanner(SavePlanner):
    """How a checkpoint is divided among its ranks.

    Args:
        dedup_save_to_lowest_rank: what several ranks have is written by the first of them, and not by the one that has
            the least to write.
    """

    def __init__(self, flatten_state_dict: bool = True, flatten_sharded_tensors: bool = True,
                 dedup_replicated_tensors: bool | None = None, dedup_save_to_lowest_rank: bool = False,
                 enable_plan_caching: bool = False) -> None:
        if not flatten_state_dict:
            raise NotImplementedError("DefaultSavePlanner(flatten_state_dict=False) is not in Facula")
        self.lowest = dedup_save_to_lowest_rank


class DefaultLoadPlanner(LoadPlanner):
    """How a checkpoint is read. `allow_partial_load`: what it lacks stays what it is, and is no error."""

    def __init__(self, flatten_state_dict: bool = True, flatten_sharded_tensors: bool = True,
                 allow_partial_load: bool = False) -> None:
        if not flatten_state_dict:
            raise NotImplementedError("DefaultLoadPlanner(flatten_state_dict=False) is not in Facula")
        self.allow_partial_load = allow_partial_load


@dataclass
class WriteItem:
    """Something that a rank could write: a piece of a tensor, or an object (without `properties`)."""

    name: str
    offsets: Size | None
    sizes: Size | None
    whole: Size | None
    properties: TensorProperties | None

    @property
    def bytes(self) -> int:
        """About how long it will be."""
        return 1000 + (0 if self.sizes is None or self.properties is None
                       else self.sizes.numel() * self.properties.dtype.itemsize)


def items_of(values: Mapping[str, Any]) -> list[WriteItem]:
    """What this rank could write of a flattened state_dict."""
    items = []
    for name, value in values.items():
        if not isinstance(value, Tensor):
            items.append(WriteItem(name, None, None, None, None))
            continue
        if value.is_sparse or value.is_meta:
            raise NotImplementedError(f"distributed.checkpoint: {name} is {'sparse' if value.is_sparse else 'on meta'};"
                                      " tensors with elements in strides are saved")
        piece = piece_of(value)
        if piece is not None:
            items.append(WriteItem(name, piece.offsets, Size(piece.local.shape), whole_size(value), TensorProperties(
                value.dtype, requires_grad=value.requires_grad)))
    return items


def shared_out(offers: list[list[WriteItem]], lowest: bool) -> tuple[list[list[MetadataIndex]], Metadata]:
    """Which of its items each rank writes, and what there is in all. ValueError where ranks disagree."""
    holders: dict[MetadataIndex, list[int]] = {}
    kinds: dict[str, Any] = {}
    sizes: dict[MetadataIndex, int] = {}
    for rank, items in enumerate(offers):
        for item in items:
            index = _note(item, kinds, rank)
            holders.setdefault(index, []).append(rank)
            sizes[index] = item.bytes
    chosen: list[list[MetadataIndex]] = [[] for _ in offers]
    load = [0] * len(offers)
    for index, ranks in holders.items():
        rank = ranks[0] if lowest else min(ranks, key=lambda r: (load[r], r))
        chosen[rank].append(index)
        load[rank] += sizes[index]
    for name, kind in kinds.items():
        if isinstance(kind, TensorStorageMetadata):
            found = sum(chunk.sizes.numel() for chunk in kind.chunks)
            if found != kind.size.numel():
                raise ValueError(f"Failed to validate global plan: the pieces of {name} have {found} elements, and the "
                                 f"whole of size {tuple(kind.size)} has {kind.size.numel()}")
    return chosen, Metadata(kinds, version=VERSION)


def _note(item: WriteItem, kinds: dict[str, Any], rank: int) -> MetadataIndex:
    """Add an item to what there is."""
    if item.properties is None:
        if not isinstance(kinds.setdefault(item.name, BytesStorageMetadata()), BytesStorageMetadata):
            raise ValueError(f"{item.name} is a tensor on some ranks, and none on rank {rank}")
        return MetadataIndex(item.name)
    assert item.offsets is not None and item.sizes is not None and item.whole is not None
    known = kinds.setdefault(item.name, TensorStorageMetadata(item.properties, item.whole, []))
    if not isinstance(known, TensorStorageMetadata):
        raise ValueError(f"{item.name} is no tensor on some ranks, and one on rank {rank}")
    if known.size != item.whole or known.properties.dtype is not item.properties.dtype:
        raise ValueError(f"{item.name} has size {tuple(item.whole)} and {item.properties.dtype} on rank {rank}, and "
                         f"{tuple(known.size)} and {known.properties.dtype} on others: tensors that differ from rank "
                         "to rank need different names, or to be DTensors")
    for number, chunk in enumerate(known.chunks):
        if chunk.offsets == item.offsets and chunk.sizes == item.sizes:
            return MetadataIndex(item.name, item.offsets, number)
    known.chunks.append(ChunkStorageMetadata(item.offsets, item.sizes))
    return MetadataIndex(item.name, item.offsets, len(known.chunks) - 1)
