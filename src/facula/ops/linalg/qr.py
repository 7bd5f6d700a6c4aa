"""The QR factorization, and the Householder reflections it is made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula._tensor.handle import Tensor
from facula._tensor.reading import read
from facula._tensor.tape import attach, attach_many
from facula.autograd.graph import Rule
from facula.engine.graph.node import size_of
from facula.engine.realize import value_of
from facula.ops.arrange.joining import cat
from facula.ops.linalg.matrices import (
    adjoint_of,
    adjoint_times,
    at_root,
    check_matrices,
    column_of,
    constant_like,
    eye_like,
    host_call,
    matrix_of,
    row_of,
    tensor_of,
    times_adjoint,
)
from facula.ops.linalg.systems import solved
from facula.ops.product.contraction import conjugated, product
from facula.ops.registry import DTYPE_NAMES, also, op
from facula.ops.return_types import result_type


def _qr_backward(ctx: Any, gq: Tensor | None, gr: Tensor | None) -> tuple[Tensor | None]:
    q, r, mode = ctx.saved
    m, n = ctx.shapes[0][-2:]
    if mode == "r":
        raise RuntimeError("The derivative of linalg.qr depends on Q, which is not computed when "
                           "mode='r'. Please use linalg.qr(A, mode='reduced') if you are going to "
                           "require gradients through linalg.qr.")
    if mode == "complete" and m > n:
        raise RuntimeError("The QR decomposition is not differentiable when mode='complete' and "
                           "nrows > ncols.")
    if gq is None and gr is None:
        return (None,)
    rest = None
    if m < n:  # A = [X | Y], R = [U | V], with X = Q U and Y = Q V
        y = product(q, r[..., m:])
        r = r[..., :m]
        if gr is not None:
            gv = gr[..., m:]
            rest = product(q, gv)
            gq = times_adjoint(y, gv) if gq is None else gq + times_adjoint(y, gv)
            gr = gr[..., :m]
        else:
            rest = y * 0
    k = min(m, n)
    inner = times_adjoint(r, gr) if gr is not None else None
    if gq is not None:
        inner = -adjoint_times(gq, q) if inner is None else inner - adjoint_times(gq, q)
    assert inner is not None
    low = np.tril(np.ones((k, k)), -1)
    strict = inner * constant_like(low, inner)
    middle = inner * eye_like(k, inner)  # only its real part: R's diagonal is real
    sym = strict + adjoint_of(strict) + (middle + adjoint_of(middle)) * 0.5
    total = product(q, sym)
    if gq is not None:
        total = total + gq
    ga = adjoint_of(solved(r, adjoint_of(total)))
    if rest is not None:
        ga = cat([ga, rest], -1)
    return (ga,)


_QR = Rule("LinalgQrBackward0", _qr_backward)


@op(method=False, out=True, namespace="linalg")
def qr(A: Tensor, mode: str = "reduced") -> Any:
    """Q and R with A = Q R."""
    check_matrices(A, "linalg.qr", square=False)
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(f"qr received unrecognized mode '{mode}' but expected one of 'reduced' "
                           "(default), 'r', or 'complete'")
    m, n = A.shape[-2:]
    k = m if mode == "complete" else min(m, n)
    lead = tuple(A.shape[:-2])
    q, r = host_call("qr", (A,), ("complete" if mode == "complete" else "reduced",),
                 (((*lead, m, k), A.dtype), ((*lead, k, n), A.dtype)))
    if mode == "r":
        attach_many((q, r), _QR, (A,), (None, ("out", 1), mode))
        return result_type("linalg_qr")(tensor_of(np.zeros(0), A.dtype, A), r)
    attach_many((q, r), _QR, (A,), (("out", 0), ("out", 1), mode))
    return result_type("linalg_qr")(q, r)


def _qr_root(input: Tensor, some: bool = True) -> Any:
    """Q and R with input = Q R."""
    return result_type("qr")(*qr(input, "reduced" if some else "complete"))


_qr_root.__name__ = "qr"  # as which `out=` is refused
at_root("qr", _qr_root, out=True)
# ---- Householder reflections --------------------------------------------------------------------


def _reflected(A: Tensor, tau: Tensor, q: Tensor, adjoint: bool = False) -> Tensor:
    """The product of the reflections in A's columns, or its adjoint, times q."""
    m, n = A.shape[-2:]
    steps = range(tau.shape[-1])
    for i in steps if adjoint else reversed(steps):
        v = A[..., i] * constant_like(np.arange(m) > i, A) + constant_like(np.arange(m) == i, A)
        scale = tau[..., i]
        scale = conjugated(scale) if adjoint else scale
        along = product(row_of(conjugated(v)), q)
        q = q - column_of(v) * along * matrix_of(scale)
    return q


_NO_REFLECTIONS = Rule("LinalgHouseholderProductBackward0", lambda ctx, g: (None, None))


@op(method=False, out=True, namespace="linalg")
def householder_product(A: Tensor, tau: Tensor) -> Tensor:
    """The first columns of the product of the reflections that `geqrf` gives."""
    check_matrices(A, "torch.linalg.householder_product", square=False)
    m, n = A.shape[-2:]
    if m < n:
        raise RuntimeError("torch.linalg.householder_product: input.shape[-2] must be greater than "
                           "or equal to input.shape[-1]")
    if tau.shape[-1] > n:
        raise RuntimeError("torch.linalg.householder_product: input.shape[-1] must be greater than "
                           "or equal to tau.shape[-1]")
    if tau.dtype is not A.dtype:
        raise RuntimeError(f"torch.linalg.householder_product: tau dtype {DTYPE_NAMES[tau.dtype.name]} does not match "
                           f"input dtype {DTYPE_NAMES[A.dtype.name]}")
    start = tensor_of(np.broadcast_to(np.eye(m, n), A.shape), A.dtype, A)
    if not tau.shape[-1]:
        return attach(start, _NO_REFLECTIONS, (A, tau))
    return _reflected(A, tau, start)


also(householder_product, "orgqr", "Tensor.orgqr")


def _check_reflections(input: Tensor, tau: Tensor, other: Tensor, left: bool) -> None:
    """Whether `ormqr` can multiply them, in torch's words."""
    for name, x in (("input", input), ("other", other)):
        if len(x.shape) < 2:
            raise RuntimeError(f"torch.ormqr: {name} must have at least 2 dimensions.")
    size = other.shape[-2 if left else -1]
    where = f"other.shape[{-2 if left else -1}]"
    if not tau.shape:
        raise IndexError("torch.ormqr: tau has no dimensions, expected one less than input")
    if size != input.shape[-2]:
        raise RuntimeError(f"torch.ormqr: {where} must be equal to input.shape[-2]")
    if tau.shape[-1] != min(size, input.shape[-1]):
        raise RuntimeError(f"torch.ormqr: tau.shape[-1] must be equal to min({where}, input.shape[-1])")
    lead = input.shape[:-2]
    for name, x, rank, words in (("tau", tau, len(input.shape) - 1, "one dimension less than"),
                                 ("other", other, len(input.shape), "the same number of dimensions as")):
        if len(x.shape) != rank:
            raise RuntimeError(f"torch.ormqr: Expected {name} to have {words} input, but got {name}.ndim equal to "
                               f"{len(x.shape)} and input.ndim is equal to {len(input.shape)}")
    for name, x, own in (("tau", tau, tau.shape[:-1]), ("other", other, other.shape[:-2])):
        if own != lead:
            raise RuntimeError(f"torch.ormqr: Expected batch dimensions of {name} to be equal to input.shape[:-2], "
                               f"but got {list(own)}")
        if x.dtype is not input.dtype:
            raise RuntimeError(f"torch.ormqr: Expected input and {name} to have the same dtype, but input has dtype "
                               f"{DTYPE_NAMES[input.dtype.name]} and {name} has dtype {DTYPE_NAMES[x.dtype.name]}")


@op(out=True)
def ormqr(input: Tensor, tau: Tensor, other: Tensor, left: bool = True,
          transpose: bool = False) -> Tensor:
    """`other` times the whole product of the reflections (or its adjoint), from either side."""
    _check_reflections(input, tau, other, left)
    if not size_of(other.shape):
        return attach(tensor_of(np.zeros(other.shape), other.dtype, other), _ORMQR_OF_NOTHING, (input, tau, other),
                      (input, tau, left, transpose))
    if left:
        return _reflected(input, tau, other, transpose)
    return adjoint_of(_reflected(input, tau, adjoint_of(other), not transpose))


def _of_nothing_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    input, tau, left, transpose = ctx.saved
    return None, None, ormqr(input, tau, g, left, not transpose)  # none for the reflections, as in torch


_ORMQR_OF_NOTHING = Rule("OrmqrBackward0", _of_nothing_backward)


def _geqrf_backward(ctx: Any, *grads: Any) -> Any:
    raise NotImplementedError("the derivative for 'geqrf' is not implemented.")


_GEQRF = Rule("GeqrfBackward0", _geqrf_backward)


@op(out=True)
def geqrf(input: Tensor) -> Any:
    """A QR factorization as LAPACK keeps it: R with the reflections below it, and their scales."""
    check_matrices(input, "geqrf", square=False)
    array = value_of(read(input))
    k = min(array.shape[-2:])
    if not array.size:
        a, tau = array, np.zeros((*array.shape[:-2], k))
    else:
        a, tau = np.linalg.qr(array, mode="raw")
        a = np.swapaxes(a, -1, -2)
    outs = (tensor_of(a, input.dtype), tensor_of(tau, input.dtype))
    attach_many(outs, _GEQRF, (input,))
    return result_type("geqrf")(*outs)
