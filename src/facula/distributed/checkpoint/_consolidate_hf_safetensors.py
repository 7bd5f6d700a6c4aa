"""`torch.distributed.checkpoint._consolidate_hf_safetensors`, importable: see `torch.distributed.checkpoint`."""

from __future__ import annotations

from facula import absent

__all__ = ["consolidate_safetensors_files", "consolidate_safetensors_files_on_every_rank"]

consolidate_safetensors_files, consolidate_safetensors_files_on_every_rank = (
    absent.function(f"torch.distributed.checkpoint._consolidate_hf_safetensors.{name}") for name in __all__)
