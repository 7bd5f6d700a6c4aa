"""How much of the machine Facula may take: cores, and watts where the machine tells them (Intel's and AMD's RAPL).

    set_budget(cores=2)        threads, and where the process may run
    set_budget(watts=10)       cores are given up and taken back while the power that is drawn goes by
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from facula import config
from facula._tensor.inquiries import get_num_threads, set_num_threads
from facula.errors import warn

POWERCAP = Path("/sys/class/powercap")
EVERY = 0.25  # seconds between two looks at the counters
_allowed: list[int] = []  # cores that the process had before any budget
_threads = 0  # and as many threads
_governor: Governor | None = None


def set_budget(*, cores: int | None = None, watts: float | None = None) -> None:
    """Take no more than that from now on; None: as much as there is. Training and serving obey alike, as do processes
    that are started afterwards.

    cores: so many threads compute, and all threads of the process (those of NumPy's libraries, too) run on so many of
    the cores that it may use. watts: the machine's processors are watched, and cores given up one by one while they
    draw more; what other programs draw counts. One core is always left. No bit of a result depends on either.

    Raises TypeError and ValueError for what are no numbers above 0, NotImplementedError where the system has no
    affinity (macOS, Windows), RuntimeError where it does not let its power be read.

    Example:
        >>> import facula
        >>> facula.set_budget(cores=1)
        >>> facula.get_num_threads()
        1
        >>> facula.set_budget()
    """
    global _governor, _threads
    for name, value in (("cores", cores), ("watts", watts)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int if name == "cores" else
                                                                            (int, float))):
            raise TypeError(f"set_budget: {name} is a number, got {type(value).__name__}")
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"set_budget: {name} is to be above 0, got {value!r}")
    if not hasattr(os, "sched_setaffinity"):
        raise NotImplementedError("set_budget needs processor affinity, which this system lacks; set_num_threads and "
                                  "FACULA_NUM_THREADS bound the threads that compute")
    meter = None if watts is None else Meter()
    if not _allowed:
        _allowed[:] = sorted(os.sched_getaffinity(0))
        _threads = get_num_threads()  # control groups and FACULA_NUM_THREADS have been asked
    if _governor is not None:
        _governor.stop()
        _governor = None
    count = len(_allowed) if cores is None else min(cores, len(_allowed))
    _run_on(count)
    for_others = min(count, config.NUM_THREADS.at_start or count) if cores is not None else config.NUM_THREADS.at_start
    os.environ[config.NUM_THREADS.name] = str(for_others)  # of processes that are started; 0: they ask the machine
    set_num_threads(min(count, _threads))
    if meter is not None and watts is not None:
        _governor = Governor(meter, float(watts), count)
        _governor.start()


def _run_on(count: int) -> None:
    """Have every thread of the process run on the last `count` of its cores (the first one has the interrupts)."""
    wanted = _allowed[-count:]
    try:
        tasks = [int(name) for name in os.listdir("/proc/self/task")]
    except OSError:
        tasks = [0]
    for task in tasks:
        try:
            os.sched_setaffinity(task, wanted)
        except ProcessLookupError:  # it has ended
            pass


class Meter:
    """What the processors have drawn so far. Raises RuntimeError where that cannot be read."""

    def __init__(self) -> None:
        zones = sorted(POWERCAP.glob("intel-rapl:[0-9]*"))  # AMD's have this name, too
        self.zones = [(zone / "energy_uj", int((zone / "max_energy_range_uj").read_text())) for zone in zones
                      if zone.name.count(":") == 1]
        self.last = self._counters()
        if not self.zones:
            raise RuntimeError(f"set_budget(watts=): the machine tells no power ({POWERCAP}/intel-rapl:* is not there)")

    def _counters(self) -> list[int]:
        try:
            return [int(path.read_text()) for path, _ in self.zones]
        except OSError as error:
            raise RuntimeError(f"set_budget(watts=): {error.filename} cannot be read ({error.strerror}); mostly it is "
                               "root's: chmod a+r, or run as root") from None

    def joules(self) -> float:
        """Since the last call."""
        now = self._counters()
        drawn = [(b - a) % (most + 1) for a, b, (_, most) in zip(self.last, now, self.zones, strict=True)]
        self.last = now
        return sum(drawn) / 1e6


class Governor(threading.Thread):
    """Gives cores up while the processors draw more than `watts`, and takes them back when there is room."""

    def __init__(self, meter: Meter, watts: float, most: int) -> None:
        super().__init__(name="facula-budget", daemon=True)
        self.meter, self.watts, self.most, self.cores = meter, watts, most, most
        self.ended = threading.Event()
        self._told = self._failed = False

    def run(self) -> None:
        before = time.monotonic()
        while not self.ended.wait(EVERY):
            now = time.monotonic()
            try:
                drawn = self.meter.joules()
            except (RuntimeError, ValueError) as error:  # perhaps this once; cores stay as they are
                if not self._failed:
                    self._failed = True
                    warn(f"set_budget: {error}")
                continue
            self.look(drawn / (now - before))
            before = now

    def look(self, power: float) -> None:
        """Decide by what was drawn since the last look, in watts."""
        cores = self.cores
        if power > self.watts:
            cores -= 1
            if not cores and not self._told:
                self._told = True
                warn(f"set_budget: on one core the processors draw {power:.1f} W, {self.watts:g} W are asked for")
        elif power * (cores + 1) / cores < self.watts:
            cores += 1
        cores = max(1, min(self.most, cores))
        if cores != self.cores:
            self.cores = cores
            _run_on(cores)

    def stop(self) -> None:
        self.ended.set()
        if self.is_alive():
            self.join()
