"""What a checkpoint says of itself: which tensors it has, in which pieces, and where in which file each lies."""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass, field
from typing import Any

from facula.dtypes import dtype
from facula.layouts import layout, strided
from facula.size import Size

__all__ = ["BytesStorageMetadata", "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta",
           "TensorProperties", "TensorStorageMetadata"]

VERSION = "1.0.0"


@dataclass
class ChunkStorageMetadata:
    """One piece of a tensor: where it begins, and how large it is."""

    offsets: Size
    sizes: Size


class _MEM_FORMAT_ENCODING(enum.Enum):
    """How PyTorch writes memory formats."""

    TORCH_CONTIGUOUS_FORMAT = 0
    TORCH_CHANNELS_LAST = 1
    TORCH_PRESERVE_FORMAT = 2


@dataclass
class TensorProperties:
    """What a tensor is beside its size. Pickled as a tuple, as PyTorch does."""

    dtype: dtype
    layout: layout = strided
    requires_grad: bool = False
    memory_format: Any = _MEM_FORMAT_ENCODING.TORCH_CONTIGUOUS_FORMAT
    pin_memory: bool = False

    def __getstate__(self) -> Any:
        return self.dtype, self.layout, self.requires_grad, self.memory_format, self.pin_memory

    def __setstate__(self, state: Any) -> None:
        self.dtype, self.layout, self.requires_grad, self.memory_format, self.pin_memory = state


@dataclass
class TensorStorageMetadata:
    """A tensor: what it is, its whole size, and its pieces."""

    properties: TensorProperties
    size: Size
    chunks: list[ChunkStorageMetadata]


@dataclass
class BytesStorageMetadata:
    """Something that is no tensor."""


@dataclass(frozen=True)
class MetadataIndex:
    """A name, and of a tensor where the piece begins. `index` only helps to find it sooner."""

    fqn: str
    offset: Size | None = None
    index: int | None = field(default=None, compare=False)


@dataclass
class _StorageInfo:
    """Where some bytes lie."""

    relative_path: str
    offset: int
    length: int
    transform_descriptors: Any = None


# As PyTorch's pickles call it.
_StorageInfo.__module__ = "facula.distributed.checkpoint.filesystem"


@dataclass
class StorageMeta:
    """Of which saving it is."""

    checkpoint_id: str | os.PathLike[str] | None = None
    save_id: str | None = None
    load_id: str | None = None
    modules: list[str] = field(default_factory=list)


@dataclass
class Metadata:
    """A whole checkpoint: `state_dict_metadata` by name, `planner_data` says where in the nested dictionary each name
    stands, `storage_data` where its bytes lie."""

    state_dict_metadata: dict[str, Any]
    planner_data: Any = None
    storage_data: Any = None
    storage_meta: StorageMeta | None = None
    version: str | None = None
