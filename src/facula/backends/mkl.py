"""Intel's MKL: not used."""

from __future__ import annotations

from typing import Any

VERBOSE_OFF = 0
VERBOSE_ON = 1


def is_available() -> bool:
    """Was this library built with MKL? No: the kernels are Facula's own.

    Example:
        >>> from facula.backends import mkl
        >>> mkl.is_available()
        False
    """
    return False


class verbose:
    """Context manager for MKL's log: no log."""

    def __init__(self, enable: int) -> None:
        self.enable = enable

    def __enter__(self) -> verbose:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        pass
