"""Norms under their names at the root."""

from __future__ import annotations

from typing import Any

from facula._tensor.handle import Tensor
from facula.dtypes import FLOAT, dtype
from facula.ops.arguments import check_tensor, numpy_names, wrap_dim
from facula.ops.casting import to_dtype
from facula.ops.index.masking import where
from facula.ops.linalg.matrix_norms import matrix_norm
from facula.ops.reduce.norms import vector_norm
from facula.ops.registry import DTYPE_NAMES, op, store_out


@op(out=False)
@numpy_names
def norm(input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, out: Any = None,
         dtype: dtype | None = None) -> Tensor:
    check_tensor(input, "norm")
    if p == "nuc":
        result = matrix_norm(input, "nuc", dim if dim is not None else (-2, -1), keepdim, dtype=dtype)
    else:
        if isinstance(p, str) and p != "fro":
            raise RuntimeError(f"only valid string values are 'fro' and 'nuc', found {p}")
        if input.dtype.category < FLOAT and dtype is None:
            raise RuntimeError("linalg.vector_norm: Expected a floating point or complex tensor "
                               f"as input. Got {DTYPE_NAMES[input.dtype.name]}")
        result = vector_norm(input if dtype is None else to_dtype(input, dtype),
                             2 if p in ("fro", None) else p, dim, keepdim)
    if out is not None:
        return store_out(out, result, "norm")
    return result


@op(method=False)
def norm_except_dim(v: Tensor, pow: int = 2, dim: int = 0) -> Tensor:
    if dim == -1:
        return norm(v, pow)
    d = wrap_dim(dim, len(v.shape))
    rest = tuple([k for k in range(len(v.shape)) if k != d])
    return vector_norm(v, pow, rest, True)


@op(inplace=True, out=True)
def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """Each slice along `dim` scaled down to the p-norm `maxnorm` if it has a larger one."""
    if p <= 0:
        raise RuntimeError("renorm: non-positive-norm not supported")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    rank = len(input.shape)
    if rank < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {rank} dimensions")
    d = wrap_dim(dim, rank)
    rest = tuple([k for k in range(rank) if k != d])
    size = vector_norm(input, p, rest, True)
    scale = where(size > maxnorm, maxnorm / (size + 1e-7), 1.0)
    return input * to_dtype(scale, input.dtype)


@op(method=False)
def frobenius_norm(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """The square root of the sum of squares."""
    return vector_norm(input, 2, dim, keepdim)  # type: ignore[no-any-return]


@op(method=False)
def nuclear_norm(input: Tensor, dim: Any = (-2, -1), keepdim: bool = False) -> Tensor:
    """The sum of the singular values."""
    return matrix_norm(input, "nuc", dim, keepdim)  # type: ignore[no-any-return]
