"""`Work`: a collective that has been called, and will be done.

What a collective computes is written into tensors by the thread that looks at its Work first (`wait`, `is_completed`,
`result`, a future's `wait`), at the latest by the next collective of its group: so the engine records the same at the
same place on every run, and the user's own writes and ours never come between each other.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from facula.distributed.constants import DistBackendError, seconds
from facula.futures import Future
from facula.undisturbed import reentrant_lock


class Work:
    """A handle of what was called with `async_op=True`, of isend and irecv.

    Example:
        >>> from facula.distributed.work import Work
        >>> Work.of([1]).wait()
        True
    """

    def __init__(self, outputs: Any = None, what: str = "", then: Callable[[], None] | None = None) -> None:
        self._outputs, self._what, self._then = outputs, what, then
        self._event = threading.Event()
        self._error: BaseException | None = None
        self._finished, self._written, self._settled = False, False, False  # writing begun, ended; the future told
        self._source = -1
        self._lock = reentrant_lock()
        self._future: Future | None = None
        self._limit: float | None = None
        self._pump: Callable[[float | None], None] | None = None  # who has to be driven for it to come

    @classmethod
    def of(cls, outputs: Any) -> Work:
        """One that is done."""
        work = cls(outputs)
        work._event.set()
        work._finished = work._written = True
        return work

    def _complete(self, error: BaseException | None = None) -> None:
        """Its messages have come and gone; called by the thread that has seen to it."""
        self._error = error
        self._event.set()

    def _finish(self) -> None:
        """Write the results, once."""
        with self._lock:
            if self._finished:
                return
            self._finished = True
            if self._error is None and self._then is not None:
                try:
                    self._then()
                except Exception as error:
                    self._error = error
            self._then, self._written = None, True
        self._settle()

    def wait(self, timeout: timedelta = timedelta(0)) -> bool:
        """Until it is done, and the results stand in the tensors. True.

        Raises:
            DistBackendError: it has failed, or was not done in time (`timeout`, or else the group's).
        """
        limit = seconds(timeout, 0) or None
        if not self._event.is_set():
            if self._pump is not None:
                self._pump(limit)
            if not self._event.wait(limit):
                raise DistBackendError(f"{self._what}: not done within {limit:g} s")
        self._finish()
        if self._error is not None:
            raise self._error
        return True

    def synchronize(self) -> None:
        """`wait()`."""
        self.wait()

    def is_completed(self) -> bool:
        """Is it done?"""
        if not self._event.is_set():
            return False
        self._finish()
        return True

    def is_success(self) -> bool:
        """Is it done, and without an error?"""
        return self.is_completed() and self._error is None

    def exception(self) -> BaseException | None:
        """The error it has failed with."""
        return self._error if self.is_completed() else None

    def result(self) -> Any:
        """The tensors it has written. RuntimeError where it is not done."""
        if not self.is_completed():
            raise RuntimeError("Work needs to be completed before calling result(): call wait() first")
        return self._listed()

    def _listed(self) -> list[Any]:
        return self._outputs if isinstance(self._outputs, list) else [self._outputs]

    def source_rank(self) -> int:
        """The rank that a receive from anybody has received from."""
        return self._source

    _source_rank = source_rank

    def get_future(self) -> Future:
        """A Future of the list of results."""
        with self._lock:
            if self._future is None:
                self._future = Future()
                self._future._sources = (self._look,)
        self._settle()
        return self._future

    def _settle(self) -> None:
        """Give the future what it is of, once, when the results are written."""
        with self._lock:
            future = self._future
            if future is None or self._settled or not self._written:
                return
            self._settled = True
        future._complete(None if self._error else self._listed(), self._error)

    def _look(self, patiently: bool) -> None:
        """See whether it is done, or wait until it is; the future has what comes of it, an error too."""
        if patiently:
            with contextlib.suppress(Exception):
                self.wait()
        elif not self._lock._is_owned():  # type: ignore[attr-defined]  # else the results are just being written
            self.is_completed()

    def get_future_result(self) -> Future:
        """A Future of 0, when it is done."""
        return self.get_future().then(lambda f: 0 if f.wait() is not None else 0)
