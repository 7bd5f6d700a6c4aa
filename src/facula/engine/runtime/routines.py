"""Library routines on the host: what a CALL node names.

A routine takes its input arrays (16-bit floats widened to float32), then the node's further attributes, and
returns a tuple of arrays, which PICK converts to its own type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Routine = Callable[..., tuple[Array, ...]]
ROUTINES: dict[str, Routine] = {}


def register(name: str) -> Callable[[Routine], Routine]:
    """Decorator: the routine of that name."""
    def enter(routine: Routine) -> Routine:
        ROUTINES[name] = routine
        return routine
    return enter


@register("svd")
def _svd(x: Array, full_matrices: bool = True) -> tuple[Array, ...]:
    u, s, vh = np.linalg.svd(x, full_matrices=full_matrices)
    return u, s, vh


@register("eigh")
def _eigh(x: Array, uplo: str = "L") -> tuple[Array, ...]:
    values, vectors = np.linalg.eigh(x, "U" if uplo == "U" else "L")
    return values, vectors


@register("qr")
def _qr(x: Array, mode: str = "reduced") -> tuple[Array, ...]:
    q, r = np.linalg.qr(x, mode="complete" if mode == "complete" else "reduced")
    return q, r


@register("inv")
def _inv(x: Array) -> tuple[Array, ...]:
    return (np.linalg.inv(x),)


@register("det")
def _det(x: Array) -> tuple[Array, ...]:
    return (np.asarray(np.linalg.det(x)),)


@register("solve")
def _solve(a: Array, b: Array) -> tuple[Array, ...]:
    """`b` is a stack of matrices, (..., n, k)."""
    return (np.linalg.solve(a, b),)


@register("cholesky")
def _cholesky(x: Array) -> tuple[Array, ...]:
    return (np.linalg.cholesky(x),)


@register("fft")
def _fft(x: Array, kind: str = "fft", n: int | None = None, dim: int = -1,
         norm: str = "backward") -> tuple[Array, ...]:
    """`kind` is a function of numpy.fft: fft, ifft, rfft, irfft, hfft, ihfft. In doubles, which take no longer there:
    so sums of single numbers are rounded once for each dimension."""
    x = x.astype(np.complex128 if x.dtype.kind == "c" else np.float64, copy=False)
    return (np.asarray(_FFTS[kind](x, n=n, axis=dim, norm=norm)),)


_FFTS: dict[str, Any] = {name: getattr(np.fft, name) for name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")}


@register("slogdet")
def _slogdet(x: Array) -> tuple[Array, ...]:
    sign, log = np.linalg.slogdet(x)
    return np.asarray(sign), np.asarray(log)


@register("eig")
def _eig(x: Array) -> tuple[Array, ...]:
    values, vectors = np.linalg.eig(x)
    return np.asarray(values), np.asarray(vectors)
