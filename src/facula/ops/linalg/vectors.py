"""Cross and dot products of vectors, and Vandermonde matrices."""

from __future__ import annotations

from facula._tensor.handle import Tensor
from facula.dtypes import FLOAT, int64
from facula.ops.arrange.joining import stack
from facula.ops.casting import to_dtype
from facula.ops.elementwise.pointwise import broadcast
from facula.ops.elementwise.refusals import dtype_word, refuse_mixed
from facula.ops.linalg.matrices import tensor_of
from facula.ops.product.contraction import conjugated
from facula.ops.registry import op


@op(method=False, out=True, namespace="linalg")
def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The cross product of vectors of three."""
    refuse_mixed(input, other)
    if len(input.shape) != len(other.shape):
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
    if input.shape[dim] != 3 or other.shape[dim] != 3:
        raise RuntimeError(f"linalg.cross: inputs dimension {dim} must have length 3. Got "
                           f"{input.shape[dim]} and {other.shape[dim]}")
    def turn(x: Tensor, by: int) -> Tensor:
        return x.index_select(dim, tensor_of([by % 3, (by + 1) % 3, (by + 2) % 3], int64))

    return turn(input, 1) * turn(other, 2) - turn(input, 2) * turn(other, 1)


@op(name="cross", out=True)
def _root_cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The cross product along `dim`; the first dimension of size 3 if none is given."""
    shape = broadcast(input.shape, other.shape)
    if dim is None:
        dim = next((k for k, s in enumerate(shape) if s == 3), None)
        if dim is None:
            raise RuntimeError(f"no dimension of size 3 in input, got {list(shape)}")
    return cross(input, other, dim=dim)  # type: ignore[no-any-return]


@op(method=False, out=True, namespace="linalg")
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """The dot products along a dimension."""
    if x.dtype is not y.dtype:
        raise RuntimeError("linalg.vecdot: Expected x and y to have the same dtype, but found x of type "
                           f"{dtype_word(x)} and y of type {dtype_word(y)} instead")
    return (conjugated(x) * y).sum(dim)


@op(method=False, namespace="linalg")
def vander(x: Tensor, N: int | None = None) -> Tensor:
    """Powers 0 .. N-1 of each element."""
    if not x.shape:
        x = x.reshape(1)
    n = x.shape[-1] if N is None else N
    if n <= 1:
        raise RuntimeError("N must be greater than 1.")
    if x.dtype.category < FLOAT:
        x = to_dtype(x, int64)
    return stack([x ** k for k in range(n)], -1)
