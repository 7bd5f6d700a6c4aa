"""Decompositions of matrices of low rank from products with random matrices.

N. Halko, P. G. Martinsson, J. A. Tropp, "Finding structure with randomness: probabilistic
algorithms for constructing approximate matrix decompositions", SIAM Review 53 (2011),
arXiv:0909.4061. Written from that paper.
"""

from __future__ import annotations

from typing import Any

from facula import defaults
from facula._tensor.handle import Tensor
from facula.dtypes import CPP_NAMES, FLOAT, bfloat16, dtype, float16
from facula.ops.autocast_rules import LOWERED
from facula.ops.autocasting import autocast_operands, autocasts
from facula.ops.linalg.matrices import adjoint_of
from facula.ops.linalg.qr import qr
from facula.ops.linalg.svd import svd
from facula.ops.product.contraction import product
from facula.ops.product.product_checks import check_mm, type_name
from facula.ops.random.sampling import randn
from facula.ops.registry import op


def _orthonormal(columns: Tensor) -> Tensor:
    basis: Tensor = qr(columns).Q
    return basis


def _times(a: Tensor, b: Tensor) -> Tensor:
    x, y = autocast_operands(LOWERED, a, b)
    check_mm(x, y)
    return product(x, y)


def subspace(a: Tensor, dimension: int, iterations: int) -> Tensor:
    """An orthonormal basis (*, m, dimension) of nearly the range of `a` (*, m, n): algorithm 4.4.

    Each iteration multiplies by a's adjoint and by a, which makes small singular values matter less. The
    columns are orthonormalised after every product, or rounding would leave all of them along the
    largest singular vector.
    """
    sketch = randn(a.shape[-1], dimension, dtype=a.dtype, device=a.device)
    basis = _orthonormal(_times(a, sketch))
    for _ in range(iterations):
        rows = _orthonormal(_times(adjoint_of(a), basis))
        basis = _orthonormal(_times(a, rows))
    return basis


def truncated_svd(a: Tensor, dimension: int, iterations: int) -> tuple[Tensor, Tensor, Tensor]:
    """U (*, m, k), S (*, k), V (*, n, k): algorithm 5.1, the decomposition of what `a` is within `subspace`.

    The basis is looked for on the side with fewer elements: of a wide matrix, among its rows.
    """
    wide = a.shape[-2] < a.shape[-1]
    tall = adjoint_of(a) if wide else a
    basis = subspace(tall, dimension, iterations)
    inner, values, right = svd(_times(adjoint_of(basis), tall), False)
    left, other = _times(basis, inner), adjoint_of(right)
    return (other, values, left) if wide else (left, values, other)


def _matrix(a: Any, name: str) -> Tensor:
    """`a`, if it is one. What else comes is looked at here: a sparse matrix is no mistake, but not supported."""
    if not isinstance(a, Tensor):
        if getattr(a, "is_sparse", False) or hasattr(a, "tocoo") or "sparse" in str(getattr(a, "layout", "")):
            raise NotImplementedError(f"{name}: sparse matrices are not implemented, got {type(a).__module__}."
                                      f"{type(a).__name__}")
        raise TypeError(f"{name}(): argument 'A' (position 1) must be Tensor, not {type(a).__name__}")
    if len(a.shape) < 2:
        raise ValueError(f"not enough values to unpack (expected 2, got {len(a.shape)})")
    return a


def _multiplied(a: Tensor, of: dtype) -> Tensor:
    """`a`, if it can be multiplied with random numbers of the type `of`, which QR has to know."""
    if autocasts():
        return a  # its products are of another type, and QR is of float32
    if a.dtype is not of:
        raise RuntimeError("expected m1 and m2 to have the same dtype, but got: "
                           f"{CPP_NAMES[a.dtype.name]} != {CPP_NAMES[of.name]}")
    if of is float16 or of is bfloat16:
        raise NotImplementedError(f"\"geqrf_cpu\" not implemented for '{type_name(of)}'")
    return a


@op(method=False)
def svd_lowrank(A: Any, q: int | None = 6, niter: int | None = 2,
                M: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """U (*, m, k), S (*, k) and V (*, n, k) with A - M (*, m, n) nearly U diag(S) V^H, k = min(q, m, n).

    q       columns of the random matrix: the rank that is expected, and a few more (None: 6)
    niter   iterations that sharpen the result (None: 2)
    M       of A's dtype, is taken from A first, broadcast to A's shape

    A is of float32, float64 or complex numbers: RuntimeError for integers, NotImplementedError for 16-bit floats and
    for sparse matrices.

    Random numbers come from the default generator. For small dense matrices `linalg.svd` is exact and
    faster. Halko, Martinsson, Tropp, arXiv:0909.4061.

    >>> import facula
    >>> x = facula.tensor([[3.0, 0.0], [4.0, 0.0], [0.0, 0.0]])
    >>> [round(s, 4) for s in facula.svd_lowrank(x, q=1)[1].tolist()]
    [5.0]
    """
    a = _matrix(A, "svd_lowrank")
    of = a.dtype if a.dtype.category >= FLOAT else defaults.get_default_dtype()
    if M is not None:
        a = a - _multiplied(M.broadcast_to(a.shape), of)
    _multiplied(a, of)
    return truncated_svd(a, 6 if q is None else q, 2 if niter is None else niter)


@op(method=False)
def pca_lowrank(A: Any, q: int | None = None, center: bool = True,
                niter: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """The principal components of m samples (*, m, n) of n features: U (*, m, q), S (*, q), V (*, n, q).

    The columns of V are the directions, S^2 / (m - 1) the variances along them. `center`: the mean of each
    feature is taken off first. q is min(6, m, n) if it is not given; ValueError if it is none of 0 to
    min(m, n), or `niter` is negative; integers, 16-bit floats and sparse matrices are refused as `svd_lowrank`
    does. Halko, Martinsson, Tropp, arXiv:0909.4061.

    >>> import facula
    >>> x = facula.tensor([[0.0, 1.0], [3.0, 1.0], [6.0, 1.0]])
    >>> [round(abs(v), 4) for v in facula.pca_lowrank(x, q=1)[2].flatten().tolist()]
    [1.0, 0.0]
    """
    a = _matrix(A, "pca_lowrank")
    most = min(a.shape[-2:])
    if q is None:
        q = min(6, most)
    elif not 0 <= q <= most:
        raise ValueError(f"q(={q}) must be non-negative integer and not greater than min(m, n)={most}")
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    a = a - a.mean(-2, keepdim=True) if center else a
    of = a.dtype if a.dtype.category >= FLOAT else defaults.get_default_dtype()
    return truncated_svd(_multiplied(a, of), q, niter)
