"""The LU factorization, and the solvers that stand on it."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula._tensor.handle import Tensor, is_meta, new
from facula._tensor.reading import read
from facula._tensor.tape import attach_many
from facula.autograd.graph import Rule
from facula.dtypes import int32
from facula.engine.graph.node import size_of
from facula.engine.placing import meta_node
from facula.engine.realize import value_of
from facula.engine.runtime.routines import register
from facula.ops.arrange.joining import cat
from facula.ops.arrange.padding import constant_pad_nd
from facula.ops.linalg.matrices import (
    LinAlgError,
    adjoint_of,
    adjoint_times,
    check_matrices,
    constant_like,
    host_call,
    tensor_of,
    times_adjoint,
    traced,
)
from facula.ops.linalg.systems import solve_triangular, solved, with_gradient_by_column
from facula.ops.product.contraction import product
from facula.ops.registry import DTYPE_NAMES, op
from facula.ops.result_layouts import by_column
from facula.ops.return_types import result_type
from facula.ops.view.value_views import transposed


def _eliminated(a: Any, pivot: bool) -> tuple[Any, Any, int]:
    """One matrix: L and U in one, the rows exchanged, the first zero pivot (from 1; 0: none)."""
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
    below = adjoint_times(square_l, gl[..., :k, :])
    above = times_adjoint(gu[..., :k], square_u)
    if m < n:
        below = below - times_adjoint(gu[..., k:], upper[..., k:])
    elif m > n:
        above = above - adjoint_times(lower[..., k:, :], gl[..., k:, :])
    ones = np.ones((k, k))
    inner = (below * constant_like(np.tril(ones, -1), below)
             + above * constant_like(np.triu(ones), above))

    def behind(x: Tensor) -> Tensor:  # x U^-H
        return adjoint_of(solved(square_u, adjoint_of(x)))

    ga = solved(adjoint_of(square_l), behind(inner))
    if m < n:
        ga = cat([ga, solved(adjoint_of(square_l), gu[..., k:])], -1)
    elif m > n:
        ga = cat([ga, behind(gl[..., k:, :])], -2)
    return (product(p, ga),)


_LU = Rule("LinalgLuBackward0", _plu_backward)


def _plu(A: Tensor, pivot: bool, what: str) -> tuple[Tensor, Tensor, Tensor, Any, Any]:
    """P, L, U, the exchanged rows and the zero pivots (both NumPy's)."""
    check_matrices(A, what, square=False)
    if is_meta(A):
        batch, k = tuple(A.shape[:-2]), min(A.shape[-2:])
        sizes = ((A.shape[-2],) * 2, (A.shape[-2], k), (k, A.shape[-1]))
        p, lower, upper = [new(meta_node((*batch, *size), A.dtype)) for size in sizes]
        attach_many((lower, upper), _LU, (A,), (p, ("out", 0), ("out", 1)))
        return p, lower, upper, np.broadcast_to(0, (*batch, k)), np.broadcast_to(0, batch)
    swaps: Any
    bad: Any
    if traced(A):
        batch, (m, n) = tuple(A.shape[:-2]), A.shape[-2:]
        k = min(m, n)
        shapes = ((*batch, m, m), (*batch, m, k), (*batch, k, n))
        kinds = [*[(shape, A.dtype) for shape in shapes], ((*batch, k), int32), (batch, int32)]
        *found, swaps, bad = host_call("plu", (A,), (pivot,), tuple(kinds))
        p, lower, upper = found[0].detach(), *found[1:]
    else:
        *arrays, swaps, bad = _factors(value_of(read(A)), pivot)
        p, lower, upper = [tensor_of(x, A.dtype) for x in arrays]
    attach_many((lower, upper), _LU, (A,), (p, ("out", 0), ("out", 1)))
    return p, lower, upper, swaps, bad


@register("permutation")
def _permutations(swaps: Any, m: int) -> tuple[Any, ...]:
    return (_permutation(swaps, m),)


@register("plu")
def _factors(array: Any, pivot: bool) -> tuple[Any, ...]:
    """P, L, U, the exchanged rows and the zero pivots of NumPy's matrices."""
    lead, (m, n) = array.shape[:-2], array.shape[-2:]
    k = min(m, n)
    found = [_eliminated(a, pivot) for a in array.reshape(size_of(lead), m, n)]
    lu = np.array([f[0] for f in found], array.dtype).reshape(*lead, m, n)
    swaps = np.array([f[1] for f in found], np.int32).reshape(*lead, k)
    bad = np.array([f[2] for f in found], np.int32).reshape(lead)
    return (_permutation(swaps, m), np.tril(lu[..., :k], -1) + np.eye(m, k, dtype=lu.dtype), np.triu(lu[..., :k, :]),
            swaps, bad)


def _compact(lower: Tensor, upper: Tensor) -> Tensor:
    """L without its diagonal, and U, in one matrix."""
    m, k = lower.shape[-2:]
    n = upper.shape[-1]
    lower = lower - constant_like(np.eye(m, k), lower)
    pad = constant_pad_nd
    return pad(lower, [0, n - k]) + pad(upper, [0, 0, 0, m - k])  # type: ignore[no-any-return]


@op(method=False, out=True, namespace="linalg")
def lu(A: Tensor, *, pivot: bool = True) -> Any:
    """P, L, U with A = P L U."""
    p, lower, upper, _, _ = _plu(A, pivot, "linalg.lu")
    return result_type("linalg_lu")(
        p if pivot else tensor_of(np.zeros(0), A.dtype, A), lower, upper)


@op(method=False, out=True, namespace="linalg")
def lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """L and U in one matrix, the rows exchanged, and the first zero pivot (0: none)."""
    _, lower, upper, swaps, bad = _plu(A, pivot, "linalg.lu_factor")
    if check_errors:
        _refuse(bad)
    return result_type("linalg_lu_factor_ex")(
        _compact(lower, upper), _numbers(swaps, A), _numbers(bad, A))


def _numbers(x: Any, A: Tensor) -> Tensor:
    return x if isinstance(x, Tensor) else tensor_of(x, int32, A)


def _refuse(bad: Any) -> None:
    if not isinstance(bad, Tensor) and bad.any():  # a tensor: nobody can look yet
        where = f"(Batch element {int(np.flatnonzero(bad)[0])}): " if bad.shape else ""
        raise LinAlgError("torch.linalg.lu_factor: "
                          f"{where}U[{int(bad[bad != 0].flat[0])},{int(bad[bad != 0].flat[0])}] is "
                          "zero and using it on lu_solve would result in a division by zero. If "
                          "you still want to perform the factorization, consider calling "
                          "linalg.lu(A, pivot) or linalg.lu_factor_ex(A, pivot)")


@op(method=False, out=True, namespace="linalg")
def lu_factor(A: Tensor, *, pivot: bool = True) -> Any:
    """L and U in one matrix, and the rows exchanged (from 1)."""
    _, lower, upper, swaps, bad = _plu(A, pivot, "linalg.lu_factor")
    _refuse(bad)
    return result_type("linalg_lu_factor")(
        _compact(lower, upper), _numbers(swaps, A))


def _parts(data: Tensor, pivots: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """P, L, U of the compact form."""
    m, n = data.shape[-2:]
    k = min(m, n)
    ones = np.ones((m, n))
    lower = data[..., :k] * constant_like(np.tril(ones, -1)[:, :k], data) + constant_like(np.eye(m, k), data)
    upper = data[..., :k, :] * constant_like(np.triu(ones)[:k], data)
    if is_meta(pivots):
        p = new(meta_node((*pivots.shape[:-1], m, m), data.dtype))
    elif traced(pivots):
        p = host_call("permutation", (pivots,), (m,), (((*pivots.shape[:-1], m, m), data.dtype),))[0]
    else:
        p = tensor_of(_permutation(value_of(read(pivots)), m), data.dtype)
    return p, lower, upper


def _check_pivots(data: Tensor, pivots: Tensor, low: str, high: str) -> None:
    """Rows count from 1. RuntimeError, `low` or `high`."""
    if is_meta(pivots) or traced(pivots):
        return
    places = value_of(read(pivots))
    if places.size and places.min() < 1:
        raise RuntimeError(low)
    if places.size and places.max() > data.shape[-2]:
        raise RuntimeError(high)


@op(method=False, out=True, namespace="linalg")
def lu_solve(LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True,
             adjoint: bool = False) -> Tensor:
    """X with A X = B (or X A = B), given A's LU factorization; of A's adjoint if asked."""
    if LU.dtype is not B.dtype:
        raise RuntimeError(f"linalg.lu_solve: Expected LU and B to have the same dtype, but found LU of type "
                           f"{DTYPE_NAMES[LU.dtype.name]} and B of type {DTYPE_NAMES[B.dtype.name]} instead")
    if not left:  # X A = B is A^H X^H = B^H
        return adjoint_of(lu_solve(LU, pivots, adjoint_of(B), adjoint=not adjoint))
    advice = "Did you properly pass the result of lu_factor?"
    _check_pivots(LU, pivots, f"Pivots given to lu_solve must all be greater or equal to 1. {advice}",
                  f"Pivots given to lu_solve must all be smaller or equal to LU.size(-2). {advice}")
    p, lower, upper = _parts(LU, pivots)
    B = with_gradient_by_column(B)
    if adjoint:
        y = solve_triangular(adjoint_of(upper), B, upper=False)
        return by_column(product(p, solve_triangular(adjoint_of(lower), y, upper=True, unitriangular=True)))
    y = solve_triangular(lower, product(transposed(p), B), upper=False, unitriangular=True)
    return by_column(solve_triangular(upper, y, upper=True))


@op(name="lu_solve", out=True)
def _lu_solve(b: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """X with A X = b, given A's LU factorization."""
    for matrix, name in ((b, "B"), (LU_data, "LU")):
        if len(matrix.shape) < 2:
            raise RuntimeError(f"linalg.lu_solve: The input tensor {name} must have at least 2 dimensions.")
    if LU_data.dtype is not b.dtype:
        raise RuntimeError(
            "linalg.lu_solve: Expected LU and B to have the same dtype, but found LU of type "
            f"{DTYPE_NAMES[LU_data.dtype.name]} and B of type {DTYPE_NAMES[b.dtype.name]} instead"
        )
    return lu_solve(LU_data, LU_pivots, b)


@op(name="lu")
def _lu(input: Tensor, pivot: bool = True, get_infos: bool = False) -> Any:
    """L and U in one matrix, the rows exchanged, and whether there was a zero pivot."""
    found = lu_factor_ex(input, pivot=pivot)
    return result_type("lu")(*found) if get_infos else tuple(found[:2])


@op(method=False, out=True)
def lu_unpack(LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True,
              unpack_pivots: bool = True) -> Any:
    """P, L and U of the compact form."""
    if unpack_pivots:
        if LU_pivots.dtype is not int32:
            raise RuntimeError("torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 "
                               "dtype.\nNote: this function is intended to be used with the output produced by "
                               "torch.linalg.lu_factor")
        message = ("pivots passed to lu_unpack must be between 1 and LU.size(-2) inclusive."
                   "Did you properly pass the result of lu_factor?")
        _check_pivots(LU_data, LU_pivots, message, message)
    p, lower, upper = _parts(LU_data, LU_pivots)
    empty = tensor_of(np.zeros(0), LU_data.dtype, LU_data)
    return result_type("lu_unpack")(
        p if unpack_pivots else empty, *((lower, upper) if unpack_data else (empty, empty)))
