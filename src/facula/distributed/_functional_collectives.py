"""`torch.distributed._functional_collectives`: collectives that return their results. Those of `torch.distributed`
write into tensors; these are not in Facula yet, but for `wait_tensor`."""

from __future__ import annotations

from typing import Any

from facula import absent

__all__ = ["wait_tensor"]


def wait_tensor(tensor: Any) -> Any:
    """The tensor, once the collective that gives it is through: it is, here.

    Example:
        >>> import facula
        >>> from facula.distributed._functional_collectives import wait_tensor
        >>> wait_tensor(facula.ones(1))
        tensor([1.])
    """
    return tensor


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    if name[:1].isupper():
        return absent.kind(f"torch.distributed._functional_collectives.{name}")
    return absent.function(f"torch.distributed._functional_collectives.{name}", "torch.distributed has the collectives")
