"""The singular value decomposition."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula._tensor.handle import Tensor
from facula._tensor.tape import attach_many
from facula.autograd.graph import Rule
from facula.ops.linalg.matrices import (
    adjoint_of,
    adjoint_times,
    at_root,
    check_matrices,
    column_of,
    constant_like,
    eye_like,
    host_call,
    row_of,
    skew,
    times_adjoint,
)
from facula.ops.product.contraction import product
from facula.ops.registry import op
from facula.ops.return_types import result_type


def _svd_backward(ctx: Any, gu: Tensor | None, gs: Tensor | None,
                  gvh: Tensor | None) -> tuple[Tensor | None]:
    u, s, vh = ctx.saved
    m, n = ctx.shapes[0][-2:]
    k = min(m, n)
    if gu is None and gs is None and gvh is None:
        return (None,)
    u, vh = u[..., :k], vh[..., :k, :]
    if gu is None and gvh is None:
        assert gs is not None
        return (product(u * row_of(gs.to(u.dtype)), vh),)
    sc = s.to(u.dtype) if u.dtype.is_complex else s
    eye = eye_like(k, s)
    square = s * s
    gaps = (row_of(square) - column_of(square)) * (1 - eye) + eye
    off = constant_like(1 - np.eye(k), u)
    inner: Tensor | None = None
    if gu is not None:
        gu = gu[..., :k]
        turned = skew(adjoint_times(u, gu))
        inner = turned / gaps * off * row_of(sc)
        if u.dtype.is_complex:  # u and vh may turn together
            inner = inner + turned * eye_like(k, turned) / (row_of(sc) * 2)
    if gvh is not None:
        gvh = gvh[..., :k, :]
        part = column_of(sc) * (skew(adjoint_of(times_adjoint(gvh, vh))) / gaps * off)
        inner = part if inner is None else inner + part
    assert inner is not None
    if gs is not None:
        inner = inner + eye_like(k, inner) * row_of(gs.to(inner.dtype))
    ga = product(product(u, inner), vh)
    if gu is not None and m > k:
        scaled = gu / row_of(sc)
        ga = ga + product(scaled - product(u, adjoint_times(u, scaled)), vh)
    if gvh is not None and n > k:
        scaled = gvh / column_of(sc)
        ga = ga + product(u, scaled - product(times_adjoint(scaled, vh), vh))
    return (ga,)


_SVD = Rule("LinalgSvdBackward0", _svd_backward)


@op(method=False, out=True, namespace="linalg")
def svd(A: Tensor, full_matrices: bool = True, *, driver: Any = None) -> Any:
    """U, S, Vh with A = U diag(S) Vh."""
    check_matrices(A, "linalg.svd", square=False)
    m, n = A.shape[-2:]
    k = min(m, n)
    lead = tuple(A.shape[:-2])
    rows, columns = (m, n) if full_matrices else (k, k)
    u, s, vh = host_call("svd", (A,), (bool(full_matrices),),
                         (((*lead, m, rows), A.dtype), ((*lead, k), A.dtype.to_real()),
                          ((*lead, columns, n), A.dtype)))
    attach_many((u, s, vh), _SVD, (A,), (("out", 0), ("out", 1), ("out", 2)))
    return result_type("linalg_svd")(u, s, vh)


@op(method=False, out=True, namespace="linalg")
def svdvals(A: Tensor, *, driver: Any = None) -> Tensor:
    """Singular values, largest first."""
    return svd(A, False).S  # type: ignore[no-any-return]


def _svd_root(input: Tensor, some: bool = True, compute_uv: bool = True) -> Any:
    """U, S, V with input = U diag(S) V^H."""
    u, s, vh = svd(input, not some)
    return result_type("svd")(u, s, adjoint_of(vh))


at_root("svd", _svd_root, out=True)
