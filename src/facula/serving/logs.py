"""One line of JSON for each event, to stderr."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any, TextIO


class JsonLog:
    """`log("loaded", model="m")` writes {"time": ..., "event": "loaded", "model": "m"}."""

    def __init__(self, file: TextIO | None = None) -> None:
        self.file = file

    def __call__(self, event: str, **facts: Any) -> None:
        now = time.time()
        said = {"time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e3):03d}Z",
                "event": event, **{key: value for key, value in facts.items() if value != ""}}
        try:
            file = self.file or sys.stderr
            file.write(json.dumps(said, default=str) + "\n")  # at once: several processes write to one pipe
            file.flush()
        except (OSError, ValueError):  # nobody reads the log any more
            pass


class Heard(logging.Handler):
    """What libraries log (uvicorn, asyncio, grpc), as lines of the same form."""

    def __init__(self, log: JsonLog) -> None:
        super().__init__(logging.WARNING)
        self.log = log

    @classmethod
    def listen(cls, log: JsonLog) -> None:
        """Hear those from now on, in the place of whoever did."""
        for name in ("uvicorn", "asyncio", "grpc"):
            logger = logging.getLogger(name)
            logger.handlers[:], logger.propagate = [cls(log)], False

    def emit(self, record: logging.LogRecord) -> None:
        """Raises nothing: a line that cannot be made is none."""
        try:
            error = record.exc_info[1] if record.exc_info else None
            self.log("library", name=record.name, level=record.levelname.lower(), message=record.getMessage(),
                     error="" if error is None else f"{type(error).__name__}: {error}")
        except Exception:
            self.handleError(record)
