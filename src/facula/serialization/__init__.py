"""`facula.serialization`: `.pt` files, as PyTorch writes and reads them.

Layers, lowest first: `archive` (the zip file), `storages` (runs of bytes), `unpickler` (reads pickles without
running them), `tensors` (the seam to Tensor), `rebuild` (what pickles of tensors call), `names` (what torch
calls our objects), `pickler`, then `saving` and `loading`.
"""

from __future__ import annotations

from facula.serialization.allowlist import (
    add_safe_globals,
    clear_safe_globals,
    get_safe_globals,
    safe_globals,
)
from facula.serialization.loading import get_unsafe_globals_in_checkpoint, load
from facula.serialization.locations import default_restore_location
from facula.serialization.options import (
    LoadEndianness,
    get_crc32_options,
    get_default_load_endianness,
    get_default_mmap_options,
    set_crc32_options,
    set_default_load_endianness,
    set_default_mmap_options,
    skip_data,
)
from facula.serialization.rebuild import _get_layout
from facula.serialization.saving import DEFAULT_PROTOCOL, MAGIC_NUMBER, PROTOCOL_VERSION, save

__all__ = [
    "DEFAULT_PROTOCOL", "LoadEndianness", "MAGIC_NUMBER", "PROTOCOL_VERSION", "SourceChangeWarning", "_get_layout",
    "add_safe_globals", "clear_safe_globals", "default_restore_location", "get_safe_globals",
    "get_crc32_options", "get_default_load_endianness", "get_default_mmap_options",
    "get_unsafe_globals_in_checkpoint", "load", "safe_globals", "save", "set_crc32_options",
    "set_default_load_endianness", "set_default_mmap_options", "skip_data",
]


class SourceChangeWarning(Warning):
    """The source of a saved module's class has changed since: a category that programs filter by."""
