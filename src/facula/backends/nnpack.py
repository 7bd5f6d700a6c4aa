"""NNPACK: not used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_enabled = True


def is_available() -> bool:
    """Was this library built with NNPACK?

    Example:
        >>> from facula.backends import nnpack
        >>> nnpack.is_available()
        False
    """
    return False


def set_flags(enabled: bool) -> tuple[bool]:
    """Set the switch; returns what it was."""
    global _enabled
    before, _enabled = _enabled, enabled
    return (before,)


@contextmanager
def flags(enabled: bool = False) -> Iterator[None]:
    """Context manager: another switch inside, the former one afterwards."""
    (before,) = set_flags(enabled)
    try:
        yield
    finally:
        set_flags(before)
