"""Pseudo-inverses, ranks and least squares."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula._tensor.assigning import assign
from facula._tensor.handle import Tensor, alias, is_meta, new, strides_of
from facula._tensor.reading import read, share_nothing
from facula._tensor.tape import attach
from facula.autograd.graph import Rule, mode
from facula.dtypes import int64
from facula.engine.graph.node import size_of
from facula.engine.realize import value_of
from facula.ops.autocast_rules import LOWERED
from facula.ops.autocasting import autocast_operands
from facula.ops.casting import constant
from facula.ops.elementwise.comparison import maximum
from facula.ops.elementwise.pointwise import sum_to
from facula.ops.index.masking import where
from facula.ops.linalg.eigenvalues import eigh, eigvalsh
from facula.ops.linalg.matrices import (
    adjoint_of,
    adjoint_times,
    at_root,
    check_matrices,
    column_of,
    row_of,
    tensor_of,
    times_adjoint,
)
from facula.ops.linalg.svd import svd, svdvals
from facula.ops.product.contraction import product
from facula.ops.registry import op
from facula.ops.result_layouts import by_column
from facula.ops.return_types import result_type
from facula.ops.severing import leaned
from facula.ops.view.value_views import reshape_value, transposed


def _tolerances(A: Tensor, top: Tensor, atol: Any, rtol: Any) -> Tensor:
    """What counts as zero, for `top`, the largest value of each matrix, (..., 1)."""
    def column(x: Any) -> Tensor:
        return column_of(x.to(top.dtype)) if isinstance(x, Tensor) else tensor_of(x, top.dtype)

    atol = column(0.0 if atol is None else atol)
    if rtol is not None:
        rtol = column(rtol)
    else:
        rtol = where(atol > 0, 0.0,
                                  max(A.shape[-2:]) * float(np.finfo(top.dtype.numpy).eps))
    return maximum(top * rtol, atol)


def _pinv_gradient(g: Tensor, p: Tensor, a: Tensor) -> Tensor:
    """The gradient for A of the pseudo-inverse p, where A's rank does not change."""
    m, n = a.shape[-2:]
    if m <= n:
        k = adjoint_times(g, p)
        kp = times_adjoint(k, p)
        return (-adjoint_of(product(p, k)) + kp - product(product(a, p), kp)
                + product(adjoint_times(p, p), adjoint_of(g) - product(k, a)))
    k = times_adjoint(p, g)
    pk = adjoint_times(p, k)
    return (-adjoint_of(product(k, p)) + times_adjoint(product(adjoint_of(g) - product(a, k), p), p)
            + pk - product(product(pk, p), a))


_PINV = Rule("LinalgPinvBackward0", lambda ctx, g: (_pinv_gradient(g, *ctx.saved),))


@op(method=False, out=True, namespace="linalg")
def pinv(A: Tensor, rcond: Any = None, hermitian: bool = False, *, atol: Any = None,
         rtol: Any = None) -> Tensor:
    """The pseudo-inverse."""
    check_matrices(A, "linalg.pinv", square=False)
    if hermitian and A.shape[-1] != A.shape[-2]:
        check_matrices(A, "linalg.pinv")
    if 0 in A.shape:
        return transposed(leaned(A))
    a = A.detach()
    if hermitian:
        s, right = eigh(a)
        left, size = right, s.abs()
    else:
        left, s, vh = svd(a, False)
        right, size = adjoint_of(vh), s
    least = _tolerances(A, size.amax(-1, keepdim=True), atol, rcond if rtol is None else rtol)
    inverse = where(size > least, 1 / s, 0.0)
    out = times_adjoint(right * row_of(inverse.to(left.dtype)), left)
    out = attach(out, _PINV, (A,), (out, A))
    lowered: Tensor = autocast_operands(LOWERED, out)[0]  # of a product
    return lowered


def _pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """The pseudo-inverse."""
    return pinv(input, rtol=rcond)


at_root("pinverse", _pinverse)


@op(method=False, out=True, namespace="linalg")
def matrix_rank(A: Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None,
                rtol: Any = None) -> Tensor:
    """The number of singular values above the tolerance."""
    check_matrices(A, "linalg.matrix_rank", square=hermitian)
    s = eigvalsh(A.detach()).abs() if hermitian else svd(A.detach(), False).S
    if 0 in A.shape[-2:]:
        return tensor_of(np.zeros(A.shape[:-2]), int64, A)
    least = _tolerances(A, s.amax(-1, keepdim=True), tol if atol is None else atol, rtol)
    return (s > least).sum(-1)


def _lstsq_backward(ctx: Any, gx: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    a, b, p, rcond = ctx.saved
    if gx is None:
        return None, None
    if mode.grad and a._rg:  # this gradient is to be differentiated: the inverse depends on A too
        p = pinv(a, rtol=rcond)
    ga = _pinv_gradient(times_adjoint(gx, b), p, a) if ctx.needs[0] else None
    gb = adjoint_times(p, gx) if ctx.needs[1] else None
    return (None if ga is None else sum_to(ga, ctx.shapes[0]),
            None if gb is None else sum_to(gb, ctx.shapes[1]))


def _residuals_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    a, b, x, gap = ctx.saved
    if not g.shape or not x.shape or 0 in g.shape:
        (m, n), (of, to) = ctx.shapes, ctx.dtypes
        return new(constant(0, m, of)), new(constant(0, n, to))
    if mode.grad:  # this gradient is to be differentiated: the gap depends on all three
        gap = product(a, x) - b
    # the solution's own change does not count: the residual is least there
    twice = row_of(g.to(gap.dtype)) * gap * 2
    return sum_to(times_adjoint(twice, x), ctx.shapes[0]), sum_to(-twice, ctx.shapes[1])


_LSTSQ = Rule("LinalgLstsqBackward0", _lstsq_backward)
_RESIDUALS = Rule("LinalgLstsqBackward0", _residuals_backward)


def _part_of_columns(out: Tensor, rows: int) -> None:
    """`out` as the first of so many rows, column after column: the memory in which LAPACK is given right-hand sides."""
    columns = out.shape[-1]
    if rows == out.shape[-2] or not size_of(out.shape):
        by_column(out)
        return
    node = read(out)
    memory = new(constant(0, (*out.shape[:-2], columns, rows), out.dtype))
    steps = strides_of(memory)
    share_nothing(out, alias(memory, out.shape, (*steps[:-2], 1, rows), 0))
    assign(out, node)


@op(method=False, out=True, namespace="linalg")
def lstsq(A: Tensor, B: Tensor, rcond: Any = None, *, driver: Any = None) -> Any:
    """The X for which A X comes closest to B."""
    check_matrices(A, "linalg.lstsq", square=False)
    if driver not in (None, "gels", "gelsy", "gelsd", "gelss"):
        raise RuntimeError("torch.linalg.lstsq: parameter `driver` should be one of (gels, gelsy, "
                           "gelsd, gelss)")
    if is_meta(A) or is_meta(B):
        raise NotImplementedError("linalg.lstsq: what it gives depends on the values, and a meta "
                                  "tensor has none")
    vector = len(A.shape) - 1 == len(B.shape) and tuple(B.shape) == tuple(A.shape[:-1])
    right = column_of(B) if vector else B
    a, b = A.detach(), right.detach()
    inverse = pinv(a, rtol=rcond)
    solution = product(inverse, b)
    x = attach(new(read(solution)), _LSTSQ, (A, right), (A, right, inverse, rcond))
    m, n = A.shape[-2:]
    rank = matrix_rank(a, rtol=rcond)
    residuals = tensor_of(np.zeros(0), A.dtype.to_real())
    gap = solution
    if m > n and driver in ("gels", "gelsd", "gelss") and bool((value_of(read(rank)) == n).all()):
        gap = product(a, solution) - b
        residuals = (gap.abs() if gap.dtype.is_complex else gap).square().sum(-2)
    attach(residuals, _RESIDUALS, (A, right), (A, right, x, gap))
    if not vector:
        _part_of_columns(x, max(m, n))
    empty = tensor_of(np.zeros(0), A.dtype.to_real())
    return result_type("linalg_lstsq")(
        reshape_value(x, x.shape[:-1]) if vector else x, residuals,
        tensor_of(np.zeros(0), int64) if driver == "gels" else rank,
        svdvals(a) if driver in ("gelsd", "gelss") else empty)
