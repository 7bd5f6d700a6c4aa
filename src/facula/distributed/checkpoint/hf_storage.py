"""`torch.distributed.checkpoint.hf_storage`, importable: see `torch.distributed.checkpoint`."""

from __future__ import annotations

from facula import absent

__all__ = ["HuggingFaceStorageReader", "HuggingFaceStorageWriter"]

HuggingFaceStorageReader, HuggingFaceStorageWriter = (
    absent.kind(f"torch.distributed.checkpoint.hf_storage.{name}") for name in __all__)
