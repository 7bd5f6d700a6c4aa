"""`profile` as `torch.autograd.profiler` has it: another set of arguments, and it may be off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.profiler import profiling
from facula.profiler.profiling import ProfilerActivity

__all__ = ["ProfilerActivity", "profile"]


class profile(profiling.profile):
    """`facula.profiler.profile` without steps.

    Args:
        enabled: False: nothing is recorded.
        use_cuda, use_device, use_kineto, use_cpu, experimental_config, post_processing_timeout_s, activity_filters:
            accepted; calls are watched whatever they say.
        record_shapes, with_flops, profile_memory, with_stack, with_modules, acc_events: as there.
        custom_trace_id_callback: NotImplementedError if given.

    Example:
        >>> import facula
        >>> with facula.autograd.profiler.profile(enabled=False) as prof:
        ...     y = facula.ones(3) + 1
        >>> len(prof.key_averages())
        0
    """

    def __init__(self, enabled: bool = True, *, use_cuda: bool = False, use_device: str | None = None,
                 record_shapes: bool = False, with_flops: bool = False, profile_memory: bool = False,
                 with_stack: bool = False, with_modules: bool = False, use_kineto: bool = False, use_cpu: bool = True,
                 experimental_config: Any = None, acc_events: bool = False,
                 custom_trace_id_callback: Callable[[], str] | None = None,
                 post_processing_timeout_s: float | None = None, activity_filters: Any = None) -> None:
        super().__init__(record_shapes=record_shapes, with_flops=with_flops, profile_memory=profile_memory,
                         with_stack=with_stack, with_modules=with_modules, acc_events=acc_events,
                         custom_trace_id_callback=custom_trace_id_callback)
        self.enabled = enabled

    def start(self) -> None:
        """Begin, if it is enabled; `with` does so."""
        if self.enabled:
            super().start()
