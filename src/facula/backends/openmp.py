"""OpenMP: not used. Threads are Facula's own; see `facula.set_num_threads`."""

from __future__ import annotations


def is_available() -> bool:
    """Was this library built with OpenMP?

    Example:
        >>> from facula.backends import openmp
        >>> openmp.is_available()
        False
    """
    return False
