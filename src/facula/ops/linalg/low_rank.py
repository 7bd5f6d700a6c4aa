"""Singular values and principal components of matrices that nearly have a low rank.

Halko, Martinsson and Tropp, Finding structure with randomness (arXiv:0909.4061): a random sample of
the range, made orthogonal and improved by power steps (algorithm 4.4), then the decomposition of
the small matrix that is left (5.1).
"""

from __future__ import annotations

from typing import Any

from facula import defaults
from facula._tensor.handle import Tensor
from facula.dtypes import FLOAT
from facula.ops.casting import to_dtype
from facula.ops.linalg.matrices import adjoint_of, adjoint_times
from facula.ops.linalg.qr import qr
from facula.ops.linalg.svd import svd
from facula.ops.product.contraction import product
from facula.ops.registry import FUNCTIONS, op


def _range(A: Tensor, q: int, steps: int) -> Tensor:
    """q orthonormal columns that nearly span what A maps to."""
    sample = FUNCTIONS["randn"](A.shape[-1], q, dtype=A.dtype, device=A.device)
    basis = qr(A @ sample)[0]
    for _ in range(steps):
        basis = qr(product(A, qr(adjoint_times(A, basis))[0]))[0]
    return basis  # type: ignore[no-any-return]


def _decomposed(A: Tensor, q: int, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    if A.shape[-2] < A.shape[-1]:
        v, s, u = _decomposed(adjoint_of(A), q, steps)
        return u, s, v
    basis = _range(A, q, steps)
    u, s, vh = svd(adjoint_times(basis, A), False)
    return product(basis, u), s, adjoint_of(vh)


def _floats(A: Any, what: str) -> Tensor:
    if not isinstance(A, Tensor):
        raise TypeError(
            f"{what}(): argument 'A' (position 1) must be Tensor, not {type(A).__name__}"
        )
    return A if A.dtype.category >= FLOAT else to_dtype(A, defaults.get_default_dtype())


@op(method=False)
def svd_lowrank(
    A: Tensor, q: int | None = 6, niter: int | None = 2, M: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """U, S, V with A (or A - M) nearly U diag(S) V^H: (*, m, q), (*, q), (*, n, q).

    A: (*, m, n), real or complex; M broadcasts to it. q: a slight overestimate of the rank; niter:
    power steps. The start is random (`facula.manual_seed`). Source: Halko, Martinsson and Tropp,
    arXiv:0909.4061. For dense matrices that are not huge `linalg.svd` is faster.

    >>> A = facula.outer(facula.arange(1.0, 5.0), facula.ones(3))
    >>> U, S, V = facula.svd_lowrank(A, q=2)
    >>> facula.allclose(U * S @ V.mT, A, atol=1e-5)
    True
    """
    x = _floats(A, "svd_lowrank")
    if M is not None:
        x = x - FUNCTIONS["broadcast_to"](M, tuple(x.shape))
    return _decomposed(x, 6 if q is None else q, 2 if niter is None else niter)


@op(method=False)
def pca_lowrank(
    A: Tensor, q: int | None = None, center: bool = True, niter: int = 2
) -> tuple[Tensor, Tensor, Tensor]:
    """U, S, V of `svd_lowrank` for m samples of n features (*, m, n), their mean taken off first.

    The columns of V are the principal directions, S ** 2 / (m - 1) the variances along them.
    q: how many, by default the least of 6, m and n; `center=False` takes A as it is.
    Raises ValueError if q is not in [0, min(m, n)] or niter is negative.

    >>> x = facula.tensor([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]])
    >>> U, S, V = facula.pca_lowrank(x, q=1)
    >>> S
    tensor([3.1623])
    """
    x = _floats(A, "pca_lowrank")
    m, n = x.shape[-2:]
    if q is None:
        q = min(6, m, n)
    elif not 0 <= q <= min(m, n):
        raise ValueError(
            f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}"
        )
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    return _decomposed(x - x.mean(-2, True) if center else x, q, niter)
