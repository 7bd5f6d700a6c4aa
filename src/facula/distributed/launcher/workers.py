"""The workers of one node: processes with an environment, logs, and an end that leaves nothing behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import IO, Any

from facula.distributed.elastic.multiprocessing.errors import ProcessFailure

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_PARENT_DEATH = 1  # PR_SET_PDEATHSIG


def _with_the_launcher() -> None:
    """Run in a worker before its program: it ends when the launcher does, however that ends."""
    if _libc is not None:
        _libc.prctl(_PARENT_DEATH, signal.SIGKILL)


class Worker:
    """One process.

    Args:
        local_rank: its number on this node.
        command, environment: what is run.
        folder: where its logs and its error file go.
        redirected, teed: which streams go into files, and into files and onto the console: bit 0 stdout, bit 1 stderr.
        label: before each line on the console; None shows none of them.
    """

    def __init__(self, local_rank: int, command: Sequence[str], environment: dict[str, str], folder: str,
                 redirected: int, teed: int, label: str | None) -> None:
        self.local_rank = local_rank
        self.error_file = os.path.join(folder, "error.json")
        os.makedirs(folder, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.error_file)
        environment = {**environment, "TORCHELASTIC_ERROR_FILE": self.error_file}
        self._threads: list[threading.Thread] = []
        targets: list[Any] = [None, None]
        opened: list[IO[bytes]] = []
        for bit, name in enumerate(("stdout", "stderr")):
            if (redirected | teed) >> bit & 1:
                file = open(os.path.join(folder, f"{name}.log"), "ab", buffering=0)
                opened.append(file)
                targets[bit] = subprocess.PIPE if teed >> bit & 1 else file
        self.process = subprocess.Popen(list(command), env=environment, stdout=targets[0], stderr=targets[1],
                                        start_new_session=True, preexec_fn=_with_the_launcher)
        logs = iter(opened)
        for bit, console in enumerate((sys.stdout, sys.stderr)):
            if (redirected | teed) >> bit & 1:
                log = next(logs)
                if teed >> bit & 1:
                    stream = self.process.stdout if bit == 0 else self.process.stderr
                    thread = threading.Thread(target=_copy, args=(stream, log, console, label), daemon=True)
                    thread.start()
                    self._threads.append(thread)
                else:
                    log.close()

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        return self.process.poll()

    def failure(self) -> ProcessFailure:
        """How it has failed."""
        code = self.process.returncode
        return ProcessFailure(self.local_rank, self.process.pid, 0 if code is None else code, self.error_file)

    def signal(self, number: int) -> None:
        """Send a signal to it and what it has started."""
        if self.process.poll() is None or number == signal.SIGKILL:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, number)

    def drain(self) -> None:
        """Until all that it has said is written."""
        for thread in self._threads:
            thread.join(5)


def _copy(stream: IO[bytes], log: IO[bytes], console: Any, label: str | None) -> None:
    """Lines of a worker into its log, and with its name onto the console."""
    with stream, log:
        for line in iter(stream.readline, b""):
            log.write(line)
            if label is not None:
                text = line.decode(errors="replace")
                console.write(f"{label}{text}" + ("" if text.endswith("\n") else "\n"))
                console.flush()


def stop(workers: Sequence[Worker], grace: float) -> None:
    """End them: SIGTERM, and SIGKILL for those that are still there after `grace` seconds, and for what they leave."""
    for worker in workers:
        worker.signal(signal.SIGTERM)
        worker.signal(signal.SIGCONT)  # a stopped process takes no SIGTERM
    until = time.monotonic() + grace
    for worker in workers:
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(max(until - time.monotonic(), 0.01))
    for worker in workers:
        worker.signal(signal.SIGKILL)
        worker.process.wait()
        worker.drain()
