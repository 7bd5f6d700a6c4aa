"""The Cholesky factorization, and the solvers that stand on it."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula._tensor.handle import Tensor, is_meta, new
from facula._tensor.reading import read
from facula._tensor.tape import attach
from facula.autograd.graph import Rule
from facula.dtypes import int32
from facula.engine.placing import meta_node
from facula.engine.realize import value_of
from facula.engine.runtime.routines import ROUTINES, register
from facula.ops.linalg.matrices import (
    LinAlgError,
    adjoint_of,
    adjoint_times,
    at_root,
    batch_element,
    check_matrices,
    constant_like,
    host_call,
    tensor_of,
    traced,
)
from facula.ops.linalg.systems import inv, solved_sides
from facula.ops.product.contraction import product
from facula.ops.registry import op
from facula.ops.return_types import result_type
from facula.ops.view.diagonals import tril


def _cholesky_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    lower = ctx.saved[0]
    n = lower.shape[-1]
    low = adjoint_times(lower, g) * constant_like(np.tril(np.ones((n, n))), lower)
    # torch leaves the imaginary part on the diagonal; no Hermitian change of the matrix meets it
    both = low + adjoint_of(low * constant_like(1 - np.eye(n), lower))
    inverse = inv(lower)
    return (adjoint_times(inverse, product(both, inverse)) * 0.5,)


_CHOLESKY = Rule("LinalgCholeskyExBackward0", _cholesky_backward)


def _minor(m: Any) -> int:
    """Order of the first leading minor that is not positive-definite (0: none)."""
    for k in range(1, len(m) + 1):
        try:
            if np.isnan(np.linalg.cholesky(m[:k, :k])).any():  # LAPACK says so, NumPy's does not
                return k
        except np.linalg.LinAlgError:
            return k
    return 0


def _positive(array: Any) -> Any:
    """The factors. LinAlgError if a matrix is not positive-definite, of which NaN is a sign."""
    result = ROUTINES["cholesky"](array)[0]
    if np.isnan(np.diagonal(result, axis1=-2, axis2=-1)).any():
        raise np.linalg.LinAlgError
    return result


@op(method=False, out=True, namespace="linalg")
def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """L with A = L L^H (or its adjoint)."""
    check_matrices(A, "linalg.cholesky")
    if upper:  # of which the upper triangle is read
        return adjoint_of(cholesky(adjoint_of(A)))
    if is_meta(A):
        out = new(meta_node(A.shape, A.dtype))
        return attach(out, _CHOLESKY, (A,), (out,))
    if traced(A):
        out = host_call("cholesky", (A,), (), ((tuple(A.shape), A.dtype),))[0]
        return attach(out, _CHOLESKY, (A,), (out,))
    array = value_of(read(A))
    try:
        result = _positive(array)
    except np.linalg.LinAlgError:
        where = batch_element(array, _minor)
        at = next((k for k in map(_minor, np.reshape(array, (-1, *array.shape[-2:]))) if k), 1)
        raise LinAlgError(f"linalg.cholesky: {where}The factorization could not be completed "
                          "because the input is not positive-definite (the leading minor of order "
                          f"{at} is not positive-definite).") from None
    out = tensor_of(result, A.dtype)
    return attach(out, _CHOLESKY, (A,), (out,))


@register("cholesky_ex")
def _factors(array: Any) -> tuple[Any, Any]:
    """The factors, as far as they exist, and which minors are to blame."""
    try:
        return _positive(array), np.zeros(array.shape[:-2], np.int32)
    except np.linalg.LinAlgError:
        found = [_partial(m) for m in array.reshape(-1, *array.shape[-2:])]
        return (np.array([factor for factor, _ in found]).reshape(array.shape),
                np.array([minor for _, minor in found], np.int32).reshape(array.shape[:-2]))


def _partial(m: Any) -> tuple[Any, int]:
    """The factor, column by column, up to the minor that is to blame: from there the matrix itself, as LAPACK leaves
    it, but for the pivot that was found."""
    minor = _minor(m)
    if not minor:
        return np.linalg.cholesky(m), 0
    k = minor - 1
    found = np.tril(m)
    for j in range(k):
        found[j, j] = np.sqrt((m[j, j] - found[j, :j] @ found[j, :j].conj()).real)
        found[j + 1:, j] = (m[j + 1:, j] - found[j + 1:, :j] @ found[j, :j].conj()) / found[j, j]
    found[k, k] = (m[k, k] - found[k, :k] @ found[k, :k].conj()).real
    return found, minor


@op(method=False, out=True, namespace="linalg")
def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:
    """The Cholesky factor, and the order of the minor that is not positive-definite (0: none)."""
    result = result_type("linalg_cholesky_ex")
    if upper:
        out, info = cholesky_ex(adjoint_of(A), check_errors=check_errors)
        return result(adjoint_of(out), info)
    if traced(A):
        out, info = host_call("cholesky_ex", (A,), (), ((tuple(A.shape), A.dtype), (tuple(A.shape[:-2]), int32)))
        return result(attach(out, _CHOLESKY, (A,), (out,)), info)
    try:
        return result(cholesky(A), tensor_of(np.zeros(A.shape[:-2]), int32, A))
    except LinAlgError as error:
        if check_errors:
            raise LinAlgError(str(error).replace("linalg.cholesky:", "linalg.cholesky_ex:")) from None
        factor, blamed = (tensor_of(t, of) for t, of in zip(_factors(value_of(read(A))), (A.dtype, int32), strict=True))
        return result(factor, blamed)


def _cholesky_root(input: Tensor, upper: bool = False) -> Tensor:
    """The Cholesky factor."""
    return cholesky(input, upper=upper)


def _cholesky_solve(B: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """X with A X = B, given A's Cholesky factor."""
    for matrix, name in ((B, "b"), (L, "u")):
        if len(matrix.shape) < 2:
            raise RuntimeError(
                f"{name} should have at least 2 dimensions, but has {len(matrix.shape)} dimensions instead"
            )
    lower = _lower(L, upper)
    return solved_sides(adjoint_of(lower), solved_sides(lower, B, True, True), True, True)


def _cholesky_inverse(L: Tensor, upper: bool = False) -> Tensor:
    """The inverse of A, given its Cholesky factor."""
    inverse = inv(_lower(L, upper))
    return adjoint_times(inverse, inverse)


def _lower(L: Tensor, upper: bool) -> Tensor:
    """The triangle that is read, as a lower one. Gradients pass to the other one, too: they are PyTorch's, which does
    not ask what was read."""
    L = adjoint_of(L) if upper else L
    return attach(new(read(tril(L))), _ALIAS, (L,))  # no product with zeros: what is not read may be NaN


_ALIAS = Rule("AliasBackward0", lambda ctx, g: (g,))


at_root("cholesky", _cholesky_root, out=True)
at_root("cholesky_solve", _cholesky_solve, out=True)
at_root("cholesky_inverse", _cholesky_inverse, out=True)
