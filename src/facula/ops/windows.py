"""Windows for the analysis of signals."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.dtypes import float32
from facula.ops.creation import _dtype, _numbers, finish
from facula.ops.registry import op
from facula.tensor import Tensor


def _window(n: int, periodic: bool, what: str, formula: Any, dtype: Any = None, layout: Any = None,
            device: Any = None, requires_grad: bool = False, pin_memory: bool = False) -> Tensor:
    of = _dtype(dtype, what)
    if not of.is_floating_point:
        raise RuntimeError(f"{what} expects floating point dtypes, got: {of}")
    if n < 0:
        raise RuntimeError(f"{what} requires non-negative window_length, got window_length={n}")
    if n <= 1:
        values = np.ones(n)
    else:
        full = n + 1 if periodic else n
        values = formula(np.arange(full, dtype=np.float32 if of is float32 else np.float64), full - 1)[:n]
    return finish(_numbers(values, of), device, requires_grad)


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
