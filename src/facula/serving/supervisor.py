"""Several processes behind one port. One that dies takes its own requests along and no others; it is begun anew."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from typing import Any

from .listening import CannotListen, listen
from .logs import JsonLog

SOON = 1.0  # seconds: who lives shorter is begun anew only after a pause, which doubles
LONGEST = 30.0


def supervise(options: argparse.Namespace, arguments: list[str], log: JsonLog) -> int:
    """Run `options.workers` servers on one listening socket until SIGTERM or SIGINT."""
    try:
        listener = listen(options.host, options.port)
    except CannotListen as error:
        print(f"facula serve: {error}", file=sys.stderr)
        return 1
    listener.set_inheritable(True)
    log("listening", host=options.host, port=listener.getsockname()[1], workers=options.workers)
    ending: list[int] = []

    def end(number: int, frame: Any) -> None:
        ending.append(number)
        for process, _ in alive.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)

    def begin() -> None:
        process = subprocess.Popen([sys.executable, "-m", "facula", *arguments, "--fd", str(listener.fileno())],
                                   pass_fds=[listener.fileno()], env=os.environ)
        alive[process.pid] = process, time.monotonic()
        if ending:  # the signal came before `end` knew of this one
            process.send_signal(signal.SIGTERM)
        log("worker", pid=process.pid)

    alive: dict[int, tuple[subprocess.Popen[bytes], float]] = {}
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    for _ in range(options.workers):
        begin()
    pause, status = 0.0, 0
    while alive:
        pid, result = os.waitpid(-1, 0)
        process, since = alive.pop(pid, (None, 0.0))
        if process is None:
            continue
        code = os.waitstatus_to_exitcode(result)
        process.returncode = code
        if ending:
            continue
        log("worker died", pid=pid, code=code)
        if code == 2:  # the configuration is wrong: it would be the next time
            status = 2
            end(signal.SIGTERM, None)
            continue
        lived = time.monotonic() - since
        pause = 0.0 if lived > SOON else min(LONGEST, max(0.1, 2 * pause))
        until = time.monotonic() + pause
        while not ending and time.monotonic() < until:
            time.sleep(0.05)
        if not ending:
            begin()
    return status
