"""Every environment variable that Facula reads: name, default, meaning, and the file that acts on it.

A setting is read once, when this module is imported; `setting.value` may be assigned afterwards (tests
do). Nothing here imports anything but the standard library's `os`: `import facula` passes through it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Setting(Generic[T]):
    """One environment variable. `owner` is the file, below src/facula, that gives it effect."""

    __slots__ = ("name", "default", "doc", "owner", "value", "at_start")

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
        self.at_start = self.value
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


def _vector_bytes(text: str) -> int:
    if text not in ("64", "32", "16"):
        raise ValueError("expected 64, 32 or 16")
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
VECTOR_BYTES = Setting(
    "FACULA_VECTOR_BYTES", 64, _vector_bytes,
    "Most bytes of a vector register to use, 64, 32 or 16, where the processor has more: results have the same bits "
    "with fewer. For tests and for comparing machines.",
    "engine/runtime/cpu/target.py")
MONITOR_DIR = Setting(
    "FACULA_MONITOR_DIR", "monitor", str,
    "The folder of runs that facula.monitor.init writes to where it is given none.",
    "monitor/__init__.py")
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
    "What to tell on stderr: 1 plans as they are compiled (and compiler failures are raised, not worked around), "
    "2 also every run, its kernels with times, 3 also fusion decisions and loops, 4 also graphs and LLVM IR.",
    "engine/debug.py")
VERIFY = Setting(
    "FACULA_VERIFY", False, _flag,
    "1 checks between the compiler's passes what each hands on; a violation is an error (VerifyError), and so is "
    "whatever else the compiler fails of.",
    "engine/compiler/pipeline.py")

SAVE_PLANS = Setting(
    "FACULA_SAVE_PLANS", "", str,
    "A folder: every graph that is compiled is saved there as one file, which `facula explain FILE` compiles and runs.",
    "engine/realize.py")

DISTRIBUTED_SECRET = Setting(
    "FACULA_DISTRIBUTED_SECRET", "", str,
    "What the processes of a group prove to each other that they know before anything is sent; launchers make one "
    "and hand "
    "it on. Without it stores and groups listen on this machine alone (but see FACULA_DISTRIBUTED_OPEN).",
    "distributed/store/wire.py")
DISTRIBUTED_OPEN = Setting(
    "FACULA_DISTRIBUTED_OPEN", False, _flag,
    "1: stores and groups listen on all networks without a secret, too. Whoever reaches them can run code here.",
    "distributed/store/wire.py")
SERVE_TOKEN = Setting(
    "FACULA_SERVE_TOKEN", "", str,
    "What requests to `facula serve` have to bring (Authorization: Bearer ...); none is asked for by default.",
    "serving/command.py")


# ---- thresholds: sizes from which something is done, or up to which something is kept ------------


class Threshold(NamedTuple):
    """`smallest` still makes sense, and has tests meet with small tensors what programs meet with large ones."""

    default: float
    smallest: float
    doc: str


THRESHOLDS: dict[str, Threshold] = {
    # engine/session.py, recorder.py, trace/
    "look_nodes": Threshold(256, 8, "pending nodes after which a loop that asks for no value is looked for"),
    "pending_nodes": Threshold(8192, 64, "pending nodes after which everything is computed"),
    "pending_bytes": Threshold(64 << 20, 1 << 20, "bytes of new arrays, made while the same work is pending, after "
                               "which it is computed"),
    "replace_bytes": Threshold(1 << 20, 1, "bytes from which a result takes the memory of what it replaces"),
    "row_tensors": Threshold(32, 2, "gradients and tensors of state from which parameters that are alike are updated "
                             "as one"),
    "waiting_checks": Threshold(256, 1, "checks of pending values after which everything is computed"),
    "new_graphs": Threshold(2, 0, "graphs never seen before, in a row, after which such are run in pieces"),
    "piece_sights": Threshold(8, 1, "runs of such a piece, in pieces of its own, before it is compiled"),
    "arranged_graphs": Threshold(4, 1, "graphs never seen before that begin with writes of what is at hand, after "
                                 "which such writes are done at the call"),
    "arranged_bytes": Threshold(1 << 16, 0, "bytes of what is written to, up to which that is so"),
    "large_nodes": Threshold(1024, 2, "nodes from which a graph is run in pieces the first time"),
    "whole_nodes": Threshold(16, 2, "nodes below which a graph is compiled as a whole, however new it is"),
    "kept_bytes": Threshold(64 << 20, 1 << 17, "bytes, about, of steps, plans and replays that are remembered"),
    "autocast_bytes": Threshold(1 << 30, 1, "bytes of parameters and their casts that a thread keeps within autocast"),
    "replay_elements": Threshold(1 << 18, 16, "elements of constants that are kept with a replay"),
    # engine/runtime/
    "free_bytes": Threshold(2 << 30, 0, "bytes of freed memory that are kept for reuse"),
    "idle_bytes": Threshold(32 << 20, 0, "bytes of freed memory kept while memory of other sizes is asked for, "
                            "though never so much was in use"),
    "arena_bytes": Threshold(1 << 20, 0, "bytes of temporaries that stay with a plan between its runs"),
    "release_ns": Threshold(20_000, 0, "work of a plan above which it runs without Python's lock"),
    "thread_ns": Threshold(6_000, 1, "work that makes one more thread worth while, if it is awake"),
    "wake_ns": Threshold(100_000, 0, "parallel work ahead for which sleeping threads are woken"),
    # ops/arrange/sorting.py
    "unstable_row": Threshold(1 << 14, 1 << 10, "elements of a row up to which equal ones come in PyTorch's order "
                              "where the sort is not asked to be stable"),
    # engine/compiler/. The order of sums follows some of these: results may differ in their last bits
    "fused_nodes": Threshold(120, 2, "nodes that one kernel computes at most"),
    "split_elements": Threshold(1 << 16, 64, "length from which a sum to few results is cut into chunks"),
    "chunk_elements": Threshold(1 << 14, 16, "elements of such a chunk"),
    "tile_ns": Threshold(2500, 1, "work of a tile of a loop"),
    "tile_points": Threshold(256, 1, "points of a tile of a loop, at least"),
    "scratch_bytes": Threshold(256 << 10, 0, "bytes of values that a row keeps instead of computing them again"),
    "printed_bytes": Threshold(64 << 20, 1, "bytes of kernels' texts that are kept for the next nest of their kind"),
    "template_bytes": Threshold(16 << 20, 1 << 16, "bytes, about, of plans that are kept for other sizes"),
    "product_flops": Threshold(2e6, 1000, "operations of a tile of a matrix product"),
    "product_bytes": Threshold(1 << 20, 1024, "bytes of a tile of a matrix product that reads more than it computes"),
}


def _thresholds(text: str) -> dict[str, float]:
    """`name=value,name=value`; the word `smallest` puts all that are not named to their smallest."""
    found: dict[str, float] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        if part == "smallest":
            found = {**{name: t.smallest for name, t in THRESHOLDS.items()}, **found}
            continue
        name, equals, number = map(str.strip, part.partition("="))
        if name not in THRESHOLDS or not equals:
            raise ValueError(f"{part!r} is not `smallest` or one of {', '.join(THRESHOLDS)} with =value")
        value = float(_size(number)) if number else -1.0
        if value < THRESHOLDS[name].smallest:
            raise ValueError(f"{name} is {THRESHOLDS[name].smallest:g} at least")
        found[name] = value
    return found


_NONE: dict[str, float] = {}
THRESHOLD = Setting(
    "FACULA_THRESHOLDS", _NONE, _thresholds,
    "name=value,... or `smallest`: sizes from which the engine does something (config.THRESHOLDS has the names).",
    "config.py")


def threshold(name: str) -> int:
    """The value in force; asked for once, when the module that acts on it is imported."""
    return int(THRESHOLD.value.get(name, THRESHOLDS[name].default))
