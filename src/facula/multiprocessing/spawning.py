"""`spawn(fn, args, nprocs)`: a function in several processes, whose failures are told."""

from __future__ import annotations

import importlib
import multiprocessing
import multiprocessing.connection
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any


class ProcessException(Exception):
    """A child process has failed."""

    def __init__(self, msg: str, error_index: int, pid: int) -> None:
        super().__init__(msg)
        self.msg, self.error_index, self.pid = msg, error_index, pid

    def __reduce__(self) -> Any:
        return type(self), (self.msg, self.error_index, self.pid)


class ProcessRaisedException(ProcessException):
    """A child process has raised an exception; the message has its traceback."""

    def __init__(self, msg: str, error_index: int, error_pid: int) -> None:
        super().__init__(msg, error_index, error_pid)


class ProcessExitedException(ProcessException):
    """A child process has ended by a signal, or with an exit code."""

    def __init__(self, msg: str, error_index: int, error_pid: int, exit_code: int,
                 signal_name: str | None = None) -> None:
        super().__init__(msg, error_index, error_pid)
        self.exit_code, self.signal_name = exit_code, signal_name

    def __reduce__(self) -> Any:
        return type(self), (self.msg, self.error_index, self.pid, self.exit_code, self.signal_name)


def _child(fn: Callable[..., Any], index: int, args: tuple[Any, ...], errors: Any, shim: bool) -> None:
    """What a child runs. Where the parent's `torch` is Facula, the child's is."""
    if shim:
        importlib.import_module("facula.compat").install()
    try:
        fn(index, *args)
    except KeyboardInterrupt:
        pass  # the parent has been interrupted as well
    except Exception as error:
        sys.last_type = type(error)  # as Python does; who is told of our end asks how we came to it
        errors.send(traceback.format_exc())
        sys.exit(1)


class ProcessContext:
    """Processes that have been started; `join` waits for them."""

    def __init__(self, processes: list[Any], errors: list[Any]) -> None:
        self.processes, self._errors = processes, errors

    def pids(self) -> list[int]:
        """Their numbers."""
        return [int(process.pid) for process in self.processes]

    def join(self, timeout: float | None = None, grace_period: float | None = None) -> bool:
        """Wait until one fails or all have ended. True if all have.

        Raises:
            ProcessRaisedException: one has raised an exception; the others are ended.
            ProcessExitedException: one has ended otherwise.
        """
        until = None if timeout is None else time.monotonic() + timeout
        left = {process.sentinel: index for index, process in enumerate(self.processes) if process.exitcode is None}
        failed = next((i for i, p in enumerate(self.processes) if p.exitcode), None)
        while left and failed is None:
            wait = None if until is None else max(until - time.monotonic(), 0)
            ended = multiprocessing.connection.wait(list(left), wait)
            if not ended:
                return False
            for sentinel in ended:
                index = left.pop(sentinel)  # type: ignore[call-overload]
                self.processes[index].join()
                if self.processes[index].exitcode:
                    failed = index
        if failed is None:
            return True
        for process in self.processes:
            if process.is_alive():
                process.terminate()
        for process in self.processes:
            process.join(grace_period)
            if process.is_alive():
                process.kill()
                process.join()
        raise self._failure(failed)

    def _failure(self, index: int) -> ProcessException:
        process = self.processes[index]
        try:
            told = self._errors[index].recv()
        except EOFError:  # it has ended, and told nothing
            told = None
        if told is not None:
            return ProcessRaisedException(f"\n\n-- Process {index} terminated with the following error:\n{told}",
                                          index, process.pid)
        code = process.exitcode
        if code < 0:
            name = signal.Signals(-code).name
            return ProcessExitedException(f"process {index} terminated with signal {name}", index, process.pid, code,
                                          name)
        return ProcessExitedException(f"process {index} terminated with exit code {code}", index, process.pid, code)


SpawnContext = ProcessContext


def start_processes(fn: Callable[..., Any], args: tuple[Any, ...] = (), nprocs: int = 1, join: bool = True,
                    daemon: bool = False, start_method: str = "spawn") -> ProcessContext | None:
    """`fn(i, *args)` in `nprocs` processes, i from 0 on.

    Args:
        join: wait for them; else they are returned as a ProcessContext.
        start_method: "spawn", "fork" or "forkserver".

    Raises:
        ProcessRaisedException, ProcessExitedException: one has failed (`join`).
    """
    context: Any = multiprocessing.get_context(start_method)
    shim = sys.modules.get("torch") is sys.modules.get("facula")
    processes, errors = [], []
    for index in range(nprocs):
        receiving, sending = context.Pipe(duplex=False)
        process = context.Process(target=_child, args=(fn, index, args, sending, shim), daemon=daemon)
        process.start()
        sending.close()
        processes.append(process)
        errors.append(receiving)
    started = ProcessContext(processes, errors)
    if not join:
        return started
    while not started.join():
        pass
    return None


def spawn(fn: Callable[..., Any], args: tuple[Any, ...] = (), nprocs: int = 1, join: bool = True, daemon: bool = False,
          start_method: str = "spawn") -> ProcessContext | None:
    """`start_processes` with the method "spawn": `fn` has to be importable from the program's file."""
    if start_method != "spawn":
        from facula.errors import warn
        warn(f"This method only supports start_method=spawn (got: {start_method}).\nTo use a different start_method "
             "use:\n\t\t torch.multiprocessing.start_processes(...)")
    return start_processes(fn, args, nprocs, join, daemon, start_method="spawn")
