"""Eigenvalues and eigenvectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula._tensor.handle import Tensor, is_meta
from facula._tensor.reading import read
from facula._tensor.tape import attach_many
from facula.autograd.graph import Rule
from facula.engine.realize import all_of
from facula.ops.linalg.matrices import (
    adjoint_of,
    adjoint_times,
    check_matrices,
    column_of,
    constant_like,
    diagonal_of,
    eye_like,
    host_call,
    row_of,
    skew,
    times_adjoint,
)
from facula.ops.linalg.systems import solved
from facula.ops.product.contraction import product
from facula.ops.registry import op
from facula.ops.return_types import result_type


def _eigh_backward(ctx: Any, gw: Tensor | None, gv: Tensor | None) -> tuple[Tensor | None]:
    w, v = ctx.saved
    n = w.shape[-1]
    if gw is None and gv is None:
        return (None,)
    if gv is None:
        assert gw is not None
        return (times_adjoint(v * row_of(gw.to(v.dtype)), v),)
    eye = eye_like(n, w)
    gaps = (row_of(w) - column_of(w)) * (1 - eye) + eye
    # only the skew part: rotations are what eigenvectors can do. Then the gradient is Hermitian.
    inner = skew(adjoint_times(v, gv)) * 0.5 / gaps * constant_like(1 - np.eye(n), v)
    if gw is not None:
        inner = inner + eye_like(n, v) * row_of(gw.to(v.dtype))
    return (times_adjoint(product(v, inner), v),)


_EIGH = Rule("LinalgEighBackward0", _eigh_backward)


@op(method=False, out=True, namespace="linalg")
def eigh(A: Tensor, UPLO: str = "L") -> Any:
    """Eigenvalues (ascending) and eigenvectors of Hermitian matrices."""
    check_matrices(A, "linalg.eigh")
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    w, v = host_call("eigh", (A,), (UPLO.upper(),),
                     ((tuple(A.shape[:-1]), A.dtype.to_real()), (tuple(A.shape), A.dtype)))
    attach_many((w, v), _EIGH, (A,), (("out", 0), ("out", 1)))
    return result_type("linalg_eigh")(w, v)


@op(method=False, out=True, namespace="linalg")
def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """Eigenvalues of Hermitian matrices, ascending."""
    return eigh(A, UPLO).eigenvalues  # type: ignore[no-any-return]


def _eig_backward(ctx: Any, gw: Tensor | None, gv: Tensor | None) -> tuple[Tensor | None]:
    w, v = ctx.saved
    n = w.shape[-1]
    if gw is None and gv is None:
        return (None,)
    adjoint = adjoint_of(v)
    if gv is None:
        assert gw is not None
        inner = eye_like(n, v) * row_of(gw)
    else:
        inner = adjoint_times(v, gv)
        along = diagonal_of(inner, n).real
        imag = diagonal_of(inner, n).imag.detach()
        turned = np.zeros(0) if is_meta(imag) else np.abs(all_of(read(imag)))
        if turned.size and turned.max() > 1e-2:
            raise RuntimeError("linalg_eig_backward: The eigenvectors in the complex case are "
                               "specified up to multiplication by e^{i phi}. The specified loss "
                               "function depends on this quantity, so it is ill-defined.")
        eye = eye_like(n, w)
        gaps = ((row_of(w) - column_of(w)) * (1 - eye)).conj() + eye
        inner = (inner - product(adjoint, v * row_of(along.to(v.dtype)))) / gaps
        inner = inner * constant_like(1 - np.eye(n), v)
        if gw is not None:
            inner = inner + eye * row_of(gw)
    ga = solved(adjoint, product(inner, adjoint))
    return (ga if ctx.dtypes[0].is_complex else ga.real,)


_EIG = Rule("LinalgEigBackward0", _eig_backward)


@op(method=False, out=True, namespace="linalg")
def eig(A: Tensor) -> Any:
    """Eigenvalues and eigenvectors, both complex."""
    check_matrices(A, "linalg.eig")
    of = A.dtype.to_complex()
    w, v = host_call("eig", (A,), (), ((tuple(A.shape[:-1]), of), (tuple(A.shape), of)))
    attach_many((w, v), _EIG, (A,), (("out", 0), ("out", 1)))
    return result_type("linalg_eig")(w, v)


@op(method=False, out=True, namespace="linalg")
def eigvals(A: Tensor) -> Tensor:
    """Eigenvalues, complex."""
    return eig(A).eigenvalues  # type: ignore[no-any-return]
