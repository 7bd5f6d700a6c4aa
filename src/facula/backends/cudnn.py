"""Switches of cuDNN: kept, without effect.

Example:
    >>> from facula.backends import cudnn
    >>> cudnn.benchmark = True
    >>> cudnn.is_available()
    False
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

enabled = True
benchmark = False
benchmark_limit: int | None = None
deterministic = False
allow_tf32 = True
fp32_precision = "none"
conv = SimpleNamespace(fp32_precision="tf32")
rnn = SimpleNamespace(fp32_precision="tf32")


def is_available() -> bool:
    """Is cuDNN used? Never."""
    return False


def version() -> int | None:
    """cuDNN's version, None without it."""
    return None


def is_acceptable(tensor: Any) -> bool:
    """Could cuDNN compute with this tensor? Never."""
    return False


def set_flags(_enabled: bool | None = None, _benchmark: bool | None = None,
              _benchmark_limit: int | None = None,
              _deterministic: bool | None = None, _allow_tf32: bool | None = None,
              _fp32_precision: str = "none") -> tuple[Any, ...]:
    """Set the switches that are not None; returns what they all were."""
    given = {"enabled": _enabled, "benchmark": _benchmark, "benchmark_limit": _benchmark_limit,
             "deterministic": _deterministic, "allow_tf32": _allow_tf32, "fp32_precision": _fp32_precision}
    before = tuple(globals()[name] for name in given)
    globals().update({name: value for name, value in given.items() if value is not None})
    return before


@contextmanager
def flags(enabled: bool = False, benchmark: bool = False, benchmark_limit: int | None = 10,
          deterministic: bool = False, allow_tf32: bool = True,
          fp32_precision: str = "none") -> Iterator[None]:
    """Context manager: other switches inside, the former ones afterwards."""
    before = set_flags(enabled, benchmark, benchmark_limit, deterministic, allow_tf32, fp32_precision)
    try:
        yield
    finally:
        globals().update(zip(("enabled", "benchmark", "benchmark_limit", "deterministic", "allow_tf32",
                              "fp32_precision"), before, strict=True))
