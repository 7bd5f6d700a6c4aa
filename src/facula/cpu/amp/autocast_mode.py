"""`autocast` for the cpu under its older name."""

from __future__ import annotations

from typing import Any

from facula import amp
from facula.dtypes import bfloat16
from facula.errors import warn

__all__ = ["autocast"]


class autocast(amp.autocast):
    """`facula.amp.autocast("cpu", ...)`."""

    def __init__(self, enabled: bool = True, dtype: Any = bfloat16, cache_enabled: bool = True) -> None:
        warn("`torch.cpu.amp.autocast(args...)` is deprecated. Please use `torch.amp.autocast('cpu', args...)` "
             "instead.", FutureWarning)
        super().__init__("cpu", enabled=enabled, dtype=dtype, cache_enabled=cache_enabled)
