"""The thread pool: its machine code, as IR, and the Python that sizes, starts and stops it.

    caller                                     worker (started at the first parallel step)
      |  job and done = 0 written                |
      |  ticket = generation+1 : chunks  ----->  spin on ticket a few microseconds, then sleep in futex
      |  wake sleepers, if any                   |
      +-- take chunk, run it, ++done             +-- take chunk, run it, ++done ------+
      |   until no chunk is left                 |   until no chunk is left           |
      |  spin, then sleep, until done = chunks   <---- whoever finishes last wakes a sleeping caller

`ticket` holds generation (high half) and chunks left (low half), and is taken by compare-and-swap of the whole.
So whoever takes a chunk knows that its job is not over, and that the description of the job, read after that,
is the right one; a worker that comes late finds nothing left and touches nothing. Nobody waits for
workers that never took part: on a busy machine the caller does the work alone.

Which tile computes what depends on the step alone; only who computes it, and how many tiles are handed out
at a time, depends on the threads.

Workers are bare pthreads, not Python threads: they never hold an interpreter lock, do not show in
`threading.enumerate()`, and need no farewell when the interpreter ends. All signals are blocked in them, so that
Ctrl-C interrupts what the main thread waits for. Linux only: elsewhere there is no futex, and every step runs on
the thread that asked.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import signal
import sys
import threading
import time

from facula.config import NUM_THREADS
from facula.engine.compiler.kernel import SCRATCH_BYTES

# Offsets into the state, one cache line pair (128 bytes: neighbours are fetched together) per group of writers.
TICKET, SLEEPERS, DONE, WAITING, BUSY, JOB, SETTINGS, SCRATCH = 0, 128, 256, 384, 388, 512, 640, 768
STATE_BYTES = 4096
SCRATCH_SLOTS = 64  # callers' scratch kept for reuse; more callers at a time get fresh memory and leave it here
CHUNKS_PER_THREAD = 4  # more balances better, fewer costs less hand-out
SPIN_NANOSECONDS = 20_000  # how long to spin before sleeping. A wake-up costs both sides about 50 us
CAN_THREAD = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")
_FUTEX = {"x86_64": 202, "aarch64": 98}.get(platform.machine(), 0)
_PAUSE = {"x86_64": "call void @llvm.x86.sse2.pause()",
          "aarch64": "call void @llvm.aarch64.hint(i32 1)"}.get(platform.machine(), "")
_DECLARE_PAUSE = {"x86_64": "declare void @llvm.x86.sse2.pause()",
                  "aarch64": "declare void @llvm.aarch64.hint(i32)"}.get(platform.machine(), "")


def ir() -> str:
    """The module text of `@parallel` (called by a plan's walk), `@worker` and `@spin`."""
    return _IR if CAN_THREAD else _IR_SERIAL


# Without futex: `@parallel` is what a step with one tile does.
_IR_SERIAL = """
define void @parallel(ptr %state, ptr %fn, ptr %args, ptr %bufs, ptr %nums, i64 %tiles, i64 %want, ptr %scratch) {
  call void %fn(ptr %args, ptr %bufs, ptr %nums, i64 0, i64 %tiles, ptr %scratch)
  ret void
}
"""

_IR = f"""
declare i64 @syscall(i64, ...)
declare i64 @llvm.umin.i64(i64, i64)
{_DECLARE_PAUSE}

define internal void @futex_wait(ptr %word, i32 %seen) noinline {{
  %r = call i64 (i64, ...) @syscall(i64 {_FUTEX}, ptr %word, i32 128, i32 %seen, ptr null, ptr null, i32 0)
  ret void
}}

define internal void @futex_wake(ptr %word, i64 %most) noinline {{
  %count = trunc i64 %most to i32
  %r = call i64 (i64, ...) @syscall(i64 {_FUTEX}, ptr %word, i32 129, i32 %count, ptr null, ptr null, i32 0)
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

; Take chunks of the current job and run them, until none is left.
define internal void @work(ptr %state, ptr %scratch) {{
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
  %left = and i64 %ticket, 4294967295
  %none = icmp eq i64 %left, 0
  br i1 %none, label %end, label %take
take:
  %less = sub i64 %ticket, 1
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
  %index = sub i64 %total, %left
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
  %left = and i64 %ticket, 4294967295
  %idle = icmp eq i64 %left, 0
  br i1 %idle, label %check, label %busy
busy:
  call void @work(ptr %state, ptr %scratch)
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
  {_PAUSE}
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

; All tiles of a step, by at most %want threads, this one among them.
define void @parallel(ptr %state, ptr %fn, ptr %args, ptr %bufs, ptr %nums, i64 %tiles, i64 %want, ptr %scratch) {{
entry:
  %threads.at = getelementptr i8, ptr %state, i64 {SETTINGS}
  %busy.at = getelementptr i8, ptr %state, i64 {BUSY}
  %threads = load atomic i64, ptr %threads.at monotonic, align 8
  %crew = call i64 @llvm.umin.i64(i64 %threads, i64 %want)
  %one = icmp ult i64 %crew, 2
  br i1 %one, label %alone, label %enter
enter:
  ; Another Python thread's step may have the pool: then this one is done here.
  %swap = cmpxchg ptr %busy.at, i32 0, i32 1 acquire monotonic
  %free = extractvalue {{ i32, i1 }} %swap, 1
  br i1 %free, label %post, label %alone
alone:
  call void %fn(ptr %args, ptr %bufs, ptr %nums, i64 0, i64 %tiles, ptr %scratch)
  ret void
post:
  %fine = mul i64 %crew, {CHUNKS_PER_THREAD}
  %pieces = call i64 @llvm.umin.i64(i64 %tiles, i64 %fine)
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
  %sleepers.at = getelementptr i8, ptr %state, i64 {SLEEPERS}
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
  %ticket = or i64 %bumped, %total
  %previous = atomicrmw xchg ptr %state, i64 %ticket seq_cst
  %sleepers.32 = load atomic i32, ptr %sleepers.at seq_cst, align 4
  %sleepers = zext i32 %sleepers.32 to i64
  %others = sub i64 %crew, 1
  %wake = call i64 @llvm.umin.i64(i64 %sleepers, i64 %others)
  %any = icmp ne i64 %wake, 0
  br i1 %any, label %rouse, label %share
rouse:
  call void @futex_wake(ptr %generation.at, i64 %wake)
  br label %share
share:
  call void @work(ptr %state, ptr %scratch)
  %total.32 = trunc i64 %total to i32
  %spins = load atomic i64, ptr %spins.at monotonic, align 8
  br label %look
look:
  %i = phi i64 [ 0, %share ], [ %next, %wait ]
  %done = load atomic i32, ptr %done.at acquire, align 4
  %over.yes = icmp eq i32 %done, %total.32
  br i1 %over.yes, label %leave, label %wait
wait:
  {_PAUSE}
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


class Pool:
    """The process's pool. There is one: `pool`."""

    def __init__(self) -> None:
        # MAP_PRIVATE matters: mmap's default is shared, and a forked child would work on its parent's pool.
        flags = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
        self._memory = mmap.mmap(-1, STATE_BYTES, **flags)
        self.state = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._lock = threading.Lock()
        self._threads: list[ctypes.c_ulong] = []
        self._pairs: list[object] = []  # (state, scratch) that running workers read
        self._size = 0  # 0: not asked yet
        self.running = False

    @property
    def size(self) -> int:
        """Threads that compute, the caller included."""
        if not self._size:
            self._size = default_threads()
        return self._size

    def resize(self, size: int) -> None:
        """Compute with `size` threads from now on. Steps under way finish as they began."""
        with self._lock:
            self._stop()
            self._size = size if CAN_THREAD else 1

    def start(self) -> None:
        """Start the workers, unless they run. A plan with parallel steps calls this when `running` is False."""
        with self._lock:
            if self.running:
                return
            if self.size > 1:
                self._spawn(self.size - 1)
            self.running = True

    def _spawn(self, count: int) -> None:
        from facula.engine.runtime.cpu import launch  # it loads the machine code, ours included

        code = launch.native()
        pause = _pause_nanoseconds(code["spin"])
        self._word(SETTINGS + 8).value = max(1, int(SPIN_NANOSECONDS / pause))
        self._word(SETTINGS + 16).value = 0
        create = ctypes.CDLL(None).pthread_create
        create.argtypes = [ctypes.c_void_p] * 4
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # workers inherit this
        try:
            for _ in range(count):
                pair = (ctypes.c_void_p * 2)(self.state, take_scratch())
                thread = ctypes.c_ulong()
                if create(ctypes.addressof(thread), None, code["worker"], ctypes.addressof(pair)) != 0:
                    break  # a limit on threads: compute with those that there are
                self._threads.append(thread)
                self._pairs.append(pair)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        self._word(SETTINGS).value = len(self._threads) + 1

    def _stop(self) -> None:
        """End the workers. A chunk in hand is finished first; what is left of a job, its caller does."""
        if self._threads:
            self._word(SETTINGS).value = 1
            self._word(SETTINGS + 16).value = 1
            code = ctypes.CDLL(None)
            code.pthread_join.argtypes = [ctypes.c_ulong, ctypes.c_void_p]
            code.syscall.argtypes = [ctypes.c_long, ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
            for thread in self._threads:
                self._rouse_until_gone(code, thread)
        for pair in self._pairs:
            give_scratch(pair[1])  # type: ignore[index]
        self._threads.clear()
        self._pairs.clear()
        self.running = False

    def _rouse_until_gone(self, code: ctypes.CDLL, thread: ctypes.c_ulong) -> None:
        # A worker may be between its look at `stop` and its sleep, and the generation is the callers' to change:
        # wake again and again instead of once. pthread_tryjoin_np returns 0 when the thread has ended.
        while True:
            code.syscall(_FUTEX, self.state + 4, 129, 1 << 20)
            if code.pthread_tryjoin_np(thread, None) == 0:
                return
            time.sleep(0.0001)

    def after_fork(self) -> None:
        """In a forked child no worker exists, whatever the copied memory says."""
        self._lock = threading.Lock()
        self._threads = []
        self._pairs = []
        self.running = False
        kept = self._memory[SCRATCH:]  # callers' scratch is the child's own copy by now
        self._memory[:] = bytes(SCRATCH) + kept

    def _word(self, offset: int) -> ctypes.c_longlong:
        return ctypes.c_longlong.from_address(self.state + offset)


_scratch: list[int] = []  # spare blocks
_scratch_memory: list[mmap.mmap] = []  # keeps every block alive: machine code holds bare addresses


def take_scratch() -> int:
    """The address of SCRATCH_BYTES for one thread. Pages are allocated by the system when first touched."""
    try:
        return _scratch.pop()
    except IndexError:
        flags = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
        block = mmap.mmap(-1, SCRATCH_BYTES, **flags)
        _scratch_memory.append(block)
        return ctypes.addressof(ctypes.c_char.from_buffer(block))


def give_scratch(address: int) -> None:
    """Return a block from `take_scratch`."""
    _scratch.append(address)


def _pause_nanoseconds(spin: int) -> float:
    """How long one turn of a spin loop takes: 5 to 140 cycles, depending on the processor."""
    call = ctypes.CFUNCTYPE(None, ctypes.c_int64)(spin)
    best = 1e9
    for _ in range(3):
        started = time.perf_counter_ns()
        call(1000)
        best = min(best, (time.perf_counter_ns() - started) / 1000)
    return max(best, 1.0)


def default_threads() -> int:
    """Cores this process may use, by affinity and cgroup quota, and not above FACULA_NUM_THREADS if that is set."""
    if not CAN_THREAD:
        return 1
    allowed = os.sched_getaffinity(0)
    count = min(len(allowed), _cgroup_limit())
    if NUM_THREADS.value:
        return max(1, min(count, NUM_THREADS.value))
    return max(1, min(count, _physical_cores(allowed)))


def _physical_cores(allowed: set[int]) -> int:
    """Two hyperthreads of one core share its multipliers, and slow each other's matrix products: count cores."""
    cores = set()
    for cpu in allowed:
        try:
            with open(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") as file:
                cores.add(file.read())
        except OSError:
            return len(allowed)
    return len(cores)


def _cgroup_limit() -> int:
    """The cpu quota of this process's control group (version 1 or 2) or a parent's, in cpus rounded up."""
    limit = 1 << 16
    for quota, period in _cgroup_quotas():
        if quota > 0 and period > 0:
            limit = min(limit, max(1, -(-quota // period)))
    return limit


def _cgroup_quotas() -> list[tuple[int, int]]:
    found = []
    try:
        with open("/proc/self/cgroup") as file:
            lines = file.read().split()
    except OSError:
        return []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        parts = [part for part in path.split("/") if part]
        for depth in range(len(parts), -1, -1):
            inner = "/".join(parts[:depth])
            try:
                if controllers == "":
                    with open(os.path.join("/sys/fs/cgroup", inner, "cpu.max")) as file:
                        quota, period = file.read().split()
                    found.append((int(quota) if quota != "max" else -1, int(period)))
                elif "cpu" in controllers.split(","):
                    base = os.path.join("/sys/fs/cgroup/cpu", inner)
                    with open(base + "/cpu.cfs_quota_us") as file:
                        quota = file.read()
                    with open(base + "/cpu.cfs_period_us") as file:
                        found.append((int(quota), int(file.read())))
            except (OSError, ValueError):
                continue
    return found


pool = Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.after_fork)


def get_num_threads() -> int:
    """Threads a step may be computed with, the calling thread included."""
    return pool.size


def set_num_threads(threads: int) -> None:
    """Compute with `threads` threads from now on. RuntimeError if not positive."""
    if threads < 1:
        raise RuntimeError(f"set_num_threads expects a positive integer, got {threads}")
    pool.resize(threads)
