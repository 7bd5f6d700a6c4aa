"""`torch.storage`: the memory of tensors as objects."""

from __future__ import annotations

from facula._tensor.legacy_storages import _LegacyStorage
from facula._tensor.storages import TypedStorage, UntypedStorage

__all__ = ["TypedStorage", "UntypedStorage", "_LegacyStorage"]
