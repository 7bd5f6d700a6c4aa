"""Running the same program on both back ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from facula import config
from facula.engine import realize


@contextmanager
def interpreter() -> Iterator[None]:
    """What is recorded inside is computed by the NumPy interpreter."""
    realize.flush()
    backend, plans = config.BACKEND.value, realize._plans
    config.BACKEND.value, realize._plans = "interpreter", {}
    try:
        yield
        realize.flush()
    finally:
        config.BACKEND.value, realize._plans = backend, plans
