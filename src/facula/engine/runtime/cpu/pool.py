"""The thread pool: its machine code, as IR, and the Python that sizes, starts and stops it.

    caller                                     worker (started at the first parallel step)
      |  job and done = 0 written                |
      |  ticket = generation+1 : chunks  ----->  spin on ticket for 0.2 ms, then sleep in futex
      |  wake sleepers, if any                   |
      +-- take chunk, run it, ++done             +-- take chunk, run it, ++done ------+
      |   until no chunk is left                 |   until no chunk is left           |
      |  spin, then sleep, until done = chunks   <---- whoever finishes last wakes a sleeping caller

`ticket` holds the generation, the chunks left and how many were taken from the end, and is taken by
compare-and-swap of the whole. So whoever takes a chunk knows that its job is not over, and that the
description of the job, read after that, is the right one; a worker that comes late finds nothing left and
touches nothing. Nobody
waits for workers that never took part: on a busy machine the caller does the work alone.

Which tile computes what depends on the step alone; only who computes it, and how many tiles are handed out
at a time, depends on the threads.

Workers are bare pthreads, not Python threads: they never hold an interpreter lock, do not show in
`threading.enumerate()`, and need no farewell when the interpreter ends. All signals are blocked in them,
so that Ctrl-C interrupts what the main thread waits for. Linux only: elsewhere there is no futex, and
every step runs on the thread that asked.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import time
from collections.abc import Callable

from facula.engine.compiler.kernel import SCRATCH_BYTES
from facula.engine.runtime.cpu.limits import default_threads
from facula.engine.runtime.cpu.pages import map_pages
from facula.engine.runtime.cpu.pool_code import CAN_THREAD, FUTEX, SCRATCH, SETTINGS, STATE_BYTES
from facula.undisturbed import reentrant_lock

SPIN_NANOSECONDS = 200_000  # how long to spin before sleeping: across the Python between two steps of a loop


class Pool:
    """The process's pool. There is one: `workers`."""

    machine_code: Callable[[], dict[str, int]]  # addresses of `worker` and `spin`: launch.py puts its `native` here

    def __init__(self) -> None:
        self._memory, self.state = map_pages(STATE_BYTES)
        self._lock = reentrant_lock()
        self._threads: list[ctypes.c_ulong] = []
        self._scratch: list[int] = []  # the workers'
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
        """Start the workers, unless they run. Plans with parallel steps call it when `running` is False."""
        with self._lock:
            if self.running:
                return
            if self.size > 1:
                self._spawn(self.size - 1)
            self.running = True

    def _spawn(self, count: int) -> None:
        code = self.machine_code()
        pause = _pause_nanoseconds(code["spin"])
        self._word(SETTINGS + 8).value = max(1, int(SPIN_NANOSECONDS / pause))
        self._word(SETTINGS + 16).value = 0
        self._word(SETTINGS + 24).value = 0
        create = ctypes.CDLL(None).pthread_create
        create.argtypes = [ctypes.c_void_p] * 4
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # workers inherit this
        try:
            for _ in range(count):
                scratch = take_scratch()
                # What a worker reads when it begins stands in its own scratch, which outlives Python.
                ctypes.memmove(scratch, struct.pack("=2Q", self.state, scratch), 16)
                thread = ctypes.c_ulong()
                if create(ctypes.addressof(thread), None, code["worker"], scratch) != 0:
                    give_scratch(scratch)
                    break  # a limit on threads: compute with those that there are
                self._threads.append(thread)
                self._scratch.append(scratch)
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
        for scratch in self._scratch:
            give_scratch(scratch)
        self._threads.clear()
        self._scratch.clear()
        self.running = False

    def _rouse_until_gone(self, code: ctypes.CDLL, thread: ctypes.c_ulong) -> None:
        # A worker may be between its look at `stop` and its sleep, and the generation is the callers' to
        # change: wake again and again instead of once. pthread_tryjoin_np gives 0 once it has ended.
        while True:
            code.syscall(FUTEX, self.state + 4, 129, 1 << 20)
            if code.pthread_tryjoin_np(thread, None) == 0:
                return
            time.sleep(0.0001)

    def after_fork(self) -> None:
        """In a forked child no worker exists, whatever the copied memory says."""
        self._lock = reentrant_lock()
        self._threads = []
        self._scratch = []
        self.running = False
        kept = self._memory[SCRATCH:]  # callers' scratch is the child's own copy by now
        self._memory[:] = bytes(SCRATCH) + kept

    def _word(self, offset: int) -> ctypes.c_longlong:
        return ctypes.c_longlong.from_address(self.state + offset)


_scratch: list[int] = []  # spare blocks


def take_scratch() -> int:
    """The address of SCRATCH_BYTES for one thread. Pages are allocated by the system when first touched."""
    try:
        return _scratch.pop()
    except IndexError:
        return map_pages(SCRATCH_BYTES)[1]


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


workers = Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=workers.after_fork)


def get_num_threads() -> int:
    """Threads a step may be computed with, the calling thread included."""
    return workers.size


def set_num_threads(threads: int) -> None:
    """Compute with `threads` threads from now on. RuntimeError if not positive."""
    if threads < 1:
        raise RuntimeError(f"set_num_threads expects a positive integer, got {threads}")
    workers.resize(threads)
