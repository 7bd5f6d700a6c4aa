"""`autocast` for the cpu under its older name."""

from __future__ import annotations

from typing import Any

from facula import amp

__all__ = ["autocast"]


class autocast(amp.autocast):
    """`facula.amp.autocast("cpu", ...)`."""

    def __init__(self, enabled: bool = True, dtype: Any = None, cache_enabled: bool = True) -> None:
        from facula.dtypes import bfloat16
        super().__init__("cpu", enabled=enabled, dtype=bfloat16 if dtype is None else dtype,
                         cache_enabled=cache_enabled)
