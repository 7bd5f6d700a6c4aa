"""Results that are there later (`torch.futures`).

Example:
    >>> import facula
    >>> promised = facula.futures.Future()
    >>> doubled = promised.then(lambda f: 2 * f.wait())
    >>> promised.set_result(21)
    >>> doubled.wait()
    42
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from facula.undisturbed import reentrant_lock

__all__ = ["Future", "collect_all", "wait_all"]


class Future:
    """A value that some thread will set, or an exception.

    Args:
        devices: PyTorch's accelerators whose streams the value depends on; there are none to wait for here.

    Raises:
        ValueError: devices of the processor itself.
    """

    def __init__(self, *, devices: Any = None) -> None:
        from facula.devices import device
        if any(device(d).type == "cpu" for d in devices or ()):
            raise ValueError("Expected devices to have indices, got cpu")
        self._ready = threading.Event()
        self._lock = reentrant_lock()
        self._value: Any = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Future], Any]] = []
        self._sources: tuple[Callable[[bool], None], ...] = ()

    def _look(self, patiently: bool) -> None:
        """Have what the value comes of looked at: a collective's results are written by who asks for them, and so are
        those of all that `then` and `collect_all` make of it."""
        for source in () if self._ready.is_set() else self._sources:
            source(patiently)

    def done(self) -> bool:
        """Is the value, or the exception, there?"""
        self._look(False)
        return self._ready.is_set()

    def wait(self) -> Any:
        """The value, as soon as it is there; the exception is raised.

        Example:
            >>> import facula
            >>> f = facula.futures.Future()
            >>> f.set_exception(KeyError("gone"))
            >>> f.wait()
            Traceback (most recent call last):
            KeyError: 'gone'
        """
        self._look(True)
        self._ready.wait()
        if self._error is not None:
            raise self._error
        return self._value

    def value(self) -> Any:
        """The value that is there. RuntimeError if it is not yet."""
        if not self.done():
            raise RuntimeError("Future.value(): it is not complete yet, use wait()")
        return self.wait()

    def _complete(self, value: Any, error: BaseException | None) -> None:
        with self._lock:
            if self._ready.is_set():
                raise RuntimeError("Attempting to mark a completed Future as complete again. Note that a Future can "
                                   "only be marked completed once.")
            self._value, self._error = value, error
            self._ready.set()
            waiting, self._callbacks = self._callbacks, []
        for callback in waiting:
            callback(self)

    def set_result(self, result: Any) -> None:
        """Set the value and run what waits for it. RuntimeError if it is set already."""
        self._complete(result, None)

    def set_exception(self, result: BaseException) -> None:
        """Set an exception, which `wait` raises. AssertionError if it is none."""
        if not isinstance(result, Exception):
            raise AssertionError(f"{result} is of type {type(result)}, not an Exception.")
        self._complete(None, result)

    def add_done_callback(self, callback: Callable[[Future], None]) -> None:
        """`callback(self)` once it is complete; what it raises is told on stderr and goes no further."""
        def guarded(done: Future) -> None:
            try:
                callback(done)
            except Exception:
                import traceback
                traceback.print_exc()
        self._when_done(guarded)

    def _when_done(self, callback: Callable[[Future], Any]) -> None:
        with self._lock:
            if not self._ready.is_set():
                self._callbacks.append(callback)
                return
        callback(self)

    def then(self, callback: Callable[[Future], Any]) -> Future:
        """A Future of `callback(self)`, which is called once this one is complete."""
        following = Future()
        following._sources = self._sources

        def follow(done: Future) -> None:
            try:
                value = callback(done)
            except Exception as error:
                following.set_exception(error)
            else:
                following.set_result(value)
        self._when_done(follow)
        return following


def collect_all(futures: list[Future]) -> Future:
    """A Future of the list itself, complete when all of them are.

    Example:
        >>> import facula
        >>> both = [facula.futures.Future(), facula.futures.Future()]
        >>> all_of_them = facula.futures.collect_all(both)
        >>> for f in both: f.set_result(1)
        >>> [f.wait() for f in all_of_them.wait()]
        [1, 1]
    """
    together = Future()
    together._sources = tuple(dict.fromkeys(source for future in futures for source in future._sources))
    left, lock = [len(futures)], reentrant_lock()

    def count(_: Future) -> None:
        with lock:
            left[0] -= 1
            last = left[0] == 0
        if last:
            together.set_result(futures)
    if not futures:
        together.set_result(futures)
    for future in futures:
        future._when_done(count)
    return together


def wait_all(futures: list[Future]) -> list[Any]:
    """The values of all of them, when they are there; the first exception is raised."""
    return [future.wait() for future in collect_all(futures).wait()]
