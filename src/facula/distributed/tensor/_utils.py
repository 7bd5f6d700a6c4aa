"""`torch.distributed.tensor._utils`: where the pieces of a DTensor lie. There are none yet."""

from __future__ import annotations

from typing import Any

from facula import absent


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return absent.function(f"torch.distributed.tensor._utils.{name}")
