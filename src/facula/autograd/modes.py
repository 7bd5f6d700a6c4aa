"""Grad modes, as context managers and as decorators; anomaly detection."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from facula.autograd.graph import mode
from facula.engine.graph.node import ROWS
from facula.undisturbed import undisturbed


def is_grad_enabled() -> bool:
    """Are operations being recorded for differentiation?"""
    return mode.grad


def is_inference_mode_enabled() -> bool:
    """Is `inference_mode` on?"""
    return mode.inference


class _Decorator:
    """A context manager that also wraps functions: each call (each step of a generator) runs in the mode."""

    __slots__ = ()

    def clone(self) -> Any:
        return type(self)()

    def __enter__(self) -> None:
        raise NotImplementedError

    def __exit__(self, *exc: object) -> None:
        raise NotImplementedError

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isclass(function):
            function.__init__ = self(function.__init__)  # type: ignore[method-assign]
            return function
        clone = self.clone
        if inspect.isgeneratorfunction(function):
            return _wrap_generator(clone, function)

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with clone():
                return function(*args, **kwargs)
        return wrapped


def _wrap_generator(clone: Callable[[], Any], function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        generator = function(*args, **kwargs)
        try:
            with clone():
                item = generator.send(None)
            while True:
                try:
                    request = yield item
                except GeneratorExit:
                    with clone():
                        generator.close()
                    raise
                except BaseException as error:
                    with clone():
                        item = generator.throw(error)
                else:
                    with clone():
                        item = generator.send(request)
        except StopIteration as stop:
            return stop.value
    return wrapped


class _Plain(_Decorator):
    """A mode without arguments: may decorate with or without parentheses."""

    __slots__ = ("_before",)

    def __new__(cls, function: Any = None) -> Any:
        self = object.__new__(cls)
        return self if function is None else self(function)


class no_grad(_Plain):
    """Do not record operations.

    Example:
        >>> import facula
        >>> x = facula.ones(2, requires_grad=True)
        >>> with facula.no_grad():
        ...     y = x * 2
        >>> y.requires_grad
        False
    """

    __slots__ = ()

    @undisturbed
    def __enter__(self) -> None:
        self._before = mode.grad
        mode.grad = False

    @undisturbed
    def __exit__(self, *exc: object) -> None:
        mode.grad = self._before


class enable_grad(_Plain):
    """Record operations, inside `no_grad` too, but not in inference mode."""

    __slots__ = ()

    @undisturbed
    def __enter__(self) -> None:
        self._before = mode.grad
        mode.grad = not mode.inference

    @undisturbed
    def __exit__(self, *exc: object) -> None:
        mode.grad = self._before


class rows_alike(_Plain):
    """Have each row's result in the same bits, however many rows there are.

    Elsewhere the order in which a product adds up may depend on how many rows it has (one row alone is read in another
    way than many), so that a sample's last bits depend on what it was batched with. Inside, the order follows from the
    length of the sums alone. Products of one row take longer so. What NumPy computes on the host makes no such promise.

    Example:
        >>> import facula
        >>> from facula.autograd.modes import rows_alike
        >>> x, w = facula.rand(8, 100), facula.rand(100, 100)
        >>> with rows_alike():
        ...     facula.equal((x @ w)[:1], x[:1] @ w)
        True
    """

    __slots__ = ()

    @undisturbed
    def __enter__(self) -> None:
        self._before = mode.products
        mode.products = ROWS

    @undisturbed
    def __exit__(self, *exc: object) -> None:
        mode.products = self._before


class set_grad_enabled(_Decorator):
    """Switch recording on or off: at once, and until the end of the `with` block if used as one."""

    __slots__ = ("_before", "mode")

    def __init__(self, mode: bool) -> None:
        self._before = _mode.grad
        self.mode = bool(mode)
        _mode.grad = self.mode and not _mode.inference

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        mode.grad = self._before
        return super().__call__(function)

    def clone(self) -> set_grad_enabled:
        return type(self)(self.mode)

    @undisturbed
    def __enter__(self) -> None:
        mode.grad = self.mode and not mode.inference

    @undisturbed
    def __exit__(self, *exc: object) -> None:
        mode.grad = self._before

    def __repr__(self) -> str:
        return f"set_grad_enabled(mode={self.mode})"


_mode = mode  # set_grad_enabled's argument has the same name


making: Any = None  # called when `inferring` is another: _tensor/inference.py


class _Inferring:
    """How many times inference mode has begun and not ended yet, in all threads. Nothing comes between where a line
    adds to it: it calls nothing."""

    count = 0


inferring = _Inferring()


class inference_mode(_Decorator):
    """As `no_grad`, for code whose results never meet autograd: what is made inside are inference tensors.

    They have no version, cannot be saved for a backward pass, and are written in inference mode only. Views of other
    tensors stay what these are; a clone made outside is an ordinary tensor.

    Example:
        >>> import facula
        >>> with facula.inference_mode():
        ...     y = facula.ones(2) * 2
        >>> y.is_inference(), y.clone().is_inference()
        (True, False)
    """

    __slots__ = ("_before", "mode")

    def __new__(cls, mode: Any = True) -> Any:
        if isinstance(mode, bool):
            return object.__new__(cls)
        return cls()(mode)

    def __init__(self, mode: bool = True) -> None:
        self.mode = mode

    def clone(self) -> inference_mode:
        return type(self)(self.mode)

    @undisturbed
    def __enter__(self) -> None:
        self._before = mode.grad, mode.inference
        if self.mode:
            inferring.count += 1
            try:
                making()
            except BaseException:
                inferring.count -= 1
                raise
        mode.grad, mode.inference = not self.mode, self.mode

    @undisturbed
    def __exit__(self, *exc: object) -> None:
        mode.grad, mode.inference = self._before
        if self.mode:
            inferring.count -= 1
            making()


class _Anomaly:
    enabled = False
    check_nan = True


anomaly = _Anomaly()


def is_anomaly_enabled() -> bool:
    """Does every step of a backward pass check for NaN?"""
    return anomaly.enabled


def is_anomaly_check_nan_enabled() -> bool:
    """Does anomaly mode look for NaN?"""
    return anomaly.check_nan


class set_detect_anomaly:
    """Anomaly mode: an error at the first step of a backward pass that makes a NaN. Effective at once."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._before = anomaly.enabled, anomaly.check_nan
        anomaly.enabled, anomaly.check_nan = mode, check_nan

    @undisturbed
    def __enter__(self) -> None:
        pass

    @undisturbed
    def __exit__(self, *exc: object) -> None:
        anomaly.enabled, anomaly.check_nan = self._before


class detect_anomaly:
    """Anomaly mode within a `with` block."""

    def __init__(self, check_nan: bool = True) -> None:
        self._before = anomaly.enabled, anomaly.check_nan
        self.check_nan = check_nan

    @undisturbed
    def __enter__(self) -> None:
        self._before = anomaly.enabled, anomaly.check_nan
        anomaly.enabled, anomaly.check_nan = True, self.check_nan

    @undisturbed
    def __exit__(self, *exc: object) -> None:
        anomaly.enabled, anomaly.check_nan = self._before
