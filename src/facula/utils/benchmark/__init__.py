"""How long a statement takes (`torch.utils.benchmark`).

    timer.py         Timer
    measurement.py   Measurement: the times, and what they say
    compare.py       Compare: a table of measurements

Example:
    >>> import facula.utils.benchmark as benchmark
    >>> t = benchmark.Timer("x + 1", "x = 1").timeit(100)
    >>> t.number_per_run, t.median > 0
    (100, True)
"""

from __future__ import annotations

from typing import Any

from facula import absent
from facula.utils.benchmark.compare import Compare
from facula.utils.benchmark.measurement import Measurement, TaskSpec, select_unit, trim_sigfig, unit_to_english
from facula.utils.benchmark.timer import Timer, timer

_FUZZ = "draw sizes with random"
_GRIND = "Timer.timeit measures time"
Fuzzer = absent.kind("torch.utils.benchmark.Fuzzer", _FUZZ)
FuzzedParameter = absent.kind("torch.utils.benchmark.FuzzedParameter", _FUZZ)
FuzzedTensor = absent.kind("torch.utils.benchmark.FuzzedTensor", _FUZZ)
CallgrindStats = absent.kind("torch.utils.benchmark.CallgrindStats", _GRIND)
FunctionCounts = absent.kind("torch.utils.benchmark.FunctionCounts", _GRIND)

__all__ = ["CallgrindStats", "Compare", "FunctionCounts", "FuzzedParameter", "FuzzedTensor", "Fuzzer", "Measurement",
           "TaskSpec", "Timer", "select_unit", "timer", "trim_sigfig", "unit_to_english"]


def __getattr__(name: str) -> Any:
    raise absent.missing("utils.benchmark", name)
