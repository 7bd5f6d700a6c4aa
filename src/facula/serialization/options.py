"""Switches of `torch.serialization`, kept: checksums are always written, files are read in the order they name."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

from facula import absent

__all__ = ["LoadEndianness", "get_crc32_options", "get_default_load_endianness", "get_default_mmap_options",
           "set_crc32_options", "set_default_load_endianness", "set_default_mmap_options", "skip_data"]


class LoadEndianness(Enum):
    """In which order of bytes files are that do not say it."""

    NATIVE = 1
    LITTLE = 2
    BIG = 3


_kept: dict[str, Any] = {"crc32": True, "endianness": None, "mmap": getattr(mmap, "MAP_PRIVATE", None)}


def get_crc32_options() -> bool:
    """What `set_crc32_options` was told."""
    return bool(_kept["crc32"])


def set_crc32_options(compute_crc32: bool) -> None:
    """Accepted: files have the checksums that zip readers ask for, whatever is said here."""
    _kept["crc32"] = compute_crc32


def get_default_load_endianness() -> LoadEndianness | None:
    """What `set_default_load_endianness` was told."""
    found: LoadEndianness | None = _kept["endianness"]
    return found


def set_default_load_endianness(endianness: LoadEndianness | None) -> None:
    """In which order of bytes files are that do not say it.

    Raises:
        TypeError: no LoadEndianness.
        NotImplementedError: an order that is not this machine's.
    """
    if endianness is not None and not isinstance(endianness, LoadEndianness):
        raise TypeError("Invalid argument type in function set_default_load_endianness")
    if endianness is LoadEndianness.BIG:
        raise absent.refusal("torch.serialization.set_default_load_endianness(LoadEndianness.BIG)")
    _kept["endianness"] = endianness


def get_default_mmap_options() -> int | None:
    """What `set_default_mmap_options` was told: `mmap.MAP_PRIVATE` at first."""
    found: int | None = _kept["mmap"]
    return found


class set_default_mmap_options:
    """How `load(..., mmap=True)` maps files: `mmap.MAP_PRIVATE`, which is how it does. A call or a context.

    Raises:
        ValueError: other flags than MAP_PRIVATE and MAP_SHARED.
        NotImplementedError: MAP_SHARED, by which a file would change with a tensor.

    Example:
        >>> import mmap
        >>> from facula import serialization
        >>> with serialization.set_default_mmap_options(mmap.MAP_PRIVATE):
        ...     serialization.get_default_mmap_options() == mmap.MAP_PRIVATE
        True
    """

    def __init__(self, flags: int) -> None:
        if flags not in (mmap.MAP_PRIVATE, mmap.MAP_SHARED):
            raise ValueError(f"Invalid argument in function set_default_mmap_options, expected mmap.MAP_PRIVATE or "
                             f"mmap.MAP_SHARED, but got {flags}")
        if flags == mmap.MAP_SHARED:
            raise absent.refusal("torch.serialization.set_default_mmap_options(mmap.MAP_SHARED)")
        self.prev, _kept["mmap"] = _kept["mmap"], flags

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        _kept["mmap"] = self.prev


@contextmanager
def skip_data(materialize_fake_tensors: bool = False) -> Iterator[None]:
    """NotInFacula: a context in which `save` writes no elements."""
    raise absent.refusal("torch.serialization.skip_data")
    yield
