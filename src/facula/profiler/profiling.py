"""`profile`: listens to every call of an operation while it runs."""

from __future__ import annotations

import enum
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, cast

from facula._tensor.handle import Tensor
from facula.autograd.profiler import listeners
from facula.engine import plan_log
from facula.engine.realize import flush
from facula.engine.runtime import buffer
from facula.ops.listening import quiet, state
from facula.overrides import TorchFunctionMode
from facula.profiler.events import MOST, Event, EventAverage, EventList, grouped, write_stacks, write_trace
from facula.undisturbed import undisturbed

_NO_DETAILS: tuple[Any, Any, str] = ((), (), "")


class ProfilerActivity(enum.Enum):
    """What a profile may watch. Facula watches the calls on the CPU, which the work of every device is asked for by."""

    CPU = 0
    XPU = 1
    MTIA = 2
    CUDA = 3
    HPU = 4
    PrivateUse1 = 5


class ProfilerAction(enum.Enum):
    """What a profile does in a step."""

    NONE = 0
    WARMUP = 1
    RECORD = 2
    RECORD_AND_SAVE = 3


def supported_activities() -> set[ProfilerActivity]:
    """{ProfilerActivity.CPU}."""
    return {ProfilerActivity.CPU}


def kineto_available() -> bool:
    """False: that is a library of PyTorch's."""
    return False


def schedule(*, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0,
             skip_first_wait: int = 0) -> Callable[[int], ProfilerAction]:
    """What to do in which step: after `skip_first` steps `wait` steps nothing, `warmup` steps nothing that is kept,
    `active` steps record, and so on, `repeat` times (0: for ever).

    Example:
        >>> from facula.profiler import schedule
        >>> steps = schedule(wait=1, warmup=1, active=2)
        >>> [steps(n).name for n in range(4)]
        ['NONE', 'WARMUP', 'RECORD', 'RECORD_AND_SAVE']
    """
    if min(wait, warmup, repeat, skip_first) < 0 or active <= 0:
        raise ValueError(f"profiler.schedule: invalid wait={wait}, warmup={warmup}, active={active}, repeat={repeat}, "
                         f"skip_first={skip_first}")
    turn = wait + warmup + active

    def action(step: int) -> ProfilerAction:
        step -= skip_first
        if step < 0:
            return ProfilerAction.NONE
        if skip_first_wait:
            step += wait
        if repeat and step >= turn * repeat:
            return ProfilerAction.NONE
        step %= turn
        if step < wait:
            return ProfilerAction.NONE
        if step < wait + warmup:
            return ProfilerAction.WARMUP
        return ProfilerAction.RECORD_AND_SAVE if step == turn - 1 else ProfilerAction.RECORD
    return action


def tensorboard_trace_handler(dir_name: str, worker_name: str | None = None, use_gzip: bool = False) -> Any:
    """An `on_trace_ready` that writes each trace into a file of `dir_name`."""
    def handle(prof: profile) -> None:
        os.makedirs(dir_name, exist_ok=True)
        worker = worker_name or f"{socket.gethostname()}_{os.getpid()}"
        ending = ".pt.trace.json.gz" if use_gzip else ".pt.trace.json"
        prof.export_chrome_trace(os.path.join(dir_name, f"{worker}.{time.time_ns()}{ending}"))
    return handle


class _Listener(TorchFunctionMode):
    def __init__(self, owner: profile) -> None:
        super().__init__()
        self.owner = owner

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = "aten::" + getattr(func, "__name__", type(func).__name__)
        owner = self.owner
        owner.enter(name, owner.details_of(args, kwargs) if owner.detailed else None)
        flops = 0
        try:
            result = func(*args, **(kwargs or {}))
            if owner.with_flops:
                flops = _flops(func, args, kwargs, result)
            return result
        finally:
            owner.leave(name, flops)


def _flops(func: Any, args: Any, kwargs: Any, result: Any) -> int:
    from facula.utils.flop_counter import flops_of
    try:
        return flops_of(func, args, kwargs, result)
    except NotImplementedError:  # of a call that is not counted: the table says "--"
        return 0


def _stack() -> tuple[str, ...]:
    """The program's lines that have led here, the innermost first; Facula's own are left out."""
    found, frame = [], cast("FrameType | None", sys._getframe(1))
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] != "facula":
            code = frame.f_code
            found.append(f"{code.co_filename}({frame.f_lineno}): {code.co_name}")
        frame = frame.f_back
    return tuple(found)


class profile:
    """A context within which calls of operations and `record_function` ranges are counted and timed.

    Args:
        activities: accepted; calls are watched whatever it says. So are use_cuda, experimental_config and
            post_processing_timeout_s, which are about PyTorch's own ways to watch.
        schedule: `schedule(...)`, of the steps that `step()` counts; without one everything is recorded.
        on_trace_ready: called with the profile when a recording is complete.
        record_shapes: keep the shapes of operands: `key_averages(group_by_input_shape=True)`.
        profile_memory: keep by how many bytes what tensors hold has changed. A call mostly records: memory is taken
            where values are computed.
        with_stack: keep the program's lines: `key_averages(group_by_stack_n=5)`, `export_stacks`.
        with_flops: count operations of products.
        with_modules: keep which module's forward a call was in: `by_module()`.
        with_kernels: (Facula's own) time kernels: `by_kernel()`. Programs run a little slower.

    `step()` makes a range "ProfilerStep#n" of each step, so that all the step's time is in the table.

    Example:
        >>> import facula
        >>> with facula.profiler.profile() as prof:
        ...     y = facula.ones(3) + 1
        >>> [event.key for event in prof.key_averages() if event.key == "aten::add"]
        ['aten::add']
    """

    def __init__(self, *, activities: Iterable[ProfilerActivity] | None = None, schedule: Any = None,
                 on_trace_ready: Callable[[profile], Any] | None = None, record_shapes: bool = False,
                 profile_memory: bool = False, with_stack: bool = False, with_flops: bool = False,
                 with_modules: bool = False, experimental_config: Any = None, execution_trace_observer: Any = None,
                 acc_events: bool = False, use_cuda: bool | None = None,
                 custom_trace_id_callback: Callable[[], str] | None = None,
                 post_processing_timeout_s: float | None = None, with_kernels: bool = False) -> None:
        if execution_trace_observer is not None or custom_trace_id_callback is not None:
            raise NotImplementedError("profile: execution_trace_observer and custom_trace_id_callback are not in "
                                      "Facula")
        self._schedule, self.on_trace_ready = schedule, on_trace_ready
        self.record_shapes, self.profile_memory, self.with_stack = record_shapes, profile_memory, with_stack
        self.with_flops, self.with_modules, self.with_kernels = with_flops, with_modules, with_kernels
        self.detailed = record_shapes or with_stack or with_modules
        self.acc_events = acc_events
        self.step_num = 0
        self._listener: _Listener | None = None
        self._tracker: Any = None
        self._metadata: dict[str, Any] = {}
        self._step_range = ""
        self._averages: dict[Any, EventAverage] = {}
        self._events: list[Event] = []
        self._stacks: dict[int, list[list[Any]]] = {}
        self._kernels: list[dict[str, Any]] = []
        self._log_before: Any = None

    def _forget(self) -> None:
        if not self.acc_events:
            self._averages, self._events, self._kernels = {}, [], []
        self._stacks = {}

    def details_of(self, args: Any, kwargs: Any) -> tuple[Any, Any, str]:
        """(shapes, stack, module) of a call, as far as they are wanted."""
        shapes: Any = ()
        if self.record_shapes:
            with quiet():
                shapes = tuple([tuple(a.shape) if isinstance(a, Tensor) else () for a in args])
        module = ""
        if self._tracker is not None and self._tracker.stack:
            module = self._tracker.stack[-1][0]
        return shapes, _stack() if self.with_stack else (), module

    # ---- what the listener and record_function tell ----

    def enter(self, name: str, details: Any = None) -> None:
        """A call begins."""
        if details is None:
            details = self.details_of((), None) if self.detailed else _NO_DETAILS
        memory = buffer.held() if self.profile_memory else 0
        self._stacks.setdefault(threading.get_ident(), []).append(
            [name, details, memory, 0, 0, time.perf_counter_ns()])

    def leave(self, name: str, flops: int = 0) -> None:
        """It has ended."""
        now, thread = time.perf_counter_ns(), threading.get_ident()
        stack = self._stacks.get(thread)
        if not stack or stack[-1][0] != name:  # it began before this recording
            return
        _, (shapes, lines, module), memory, below, memory_below, start = stack.pop()
        took = now - start
        grown = buffer.held() - memory if self.profile_memory else 0
        if stack:
            stack[-1][3] += took
            stack[-1][4] += grown
        key = "ProfilerStep*" if name.startswith("ProfilerStep#") else name
        place = key, shapes, lines, module
        average = self._averages.get(place)
        if average is None:
            average = self._averages[place] = EventAverage(*place)
        average.count += 1
        average.cpu_time_total += took / 1000
        average.self_cpu_time_total += (took - below) / 1000
        average.flops += flops
        average.cpu_memory_usage += grown
        average.self_cpu_memory_usage += grown - memory_below
        if len(self._events) < MOST:
            self._events.append(Event(name, start / 1000, took / 1000, thread, shapes, lines, module, flops, grown,
                                      (took - below) / 1000))

    # ---- beginning and ending ----

    @property
    def current_action(self) -> ProfilerAction:
        """What is done in this step."""
        if self._schedule is None:
            return ProfilerAction.RECORD
        return self._schedule(self.step_num)  # type: ignore[no-any-return]

    def _record(self) -> None:
        if self._listener is None:
            self._forget()
            flush()  # what was asked for before is not this profile's
            if self.with_kernels:
                self._log_before = (plan_log.exchange({}),)
            if self.with_modules:
                from facula.utils.module_tracker import ModuleTracker
                self._tracker = ModuleTracker().__enter__()
            self._listener = _Listener(self)
            listeners.append(self)
            self._listener.__enter__()
        if self._schedule is not None or self._step_range:
            self._begin_step()

    def _begin_step(self) -> None:
        self._end_step()
        self._step_range = f"ProfilerStep#{self.step_num}"
        self.enter(self._step_range)

    def _end_step(self) -> None:
        if self._step_range and self._listener is not None:
            self.leave(self._step_range)

    def _end(self) -> None:
        if self._listener is not None:
            try:
                self.enter("facula::flush")
                flush()
                self.leave("facula::flush")
                self._end_step()
                if self._log_before is not None:
                    self._kernels += [kernel for record in plan_log.told() for kernel in record["kernels"]]
            finally:
                self._hear_no_more()

    @undisturbed
    def _hear_no_more(self) -> None:
        listener, self._listener = self._listener, None
        log, self._log_before = self._log_before, None
        tracker, self._tracker = self._tracker, None
        try:
            if log is not None:
                plan_log.exchange(log[0])
            if tracker is not None:
                tracker.__exit__()
            if listener is not None and listener in state.modes:  # it may not have come to be entered
                listener.__exit__(None, None, None)
        finally:
            if self in listeners:
                listeners.remove(self)

    def start(self) -> None:
        """Begin; `with` does so."""
        if self.current_action in (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE):
            self._record()

    def stop(self) -> None:
        """End; `with` does so."""
        recording = self._listener is not None
        self._end()
        if recording and self.on_trace_ready is not None:
            self.on_trace_ready(self)

    def step(self) -> None:
        """The program's next step: the schedule says what that means."""
        before = self.current_action
        if before is ProfilerAction.RECORD_AND_SAVE:
            self.stop()
        self.step_num += 1
        if self.current_action in (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE):
            self._record()
        else:
            self._end()

    def __enter__(self) -> profile:
        try:
            self.start()
            return self
        except BaseException:
            self._hear_no_more()
            raise

    @undisturbed
    def __exit__(self, *exc: object) -> None:
        try:
            self.stop()
        except BaseException:
            self._hear_no_more()
            raise

    # ---- results ----

    def _list(self, events: Iterable[Any] = ()) -> EventList:
        return EventList(events, self.profile_memory, self.with_flops)

    def key_averages(self, group_by_input_shape: bool = False, group_by_stack_n: int = 0,
                     group_by_overload_name: bool = False) -> EventList:
        """The calls, added up by name; with the same shapes, and the same innermost lines, apart."""
        return grouped(self._averages.values(), lambda e: (
            e.key, e.input_shapes if group_by_input_shape else (), tuple(e.stack[:group_by_stack_n])), self._list())

    def by_module(self) -> EventList:
        """The calls, added up by the module whose forward they were in ("" of those in none). Needs `with_modules`."""
        if not self.with_modules:
            raise RuntimeError("by_module: profile(with_modules=True) is needed")
        return grouped(self._averages.values(), lambda e: (e.module or "(no module)", (), ()), self._list())

    def by_kernel(self) -> EventList:
        """What was computed, kernel by kernel: times of machine code (or of NumPy). Needs `with_kernels`."""
        if not self.with_kernels:
            raise RuntimeError("by_kernel: profile(with_kernels=True) is needed")
        averages = []
        for kernel in self._kernels:
            average = EventAverage(kernel["title"])
            average.count = kernel["runs"]
            average.cpu_time_total = average.self_cpu_time_total = kernel["ns"] / 1000 * kernel["runs"]
            average.flops = kernel["flops"] * kernel["runs"]
            averages.append(average)
        return grouped(averages, lambda e: (e.key, (), ()), EventList((), False, True))

    def events(self) -> EventList:
        """The calls one by one, a million at most."""
        return self._list(self._events)

    def export_chrome_trace(self, path: Any) -> None:
        """Write them for chrome://tracing; with gzip where `path` ends in ".gz"."""
        write_trace(path, self._events, self._metadata)

    def export_stacks(self, path: Any, metric: str = "self_cpu_time_total") -> None:
        """Write stacks with their times, for flame graphs. Needs `with_stack`.

        Raises:
            ValueError: of another metric than "self_cpu_time_total" or "self_cuda_time_total".
        """
        if metric not in ("self_cpu_time_total", "self_cuda_time_total"):
            raise ValueError("metric should be one of: ['self_cpu_time_total', 'self_cuda_time_total'], "
                             f"got {metric!r}")
        write_stacks(path, self._events if metric == "self_cpu_time_total" else (), metric)

    def export_memory_timeline(self, path: str, device: str | None = None) -> None:
        """Not in Facula yet."""
        raise NotImplementedError("profile.export_memory_timeline is not in Facula yet: profile_memory=True puts bytes "
                                  "into the table and the trace")

    def toggle_collection_dynamic(self, enable: bool, activities: Any) -> None:
        """Not in Facula yet."""
        raise NotImplementedError("profile.toggle_collection_dynamic is not in Facula yet: use a schedule")

    def preset_metadata_json(self, key: str, value: str) -> None:
        """Put the JSON text `value` into the trace, under `key`."""
        self.add_metadata_json(key, value)

    def add_metadata(self, key: str, value: str) -> None:
        """Put text into the trace, under `key`."""
        self._metadata[key] = str(value)

    def add_metadata_json(self, key: str, value: str) -> None:
        """Put what the JSON text `value` says into the trace, under `key`. ValueError if it is none."""
        self._metadata[key] = json.loads(value)
