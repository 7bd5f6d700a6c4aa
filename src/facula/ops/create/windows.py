"""Windows for the analysis of signals."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from facula._tensor.handle import Tensor
from facula.dtypes import float32
from facula.ops.create.creation import _dtype, _numbers, finish, only_strided
from facula.ops.registry import op


def _window(n: int, periodic: bool, what: str, formula: Any, dtype: Any = None, layout: Any = None,
            device: Any = None, requires_grad: bool = False, pin_memory: bool = False) -> Tensor:
    only_strided(layout, what, RuntimeError)
    of = _dtype(dtype, what)
    if not of.is_floating_point:
        raise RuntimeError(f"{what} expects floating point dtypes, got: {of}")
    n = operator.index(n)
    if n < 0:
        raise RuntimeError(f"{what} requires non-negative window_length, got window_length={n}")
    if n <= 1:
        values = np.ones(n)
    else:
        full = n + 1 if periodic else n
        values = formula(np.arange(full, dtype=np.float32 if of is float32 else np.float64), full - 1)[:n]
    return finish(_numbers(values, of), device, requires_grad, None, what, pin_memory)


@op(method=False)
def hann_window(window_length: int, periodic: bool = True, **options: Any) -> Tensor:
    """0.5 - 0.5 cos(2 pi k / N)."""
    return _window(window_length, periodic, "hann_window",
                   lambda k, n: 0.5 - 0.5 * np.cos(k * (2 * np.pi / n)), **options)


@op(method=False)
def hamming_window(window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46,
                   **options: Any) -> Tensor:
    """alpha - beta cos(2 pi k / N)."""
    return _window(window_length, periodic, "hamming_window",
                   lambda k, n: alpha - beta * np.cos(k * (2 * np.pi / n)), **options)


@op(method=False)
def blackman_window(window_length: int, periodic: bool = True, **options: Any) -> Tensor:
    """0.42 - 0.5 cos(2 pi k / N) + 0.08 cos(4 pi k / N)."""
    return _window(window_length, periodic, "blackman_window", lambda k, n: (
        0.42 - 0.5 * np.cos(k * (2 * np.pi / n)) + 0.08 * np.cos(k * (4 * np.pi / n))), **options)


@op(method=False)
def bartlett_window(window_length: int, periodic: bool = True, **options: Any) -> Tensor:
    """A triangle."""
    return _window(window_length, periodic, "bartlett_window",
                   lambda k, n: 1 - np.abs(k * (2 / n) - 1), **options)


@op(method=False)
def kaiser_window(window_length: int, periodic: bool = True, beta: float = 12.0, **options: Any) -> Tensor:
    """The Kaiser window with shape `beta`."""
    return _window(window_length, periodic, "kaiser_window", lambda k, n: np.i0(
        beta * np.sqrt(np.maximum(0, 1 - (k * (2 / n) - 1) ** 2))) / np.i0(beta), **options)


# ---- torch.signal.windows: symmetric unless said otherwise ------------------------------------------------

def _signal(what: str, formula: Any, size: int, sym: bool, dtype: Any = None, layout: Any = None,
            device: Any = None, requires_grad: bool = False) -> Tensor:
    """`formula(k, n)` at k = 0 .. size - 1, of a window that repeats after n + 1 (periodic: n) elements."""
    only_strided(layout, what, ValueError)
    of = _dtype(dtype, what)
    if of.name not in ("float32", "float64"):
        raise ValueError(f"{what} expects float32 or float64 dtypes, got: {of}")
    if size < 0:
        raise ValueError(f"{what} requires non-negative window length, got M={size}")
    values = np.ones(size) if size <= 1 else formula(np.arange(size, dtype=np.float64), size - 1 if sym else size)
    return finish(_numbers(values, of), device, requires_grad)


def _cosines(a: Any) -> Any:
    a = list(a)
    if not a:
        raise ValueError("Coefficients cannot be empty")
    return lambda k, n: sum((-1) ** i * c * np.cos(k * (2 * np.pi * i / n)) for i, c in enumerate(a))


_in_signal = op(method=False, namespace="signal.windows")


@_in_signal
def general_cosine(M: int, *, a: Any, sym: bool = True, **options: Any) -> Tensor:
    """a[0] - a[1] cos(2 pi k / N) + a[2] cos(4 pi k / N) - ..."""
    return _signal("general_cosine", _cosines(a), M, sym, **options)


@_in_signal
def general_hamming(M: int, *, alpha: float = 0.54, sym: bool = True, **options: Any) -> Tensor:
    """alpha - (1 - alpha) cos(2 pi k / N)."""
    return _signal("general_hamming", _cosines((alpha, 1 - alpha)), M, sym, **options)


@_in_signal
def hamming(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """0.54 - 0.46 cos(2 pi k / N)."""
    return _signal("hamming", _cosines((0.54, 0.46)), M, sym, **options)


@_in_signal
def hann(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """0.5 - 0.5 cos(2 pi k / N)."""
    return _signal("hann", _cosines((0.5, 0.5)), M, sym, **options)


@_in_signal
def blackman(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """0.42 - 0.5 cos(2 pi k / N) + 0.08 cos(4 pi k / N)."""
    return _signal("blackman", _cosines((0.42, 0.5, 0.08)), M, sym, **options)


@_in_signal
def nuttall(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """Nuttall's window of four cosines."""
    return _signal("nuttall", _cosines((0.3635819, 0.4891775, 0.1365995, 0.0106411)), M, sym, **options)


@_in_signal
def bartlett(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """A triangle."""
    return _signal("bartlett", lambda k, n: 1 - np.abs(k * (2 / n) - 1), M, sym, **options)


@_in_signal
def cosine(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """Half a period of the sine."""
    return _signal("cosine", lambda k, n: np.sin((k + 0.5) * (np.pi / (n + 1))), M, sym, **options)


@_in_signal
def exponential(M: int, *, center: float | None = None, tau: float = 1.0, sym: bool = True,
                **options: Any) -> Tensor:
    """exp(-|k - center| / tau)."""
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")
    return _signal("exponential", lambda k, n: np.exp(-np.abs(k - (n / 2 if center is None else center)) / tau),
                   M, sym, **options)


@_in_signal
def gaussian(M: int, *, std: float = 1.0, sym: bool = True, **options: Any) -> Tensor:
    """exp(-(k - centre)^2 / (2 std^2))."""
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")
    return _signal("gaussian", lambda k, n: np.exp(-((k - n / 2) / std) ** 2 / 2), M, sym, **options)


@_in_signal
def kaiser(M: int, *, beta: float = 12.0, sym: bool = True, **options: Any) -> Tensor:
    """The Kaiser window with shape `beta`."""
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")
    return _signal("kaiser", lambda k, n: np.i0(beta * np.sqrt(np.maximum(0, 1 - (k * (2 / n) - 1) ** 2)))
                   / np.i0(beta), M, sym, **options)
