"""`autocast` for CUDA under its older name."""

from __future__ import annotations

import functools
from typing import Any

from facula import amp
from facula.dtypes import float16
from facula.errors import warn

__all__ = ["autocast", "custom_bwd", "custom_fwd"]


def _deprecated(name: str) -> None:
    warn(f"`torch.cuda.amp.{name}(args...)` is deprecated. Please use `torch.amp.{name}({_MEANT[name]})` instead.",
         FutureWarning)


_MEANT = {"autocast": "'cuda', args...", "custom_fwd": "args..., device_type='cuda'",
          "custom_bwd": "args..., device_type='cuda'"}


class autocast(amp.autocast):
    """`facula.amp.autocast("cuda", ...)`."""

    def __init__(self, enabled: bool = True, dtype: Any = float16, cache_enabled: bool = True) -> None:
        _deprecated("autocast")
        super().__init__("cuda", enabled=enabled, dtype=dtype, cache_enabled=cache_enabled)


def custom_fwd(fwd: Any = None, *, cast_inputs: Any = None) -> Any:
    """`facula.amp.custom_fwd(device_type="cuda")`."""
    _deprecated("custom_fwd")
    return functools.partial(amp.custom_fwd, device_type="cuda")(fwd=fwd, cast_inputs=cast_inputs)


def custom_bwd(bwd: Any) -> Any:
    """`facula.amp.custom_bwd(device_type="cuda")`."""
    _deprecated("custom_bwd")
    return amp.custom_bwd(bwd, device_type="cuda")
