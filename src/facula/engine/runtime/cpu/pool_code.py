"""The thread pool's machine code, as LLVM IR text. pool.py explains the protocol."""

from __future__ import annotations

import platform
import sys

# Offsets into the state: 128 bytes (cache lines are fetched in pairs) per group of writers.
TICKET, SLEEPERS, DONE, WAITING, BUSY, JOB, SETTINGS, SCRATCH = 0, 128, 256, 384, 388, 512, 640, 768
STATE_BYTES = 4096
SCRATCH_SLOTS = 64  # callers' scratch kept for reuse; a caller that finds none maps its own
MISSES = 4  # short steps in a row that nobody was awake for, after which a sleeper is woken for the next
CHUNKS_PER_THREAD = 4  # more balances better, fewer costs less hand-out
CAN_THREAD = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")
FUTEX = {"x86_64": 202, "aarch64": 98}.get(platform.machine(), 0)
_PAUSE = {"x86_64": "call void @llvm.x86.sse2.pause()",
          "aarch64": "call void @llvm.aarch64.hint(i32 1)"}.get(platform.machine(), "")
_DECLARE_PAUSE = {"x86_64": "declare void @llvm.x86.sse2.pause()",
                  "aarch64": "declare void @llvm.aarch64.hint(i32)"}.get(platform.machine(), "")


def ir() -> str:
    """The module text of `@parallel` (called by a plan's walk), `@worker` and `@spin`."""
    return _IR if CAN_THREAD else _IR_SERIAL


# Without futex: `@parallel` is what a step with one tile does.
_IR_SERIAL = """
define void @parallel(ptr %state, ptr %fn, ptr %args, ptr %bufs, ptr %nums, i64 %tiles, i64 %want,
                      ptr %scratch) {
  call void %fn(ptr %args, ptr %bufs, ptr %nums, i64 0, i64 %tiles, ptr %scratch)
  ret void
}
"""

_IR = f"""
declare i64 @syscall(i64, ...)
declare i32 @sched_yield()
declare i64 @llvm.umin.i64(i64, i64)
{_DECLARE_PAUSE}

define internal void @futex_wait(ptr %word, i32 %seen) noinline {{
  %r = call i64 (i64, ...) @syscall(i64 {FUTEX}, ptr %word, i32 128, i32 %seen, ptr null, ptr null, i32 0)
  ret void
}}

define internal void @futex_wake(ptr %word, i64 %most) noinline {{
  %count = trunc i64 %most to i32
  %r = call i64 (i64, ...) @syscall(i64 {FUTEX}, ptr %word, i32 129, i32 %count, ptr null, ptr null, i32 0)
  ret void
}}

; One turn of a waiting loop. Now and then the core is offered to others: the one waited for may need it, when
; there are more busy threads than cores. Without that a fork-join on a busy machine takes 24 us longer.
define internal void @turn(i64 %i) {{
  {_PAUSE}
  %low = and i64 %i, 31
  %now = icmp eq i64 %low, 31
  br i1 %now, label %yield, label %end
yield:
  %r = call i32 @sched_yield()
  br label %end
end:
  ret void
}}

; For calibration: how long does one pause take?
define void @spin(i64 %count) {{
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  {_PAUSE}
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %count
  br i1 %more, label %loop, label %end
end:
  ret void
}}

; Take chunks of the current job and run them, until none is left: the caller (%top = 0) from the first chunk on,
; workers (1) from the last one back. So a thread mostly finds in its cache what it wrote in the step before.
; The ticket: generation (32 bits), chunks left (16), chunks taken from the top (16).
define internal void @work(ptr %state, ptr %scratch, i64 %top) {{
entry:
  %job = getelementptr i8, ptr %state, i64 {JOB}
  %args.at = getelementptr i8, ptr %job, i64 8
  %bufs.at = getelementptr i8, ptr %job, i64 16
  %nums.at = getelementptr i8, ptr %job, i64 24
  %tiles.at = getelementptr i8, ptr %job, i64 32
  %chunk.at = getelementptr i8, ptr %job, i64 40
  %total.at = getelementptr i8, ptr %job, i64 48
  %done.at = getelementptr i8, ptr %state, i64 {DONE}
  %waiting.at = getelementptr i8, ptr %state, i64 {WAITING}
  br label %look
look:
  %ticket = load atomic i64, ptr %state acquire, align 8
  %low = and i64 %ticket, 4294967295
  %left = lshr i64 %low, 16
  %high = and i64 %low, 65535
  %none = icmp eq i64 %left, 0
  br i1 %none, label %end, label %take
take:
  %fewer = sub i64 %ticket, 65536
  %less = add i64 %fewer, %top
  %swap = cmpxchg ptr %state, i64 %ticket, i64 %less acq_rel acquire, align 8
  %mine = extractvalue {{ i64, i1 }} %swap, 1
  br i1 %mine, label %run, label %look
run:
  %fn = load ptr, ptr %job
  %args = load ptr, ptr %args.at
  %bufs = load ptr, ptr %bufs.at
  %nums = load ptr, ptr %nums.at
  %tiles = load i64, ptr %tiles.at
  %chunk = load i64, ptr %chunk.at
  %total = load i64, ptr %total.at
  %taken = sub i64 %total, %left
  %from.first = sub i64 %taken, %high
  %final = sub i64 %total, 1
  %from.last = sub i64 %final, %high
  %is.top = icmp ne i64 %top, 0
  %index = select i1 %is.top, i64 %from.last, i64 %from.first
  %lo = mul i64 %index, %chunk
  %beyond = add i64 %lo, %chunk
  %hi = call i64 @llvm.umin.i64(i64 %beyond, i64 %tiles)
  call void %fn(ptr %args, ptr %bufs, ptr %nums, i64 %lo, i64 %hi, ptr %scratch)
  ; After this addition the job may be over and its description replaced: touch it no more.
  %before = atomicrmw add ptr %done.at, i32 1 seq_cst
  %after = add i32 %before, 1
  %total.32 = trunc i64 %total to i32
  %last = icmp eq i32 %after, %total.32
  br i1 %last, label %finished, label %look
finished:
  %waiting = load atomic i32, ptr %waiting.at seq_cst, align 4
  %asleep = icmp ne i32 %waiting, 0
  br i1 %asleep, label %wake, label %look
wake:
  call void @futex_wake(ptr %done.at, i64 1)
  br label %look
end:
  ret void
}}

; A worker's life. %pair: state and scratch.
define ptr @worker(ptr %pair) {{
entry:
  %state = load ptr, ptr %pair
  %scratch.at = getelementptr i8, ptr %pair, i64 8
  %scratch = load ptr, ptr %scratch.at
  %generation.at = getelementptr i8, ptr %state, i64 4
  %sleepers.at = getelementptr i8, ptr %state, i64 {SLEEPERS}
  %spins.at = getelementptr i8, ptr %state, i64 {SETTINGS + 8}
  %stop.at = getelementptr i8, ptr %state, i64 {SETTINGS + 16}
  br label %begin
begin:
  %spins = load atomic i64, ptr %spins.at monotonic, align 8
  br label %look
look:
  %i = phi i64 [ 0, %begin ], [ %next, %pause ]
  %ticket = load atomic i64, ptr %state acquire, align 8
  %left.high = and i64 %ticket, 4294901760
  %idle = icmp eq i64 %left.high, 0
  br i1 %idle, label %check, label %busy
busy:
  call void @work(ptr %state, ptr %scratch, i64 1)
  br label %begin
check:
  %stop = load atomic i64, ptr %stop.at acquire, align 8
  %stopped = icmp ne i64 %stop, 0
  br i1 %stopped, label %end, label %wait
wait:
  %next = add i64 %i, 1
  %more = icmp ult i64 %i, %spins
  br i1 %more, label %pause, label %sleep
pause:
  call void @turn(i64 %i)
  br label %look
sleep:
  ; A job posted since %ticket was read has another generation, and futex_wait returns at once.
  %generation.64 = lshr i64 %ticket, 32
  %generation = trunc i64 %generation.64 to i32
  %s = atomicrmw add ptr %sleepers.at, i32 1 seq_cst
  call void @futex_wait(ptr %generation.at, i32 %generation)
  %r = atomicrmw sub ptr %sleepers.at, i32 1 seq_cst
  br label %begin
end:
  ret ptr null
}}

; All tiles of a step. %want: the most threads to use, this one among them; bit 32: may sleepers be woken?
define void @parallel(ptr %state, ptr %fn, ptr %args, ptr %bufs, ptr %nums, i64 %tiles, i64 %want,
                      ptr %scratch) {{
entry:
  %threads.at = getelementptr i8, ptr %state, i64 {SETTINGS}
  %busy.at = getelementptr i8, ptr %state, i64 {BUSY}
  %sleepers.at = getelementptr i8, ptr %state, i64 {SLEEPERS}
  %threads = load atomic i64, ptr %threads.at monotonic, align 8
  %useful = and i64 %want, 4294967295
  %crew = call i64 @llvm.umin.i64(i64 %threads, i64 %useful)
  %asleep.32 = load atomic i32, ptr %sleepers.at monotonic, align 4
  %asleep = zext i32 %asleep.32 to i64
  %present = sub i64 %threads, %asleep
  %may.wake = icmp ugt i64 %want, 4294967295
  %reach = select i1 %may.wake, i64 %crew, i64 %present
  %company = call i64 @llvm.umin.i64(i64 %crew, i64 %reach)
  %generation.early = getelementptr i8, ptr %state, i64 4
  %one = icmp slt i64 %company, 2
  br i1 %one, label %alone, label %enter
enter:
  ; Another Python thread's step may have the pool: then this one is done here.
  %swap = cmpxchg ptr %busy.at, i32 0, i32 1 acquire monotonic
  %free = extractvalue {{ i32, i1 }} %swap, 1
  br i1 %free, label %post, label %alone
alone:
  ; Short steps do not wake sleepers. When several in a row could have used one, the next ones should find it awake.
  %could = icmp ugt i64 %crew, %company
  br i1 %could, label %miss, label %do
miss:
  %missed.at = getelementptr i8, ptr %state, i64 {SETTINGS + 24}
  %missed = load atomic i64, ptr %missed.at monotonic, align 8
  %missed.1 = add i64 %missed, 1
  %often = icmp uge i64 %missed.1, {MISSES}
  %missed.now = select i1 %often, i64 0, i64 %missed.1
  store atomic i64 %missed.now, ptr %missed.at monotonic, align 8
  br i1 %often, label %call, label %do
call:
  %others.all = sub i64 %crew, 1
  call void @futex_wake(ptr %generation.early, i64 %others.all)
  br label %do
do:
  call void %fn(ptr %args, ptr %bufs, ptr %nums, i64 0, i64 %tiles, ptr %scratch)
  ret void
post:
  %fine = mul i64 %crew, {CHUNKS_PER_THREAD}
  %pieces.most = call i64 @llvm.umin.i64(i64 %tiles, i64 %fine)
  %pieces = call i64 @llvm.umin.i64(i64 %pieces.most, i64 65535)
  %up = add i64 %tiles, %pieces
  %up.1 = sub i64 %up, 1
  %chunk = udiv i64 %up.1, %pieces
  %over = add i64 %tiles, %chunk
  %over.1 = sub i64 %over, 1
  %total = udiv i64 %over.1, %chunk
  %job = getelementptr i8, ptr %state, i64 {JOB}
  %args.at = getelementptr i8, ptr %job, i64 8
  %bufs.at = getelementptr i8, ptr %job, i64 16
  %nums.at = getelementptr i8, ptr %job, i64 24
  %tiles.at = getelementptr i8, ptr %job, i64 32
  %chunk.at = getelementptr i8, ptr %job, i64 40
  %total.at = getelementptr i8, ptr %job, i64 48
  %done.at = getelementptr i8, ptr %state, i64 {DONE}
  %waiting.at = getelementptr i8, ptr %state, i64 {WAITING}
  %generation.at = getelementptr i8, ptr %state, i64 4
  %spins.at = getelementptr i8, ptr %state, i64 {SETTINGS + 8}
  store ptr %fn, ptr %job
  store ptr %args, ptr %args.at
  store ptr %bufs, ptr %bufs.at
  store ptr %nums, ptr %nums.at
  store i64 %tiles, ptr %tiles.at
  store i64 %chunk, ptr %chunk.at
  store i64 %total, ptr %total.at
  store atomic i32 0, ptr %done.at monotonic, align 4
  %old = load atomic i64, ptr %state monotonic, align 8
  %high = and i64 %old, -4294967296
  %bumped = add i64 %high, 4294967296
  %total.left = shl i64 %total, 16
  %ticket = or i64 %bumped, %total.left
  %previous = atomicrmw xchg ptr %state, i64 %ticket seq_cst
  %sleepers.32 = load atomic i32, ptr %sleepers.at seq_cst, align 4
  %sleepers = zext i32 %sleepers.32 to i64
  %others = sub i64 %crew, 1
  %wake = call i64 @llvm.umin.i64(i64 %sleepers, i64 %others)
  %some = icmp ne i64 %wake, 0
  %any = and i1 %some, %may.wake
  br i1 %any, label %rouse, label %share
rouse:
  call void @futex_wake(ptr %generation.at, i64 %wake)
  br label %share
share:
  call void @work(ptr %state, ptr %scratch, i64 0)
  %total.32 = trunc i64 %total to i32
  %spins = load atomic i64, ptr %spins.at monotonic, align 8
  br label %look
look:
  %i = phi i64 [ 0, %share ], [ %next, %wait ]
  %done = load atomic i32, ptr %done.at acquire, align 4
  %over.yes = icmp eq i32 %done, %total.32
  br i1 %over.yes, label %leave, label %wait
wait:
  call void @turn(i64 %i)
  %next = add i64 %i, 1
  %more = icmp ult i64 %i, %spins
  br i1 %more, label %look, label %doze
doze:
  store atomic i32 1, ptr %waiting.at seq_cst, align 4
  br label %sleep
sleep:
  %now = load atomic i32, ptr %done.at seq_cst, align 4
  %end = icmp eq i32 %now, %total.32
  br i1 %end, label %awake, label %nap
nap:
  call void @futex_wait(ptr %done.at, i32 %now)
  br label %sleep
awake:
  store atomic i32 0, ptr %waiting.at monotonic, align 4
  br label %leave
leave:
  store atomic i32 0, ptr %busy.at release, align 4
  ret void
}}
"""
