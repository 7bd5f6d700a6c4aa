"""The fused path of `nn.MultiheadAttention` in inference: a switch, kept without effect."""

from __future__ import annotations

_fastpath = True


def get_fastpath_enabled() -> bool:
    """May `MultiheadAttention` take its fused path?

    Example:
        >>> from facula.backends import mha
        >>> mha.get_fastpath_enabled()
        True
    """
    return _fastpath


def set_fastpath_enabled(value: bool) -> None:
    """Let `MultiheadAttention` take its fused path, or not."""
    global _fastpath
    _fastpath = value
