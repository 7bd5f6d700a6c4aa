"""cusparselt: not used."""

from __future__ import annotations


def is_available() -> bool:
    """Was this library built with it?

    Example:
        >>> from facula.backends import cusparselt
        >>> cusparselt.is_available()
        False
    """
    return False


def version() -> int | None:
    """Its version, None without it."""
    return None
