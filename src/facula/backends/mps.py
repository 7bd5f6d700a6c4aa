"""Apple's Metal: not used.

Example:
    >>> from facula.backends import mps
    >>> mps.is_available()
    False
"""

from __future__ import annotations


def is_available() -> bool:
    """Can tensors be put on an `mps` device?"""
    return False


def is_built() -> bool:
    """Was this library built with Metal?"""
    return False


def is_macos_or_newer(major: int, minor: int) -> bool:
    """Is this macOS `major`.`minor` or later, with Metal?"""
    return False


def is_macos13_or_newer(minor: int = 0) -> bool:
    """Is this macOS 13 or later, with Metal?"""
    return False
