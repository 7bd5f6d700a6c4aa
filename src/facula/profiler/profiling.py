"""`profile`: listens to every call of an operation while it runs."""

from __future__ import annotations

import enum
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from facula.autograd.profiler import listeners
from facula.engine.realize import flush
from facula.ops.listening import state
from facula.overrides import TorchFunctionMode
from facula.profiler.events import MOST, Event, EventAverage, EventList, write_trace
from facula.undisturbed import undisturbed


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
        prof.export_chrome_trace(os.path.join(dir_name, f"{worker}.{time.time_ns()}.pt.trace.json"))
    return handle


class _Listener(TorchFunctionMode):
    def __init__(self, owner: profile) -> None:
        super().__init__()
        self.owner = owner

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = "aten::" + getattr(func, "__name__", type(func).__name__)
        self.owner.enter(name)
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.owner.leave(name)


class profile:
    """A context within which calls of operations and `record_function` ranges are counted and timed.

    Args:
        activities: accepted; calls are watched whatever it says.
        schedule: `schedule(...)`, of the steps that `step()` counts; without one everything is recorded.
        on_trace_ready: called with the profile when a recording is complete.
        record_shapes, profile_memory, with_stack, with_flops, with_modules, ...: accepted, nothing more is recorded.

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
                 acc_events: bool = False, use_cuda: bool | None = None, **options: Any) -> None:
        self._schedule, self.on_trace_ready = schedule, on_trace_ready
        self.step_num = 0
        self._listener: _Listener | None = None
        self._forget()

    def _forget(self) -> None:
        self._averages: dict[str, EventAverage] = {}
        self._events: list[Event] = []
        self._stacks: dict[int, list[list[Any]]] = {}

    # ---- what the listener and record_function tell ----

    def enter(self, name: str) -> None:
        """A call begins."""
        self._stacks.setdefault(threading.get_ident(), []).append([name, time.perf_counter_ns(), 0])

    def leave(self, name: str) -> None:
        """It has ended."""
        now, thread = time.perf_counter_ns(), threading.get_ident()
        stack = self._stacks.get(thread)
        if not stack or stack[-1][0] != name:  # it began before this recording
            return
        _, start, below = stack.pop()
        took = now - start
        if stack:
            stack[-1][2] += took
        average = self._averages.get(name)
        if average is None:
            average = self._averages[name] = EventAverage(name)
        average.count += 1
        average.cpu_time_total += took / 1000
        average.self_cpu_time_total += (took - below) / 1000
        if len(self._events) < MOST:
            self._events.append(Event(name, start / 1000, took / 1000, thread))

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
            self._listener = _Listener(self)
            listeners.append(self)
            self._listener.__enter__()

    def _end(self) -> None:
        if self._listener is not None:
            try:
                self.enter("facula::flush")
                flush()
                self.leave("facula::flush")
            finally:
                self._hear_no_more()

    @undisturbed
    def _hear_no_more(self) -> None:
        listener, self._listener = self._listener, None
        try:
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
        self.step_num += 1
        if before is ProfilerAction.RECORD_AND_SAVE:
            self.stop()
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

    def key_averages(self, group_by_input_shape: bool = False, group_by_stack_n: int = 0,
                     group_by_overload_name: bool = False) -> EventList:
        """The calls, added up by name."""
        return EventList(self._averages.values())

    def events(self) -> EventList:
        """The calls one by one, a million at most."""
        return EventList(self._events)

    def export_chrome_trace(self, path: Any) -> None:
        """Write them for chrome://tracing."""
        write_trace(path, self._events)

    def add_metadata(self, key: str, value: str) -> None:
        """Accepted."""

    add_metadata_json = add_metadata
