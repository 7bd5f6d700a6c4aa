"""How many threads this process may compute with: affinity, cgroup quota, cores, FACULA_NUM_THREADS."""

from __future__ import annotations

import os

from facula.config import NUM_THREADS
from facula.engine.runtime.cpu.pool_code import CAN_THREAD

_NO_LIMIT = 1 << 16


def default_threads() -> int:
    """Cores this process may use, by affinity and cgroup quota; at most FACULA_NUM_THREADS if set."""
    if not CAN_THREAD:
        return 1
    allowed = os.sched_getaffinity(0)
    count = min(len(allowed), _cgroup_limit())
    if NUM_THREADS.value:
        return max(1, min(count, NUM_THREADS.value))
    return max(1, min(count, _physical_cores(allowed)))


def reasons() -> dict[str, object]:
    """What limits the number of threads, for `facula doctor`. None: no limit of this kind."""
    if not CAN_THREAD:
        return {"note": "no futex on this system: one thread"}
    allowed = os.sched_getaffinity(0)
    quota = _cgroup_limit()
    return {"affinity": len(allowed), "cores": _physical_cores(allowed),
            "cgroup_quota": quota if quota < _NO_LIMIT else None, "setting": NUM_THREADS.value or None}


def _physical_cores(allowed: set[int]) -> int:
    """Count cores: two hyperthreads of one share its multipliers, and slow each other down."""
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
    limit = _NO_LIMIT
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
