"""Running a list of native steps with one call from Python.

A *program* is a bytes object of int64 words, with everything about the steps that no run changes:

    word 0      address of the thread pool's state
    word 1      number of steps
    word 2      1: release the interpreter lock while the steps run (the work is long enough to be worth it)
    then, per step:   function address,  where its arguments start (bytes from the program's start),
                      tiles,  most threads to use (1: run here, leave the pool asleep)
    then, per step:   its int64 arguments

`run(program, bufs, nums)` takes the pointer table and the number table as bytes, too. They are made afresh by
every run and kept alive by the call itself, so one plan can run in several threads at once.

`run` is a builtin function whose machine code we emit: 60 ns a call, where ctypes takes 1,100. Where that is not
possible (PyPy, free-threaded builds) the same walk is reached through ctypes: `run()` decides, once.
"""

from __future__ import annotations

import ctypes
import functools
import struct
import sys
import threading
from collections.abc import Callable, Sequence

from facula.engine.runtime.cpu import jit, pool

Run = Callable[[bytes, bytes, bytes], None]
RunTimed = Callable[[bytes, bytes, bytes, int], None]

HEADER_WORDS = 3
STEP_WORDS = 4
RELEASE_ABOVE = 20_000  # ns of work. Releasing the interpreter lock and taking it again costs 70
PARALLEL_ABOVE = 40_000  # ns: waking a sleeping worker costs both sides, and it arrives 50 us later
GRAIN = 15_000  # ns of work per thread that make it worth while to use one more


def program(steps: Sequence[tuple[int, Sequence[int], int, float]]) -> bytes:
    """The program of steps (function address, arguments, tiles, cost in nanoseconds)."""
    words = [pool.pool.state, len(steps), int(sum(cost for *_, cost in steps) > RELEASE_ABOVE)]
    where = 8 * (HEADER_WORDS + STEP_WORDS * len(steps))
    tail: list[int] = []
    for address, args, tiles, cost in steps:
        words += (address, where, tiles, threads_wanted(tiles, cost))
        tail += args
        where += 8 * len(args)
    return struct.pack(f"={len(words) + len(tail)}q", *words, *tail)


def threads_wanted(tiles: int, cost: float) -> int:
    """How many threads are worth using for a step; the pool's size limits it further."""
    if tiles < 2 or cost < PARALLEL_ABOVE:
        return 1
    return max(1, min(tiles, int(cost / GRAIN), 1 << 16))


# The walk over a program, twice: plain, and with the nanoseconds that each step took stored to %times.
_WALK = """
define void @{name}(ptr %program, ptr %bufs, ptr %nums, ptr %scratch, ptr %times) {{
entry:
  %clock = alloca [2 x i64]
  %clock.ns = getelementptr i8, ptr %clock, i64 8
  %state = load ptr, ptr %program
  %count.at = getelementptr i8, ptr %program, i64 8
  %count = load i64, ptr %count.at
  %first = getelementptr i8, ptr %program, i64 24
  br label %look
look:
  %i = phi i64 [ 0, %entry ], [ %next, %after ]
  %step = phi ptr [ %first, %entry ], [ %step.next, %after ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %do, label %end
do:
  {before}
  %fn = load ptr, ptr %step
  %args.at = getelementptr i8, ptr %step, i64 8
  %args.offset = load i64, ptr %args.at
  %args = getelementptr i8, ptr %program, i64 %args.offset
  %tiles.at = getelementptr i8, ptr %step, i64 16
  %tiles = load i64, ptr %tiles.at
  %want.at = getelementptr i8, ptr %step, i64 24
  %want = load i64, ptr %want.at
  %split = icmp sgt i64 %want, 1
  br i1 %split, label %many, label %few
few:
  %some = icmp sgt i64 %tiles, 0
  br i1 %some, label %one, label %after
one:
  call void %fn(ptr %args, ptr %bufs, ptr %nums, i64 0, i64 %tiles, ptr %scratch)
  br label %after
many:
  call void @parallel(ptr %state, ptr %fn, ptr %args, ptr %bufs, ptr %nums, i64 %tiles, i64 %want, ptr %scratch)
  br label %after
after:
  {after}
  %next = add i64 %i, 1
  %step.next = getelementptr i8, ptr %step, i64 32
  br label %look
end:
  ret void
}}
"""

_NOW = """%r{n} = call i32 @clock_gettime(i32 1, ptr %clock)
  %s{n} = load i64, ptr %clock
  %m{n} = mul i64 %s{n}, 1000000000
  %ns{n} = load i64, ptr %clock.ns
  %t{n} = add i64 %m{n}, %ns{n}"""

_STORE = _NOW.format(n=1) + """
  %took = sub i64 %t1, %t0
  %slot = getelementptr i64, ptr %times, i64 %i
  store i64 %took, ptr %slot"""

# METH_FASTCALL: (self, arguments, their number). The caller's scratch comes from a stack in the pool's state, which
# the interpreter lock guards: word 0 is its depth, the addresses follow.
_BUILTIN = """
define ptr @{name}(ptr %self, ptr %arguments, i64 %n) {{
entry:
  %right = icmp eq i64 %n, {arity}
  br i1 %right, label %first, label %wrong
wrong:
  call void @PyErr_BadInternalCall()
  ret ptr null
first:
  %o0 = load ptr, ptr %arguments
  %program = call ptr @PyBytes_AsString(ptr %o0)
  %e0 = icmp eq ptr %program, null
  br i1 %e0, label %fail, label %second
second:
  %p1 = getelementptr ptr, ptr %arguments, i64 1
  %o1 = load ptr, ptr %p1
  %bufs = call ptr @PyBytes_AsString(ptr %o1)
  %e1 = icmp eq ptr %bufs, null
  br i1 %e1, label %fail, label %third
third:
  %p2 = getelementptr ptr, ptr %arguments, i64 2
  %o2 = load ptr, ptr %p2
  %nums = call ptr @PyBytes_AsString(ptr %o2)
  %e2 = icmp eq ptr %nums, null
  br i1 %e2, label %fail, label %ready
fail:
  ret ptr null
ready:
  {times}
  %state = load ptr, ptr %program
  %depth.at = getelementptr i8, ptr %state, i64 {SCRATCH}
  %slots = getelementptr i8, ptr %depth.at, i64 8
  %depth = load i64, ptr %depth.at
  %empty = icmp eq i64 %depth, 0
  br i1 %empty, label %fresh, label %pop
pop:
  %lower = sub i64 %depth, 1
  store i64 %lower, ptr %depth.at
  %top = getelementptr ptr, ptr %slots, i64 %lower
  %kept = load ptr, ptr %top
  br label %go
fresh:
  %page = call ptr @mmap(ptr null, i64 {SCRATCH_BYTES}, i32 3, i32 {MAP_FLAGS}, i32 -1, i64 0)
  %refused = icmp eq ptr %page, inttoptr (i64 -1 to ptr)
  br i1 %refused, label %memory, label %go
memory:
  %oom = call ptr @PyErr_NoMemory()
  ret ptr null
go:
  %scratch = phi ptr [ %kept, %pop ], [ %page, %fresh ]
  %release.at = getelementptr i8, ptr %program, i64 16
  %release = load i64, ptr %release.at
  %long = icmp ne i64 %release, 0
  br i1 %long, label %unlocked, label %locked
locked:
  call void @{walk}(ptr %program, ptr %bufs, ptr %nums, ptr %scratch, ptr %times)
  br label %done
unlocked:
  %thread = call ptr @PyEval_SaveThread()
  call void @{walk}(ptr %program, ptr %bufs, ptr %nums, ptr %scratch, ptr %times)
  call void @PyEval_RestoreThread(ptr %thread)
  br label %done
done:
  %deep = load i64, ptr %depth.at
  %room = icmp ult i64 %deep, {SCRATCH_SLOTS}
  br i1 %room, label %push, label %drop
push:
  %place = getelementptr ptr, ptr %slots, i64 %deep
  store ptr %scratch, ptr %place
  %deeper = add i64 %deep, 1
  store i64 %deeper, ptr %depth.at
  br label %return
drop:
  %gone = call i32 @munmap(ptr %scratch, i64 {SCRATCH_BYTES})
  br label %return
return:
  call void @Py_IncRef(ptr @_Py_NoneStruct)
  ret ptr @_Py_NoneStruct
}}
"""

_TIMES_NONE = "%times = getelementptr i8, ptr null, i64 0"
_TIMES_ARGUMENT = """%p3 = getelementptr ptr, ptr %arguments, i64 3
  %o3 = load ptr, ptr %p3
  %times.i = call i64 @PyLong_AsLongLong(ptr %o3)
  %times = inttoptr i64 %times.i to ptr"""

_DECLARE = """
declare i32 @clock_gettime(i32, ptr)
"""
_PYTHON = ("PyErr_BadInternalCall", "PyErr_NoMemory", "PyBytes_AsString", "PyLong_AsLongLong",
           "PyEval_SaveThread", "PyEval_RestoreThread", "Py_IncRef", "_Py_NoneStruct")
_DECLARE_PYTHON = """
declare void @PyErr_BadInternalCall()
declare ptr @PyErr_NoMemory()
declare ptr @PyBytes_AsString(ptr)
declare i64 @PyLong_AsLongLong(ptr)
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare void @Py_IncRef(ptr)
declare ptr @mmap(ptr, i64, i32, i32, i32, i64)
declare i32 @munmap(ptr, i64)
@_Py_NoneStruct = external global i8
"""


def _can_emit_builtin() -> bool:
    """Is this CPython with a global interpreter lock, on a system whose mmap takes the flags we pass?"""
    free_threaded = not getattr(sys, "_is_gil_enabled", lambda: True)()
    return sys.implementation.name == "cpython" and not free_threaded and sys.platform in ("linux", "darwin")


@functools.cache
def native() -> dict[str, int]:
    """Addresses of the runtime's own functions, compiled (or loaded) as one module."""
    import mmap

    timed = dict(before=_NOW.format(n=0), after=_STORE)
    parts = [_DECLARE, pool.ir(), _WALK.format(name="walk", before="", after=""),
             _WALK.format(name="walk_timed", **timed)]
    names = ["walk", "walk_timed"] + (["worker", "spin"] if pool.CAN_THREAD else [])
    imports: dict[str, int] = {}
    if _can_emit_builtin():
        common = dict(SCRATCH=pool.SCRATCH, SCRATCH_SLOTS=pool.SCRATCH_SLOTS, SCRATCH_BYTES=pool.SCRATCH_BYTES,
                      MAP_FLAGS=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        parts += [_DECLARE_PYTHON,
                  _BUILTIN.format(name="run", walk="walk", arity=3, times=_TIMES_NONE, **common),
                  _BUILTIN.format(name="run_timed", walk="walk_timed", arity=4, times=_TIMES_ARGUMENT, **common)]
        names += ["run", "run_timed"]
        for symbol in _PYTHON:
            imports[symbol] = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, symbol))
    return jit.module("\n".join(parts), names, imports)


class _MethodDefinition(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int),
                ("doc", ctypes.c_char_p)]


_METH_FASTCALL = 0x80
_definitions: list[_MethodDefinition] = []  # a builtin points to its definition for ever


def _builtin(name: str) -> Callable[..., None]:
    definition = _MethodDefinition(name.encode(), native()[name], _METH_FASTCALL, b"")
    _definitions.append(definition)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(definition))  # outlives this module at shutdown
    create = ctypes.pythonapi.PyCFunction_NewEx
    create.restype = ctypes.py_object
    create.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    made: Callable[..., None] = create(ctypes.addressof(definition), None, None)
    return made


def _through_ctypes(name: str) -> Callable[..., None]:
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 5)(native()[name])
    own = threading.local()

    def run(program: bytes, bufs: bytes, nums: bytes, times: int = 0) -> None:
        scratch = getattr(own, "scratch", None)
        if scratch is None:
            scratch = own.scratch = _Lent(pool.take_scratch())
        # c_char_p gives a bytes object's own memory, without a copy
        call(*(ctypes.cast(ctypes.c_char_p(part), ctypes.c_void_p) for part in (program, bufs, nums)),
             scratch.address, times)

    return run


class _Lent:
    """A thread's scratch, returned to the pool's spares when the thread ends."""

    def __init__(self, address: int) -> None:
        self.address = address

    def __del__(self) -> None:
        pool.give_scratch(self.address)


@functools.cache
def run() -> Run:
    """The function `run(program, bufs, nums)`."""
    return _builtin("run") if "run" in native() else _through_ctypes("walk")


@functools.cache
def run_timed() -> RunTimed:
    """`run_timed(program, bufs, nums, times)`: also stores each step's nanoseconds as int64 from address `times`."""
    return _builtin("run_timed") if "run_timed" in native() else _through_ctypes("walk_timed")
