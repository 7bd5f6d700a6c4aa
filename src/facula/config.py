"""Every environment variable that Facula reads: name, default, meaning, and the file that acts on it.

A setting is read once, when this module is imported; `setting.value` may be assigned afterwards (tests
do). Nothing here imports anything but the standard library's `os`: `import facula` passes through it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Setting(Generic[T]):
    """One environment variable. `owner` is the file, below src/facula, that gives it effect."""

    __slots__ = ("name", "default", "doc", "owner", "value")

    def __init__(self, name: str, default: T, parse: Callable[[str], T], doc: str, owner: str) -> None:
        self.name = name
        self.default = default
        self.doc = doc
        self.owner = owner
        self.value: T = default
        text = os.environ.get(name, "").strip()
        if text:
            try:
                self.value = parse(text)
            except ValueError as error:
                raise ValueError(f"environment variable {name}={text!r}: {error}. {doc}") from None
        SETTINGS[name] = self  # type: ignore[assignment]


SETTINGS: dict[str, Setting[object]] = {}


def _flag(text: str) -> bool:
    word = text.lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise ValueError("expected 0 or 1")


def _choice(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError("expected one of " + ", ".join(words))
        return text.lower()
    return parse


def _whole(low: int, high: int | None = None) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ValueError("expected a whole number") from None
        if number < low or (high is not None and number > high):
            raise ValueError(f"expected {low} or more" if high is None else f"expected {low} to {high}")
        return number
    return parse


def _shift(text: str) -> int:
    if text not in ("-1", "0", "1", "+1"):
        raise ValueError("expected -1, 0 or 1")
    return int(text)


def _size(text: str) -> int:
    """Bytes, with an optional suffix: 512M, 2G."""
    unit = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1].upper(), 1)
    return _whole(0)(text[:-1] if unit > 1 else text) * unit


BACKEND = Setting(
    "FACULA_BACKEND", "auto", _choice("auto", "cpu", "interpreter"),
    "Who computes: cpu (machine code), interpreter (NumPy), auto (cpu where llvmlite is present).",
    "engine/realize.py")
EAGER = Setting(
    "FACULA_EAGER", False, _flag,
    "1 runs every operation at its call instead of recording it: slow, but errors show where they arise.",
    "engine/recorder.py")
NUM_THREADS = Setting(
    "FACULA_NUM_THREADS", 0, _whole(0),
    "Most threads to compute with; 0 asks the machine (affinity and cgroup limits). See set_num_threads.",
    "engine/runtime/cpu/pool.py")
LIVENESS = Setting(
    "FACULA_LIVENESS", "auto", _choice("auto", "off"),
    "off takes all that is recorded to be alive, as where reference counts say nothing (PyPy, free-threaded builds): "
    "nothing is donated, shared memory stays pinned, no builtins of machine code. For tests and for doubts.",
    "engine/cpython/liveness.py")
REFCOUNT_SHIFT = Setting(
    "FACULA_REFCOUNT_SHIFT", 0, _shift,
    "For tests only: -1 or 1 is added to each reference count that is read, as another Python might have it.",
    "engine/cpython/liveness.py")
CACHE_DIR = Setting(
    "FACULA_CACHE_DIR", "", str,
    "Where compiled kernels are kept between runs; by default $XDG_CACHE_HOME/facula or ~/.cache/facula.",
    "engine/runtime/cpu/object_cache.py")
CACHE_LIMIT = Setting(
    "FACULA_CACHE_LIMIT", 256 << 20, _size,
    "Most bytes to keep there (suffix K, M, G allowed); 0 turns the disk cache off.",
    "engine/runtime/cpu/object_cache.py")
DEBUG = Setting(
    "FACULA_DEBUG", 0, _whole(0, 4),
    "How much to tell: 1 plans, 2 kernels, 3 fusion decisions and IR, 4 everything incl. graphs.",
    "engine/compiler/pipeline.py")
