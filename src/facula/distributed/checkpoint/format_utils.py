"""`torch.distributed.checkpoint.format_utils`: a checkpoint as one `.pt` file, and back."""

from __future__ import annotations

from typing import Any

import facula
from facula.distributed.checkpoint.filesystem import FileSystemReader, piece_read
from facula.distributed.checkpoint.flattening import nested
from facula.distributed.checkpoint.metadata import BytesStorageMetadata, MetadataIndex
from facula.distributed.checkpoint.state_dict_loader import _place
from facula.distributed.checkpoint.state_dict_saver import save

__all__ = ["dcp_to_torch_save", "torch_save_to_dcp"]


def whole_state_dict(path: Any) -> dict[str, Any]:
    """All that the checkpoint in a folder has, as one nested dictionary of whole tensors."""
    reader = FileSystemReader(path)
    metadata = reader.read_metadata()
    wanted: list[Any] = []
    values: dict[str, Any] = {}
    for name, known in metadata.state_dict_metadata.items():
        if isinstance(known, BytesStorageMetadata):
            wanted.append((_place(metadata, MetadataIndex(name)), (name, None)))
            continue
        values[name] = facula.empty(known.size, dtype=known.properties.dtype)
        wanted += [(_place(metadata, MetadataIndex(name, chunk.offsets)), (name, chunk)) for chunk in known.chunks]
    for (name, chunk), value in reader.entries(wanted):
        if chunk is None:
            values[name] = value
            continue
        found = piece_read(value, name, chunk.sizes, values[name].dtype)
        here = tuple(slice(at, at + n) for at, n in zip(chunk.offsets, chunk.sizes, strict=True))
        if here:
            values[name][here] = found
        else:
            values[name] = found
    return nested(values, metadata.planner_data or {})


def dcp_to_torch_save(dcp_checkpoint_dir: Any, torch_save_path: Any) -> None:
    """Write a checkpoint's folder as one file that `torch.load` reads. One process does this.

    Example:
        >>> import facula, tempfile
        >>> import facula.distributed.checkpoint as dcp
        >>> from facula.distributed.checkpoint.format_utils import dcp_to_torch_save
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = dcp.save({"a": {"x": facula.ones(2)}}, checkpoint_id=f"{folder}/many")
        ...     dcp_to_torch_save(f"{folder}/many", f"{folder}/one.pt")
        ...     facula.load(f"{folder}/one.pt")
        {'a': {'x': tensor([1., 1.])}}
    """
    facula.save(whole_state_dict(dcp_checkpoint_dir), torch_save_path)


def torch_save_to_dcp(torch_save_path: Any, dcp_checkpoint_dir: Any) -> None:
    """Write a file of `torch.save` as a checkpoint's folder. One process does this."""
    save(facula.load(torch_save_path, map_location="cpu", weights_only=True), checkpoint_id=dcp_checkpoint_dir,
         no_dist=True)
