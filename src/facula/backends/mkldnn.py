"""oneDNN (MKL-DNN): not used; its switches are kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

VERBOSE_OFF = 0
VERBOSE_ON = 1
VERBOSE_ON_CREATION = 2

enabled = True
deterministic = False
allow_tf32: bool | None = None
fp32_precision = "none"
matmul = SimpleNamespace(fp32_precision="none")
conv = SimpleNamespace(fp32_precision="none")
rnn = SimpleNamespace(fp32_precision="none")


def is_available() -> bool:
    """Was this library built with oneDNN? No: the kernels are Facula's own.

    Example:
        >>> from facula.backends import mkldnn
        >>> mkldnn.is_available()
        False
    """
    return False


def is_acl_available() -> bool:
    """Was this library built with Arm's Compute Library?"""
    return False


@contextmanager
def flags(enabled: bool = False, deterministic: bool = False, allow_tf32: bool | None = True,
          fp32_precision: str = "none") -> Iterator[None]:
    """Context manager: other switches inside, the former ones afterwards."""
    names = ("enabled", "deterministic", "allow_tf32", "fp32_precision")
    before: dict[str, Any] = {name: globals()[name] for name in names}
    globals().update(zip(names, (enabled, deterministic, allow_tf32, fp32_precision), strict=True))
    try:
        yield
    finally:
        globals().update(before)


class verbose:
    """Context manager for oneDNN's log: no log."""

    def __init__(self, level: int) -> None:
        self.level = level

    def __enter__(self) -> verbose:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        pass
