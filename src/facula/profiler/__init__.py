"""Which operations a program calls, how often, and how long the calls take (`torch.profiler`).

    profiling.py   profile, schedule; autograd_profile.py: `torch.autograd.profiler.profile`
    events.py      what was met, as a table and as a trace for chrome://tracing

A call mostly records: the computing happens where a value is needed (`item`, `backward`, ...), and that is where its
time is listed; what is still pending when the profile ends is computed then, as `facula::flush`. For kernels, and why
they are as they are, there are `facula explain` and FACULA_DEBUG=2.

Example:
    >>> import facula
    >>> from facula.profiler import ProfilerActivity, profile, record_function
    >>> with profile(activities=[ProfilerActivity.CPU]) as prof:
    ...     with record_function("model"):
    ...         y = facula.ones(4).exp().sum().item()
    >>> print(prof.key_averages().table(sort_by="cpu_time_total", row_limit=10).splitlines()[1].split()[0])
    Name
"""

from __future__ import annotations

from facula import absent
from facula.autograd.profiler import record_function
from facula.profiler.profiling import (
    ProfilerAction,
    ProfilerActivity,
    kineto_available,
    profile,
    schedule,
    supported_activities,
    tensorboard_trace_handler,
)

ExecutionTraceObserver = absent.kind("torch.profiler.ExecutionTraceObserver", "profile.export_chrome_trace writes one")

__all__ = ["ExecutionTraceObserver", "ProfilerAction", "ProfilerActivity", "kineto_available", "profile",
           "record_function", "schedule", "supported_activities", "tensorboard_trace_handler"]
