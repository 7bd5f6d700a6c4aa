"""The LDL factorization of symmetric or Hermitian matrices that need not be definite.

Bunch and Kaufman, Some stable methods for calculating inertia and solving symmetric linear systems
(Mathematics of Computation 31, 1977): D has blocks of one or two rows. Results are laid out as
LAPACK's sytrf lays out a lower triangle: L below D, both in one matrix, columns of L as they were
when they were made (later exchanges not applied); a pivot p > 0 is the row, counted from 1, that
was exchanged with this one, two of -p say so of the second row of a block of two.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from facula._tensor.handle import Tensor, is_meta, new
from facula._tensor.reading import read
from facula._tensor.tape import attach, attach_many
from facula.autograd.graph import Rule
from facula.dtypes import int32
from facula.engine.graph.node import size_of
from facula.engine.placing import meta_node
from facula.engine.realize import value_of
from facula.ops.linalg.matrices import LinAlgError, check_matrices, tensor_of
from facula.ops.product.product_checks import type_name
from facula.ops.registry import op
from facula.ops.return_types import result_type

GROWTH = (1 + math.sqrt(17)) / 8  # the least growth of elements over two steps


def _size(x: Any) -> Any:
    """LAPACK's measure of complex numbers."""
    return np.abs(x.real) + np.abs(x.imag)


def _pivot(a: Any, k: int) -> tuple[int, int, bool]:
    """At step k: the row to bring up, how many rows the block has, and whether it is zero."""
    own = _size(a[k, k])
    if k + 1 == len(a):
        return k, 1, bool(own == 0)
    column = _size(a[k + 1 :, k])
    largest = k + 1 + int(np.argmax(column))
    most = column.max()
    if max(own, most) == 0 or own != own:
        return k, 1, bool(own == 0)
    if own >= GROWTH * most:
        return k, 1, False
    row = _size(a[largest, k:])
    row[largest - k] = 0
    across = row.max()
    if own >= GROWTH * most * (most / across):
        return k, 1, False
    if _size(a[largest, largest]) >= GROWTH * across:
        return largest, 1, False
    return largest, 2, False


def _factored(a: Any, hermitian: bool) -> tuple[Any, Any, int]:
    """One matrix: L and D in one, the pivots, the first zero of D (from 1; 0: none)."""
    other = np.conj if hermitian else np.asarray
    below = np.tril(a, -1)
    a = below + other(below).T + np.diag(np.diag(a).real if hermitian else np.diag(a))
    a = a.astype(below.dtype)
    n = len(a)
    pivots = np.zeros(n, np.int32)
    bad = 0
    k = 0
    while k < n:
        p, rows, zero = _pivot(a, k)
        bad = bad or (k + 1 if zero else 0)
        last, end = k + rows - 1, k + rows
        if p != last:  # both ways, of what is left of the matrix
            a[[last, p], k:] = a[[p, last], k:]
            a[k:, [last, p]] = a[k:, [p, last]]
        pivots[k:end] = p + 1 if rows == 1 else -(p + 1)
        if not zero:
            x = a[end:, k:end]
            scaled = x / a[k, k] if rows == 1 else np.linalg.solve(a[k:end, k:end].T, x.T).T
            a[end:, end:] -= scaled @ other(x).T
            if hermitian:
                np.fill_diagonal(a[end:, end:], np.diag(a[end:, end:]).real)
            a[end:, k:end] = scaled
        k = end
    return np.tril(a), pivots, bad


def _blocks(pivots: Any) -> list[tuple[int, int, int]]:
    """(first row, the end, the row that was exchanged with the last) of each block of D."""
    found, k = [], 0
    while k < len(pivots):
        end = k + (1 if pivots[k] > 0 else 2)
        found.append((k, end, abs(int(pivots[k])) - 1))
        k = end
    return found


def _solved(ld: Any, pivots: Any, b: Any, hermitian: bool) -> Any:
    other = np.conj if hermitian else np.asarray
    b = np.array(b)
    blocks = _blocks(pivots)
    for k, end, p in blocks:
        if p != end - 1:
            b[[end - 1, p]] = b[[p, end - 1]]
        b[end:] -= ld[end:, k:end] @ b[k:end]
        if end - k == 1:
            b[k] = b[k] / (ld[k, k].real if hermitian else ld[k, k])
        else:
            d = np.diag(np.diag(ld)[k:end]).astype(ld.dtype)
            d[1, 0], d[0, 1] = ld[k + 1, k], other(ld[k + 1, k])
            b[k:end] = np.linalg.solve(d, b[k:end])
    for k, end, p in reversed(blocks):
        b[k:end] -= other(ld[end:, k:end]).T @ b[end:]
        if p != end - 1:
            b[[end - 1, p]] = b[[p, end - 1]]
    return b


def _refused(ctx: Any, *grads: Any) -> Any:
    raise NotImplementedError("derivative for aten::linalg_ldl_factor_ex is not implemented")


def _solve_refused(ctx: Any, *grads: Any) -> Any:
    raise NotImplementedError("derivative for aten::linalg_ldl_solve is not implemented")


_FACTOR, _SOLVE = Rule("NotImplemented", _refused), Rule("NotImplemented", _solve_refused)


def _factor(A: Tensor, hermitian: bool, check: bool, what: str) -> tuple[Tensor, Tensor, Tensor]:
    check_matrices(A, "torch.linalg.ldl_factor_ex")
    shape = tuple(A.shape)
    if is_meta(A):
        ld = new(meta_node(shape, A.dtype))
        pivots = np.broadcast_to(0, shape[:-1])
        bad = np.broadcast_to(0, shape[:-2])
    else:
        array = value_of(read(A))
        with np.errstate(all="ignore"):
            found = [
                _factored(a, hermitian) for a in array.reshape(size_of(shape[:-2]), *shape[-2:])
            ]
        ld = tensor_of(np.array([f[0] for f in found], array.dtype).reshape(shape), A.dtype)
        pivots = np.array([f[1] for f in found], np.int32).reshape(shape[:-1])
        bad = np.array([f[2] for f in found], np.int32).reshape(shape[:-2])
        if check and bad.any():
            first = int(bad[bad != 0].flat[0])
            where = f"(Batch element {int(np.flatnonzero(bad)[0])}): " if bad.shape else ""
            raise LinAlgError(
                f"{what}: {where}D[{first},{first}] is zero: the factorization was completed, but "
                "using it on ldl_solve would result in a division by zero."
            )
    attach_many((ld,), _FACTOR, (A,))
    return ld, tensor_of(pivots, int32, A), tensor_of(bad, int32, A)


@op(method=False, out=True, namespace="linalg")
def ldl_factor_ex(A: Tensor, *, hermitian: bool = False, check_errors: bool = False) -> Any:
    """`ldl_factor`, and the first zero of D (from 1; 0: none), refused only if `check_errors`."""
    found = _factor(A, hermitian, check_errors, "torch.linalg.ldl_factor_ex")
    return result_type("linalg_ldl_factor_ex")(*found)


@op(method=False, out=True, namespace="linalg")
def ldl_factor(A: Tensor, *, hermitian: bool = False) -> Any:
    """L and D with A = L D L^T, or L D L^H if `hermitian`, in one matrix, and the pivots (int32).

    A: (*, n, n), float32 or larger, real or complex; its lower triangle counts. As LAPACK's sytrf
    gives them for it (Bunch and Kaufman, 1977): for `ldl_solve`. No gradient.
    Raises LinAlgError (a RuntimeError) where D has a zero.

    >>> facula.linalg.ldl_factor(facula.tensor([[4.0, 2.0], [2.0, 3.0]])).LD
    tensor([[4.0000, 0.0000],
            [0.5000, 2.0000]])
    """
    ld, pivots, _ = _factor(A, hermitian, True, "torch.linalg.ldl_factor")
    return result_type("linalg_ldl_factor")(ld, pivots)


@op(method=False, out=True, namespace="linalg")
def ldl_solve(LD: Tensor, pivots: Tensor, B: Tensor, *, hermitian: bool = False) -> Tensor:
    """X with A X = B, given A's LDL factorization.

    LD: (*, n, n), pivots: (*, n), B: (*, n, k); LD and B broadcast.

    `hermitian` as it was when A was factorized. No gradient. Raises RuntimeError for sizes or
    dtypes that do not fit.

    >>> A = facula.tensor([[0.0, 2.0], [2.0, 0.0]])
    >>> facula.linalg.ldl_solve(*facula.linalg.ldl_factor(A), facula.tensor([[2.0], [4.0]]))
    tensor([[2.],
            [1.]])
    """
    check_matrices(LD, "torch.linalg.ldl_solve", letter="LD")
    n = LD.shape[-1]
    if len(B.shape) < 2:
        raise IndexError(
            f"torch.linalg.ldl_solve: B must have at least 2 dimensions, got {B.shape}"
        )
    if B.shape[-2] != n:
        raise RuntimeError(
            f"Incompatible matrix sizes for torch.linalg.ldl_solve: each A matrix is {n} by {n} "
            f"but each b matrix is {B.shape[-2]} by {B.shape[-1]}"
        )
    if pivots.dtype.is_floating_point or pivots.dtype.is_complex:
        raise RuntimeError(
            f"torch.linalg.ldl_solve: Expected pivots to be integers. Got {type_name(pivots.dtype)}"
        )
    if pivots.shape != LD.shape[:-1]:
        raise RuntimeError(
            "torch.linalg.ldl_solve: Expected LD.shape[:-1] and pivots.shape to be the same, but "
            f"got pivots with shape {list(pivots.shape)} instead"
        )
    if B.dtype is not LD.dtype:
        raise RuntimeError(
            f"Expected b and A to have the same dtype, but found b of type {type_name(B.dtype)} "
            f"and A of type {type_name(LD.dtype)} instead."
        )
    lead = np.broadcast_shapes(tuple(LD.shape[:-2]), tuple(B.shape[:-2]))
    shape = (*lead, *B.shape[-2:])
    if is_meta(LD) or is_meta(pivots) or is_meta(B):
        out = new(meta_node(shape, B.dtype))
    else:
        count = size_of(lead)
        ld, p, b = [
            np.broadcast_to(x, (*lead, *x.shape[-d:])).reshape(count, *x.shape[-d:])
            for x, d in (
                (value_of(read(LD)), 2),
                (value_of(read(pivots)), 1),
                (value_of(read(B)), 2),
            )
        ]
        for wrong, what in ((p == 0, ">= 1"), (abs(p) > n, "<= LD.size(-2)")):
            if wrong.any():
                raise RuntimeError(f"Pivots given to ldl_solve must all satisfy |pivot| {what}. Did you properly pass "
                                   "the result of ldl_factor?")
        with np.errstate(all="ignore"):
            found = [_solved(*parts, hermitian) for parts in zip(ld, p, b, strict=True)]
        out = tensor_of(np.array(found, b.dtype).reshape(shape), B.dtype)
    return attach(out, _SOLVE, (LD, B))
