"""Running a list of native steps with one call from Python.

A *program* is a bytes object of int64 words, with everything about the steps that no run changes:

    word 0      address of the thread pool's state
    word 1      number of steps
    word 2      1: release the interpreter lock while the steps run (the work is long enough to be worth it)
    then, per step:   function address,  where its arguments start (bytes from the program's start),
                      tiles,  most threads to use (1: only this one; + WAKE: sleeping workers may be woken)
    then, per step:   its int64 arguments

`run(program, bufs, nums)` takes the pointer table and the number table as bytes, too. They are made afresh by
every run and kept alive by the call itself, so one plan can run in several threads at once.

`run` is a builtin function whose machine code we emit: 60 ns a call, where ctypes takes 1,100. Where that
is not possible (PyPy, free-threaded builds) the same walk is reached through ctypes: `run()` decides,
once.
"""

from __future__ import annotations

import ctypes
import functools
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from facula.config import threshold
from facula.engine.cpython import liveness
from facula.engine.runtime.cpu import jit, launch_code, pool, target
from facula.engine.runtime.cpu.pool_code import CAN_THREAD

Run = Callable[[bytes, bytes, bytes], None]
RunTimed = Callable[[bytes, bytes, bytes, int], None]

HEADER_WORDS = 3
STEP_WORDS = 4
RELEASE_ABOVE = threshold("release_ns")  # ns of work. Releasing the interpreter lock and taking it again costs 70
GRAIN = threshold("thread_ns")  # ns of work per thread that make it worth while to use one more, if it is awake
WAKE_ABOVE = threshold("wake_ns")  # ns of parallel work ahead that wake sleeping workers: they come 50 us late
SHARED = 2 * GRAIN  # ns of work below which it is one thread's
WAKE = 1 << 32  # in a step's word of threads


def program(steps: Sequence[tuple[int, Sequence[int], int, float]]) -> bytes:
    """The program of steps (function address, arguments, tiles, cost in nanoseconds)."""
    total = sum([step[3] for step in steps])
    words = [pool.workers.state, len(steps), int(total > RELEASE_ABOVE)]
    where = 8 * (HEADER_WORDS + STEP_WORDS * len(steps))
    tail: list[int] = []
    ahead = sum([cost for *_, tiles, cost in steps if tiles > 1 and cost >= SHARED]) if total >= SHARED else 0.0
    for address, args, tiles, cost in steps:
        wanted = 1
        if ahead and tiles > 1 and cost >= SHARED:
            wanted = threads_wanted(tiles, cost)
            if ahead >= WAKE_ABOVE:
                wanted |= WAKE
            ahead -= cost
        words += (address, where, tiles, wanted)
        tail += args
        where += 8 * len(args)
    return struct.pack(f"={len(words) + len(tail)}q", *words, *tail)


def threads_wanted(tiles: int, cost: float) -> int:
    """How many threads are worth using for a step; the pool's size limits it further."""
    return max(1, min(tiles, int(cost / GRAIN), 1 << 16))


def can_emit_builtin() -> bool:
    """Does liveness.py know this Python's objects, on a system whose mmap takes the flags we pass, with a compiler?"""
    return liveness.known() and sys.platform in ("linux", "darwin") and target.usable()


@functools.cache
def native() -> dict[str, int]:
    """Addresses of the runtime's own functions, compiled (or loaded) as one module."""
    names = ["walk", "walk_timed"] + (["worker", "spin"] if CAN_THREAD else [])
    if not can_emit_builtin():
        return jit.module(launch_code.walks(), names)
    return jit.module(launch_code.walks() + launch_code.builtins(), [*names, "launch", "run", "run_timed"],
                      python_symbols(launch_code.PYTHON_SYMBOLS))


pool.workers.machine_code = native


def python_symbols(names: Sequence[str]) -> dict[str, int]:
    """Where functions and objects of Python's C API are."""
    return {name: ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, name)) for name in names}


class _MethodDefinition(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int),
                ("doc", ctypes.c_char_p)]


_METH_FASTCALL = 0x80
_definitions: list[_MethodDefinition] = []  # a builtin points to its definition for ever


def builtin(name: str, address: int) -> Callable[..., Any]:
    """The machine code at `address` (self, arguments, their number; METH_FASTCALL) as a builtin function."""
    definition = _MethodDefinition(name.encode(), address, _METH_FASTCALL, b"")
    _definitions.append(definition)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(definition))  # outlives this module at shutdown
    create = ctypes.pythonapi.PyCFunction_NewEx
    create.restype = ctypes.py_object
    create.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    made: Callable[..., Any] = create(ctypes.addressof(definition), None, None)
    return made


def _through_ctypes(name: str) -> Callable[..., None]:
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 5)(native()[name])
    own = threading.local()

    def run(program: bytes, bufs: bytes, nums: bytes, times: int = 0) -> None:
        scratch = getattr(own, "scratch", None)
        if scratch is None:
            scratch = own.scratch = _Lent(pool.take_scratch())
        if {type(program), type(bufs), type(nums)} != {bytes}:
            raise TypeError(f"expected bytes, got {type(program).__name__}, {type(bufs).__name__} and "
                            f"{type(nums).__name__}")
        # c_char_p gives a bytes object's own memory, without a copy. Of an integer it would make an address.
        call(*(ctypes.cast(ctypes.c_char_p(part), ctypes.c_void_p) for part in (program, bufs, nums)),
             scratch.address, times)

    return run


class _Lent:
    """A thread's scratch, returned to the pool's spares when the thread ends."""

    def __init__(self, address: int) -> None:
        self.address = address

    def __del__(self) -> None:
        if pool is not None:  # the interpreter is shutting down: modules may be gone
            pool.give_scratch(self.address)


@functools.cache
def run() -> Run:
    """The function `run(program, bufs, nums)`."""
    return builtin("run", native()["run"]) if "run" in native() else _through_ctypes("walk")


@functools.cache
def run_timed() -> RunTimed:
    """`run_timed(program, bufs, nums, times)`: each step takes, in nanoseconds, as int64 from `times`."""
    return builtin("run_timed", native()["run_timed"]) if "run_timed" in native() else _through_ctypes("walk_timed")
