"""Norms of matrices, and condition numbers."""

from __future__ import annotations

from typing import Any

from facula._tensor.handle import Tensor
from facula.dtypes import FLOAT
from facula.ops.linalg.svd import svdvals
from facula.ops.linalg.systems import inv_ex
from facula.ops.reduce.norms import vector_norm
from facula.ops.registry import DTYPE_NAMES, op
from facula.ops.view.value_views import owned


def _top(x: Tensor, dim: int, keepdim: bool = False) -> Tensor:
    """The largest of numbers none of which is negative: 0 where there is none."""
    return x.amax(dim, keepdim) if x.shape[dim] else x.sum(dim, keepdim)


@op(method=False, out=True, namespace="linalg")
def matrix_norm(A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *,
                dtype: Any = None) -> Tensor:
    """A norm of each matrix: 'fro', 'nuc', +-inf, +-1, +-2."""
    if dtype is not None:
        A = A.to(dtype)
    if len(A.shape) < 2:
        raise RuntimeError("linalg.matrix_norm: The input tensor A must have at least 2 "
                           "dimensions.")
    p, q = (d % len(A.shape) for d in dim)
    if p == q:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got ({dim[0]}, {dim[1]})")
    if A.dtype.category < FLOAT:
        raise RuntimeError("linalg.matrix_norm: Expected a floating point or complex tensor as input. Got "
                           + DTYPE_NAMES[A.dtype.name])
    if ord == "fro":
        return vector_norm(A, 2, (p, q), keepdim)  # type: ignore[no-any-return]
    if ord in ("nuc", 2, -2):
        s = svdvals(A.movedim((p, q), (-2, -1)))
        out = s.sum(-1) if ord == "nuc" else _top(s, -1) if ord == 2 else s.amin(-1)
        if keepdim:
            for d in sorted((p, q)):
                out = out.unsqueeze(d)
        return owned(out)
    if ord not in (1, -1, float("inf"), float("-inf")):
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    over, along = (p, q) if ord in (1, -1) else (q, p)
    sums = A.abs().sum(over, keepdim=True)
    out = _top(sums, along, True) if ord > 0 else sums.amin(along, keepdim=True)
    return owned(out if keepdim else out.squeeze(max(p, q)).squeeze(min(p, q)))


@op(method=False, out=True, namespace="linalg")
def norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *,
         dtype: Any = None) -> Tensor:
    """A vector norm, or a matrix norm if two dimensions (or a matrix) and an order are given."""
    if dim is not None and not isinstance(dim, int):
        dim = tuple(dim)
    if ord is not None and (isinstance(dim, tuple) and len(dim) == 2 or dim is None
                            and len(A.shape) == 2):
        return matrix_norm(A, ord, dim or (0, 1), keepdim, dtype=dtype)
    if isinstance(ord, str) or ord is not None and dim is None and len(A.shape) != 1:
        raise RuntimeError("linalg.norm: If dim is not specified but ord is, the input must be 1D "
                           f"or 2D. Got {len(A.shape)}D.")
    if dtype is not None:
        A = A.to(dtype)
    return vector_norm(A, 2 if ord is None else ord, dim, keepdim)  # type: ignore[no-any-return]


@op(method=False, out=True, namespace="linalg")
def cond(A: Tensor, p: Any = None) -> Tensor:
    """The condition number in a norm."""
    if 0 in A.shape[-2:] and not isinstance(p, str):
        return A.new_zeros(A.shape[:-2])
    if p is None or p in (2, -2):
        s = svdvals(A)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    inverse, info = inv_ex(A)
    return (matrix_norm(A, p) * matrix_norm(inverse, p)).masked_fill(info != 0, float("inf"))
