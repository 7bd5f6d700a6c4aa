"""Determinants; diagonals and their sums."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula._tensor.handle import Tensor
from facula._tensor.reading import read
from facula._tensor.tape import attach, attach_many
from facula.autograd.graph import Rule
from facula.engine.realize import value_of
from facula.ops.index.masking import where
from facula.ops.linalg.matrices import (
    LinAlgError,
    adjoint_of,
    at_root,
    check_matrices,
    host_call,
    matrix_of,
    tensor_of,
)
from facula.ops.linalg.systems import inv
from facula.ops.product.contraction import conjugated
from facula.ops.registry import op
from facula.ops.return_types import result_type


def _det_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    a, d = ctx.saved
    factor = g * conjugated(d)
    try:
        return (matrix_of(factor) * adjoint_of(inv(a)),)
    except LinAlgError:  # a product of all singular values but one in place of det * inverse
        with np.errstate(all="ignore"):  # NumPy's warnings are not the user's affair
            u, s, vh = np.linalg.svd(value_of(read(a)))
            k = s.shape[-1]
            rest = np.stack([np.prod(np.delete(s, i, -1), -1) for i in range(k)], -1)
            sign = np.linalg.det(u) * np.linalg.det(vh)
            cofactor = sign[..., None, None] * ((u * rest[..., None, :]) @ vh)
        return (matrix_of(g) * tensor_of(cofactor, a.dtype),)


_DET = Rule("LinalgDetBackward0", _det_backward)


@op(method=False, out=True, namespace="linalg")
def det(A: Tensor) -> Tensor:
    """The determinant of each matrix."""
    check_matrices(A, "linalg.det")
    out = host_call("det", (A,), (), ((tuple(A.shape[:-2]), A.dtype),))[0]
    return attach(out, _DET, (A,), (A, out))


def _slogdet_backward(ctx: Any, gs: Tensor | None, g: Tensor | None) -> tuple[Tensor | None]:
    a, sign = ctx.saved
    if not a.dtype.is_complex:
        return (None if g is None else matrix_of(g) * adjoint_of(inv(a)),)
    if gs is not None:  # the sign turns with the imaginary part of tr(A^-1 dA)
        turn = (gs.conj() * sign).imag.to(a.dtype) * -1j
        g = turn if g is None else g.to(a.dtype) + turn
    return (None if g is None else matrix_of(g.to(a.dtype)) * adjoint_of(inv(a)),)


_SLOGDET = Rule("LinalgSlogdetBackward0", _slogdet_backward)


@op(method=False, out=True, namespace="linalg")
def slogdet(A: Tensor) -> Any:
    """Sign and logarithm of the absolute value of each determinant."""
    check_matrices(A, "linalg.slogdet")
    sign, log = host_call("slogdet", (A,), (), ((tuple(A.shape[:-2]), A.dtype),
                                                (tuple(A.shape[:-2]), A.dtype.to_real())))
    attach_many((sign, log), _SLOGDET, (A,), (A, ("out", 0)))
    return result_type("linalg_slogdet")(sign, log)


def _logdet(input: Tensor) -> Tensor:
    """The logarithm of the determinant; NaN where a real one is negative."""
    sign, log = slogdet(input)
    if sign.dtype.is_complex:
        return sign.log() + log.to(sign.dtype)  # type: ignore[no-any-return]
    return log + where(  # type: ignore[no-any-return]
        sign.detach() < 0, tensor_of(np.nan, log.dtype), tensor_of(0.0, log.dtype))


@op(method=False, namespace="linalg")
def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonal of each matrix."""
    return A.diagonal(offset, dim1, dim2)


def _trace_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    m, n = ctx.shapes[0]
    return (g * tensor_of(np.eye(m, n), ctx.dtypes[0]),)


_TRACE = Rule("TraceBackward0", _trace_backward)


def _trace(input: Tensor) -> Tensor:
    """The sum of a matrix's diagonal."""
    if len(input.shape) != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {len(input.shape)}")
    out = input.detach().diagonal().sum()
    return attach(out, _TRACE, (input,))


at_root("det", det)
at_root("slogdet", slogdet)
at_root("logdet", _logdet)
at_root("trace", _trace)
