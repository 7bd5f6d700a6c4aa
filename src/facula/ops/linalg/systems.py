"""Inverses, and solutions of linear systems."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula._tensor.handle import Tensor, is_meta, new
from facula._tensor.reading import read
from facula._tensor.tape import attach
from facula.autograd.graph import Rule
from facula.dtypes import bool_, int32
from facula.engine.graph.node import size_of
from facula.engine.placing import meta_node
from facula.engine.realize import value_of
from facula.engine.runtime.routines import ROUTINES, register
from facula.ops.elementwise.pointwise import broadcast, sum_to
from facula.ops.linalg.matrices import (
    LinAlgError,
    adjoint_of,
    adjoint_times,
    at_root,
    batch_element,
    check_matrices,
    column_of,
    eye_like,
    host_call,
    tensor_of,
    times_adjoint,
    traced,
)
from facula.ops.product.product_checks import type_name
from facula.ops.registry import op
from facula.ops.result_layouts import by_column
from facula.ops.return_types import result_type
from facula.ops.view.diagonals import tril, triu
from facula.ops.view.value_views import reshape_value, transposed


def _singular_at(m: Any) -> int:
    """The first zero on the diagonal of the LU factorization, from 1 (0: none)."""
    u = np.array(m)
    n = len(u)
    for k in range(n):
        p = k + int(np.argmax(np.abs(u[k:, k])))
        if u[p, k] == 0:
            return k + 1
        u[[k, p]] = u[[p, k]]
        u[k + 1:, k:] -= np.outer(u[k + 1:, k] / u[k, k], u[k, k:])
    return 0


def _inv_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    b = ctx.saved[0]
    return (-adjoint_times(b, times_adjoint(g, b)),)


_INV = Rule("LinalgInvExBackward0", _inv_backward)


@op(method=False, out=True, namespace="linalg")
def inv(A: Tensor) -> Tensor:
    """The inverse of each matrix."""
    check_matrices(A, "linalg.inv")
    if is_meta(A):
        out = new(meta_node(A.shape, A.dtype))
        return attach(out, _INV, (A,), (out,))
    if traced(A):
        out = host_call("inv", (A,), (), ((tuple(A.shape), A.dtype),))[0]
        return attach(out, _INV, (A,), (out,))
    array = value_of(read(A))
    try:
        result = ROUTINES["inv"](array)[0]
    except np.linalg.LinAlgError:
        where = batch_element(array, _singular_at)
        flat = np.reshape(array, (-1, *array.shape[-2:]))
        at = next((k for k in map(_singular_at, flat) if k), A.shape[-1])
        raise LinAlgError(f"linalg.inv: {where}The diagonal element {at} is zero, the inversion "
                          "could not be completed because the input matrix is singular.") from None
    out = tensor_of(result, A.dtype)
    return attach(out, _INV, (A,), (out,))


at_root("inverse", inv)


@op(method=False, out=True, namespace="linalg")
def inv_ex(A: Tensor, *, check_errors: bool = False) -> Any:
    """The inverse, and 0 for each matrix that has one; of others NaN, and which diagonal element of U is zero."""
    result = result_type("linalg_inv_ex")
    try:
        return result(inv(A), tensor_of(np.zeros(A.shape[:-2]), int32, A))
    except LinAlgError:
        if check_errors:
            raise
        sound, info, at = _without_singular(A)
        return result(inv(sound).masked_fill(at, float("nan")), info)


def _without_singular(A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A with identities in the place of singular matrices, where the factorization of each ends, and a mask of them."""
    array = value_of(read(A))
    found = np.array([_singular_at(m) for m in np.reshape(array, (-1, *array.shape[-2:]))]).reshape(A.shape[:-2])
    at = tensor_of(found != 0, bool_, A)[..., None, None]
    return eye_like(A.shape[-1], A).where(at, A), tensor_of(found, int32, A), at


def _solve_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    a, x, triangle = ctx.saved
    db = solved(adjoint_of(a), g, triangle)
    da = None
    if ctx.needs[0]:
        da = -times_adjoint(db, x)
        if da.shape != ctx.shapes[0]:
            da = sum_to(da, ctx.shapes[0])
    if ctx.needs[1] and db.shape != ctx.shapes[1]:
        db = sum_to(db, ctx.shapes[1])
    return da, db


_SOLVE = Rule("LinalgSolveExBackward0", _solve_backward)


def with_gradient_by_column(t: Tensor) -> Tensor:
    """The value of `t`; its gradient lies as LAPACK returns matrices."""
    return attach(new(read(t)), _BY_COLUMN, (t,))


def _by_column_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    return (by_column(with_gradient_by_column(g)),)


_BY_COLUMN = Rule("AliasBackward0", _by_column_backward)


def solved(a: Tensor, b: Tensor, triangle: bool = False) -> Tensor:
    """X with a X = b. `triangle`: a has nothing on one side of its diagonal, and what a zero there leaves open is
    infinite or NaN; else a matrix without an inverse is an error."""
    if is_meta(a) and is_meta(b):
        out = new(meta_node((*broadcast(a.shape[:-2], b.shape[:-2]), *b.shape[-2:]), a.dtype))
        return by_column(attach(out, _SOLVE, (a, b), (a, out, triangle)))
    if traced(a, b):
        shape = (*broadcast(tuple(a.shape[:-2]), tuple(b.shape[:-2])), *b.shape[-2:])
        out = host_call("solve_triangle" if triangle else "solve", (a, b), (), ((shape, a.dtype),))[0]
        return by_column(attach(out, _SOLVE, (a, b), (a, out, triangle)))
    array = value_of(read(a))
    try:
        result = ROUTINES["solve_triangle" if triangle else "solve"](array, value_of(read(b)))[0]
    except np.linalg.LinAlgError:
        where = batch_element(array, _singular_at)
        raise LinAlgError(f"torch.linalg.solve: {where}The solver failed because the input matrix "
                          "is singular.") from None
    out = tensor_of(result, a.dtype)
    return by_column(attach(out, _SOLVE, (a, b), (a, out, triangle)))


@register("solve_triangle")
def _solve_triangle(a: Any, b: Any) -> tuple[Any]:
    """As "solve" for matrices of which one triangle is zero; row by row where the diagonal has zeros."""
    if np.diagonal(a, axis1=-2, axis2=-1).all():
        return ROUTINES["solve"](a, b)  # type: ignore[return-value]
    n = a.shape[-1]
    x = np.empty((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), *b.shape[-2:]), b.dtype)
    rows = range(n - 1, -1, -1) if np.triu(a, 1).any() else range(n)
    done: list[int] = []
    with np.errstate(all="ignore"):
        for k in rows:
            rest = b[..., k, :] - (a[..., k, done][..., None, :] @ x[..., done, :])[..., 0, :] if done else b[..., k, :]
            x[..., k, :] = rest / a[..., k, k][..., None]
            done.append(k)
    return (x,)


def _is_vector(a: Tensor, b: Tensor) -> bool:
    return len(b.shape) == 1 or (len(a.shape) - 1 == len(b.shape)
                                 and tuple(b.shape) == tuple(a.shape[:-1]))


@op(method=False, out=True, namespace="linalg")
def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X with A X = B (or X A = B)."""
    return solved_sides(A, B, left, False)


def solved_sides(A: Tensor, B: Tensor, left: bool, triangle: bool) -> Tensor:
    check_matrices(A, "linalg.solve")
    if A.dtype is not B.dtype:
        raise RuntimeError("linalg.solve: Expected A and B to have the same dtype, but found A of "
                           f"type {type_name(A.dtype)} and B of type {type_name(B.dtype)} instead")
    if _is_vector(A, B):
        if B.shape[-1] != A.shape[-1]:
            raise RuntimeError("linalg.solve: Incompatible shapes of A and B for the equation AX "
                               f"= B ({A.shape[-2]}x{A.shape[-1]} and {B.shape[-1]}x1)")
        if not left:
            raise RuntimeError("linalg.solve: Vector broadcasting of the left hand side is not supported for "
                               "left=False. In this case linalg.solve is equivalent to B / A.squeeze(-1)")
        x = solved(A, column_of(B), triangle)
        return reshape_value(x, x.shape[:-1])
    if not left:
        return transposed(solved(transposed(A), transposed(B), triangle))
    if B.shape[-2] != A.shape[-1]:
        raise RuntimeError(f"linalg.solve: Incompatible shapes of A and B for the equation AX = B "
                           f"({A.shape[-2]}x{A.shape[-1]} and {B.shape[-2]}x{B.shape[-1]})")
    return solved(A, B, triangle)


@op(method=False, out=True, namespace="linalg")
def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> Any:
    """X with A X = B, and 0 for each matrix that has an inverse."""
    result = result_type("linalg_solve_ex")
    try:
        return result(solve(A, B, left=left), tensor_of(np.zeros(A.shape[:-2]), int32, A))
    except LinAlgError:
        if check_errors:
            raise
        sound, info, at = _without_singular(A)
        found = solve(sound, B, left=left)
        vectors = found.dim() < at.dim() or B.dim() == 1 or B.dim() == A.dim() - 1 and B.shape == A.shape[:-1]
        return result(found.masked_fill(at[..., 0] if vectors else at, float("nan")), info)


@op(method=False, out=True, namespace="linalg")
def solve_triangular(A: Tensor, B: Tensor, *, upper: bool, left: bool = True,
                     unitriangular: bool = False) -> Tensor:
    """X with A X = B, of A only one triangle."""
    check_matrices(A, "linalg.solve_triangular")
    k = 1 if unitriangular else 0
    A = triu(A, k) if upper else tril(A, -k)  # no product with zeros: what is not read may be NaN
    if unitriangular:
        A = A + eye_like(A.shape[-1], A)
    return solved_sides(A, B if left else with_gradient_by_column(B), left, True)


@op(out=True)
def triangular_solve(b: Tensor, A: Tensor, upper: bool = True, transpose: bool = False,
                     unitriangular: bool = False) -> Any:
    """X with A X = b for a triangle of A, and A itself."""
    m = transposed(A) if transpose else A
    x = solve_triangular(m, b, upper=upper != transpose, unitriangular=unitriangular)
    return result_type("triangular_solve")(x, A.clone())


@op(method=False, out=True, namespace="linalg")
def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The inverse of A as a map from its last dimensions to its first `ind`."""
    if ind <= 0:
        raise RuntimeError("Expected a strictly positive integer for 'ind'")
    if ind > len(A.shape):
        raise RuntimeError(f"tensorinv: ind={ind} is more than the {len(A.shape)} dimensions of "
                           "the tensor")
    rows, columns = tuple(A.shape[:ind]), tuple(A.shape[ind:])
    n = size_of(rows)
    if n != size_of(columns):
        raise RuntimeError("Expected self to satisfy the requirement prod(self.shape[ind:]) == "
                           f"prod(self.shape[:ind]), but got {size_of(columns)} != {n}")
    return reshape_value(inv(reshape_value(A, (n, n))), (*columns, *rows))


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
        raise RuntimeError("Expected self to satisfy the requirement "
                           "prod(self.shape[other.ndim:]) == prod(self.shape[:other.ndim]), but "
                           f"got {size_of(rest)} != {n}")
    return reshape_value(solve(reshape_value(A, (n, n)), reshape_value(B, (n,))), rest)
