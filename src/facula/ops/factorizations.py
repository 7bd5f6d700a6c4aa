"""LU and Householder factorizations, and the solvers that stand on them."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.autograd.graph import Rule
from facula.dtypes import int32
from facula.engine.graph.node import size_of
from facula.engine.meta import meta_node
from facula.engine.realize import value_of
from facula.ops.linalg import (
    LinAlgError,
    _adjoint,
    _check,
    _column,
    _left,
    _mask,
    _matrix,
    _right,
    _row,
    _solved,
    _value,
    solve,
    solve_triangular,
)
from facula.ops.matmul import product, reshape_value, transposed
from facula.ops.reductions import result_type
from facula.ops.registry import FUNCTIONS, NAMESPACES, op
from facula.tensor import Tensor, attach, attach_many, is_meta, new, read

LINALG = NAMESPACES["linalg"]


# ---- LU ---------------------------------------------------------------------------------------------------

def _eliminated(a: Any, pivot: bool) -> tuple[Any, Any, int]:
    """One matrix: L and U in one, the rows exchanged at each step (from 1), the first zero pivot (from 1)."""
    lu = np.array(a)
    m, n = lu.shape
    k = min(m, n)
    swaps = np.arange(1, k + 1, dtype=np.int32)
    bad = 0
    for i in range(k):
        if pivot:
            column = lu[i:, i]  # LAPACK measures complex numbers so
            p = i + int(np.argmax(np.abs(column.real) + np.abs(column.imag)))
            swaps[i] = p + 1
            if p != i:
                lu[[i, p]] = lu[[p, i]]
        if lu[i, i] == 0:
            bad = bad or i + 1
            continue
        lu[i + 1:, i] /= lu[i, i]
        lu[i + 1:, i + 1:] -= np.outer(lu[i + 1:, i], lu[i, i + 1:])
    return lu, swaps, bad


def _permutation(swaps: Any, m: int) -> Any:
    """The matrices P with P L U = A, for the rows exchanged (from 1)."""
    flat = swaps.reshape(size_of(swaps.shape[:-1]), swaps.shape[-1])
    out = np.zeros((len(flat), m, m))
    for matrix, exchanged in zip(out, flat, strict=True):
        order = np.arange(m)
        for i, p in enumerate(exchanged - 1):
            order[[i, p]] = order[[p, i]]
        matrix[order, np.arange(m)] = 1
    return out.reshape(*swaps.shape[:-1], m, m)


def _plu_backward(ctx: Any, gl: Tensor | None, gu: Tensor | None) -> tuple[Tensor | None]:
    if gl is None and gu is None:
        return (None,)
    p, lower, upper = ctx.saved
    m, n = ctx.shapes[0][-2:]
    k = min(m, n)
    gl = lower * 0 if gl is None else gl
    gu = upper * 0 if gu is None else gu
    square_l, square_u = lower[..., :k, :], upper[..., :k]
    below = _left(square_l, gl[..., :k, :])
    above = _right(gu[..., :k], square_u)
    if m < n:
        below = below - _right(gu[..., k:], upper[..., k:])
    elif m > n:
        above = above - _left(lower[..., k:, :], gl[..., k:, :])
    ones = np.ones((k, k))
    inner = below * _mask(np.tril(ones, -1), below) + above * _mask(np.triu(ones), above)

    def behind(x: Tensor) -> Tensor:  # x U^-H
        return _adjoint(_solved(square_u, _adjoint(x)))

    ga = _solved(_adjoint(square_l), behind(inner))
    if m < n:
        ga = FUNCTIONS["cat"]([ga, _solved(_adjoint(square_l), gu[..., k:])], -1)
    elif m > n:
        ga = FUNCTIONS["cat"]([ga, behind(gl[..., k:, :])], -2)
    return (product(p, ga),)


_LU = Rule("LinalgLuBackward0", _plu_backward)


def _plu(A: Tensor, pivot: bool, what: str) -> tuple[Tensor, Tensor, Tensor, Any, Any]:
    """P, L, U, the exchanged rows and the zero pivots (both NumPy's)."""
    _check(A, what, square=False)
    if is_meta(A):
        batch, k = tuple(A.shape[:-2]), min(A.shape[-2:])
        sizes = ((A.shape[-2],) * 2, (A.shape[-2], k), (k, A.shape[-1]))
        p, lower, upper = [new(meta_node((*batch, *size), A.dtype)) for size in sizes]
        attach_many((lower, upper), _LU, (A,), (p, ("out", 0), ("out", 1)))
        return p, lower, upper, np.broadcast_to(0, (*batch, k)), np.broadcast_to(0, batch)
    array = value_of(read(A))
    lead, (m, n) = array.shape[:-2], array.shape[-2:]
    k = min(m, n)
    found = [_eliminated(a, pivot) for a in array.reshape(size_of(lead), m, n)]
    lu = np.array([f[0] for f in found], array.dtype).reshape(*lead, m, n)
    swaps = np.array([f[1] for f in found], np.int32).reshape(*lead, k)
    bad = np.array([f[2] for f in found], np.int32).reshape(lead)
    p = _value(_permutation(swaps, m), A.dtype)
    lower = _value(np.tril(lu[..., :k], -1) + np.eye(m, k, dtype=lu.dtype), A.dtype)
    upper = _value(np.triu(lu[..., :k, :]), A.dtype)
    attach_many((lower, upper), _LU, (A,), (p, ("out", 0), ("out", 1)))
    return p, lower, upper, swaps, bad


def _compact(lower: Tensor, upper: Tensor) -> Tensor:
    """L without its diagonal, and U, in one matrix."""
    m, k = lower.shape[-2:]
    n = upper.shape[-1]
    lower = lower - _mask(np.eye(m, k), lower)
    pad = FUNCTIONS["constant_pad_nd"]
    return pad(lower, [0, n - k]) + pad(upper, [0, 0, 0, m - k])  # type: ignore[no-any-return]


@op(method=False, out=True, namespace="linalg")
def lu(A: Tensor, *, pivot: bool = True) -> Any:
    """P, L, U with A = P L U."""
    p, lower, upper, _, _ = _plu(A, pivot, "linalg.lu")
    return result_type("linalg_lu", "P", "L", "U")(p if pivot else _value(np.zeros(0), A.dtype, A), lower, upper)


@op(method=False, out=True, namespace="linalg")
def lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """L and U in one matrix, the rows exchanged, and the first zero pivot (0: none)."""
    _, lower, upper, swaps, bad = _plu(A, pivot, "linalg.lu_factor")
    if check_errors:
        _refuse(bad)
    return result_type("linalg_lu_factor_ex", "LU", "pivots", "info")(
        _compact(lower, upper), _value(swaps, int32, A), _value(bad, int32, A))


def _refuse(bad: Any) -> None:
    if bad.any():
        where = f"(Batch element {int(np.flatnonzero(bad)[0])}): " if bad.shape else ""
        raise LinAlgError(f"torch.linalg.lu_factor: {where}U[{int(bad[bad != 0].flat[0])},"
                          f"{int(bad[bad != 0].flat[0])}] is zero and using it on lu_solve would result in a division "
                          "by zero. If you still want to perform the factorization, consider calling "
                          "linalg.lu(A, pivot) or linalg.lu_factor_ex(A, pivot)")


@op(method=False, out=True, namespace="linalg")
def lu_factor(A: Tensor, *, pivot: bool = True) -> Any:
    """L and U in one matrix, and the rows exchanged (from 1)."""
    _, lower, upper, swaps, bad = _plu(A, pivot, "linalg.lu_factor")
    _refuse(bad)
    return result_type("linalg_lu_factor", "LU", "pivots")(_compact(lower, upper), _value(swaps, int32, A))


def _parts(data: Tensor, pivots: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """P, L, U of the compact form."""
    m, n = data.shape[-2:]
    k = min(m, n)
    ones = np.ones((m, n))
    lower = (data * _mask(np.tril(ones, -1), data))[..., :k] + _mask(np.eye(m, k), data)
    upper = (data * _mask(np.triu(ones), data))[..., :k, :]
    p = new(meta_node((*pivots.shape[:-1], m, m), data.dtype)) if is_meta(pivots) else \
        _value(_permutation(value_of(read(pivots)), m), data.dtype)
    return p, lower, upper


@op(method=False, out=True, namespace="linalg")
def lu_solve(LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False) -> Tensor:
    """X with A X = B (or X A = B), given A's LU factorization; of A's adjoint if asked."""
    if not left:  # X A = B is A^H X^H = B^H
        return _adjoint(lu_solve(LU, pivots, _adjoint(B), adjoint=not adjoint))
    p, lower, upper = _parts(LU, pivots)
    if adjoint:
        y = solve_triangular(_adjoint(upper), B, upper=False)
        return product(p, solve_triangular(_adjoint(lower), y, upper=True, unitriangular=True))
    y = solve_triangular(lower, product(transposed(p), B), upper=False, unitriangular=True)
    return solve_triangular(upper, y, upper=True)


@op(name="lu_solve")
def _lu_solve(b: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """X with A X = b, given A's LU factorization."""
    return lu_solve(LU_data, LU_pivots, b)


@op(name="lu")
def _lu(input: Tensor, pivot: bool = True, get_infos: bool = False) -> Any:
    """L and U in one matrix, the rows exchanged, and whether there was a zero pivot."""
    found = lu_factor_ex(input, pivot=pivot)
    return result_type("lu", "LU", "pivots", "info")(*found) if get_infos else tuple(found[:2])


@op(method=False, out=True)
def lu_unpack(LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True) -> Any:
    """P, L and U of the compact form."""
    p, lower, upper = _parts(LU_data, LU_pivots)
    empty = _value(np.zeros(0), LU_data.dtype, LU_data)
    return result_type("lu_unpack", "P", "L", "U")(
        p if unpack_pivots else empty, *((lower, upper) if unpack_data else (empty, empty)))


# ---- other solvers ----------------------------------------------------------------------------------------

@op(method=False, out=True, namespace="linalg")
def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> Any:
    """X with A X = B, and 0 for each matrix that has an inverse."""
    result = solve(A, B, left=left)
    return result_type("linalg_solve_ex", "result", "info")(result, _value(np.zeros(A.shape[:-2]), int32, A))


@op(method=False, out=True, namespace="linalg")
def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The inverse of A as a map from its last dimensions to its first `ind`."""
    if ind <= 0:
        raise RuntimeError("Expected a strictly positive integer for 'ind'")
    if ind > len(A.shape):
        raise RuntimeError(f"tensorinv: ind={ind} is more than the {len(A.shape)} dimensions of the tensor")
    rows, columns = tuple(A.shape[:ind]), tuple(A.shape[ind:])
    n = size_of(rows)
    if n != size_of(columns):
        raise RuntimeError("Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), "
                           f"but got {size_of(columns)} != {n}")
    return reshape_value(LINALG["inv"](reshape_value(A, (n, n))), (*columns, *rows))


@op(method=False, out=True, namespace="linalg")
def tensorsolve(A: Tensor, B: Tensor, dims: Any = None) -> Tensor:
    """X with tensordot(A, X) = B."""
    if dims is not None:
        rank = len(A.shape)
        last = [d % rank for d in dims]
        A = A.permute([d for d in range(rank) if d not in last] + last)
    rest = tuple(A.shape[len(B.shape):])
    n = size_of(tuple(B.shape))
    if n != size_of(rest):
        raise RuntimeError("Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == "
                           f"prod(self.shape[:other.ndim]), but got {size_of(rest)} != {n}")
    return reshape_value(solve(reshape_value(A, (n, n)), reshape_value(B, (n,))), rest)


@op(out=True)
def triangular_solve(b: Tensor, A: Tensor, upper: bool = True, transpose: bool = False,
                     unitriangular: bool = False) -> Any:
    """X with A X = b for a triangle of A, and A itself."""
    m = transposed(A) if transpose else A
    x = solve_triangular(m, b, upper=upper != transpose, unitriangular=unitriangular)
    return result_type("triangular_solve", "solution", "cloned_coefficient")(x, A.clone())


# ---- Householder ------------------------------------------------------------------------------------------

def _reflected(A: Tensor, tau: Tensor, q: Tensor, adjoint: bool = False) -> Tensor:
    """The product of the reflections in A's columns, or its adjoint, times q."""
    m, n = A.shape[-2:]
    steps = range(tau.shape[-1])
    for i in steps if adjoint else reversed(steps):
        v = A[..., i] * _mask(np.arange(m) > i, A) + _mask(np.arange(m) == i, A)
        scale = tau[..., i]
        scale = scale.conj() if adjoint and scale.dtype.is_complex else scale
        along = product(_row(v.conj() if v.dtype.is_complex else v), q)
        q = q - _column(v) * along * _matrix(scale)
    return q


_NO_REFLECTIONS = Rule("LinalgHouseholderProductBackward0", lambda ctx, g: (None, None))


@op(method=False, out=True, namespace="linalg")
def householder_product(A: Tensor, tau: Tensor) -> Tensor:
    """The first columns of the product of the reflections that `geqrf` gives."""
    _check(A, "torch.linalg.householder_product", square=False)
    m, n = A.shape[-2:]
    if m < n:
        raise RuntimeError("torch.linalg.householder_product: input.shape[-2] must be greater than or equal to "
                           "input.shape[-1]")
    if tau.shape[-1] > n:
        raise RuntimeError("torch.linalg.householder_product: input.shape[-1] must be greater than or equal to "
                           "tau.shape[-1]")
    start = _value(np.broadcast_to(np.eye(m, n), A.shape), A.dtype, A)
    if not tau.shape[-1]:
        return attach(start, _NO_REFLECTIONS, (A, tau))
    return _reflected(A, tau, start)


FUNCTIONS["orgqr"] = Tensor.orgqr = householder_product  # type: ignore[attr-defined]


@op(out=True)
def ormqr(input: Tensor, tau: Tensor, other: Tensor, left: bool = True, transpose: bool = False) -> Tensor:
    """`other` multiplied by the whole product of the reflections (or its adjoint), from the left or the right."""
    if not size_of(other.shape):  # no gradient for the reflections, as in torch
        input, tau = input.detach(), tau.detach()
    if left:
        return _reflected(input, tau, other, transpose)
    return _adjoint(_reflected(input, tau, _adjoint(other), not transpose))


def _geqrf_backward(ctx: Any, *grads: Any) -> Any:
    raise NotImplementedError("the derivative for 'geqrf' is not implemented.")


_GEQRF = Rule("GeqrfBackward0", _geqrf_backward)


@op(out=True)
def geqrf(input: Tensor) -> Any:
    """A QR factorization as LAPACK keeps it: R with the reflections below it, and their scales."""
    _check(input, "geqrf", square=False)
    array = value_of(read(input))
    k = min(array.shape[-2:])
    if not array.size:
        a, tau = array, np.zeros((*array.shape[:-2], k))
    else:
        a, tau = np.linalg.qr(array, mode="raw")
        a = np.swapaxes(a, -1, -2)
    outs = (_value(a, input.dtype), _value(tau, input.dtype))
    attach_many(outs, _GEQRF, (input,))
    return result_type("geqrf", "a", "tau")(*outs)
