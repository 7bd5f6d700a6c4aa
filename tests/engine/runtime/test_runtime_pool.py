"""The thread pool and the launch builtin: every tile exactly once, whatever the threads do."""

import ctypes
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from facula import config
from facula.engine.runtime.cpu import jit, launch, limits, pool
from facula.engine.runtime.cpu.pool_code import CAN_THREAD
from runtime_kernels import COUNT

pytestmark = pytest.mark.compiled
needs_threads = pytest.mark.skipif(not CAN_THREAD, reason="no futex on this system")


@pytest.fixture
def threads():
    """Sets the number of threads; the old one is restored afterwards."""
    before = pool.get_num_threads()

    def use(n):
        pool.set_num_threads(n)
        pool.workers.start()

    yield use
    pool.set_num_threads(before)


def counted(tiles, delay=1, steps=1, cost=1e6, run=None):
    """How often each tile was run."""
    table = np.zeros(max(tiles, 1), np.int32)
    address = jit.module(COUNT, ["count"])["count"]
    program = launch.program([(address, [0, delay], tiles, cost)] * steps)
    (run or launch.run())(program, struct.pack("=Q", table.ctypes.data), b"")
    return table[:tiles]


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_each_tile_exactly_once(threads, n):
    threads(n)
    for tiles in (0, 1, 2, 3, 7, 8, 9, 31, 32, 33, 100, 1009):
        assert (counted(tiles) == 1).all(), tiles
    assert (counted(50, steps=400) == 400).all()


def test_random_jobs(threads):
    threads(4)
    draw = random.Random(0)
    for _ in range(300):
        tiles, steps = draw.randrange(1, 200), draw.randrange(1, 6)
        cost = draw.choice((0.0, 7e3, 2e4, 1e5, 1e6))
        assert (counted(tiles, draw.choice((1, 30, 2000)), steps, cost) == steps).all()
        if draw.random() < 0.1:
            time.sleep(0.001)  # the workers fall asleep


def test_small_steps_leave_the_pool_asleep():
    assert launch.threads_wanted(100, 1000.0) == 1
    assert launch.threads_wanted(1, 1e9) == 1
    assert launch.threads_wanted(3, 1e9) == 3
    one = struct.unpack_from("=7q", launch.program([(1, [], 9, 30_000.0)]))
    assert one[6] == 5  # threads that are awake are used, none is woken
    many = struct.unpack_from("=11q", launch.program([(1, [], 9, 60_000.0), (1, [], 9, 60_000.0)]))
    assert many[6] == launch.WAKE + 9 and many[10] == 9


@needs_threads
def test_several_threads_take_part(threads):
    threads(2)
    parts = set(os.listdir("/proc/self/task"))
    pool.set_num_threads(1)
    assert len(parts) - len(os.listdir("/proc/self/task")) == 1


def test_many_python_threads_at_once(threads):
    threads(3)
    wrong = []

    def work(seed):
        draw = random.Random(seed)
        for _ in range(60):
            tiles = draw.randrange(1, 64)
            if not (counted(tiles, 200, 3) == 3).all():
                wrong.append(seed)

    crowd = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in crowd:
        t.start()
    for t in crowd:
        t.join()
    assert not wrong


def test_resizing_while_others_compute(threads):
    threads(3)
    stop = threading.Event()
    wrong = []

    def work():
        while not stop.is_set():
            if not pool.workers.running:
                pool.workers.start()
            if not (counted(40, 300, 4) == 4).all():
                wrong.append(1)

    crowd = [threading.Thread(target=work) for _ in range(2)]
    for t in crowd:
        t.start()
    for k in range(30):
        pool.set_num_threads(1 + k % 4)
    stop.set()
    for t in crowd:
        t.join()
    assert not wrong


@needs_threads
def test_idle_process_uses_no_cpu(threads):
    threads(4)
    counted(64)
    time.sleep(0.05)  # the spinning ends
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.05


def test_timed_walk(threads):
    threads(2)
    table = np.zeros(10, np.int32)
    address = jit.module(COUNT, ["count"])["count"]
    program = launch.program([(address, [0, 1], 10, 0.0), (address, [0, 200_000], 10, 0.0)])
    times = (ctypes.c_int64 * 3)(-1, -1, -1)
    launch.run_timed()(program, struct.pack("=Q", table.ctypes.data), b"", ctypes.addressof(times))
    assert (table == 2).all() and 0 <= times[0] < times[1] and times[2] == -1


def test_ctypes_path(threads):
    threads(2)
    run = launch._through_ctypes("walk")
    assert (counted(33, steps=20, run=run) == 20).all()
    results = []
    crowd = [threading.Thread(target=lambda: results.append((counted(33, 100, 5, run=run) == 5).all()))
             for _ in range(6)]
    for t in crowd:
        t.start()
    for t in crowd:
        t.join()
    assert results == [True] * 6


@pytest.mark.parametrize("run", [launch.run, lambda: launch._through_ctypes("walk")])
def test_wrong_arguments_raise(run):
    run = run()
    with pytest.raises((SystemError, TypeError)):
        run(b"")
    with pytest.raises((TypeError, ctypes.ArgumentError)):
        run(1, b"", b"")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_forked_child_has_a_pool_of_its_own(threads):
    threads(3)
    counted(64)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert not pool.workers.running
            assert (counted(64, 100, 3) == 3).all()  # before the workers are there
            pool.workers.start()
            assert (counted(64, 100, 3) == 3).all()
            assert pool.get_num_threads() == 3
            code = 0
        finally:
            os._exit(code)
    deadline = time.monotonic() + 30
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        time.sleep(0.01)
    assert status == 0
    assert (counted(64) == 1).all()  # and the parent's goes on


EXIT = """
import sys, threading
sys.path[:0] = {tests!r}
from test_runtime_pool import counted, pool
pool.set_num_threads(4)
pool.workers.start()
if {daemon}:
    threading.Thread(target=lambda: [counted(64, 100, 50) for _ in range(10**9)], daemon=True).start()
for _ in range(20):
    counted(64)
"""


@pytest.mark.parametrize("daemon", [False, True], ids=["idle", "computing"])
def test_interpreter_ends_without_a_hang_or_crash(python_environment, daemon):
    script = EXIT.format(tests=[os.path.dirname(__file__), *sys.path], daemon=daemon)
    done = subprocess.run([sys.executable, "-c", script], env=python_environment, timeout=60,
                          capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


def test_thread_limits(monkeypatch):
    with pytest.raises(RuntimeError, match="positive"):
        pool.set_num_threads(0)
    if CAN_THREAD:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 4, 5})
        monkeypatch.setattr(limits, "_physical_cores", len)
        monkeypatch.setattr(limits, "_cgroup_quotas", list)
        assert limits.default_threads() == 6
        monkeypatch.setattr(limits, "_cgroup_quotas", lambda: [(-1, 100_000), (250_000, 100_000)])
        assert limits.default_threads() == 3  # 2.5 cpus
        monkeypatch.setattr(limits, "_cgroup_quotas", lambda: [(50_000, 100_000)])
        assert limits.default_threads() == 1
        monkeypatch.setattr(limits, "_cgroup_quotas", list)
        monkeypatch.setattr(config.NUM_THREADS, "value", 2)
        assert limits.default_threads() == 2
        monkeypatch.setattr(config.NUM_THREADS, "value", 64)
        assert limits.default_threads() == 6


@needs_threads
def test_ctrl_c_reaches_the_main_thread(threads):
    threads(3)
    masks = [line for t in os.listdir("/proc/self/task") if int(t) != os.getpid()
             for line in open(f"/proc/self/task/{t}/status") if line.startswith("SigBlk")]
    assert sum(int(mask.split()[1], 16) >> (signal.SIGINT - 1) & 1 for mask in masks) >= 2
