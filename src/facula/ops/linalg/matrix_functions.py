"""Powers and the exponential of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula._tensor.handle import Tensor, is_meta
from facula._tensor.reading import read
from facula.dtypes import bool_, complex128, float64
from facula.engine.realize import all_of
from facula.ops.index.masking import where
from facula.ops.linalg.matrices import at_root, check_matrices, constant_like, eye_like, tensor_of
from facula.ops.linalg.systems import inv
from facula.ops.product.contraction import product
from facula.ops.product.matrix_products import matmul
from facula.ops.registry import op
from facula.ops.severing import severed


@op(method=False, out=True, namespace="linalg")
def matrix_power(A: Tensor, n: int) -> Tensor:
    """A multiplied by itself n times; negative n take the inverse."""
    if len(A.shape) < 2:
        raise RuntimeError("linalg.matrix_power: The input tensor A must have at least 2 "
                           "dimensions.")
    if A.shape[-1] != A.shape[-2]:
        raise RuntimeError("linalg.matrix_power: A must be batches of square matrices, but they "
                           f"are {A.shape[-2]} by {A.shape[-1]} matrices")
    if n < 0:
        return matrix_power(inv(A), -n)
    if n == 0:
        return severed(tensor_of(np.broadcast_to(np.eye(A.shape[-1]), A.shape), A.dtype, A), A,
                       name="CopyBackwards")
    if n == 1:
        return A.clone()
    result = None
    while True:
        if n & 1:
            result = A if result is None else matmul(result, A)
        n >>= 1
        if not n:
            break
        A = matmul(A, A)
    return result  # type: ignore[return-value]


def _halvings(array: Any, most: float) -> Any:
    """How often to halve each matrix until its 1-norm is at most `most`."""
    size = np.abs(array).sum(-2).max(-1)
    with np.errstate(divide="ignore"):
        found = np.ceil(np.log2(size / most))
    return np.where(np.isfinite(found), np.maximum(found, 0), 0).astype(np.int64)


def _largest(A: Tensor) -> Any:
    """How often each matrix is to be halved; within vmap as the one that needs it most often."""
    node = read(A)
    found = _halvings(all_of(node), 1.09)
    return found if node.op.kind != "traced" else np.broadcast_to(found.max(initial=0), A.shape[:-2])


@op(method=False, out=True, namespace="linalg")
def matrix_exp(A: Tensor) -> Tensor:
    """The exponential of each matrix: a Taylor polynomial of the matrix scaled down, then squared.

    Computed in double precision: each squaring doubles the relative error.
    """
    check_matrices(A, "linalg.matrix_exp", low=True)
    if 0 in A.shape:
        return A
    of = A.dtype
    A = A.to(complex128 if of.is_complex else float64)
    # degree 18 is exact to 2**-53 up to there
    times = np.broadcast_to(0, A.shape[:-2]) if is_meta(A) else _largest(A)
    X = A * constant_like(0.5 ** times[..., None, None], A)
    eye = eye_like(A.shape[-1], A)
    result = eye + X / 18
    for k in range(17, 0, -1):
        result = eye + product(X, result) / k
    for k in range(int(times.max(initial=0))):
        squared = product(result, result)
        more = times > k
        result = squared if more.all() else where(
            tensor_of(more[..., None, None], bool_), squared, result)
    return result.to(of)  # type: ignore[no-any-return]


at_root("matrix_power", matrix_power)
at_root("matrix_exp", matrix_exp)
