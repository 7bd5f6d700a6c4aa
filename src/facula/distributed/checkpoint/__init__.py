"""`torch.distributed.checkpoint`: checkpoints that several ranks write and read together, in PyTorch's format.

    metadata.py, catalogue.py            what a checkpoint says of itself; its file
    flattening.py, pieces.py             names; who has which part of a tensor
    planner.py, filesystem.py            who writes what; where
    state_dict_saver.py, state_dict_loader.py, format_utils.py, stateful.py, api.py, state_dict.py

They are data: nothing in a checkpoint is run when it is loaded.
"""

from __future__ import annotations

from typing import Any

from facula import absent
from facula.distributed.checkpoint.api import CheckpointException
from facula.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from facula.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    TensorStorageMetadata,
)
from facula.distributed.checkpoint.planner import DefaultLoadPlanner, DefaultSavePlanner, LoadPlanner, SavePlanner
from facula.distributed.checkpoint.state_dict_loader import load, load_state_dict
from facula.distributed.checkpoint.state_dict_saver import async_save, save, save_state_dict

__all__ = ["BytesStorageMetadata", "CheckpointException", "ChunkStorageMetadata", "DefaultLoadPlanner",
           "DefaultSavePlanner", "FileSystemReader", "FileSystemWriter", "LoadPlanner", "Metadata", "SavePlanner",
           "TensorStorageMetadata", "async_save", "load", "load_state_dict", "save", "save_state_dict"]


def __getattr__(name: str) -> Any:
    if name in ("state_dict", "format_utils", "stateful", "default_planner", "hf_storage"):
        import importlib
        return importlib.import_module(f"facula.distributed.checkpoint.{name}")
    raise absent.missing("distributed.checkpoint", name)
