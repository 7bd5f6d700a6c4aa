"""`torch.nn.attention`: which kernels `scaled_dot_product_attention` may take.

Facula has one way to compute attention, by one formula; a choice is checked, kept while the context lasts, and has no
other effect.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

from facula import absent
from facula.nn.attention import flex_attention

__all__ = ["SDPBackend", "WARN_FOR_UNFUSED_KERNELS", "flex_attention", "sdpa_kernel"]

WARN_FOR_UNFUSED_KERNELS = False


class SDPBackend(IntEnum):
    """PyTorch's kernels of attention.

    Example:
        >>> from facula.nn.attention import SDPBackend
        >>> SDPBackend.MATH
        <SDPBackend.MATH: 0>
    """

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4

    def __repr__(self) -> str:
        return f"<SDPBackend.{self.name}: {self.value}>"


_ALL = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH,
        SDPBackend.OVERRIDEABLE]
_chosen: list[SDPBackend] = _ALL


def _cur_sdpa_kernel_backends(with_priority: bool = False) -> list[SDPBackend]:
    """The kernels that are allowed now."""
    return list(_chosen)


@contextmanager
def sdpa_kernel(backends: Any, set_priority: bool = False) -> Iterator[dict[Any, Any]]:
    """A context (or decorator) in which attention may take these kernels only. Here: accepted, without an effect on how
    attention is computed.

    Raises:
        AssertionError: no SDPBackend, and no list of them.

    Example:
        >>> import facula
        >>> from facula.nn.attention import SDPBackend, sdpa_kernel
        >>> q = facula.ones(1, 2, 4)
        >>> with sdpa_kernel(SDPBackend.MATH):
        ...     facula.nn.functional.scaled_dot_product_attention(q, q, q).shape
        torch.Size([1, 2, 4])
    """
    global _chosen
    if not isinstance(backends, (list, SDPBackend)):
        raise AssertionError("Backend must be an instance of SDPBackend or a list of SDPBackend instances, got "
                             f"{type(backends).__name__}")
    wanted = [backends] if isinstance(backends, SDPBackend) else backends
    before, _chosen = _chosen, [backend for backend in _ALL if backend in wanted]
    try:
        yield {}
    finally:
        _chosen = before


def __getattr__(name: str) -> Any:
    raise absent.missing("nn.attention", name)
