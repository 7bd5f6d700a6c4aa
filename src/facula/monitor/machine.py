"""Figures of the machine while a run goes: what it tells without asking for more than the standard library."""

from __future__ import annotations

import glob
import os
import time


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


class Machine:
    """`sample()` gives figures by name; rates are of the time since the sample before.

    cpu (percent of all cores), process_cpu (percent of one core), memory (percent), process_memory (bytes), threads,
    disk_read, disk_written (bytes a second, of the process), temperature (degrees Celsius, the hottest), power (watts),
    and load (1 minute). What the machine does not tell is not there.
    """

    def __init__(self) -> None:
        self._at = time.monotonic()
        self._busy = _cpu_times()
        self._process = time.process_time()
        self._energy = _energy()
        self._disk = _disk()

    def sample(self) -> dict[str, float]:
        """The figures now."""
        now, busy, process = time.monotonic(), _cpu_times(), time.process_time()
        energy, disk = _energy(), _disk()
        passed = max(now - self._at, 1e-3)
        found = {"process_cpu": 100 * (process - self._process) / passed}
        if busy and self._busy and busy[1] > self._busy[1]:
            found["cpu"] = 100 * (busy[0] - self._busy[0]) / (busy[1] - self._busy[1])
        memory = {name: int(rest.split()[0]) * 1024 for name, _, rest in
                  (line.partition(":") for line in _read("/proc/meminfo").splitlines()) if rest.split()}
        if memory.get("MemTotal") and "MemAvailable" in memory:
            found["memory"] = 100 * (1 - memory["MemAvailable"] / memory["MemTotal"])
        status = dict(line.split(":", 1) for line in _read("/proc/self/status").splitlines() if ":" in line)
        if "VmRSS" in status:
            found["process_memory"] = float(int(status["VmRSS"].split()[0]) * 1024)
            found["threads"] = float(status.get("Threads", "1"))
        for name, amount in disk.items():
            if name in self._disk:
                found[name] = (amount - self._disk[name]) / passed
        if hasattr(os, "getloadavg"):
            found["load"] = os.getloadavg()[0]
        degrees = [int(text) / 1000 for path in glob.glob("/sys/class/thermal/thermal_zone*/temp")
                   if (text := _read(path).strip()).lstrip("-").isdigit()]
        if degrees:
            found["temperature"] = max(degrees)
        if energy is not None and self._energy is not None and energy >= self._energy:  # the counter turns over
            found["power"] = (energy - self._energy) / 1e6 / passed
        self._at, self._busy, self._process, self._energy, self._disk = now, busy, process, energy, disk
        return found


def _cpu_times() -> tuple[float, float] | None:
    """(busy, all) since the machine started."""
    fields = _read("/proc/stat").partition("\n")[0].split()[1:9]
    if len(fields) < 5:
        return None
    ticks = [float(field) for field in fields]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def _energy() -> float | None:
    """Microjoules that the processor packages have used, where the kernel says so."""
    counts = [int(text) for path in glob.glob("/sys/class/powercap/intel-rapl:[0-9]*/energy_uj")
              if path.count(":") == 1 and (text := _read(path).strip()).isdigit()]
    return float(sum(counts)) if counts else None


def _disk() -> dict[str, float]:
    lines = dict(line.split(": ", 1) for line in _read("/proc/self/io").splitlines() if ": " in line)
    return {name: float(lines[key]) for name, key in (("disk_read", "read_bytes"), ("disk_written", "write_bytes"))
            if key in lines}
