"""`torch.utils.model_zoo`: `load_url`, which has been `torch.hub.load_state_dict_from_url` for long."""

from __future__ import annotations

from typing import Any

from facula.hub import load_state_dict_from_url as load_url

__all__ = ["load_url"]


def __getattr__(name: str) -> Any:
    if name == "tqdm":
        from facula import hub
        return hub.tqdm
    raise AttributeError(f"module 'facula.utils.model_zoo' has no attribute {name!r}")
