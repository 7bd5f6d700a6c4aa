"""Arm's kernels for matrix products: not used."""

from __future__ import annotations


def is_available() -> bool:
    """Are they there? No."""
    return False
