"""How a worker tells its launcher what it has failed of: a JSON file that TORCHELASTIC_ERROR_FILE names."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import time
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class ProcessFailure:
    """A worker that has failed.

    Attributes:
        local_rank, pid, exitcode: which one, and how it ended (negative: by a signal).
        message, timestamp: what it has said of it, and when.
    """

    def __init__(self, local_rank: int, pid: int, exitcode: int, error_file: str) -> None:
        self.local_rank, self.pid, self.exitcode, self.error_file = local_rank, pid, exitcode, error_file
        self.message, self.timestamp = "", int(time.time())
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            with open(error_file, encoding="utf-8") as file:
                told = json.load(file)["message"]
            self.message = told["extraInfo"]["py_callstack"]
            self.timestamp = int(told["extraInfo"]["timestamp"])

    def signal_name(self) -> str:
        """The signal's name; empty if it ended otherwise."""
        import signal
        if self.exitcode >= 0:
            return ""
        try:
            return signal.Signals(-self.exitcode).name
        except ValueError:
            return f"signal {-self.exitcode}"

    def told(self, rank: int) -> str:
        """In words."""
        how = f"by {self.signal_name()}" if self.exitcode < 0 else f"with exit code {self.exitcode}"
        head = f"rank {rank} (local rank {self.local_rank}, process {self.pid}) ended {how}"
        return f"{head}:\n{self.message.rstrip()}" if self.message else f"{head}, and has told nothing"


class ChildFailedError(RuntimeError):
    """Workers have failed, and there are no restarts left."""

    def __init__(self, name: str, failures: dict[int, ProcessFailure]) -> None:
        self.name, self.failures = name, failures
        first = min(failures, key=lambda rank: failures[rank].timestamp) if failures else -1
        lines = [f"{name} FAILED"]
        if failures:
            lines.append("the first: " + failures[first].told(first))
            lines += ["also: " + f.told(rank).partition("\n")[0] for rank, f in sorted(failures.items())
                      if rank != first]
        super().__init__("\n".join(lines))

    def get_first_failure(self) -> tuple[int, ProcessFailure]:
        """(rank, failure) of the one that failed first."""
        rank = min(self.failures, key=lambda r: self.failures[r].timestamp)
        return rank, self.failures[rank]


def write_error(error: BaseException) -> None:
    """Tell the launcher, if there is one, and nothing has been told before."""
    name = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not name or os.path.exists(name):
        return
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    told = {"message": {"message": f"{type(error).__name__}: {error}", "extraInfo": {
        "py_callstack": text, "timestamp": str(int(time.time()))}}}
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
        with open(name, "w", encoding="utf-8") as file:
            json.dump(told, file)


def record(fn: F, error_handler: Any = None) -> F:
    """A decorator of a program's main function: what it raises is told to the launcher, too.

    Example:
        >>> from facula.distributed.elastic.multiprocessing.errors import record
        >>> record(lambda: 3)()
        3
    """
    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return fn(*args, **kwargs)
        except SystemExit as stop:
            if stop.code not in (None, 0):
                write_error(stop)
            raise
        except Exception as error:
            write_error(error)
            raise
    return wrapped  # type: ignore[return-value]
