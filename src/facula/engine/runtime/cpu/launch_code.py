"""What walks a program, and the builtin functions around it, as LLVM IR text. See launch.py."""

from __future__ import annotations

import mmap

from facula.engine.compiler.kernel import SCRATCH_BYTES
from facula.engine.runtime.cpu import pool_code

PYTHON_SYMBOLS = ("PyErr_BadInternalCall", "PyErr_NoMemory", "PyBytes_AsString", "PyLong_AsLongLong",
           "PyEval_SaveThread", "PyEval_RestoreThread", "Py_IncRef", "_Py_NoneStruct")

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
  call void @parallel(ptr %state, ptr %fn, ptr %args, ptr %bufs, ptr %nums, i64 %tiles, i64 %want,
                      ptr %scratch)
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

# A walk with a scratch of its own: 0, or 1 if there is no memory for one. Scratches come from a stack in the
# pool's state, which the interpreter lock guards: word 0 is its depth, the addresses follow.
_LAUNCH = """
define i32 @{name}(ptr %program, ptr %bufs, ptr %nums, ptr %times) {{
entry:
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
  ret i32 1
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
  ret i32 0
drop:
  %gone = call i32 @munmap(ptr %scratch, i64 {SCRATCH_BYTES})
  ret i32 0
}}
"""

# METH_FASTCALL: (self, arguments, their number).
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
  %refused = call i32 @{launch}(ptr %program, ptr %bufs, ptr %nums, ptr %times)
  %oom = icmp ne i32 %refused, 0
  br i1 %oom, label %memory, label %return
memory:
  %none = call ptr @PyErr_NoMemory()
  ret ptr null
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


def walks() -> str:
    """`@walk` and `@walk_timed` (program, bufs, nums, scratch, times: all ptr), and what they call."""
    plain = _WALK.format(name="walk", before="", after="")
    timed = _WALK.format(name="walk_timed", before=_NOW.format(n=0), after=_STORE)
    return "\n".join((_DECLARE, pool_code.ir(), plain, timed))


def builtins() -> str:
    """`@run` and `@run_timed`, to be called by CPython with METH_FASTCALL, and `@launch` (program, bufs, nums, times)
    for other builtins; they need PYTHON_SYMBOLS."""
    common = {"SCRATCH": pool_code.SCRATCH, "SCRATCH_SLOTS": pool_code.SCRATCH_SLOTS,
              "SCRATCH_BYTES": SCRATCH_BYTES, "MAP_FLAGS": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS}
    plain = _LAUNCH.format(name="launch", walk="walk", **common)
    timed = _LAUNCH.format(name="launch_timed", walk="walk_timed", **common)
    run = _BUILTIN.format(name="run", launch="launch", arity=3, times=_TIMES_NONE)
    run_timed = _BUILTIN.format(name="run_timed", launch="launch_timed", arity=4, times=_TIMES_ARGUMENT)
    return "\n".join((_DECLARE_PYTHON, plain, timed, run, run_timed))
