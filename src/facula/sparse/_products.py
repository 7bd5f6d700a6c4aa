"""Products with sparse matrices: each value takes its row of the dense factor and is added to a row of the result."""

from __future__ import annotations

from typing import Any

import facula
from facula import layouts
from facula._tensor.handle import Tensor
from facula.sparse._creating import as_compressed, as_coo
from facula.sparse._elementwise import add
from facula.sparse._shapes import t
from facula.sparse._tensor import SparseTensor, coalesced, dense, implements, joined, made, pointers, with_values


def _check(name: str, a: Any, b: Any) -> None:
    if a.dim() != 2 or b.dim() != 2:
        raise RuntimeError(f"{name}: expected matrices, got tensors of {a.dim()} and {b.dim()} dimensions")
    if a.shape[1] != b.shape[0]:
        raise RuntimeError(f"{name}: mat1 and mat2 shapes cannot be multiplied ({a.shape[0]}x{a.shape[1]} and "
                           f"{b.shape[0]}x{b.shape[1]})")
    if a.dtype is not b.dtype:
        raise RuntimeError(f"{name}: expected mat1 and mat2 to have the same dtype, but got: {a.dtype} != {b.dtype}")
    for s in (a, b):
        if isinstance(s, SparseTensor) and s._v.dim() != 1:
            raise RuntimeError(f"{name}: expected a matrix with two sparse dimensions, got {s._i.shape[0]} sparse and "
                               f"{s._v.dim() - 1} dense ones")


def _by_dense(s: SparseTensor, b: Tensor, reduce: str = "sum") -> Any:
    rows, columns = s._i[0], s._i[1]
    parts = s._v.reshape(-1, 1) * b[columns]
    empty = facula.zeros(s.shape[0], b.shape[1], dtype=parts.dtype, device=parts.device)
    if reduce == "sum":
        return empty.index_add(0, rows, parts)
    return empty.index_reduce(0, rows, parts, reduce, include_self=False)


def _by_sparse(a: SparseTensor, b: SparseTensor) -> SparseTensor:
    right = coalesced(as_coo(b))
    starts = pointers(right._i[0], b.shape[0])
    left, entry = joined((starts[1:] - starts[:-1])[a._i[1]], starts[a._i[1]])
    i = facula.stack([a._i[0][left], right._i[1][entry]])
    found = coalesced(made(i, a._v[left] * right._v[entry], (a.shape[0], b.shape[1]), False))
    return as_compressed(found, a._layout) if a._layout is layouts.sparse_csr else found


@implements("mm", "spmm", "dsmm")
def mm(input: Any, mat2: Any, reduce: str = "sum") -> Any:
    """A product of matrices: of two sparse ones sparse, else dense."""
    _check("mm", input, mat2)
    if not isinstance(input, SparseTensor):
        return _by_dense(t(mat2), input.t(), reduce).t()
    return _by_sparse(input, mat2) if isinstance(mat2, SparseTensor) else _by_dense(input, mat2, reduce)


@implements("mv")
def mv(input: Any, vec: Any) -> Any:
    """A matrix times a vector."""
    if input.dim() != 2 or vec.dim() != 1 or input.shape[1] != vec.shape[0]:
        raise RuntimeError(f"mv: expected a matrix and a vector as long as its rows, got sizes {list(input.shape)} and "
                           f"{list(vec.shape)}")
    return mm(input, vec.unsqueeze(1)).squeeze(1)  # type: ignore[no-any-return]


@implements("matmul", "__matmul__")
def matmul(input: Any, other: Any) -> Any:
    """The product that `@` is."""
    dims = input.dim(), other.dim()
    if dims == (2, 2):
        return mm(input, other)
    if dims == (2, 1):
        return mv(input, other)
    if dims == (1, 2):
        return mv(t(other), input)
    if dims == (3, 3):
        return bmm(input, other)
    raise NotImplementedError(f"matmul of a sparse tensor: expected matrices, or batches of them, got {dims[0]} and "
                              f"{dims[1]} dimensions")


@implements("__rmatmul__")
def rmatmul(self: Any, other: Any) -> Any:
    """The product from the left."""
    return matmul(other, self)


@implements("bmm")
def bmm(input: Any, mat2: Any) -> Any:
    """Products of a batch of sparse matrices with dense ones."""
    if not isinstance(input, SparseTensor) or isinstance(mat2, SparseTensor):
        raise NotImplementedError("bmm: a sparse and a dense tensor are expected, in this order")
    if input._v.dim() != 1 or mat2.dim() != 3 or input.shape[0] != mat2.shape[0] or input.shape[2] != mat2.shape[1]:
        raise RuntimeError(f"bmm: sizes {list(input.shape)} and {list(mat2.shape)} do not fit")
    count, rows, columns = input.shape
    i = facula.stack([input._i[0] * rows + input._i[1], input._i[0] * columns + input._i[2]])
    flat = made(i, input._v, (count * rows, count * columns), False)
    return _by_dense(flat, mat2.reshape(count * columns, -1)).reshape(count, rows, -1)


@implements("addmm")
def addmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """`beta * input + alpha * (mat1 @ mat2)`."""
    product = mm(mat1, mat2)
    if isinstance(input, SparseTensor) and not isinstance(product, SparseTensor):
        raise RuntimeError("addmm: a sparse input with a dense product is not supported: see sspaddmm")
    if isinstance(product, SparseTensor):
        if not isinstance(input, SparseTensor):
            return beta * input + alpha * dense(product)
        return add(with_values(input, input._v * beta), product, alpha=alpha)
    return beta * input + alpha * product


def _products(mat1: SparseTensor, mat2: Tensor) -> SparseTensor:
    """A product with a dense matrix, its rows that have values as places."""
    rows, groups = facula.unique(mat1._i[0], return_inverse=True)
    small = made(facula.stack([groups, mat1._i[1]]), mat1._v, (rows.shape[0], mat1.shape[1]), False)
    return made(rows.reshape(1, -1), _by_dense(small, mat2), (mat1.shape[0], mat2.shape[1]), False)


@implements("hspmm", "hsmm")
def hspmm(mat1: Any, mat2: Any) -> SparseTensor:
    """The product as a tensor with sparse rows and dense columns."""
    _check("hspmm", mat1, mat2)
    return _products(as_coo(mat1), mat2)


@implements("smm")
def smm(input: Any, mat: Any) -> SparseTensor:
    """The product as a sparse matrix."""
    _check("smm", input, mat)
    found = _products(as_coo(input), mat)
    rows, columns = found._v.shape
    i = facula.stack([found._i[0].repeat_interleave(columns), facula.arange(columns, device=mat.device).repeat(rows)])
    return made(i, found._v.reshape(-1), found.shape, False)


@implements("sspaddmm", "saddmm")
def sspaddmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> SparseTensor:
    """`beta * input + alpha * (mat1 @ mat2)`, all of it sparse but `mat2`."""
    product = smm(mat1, mat2)
    if not isinstance(input, SparseTensor) or input.shape != product.shape:
        raise RuntimeError(f"sspaddmm: expected a sparse input of size {list(product.shape)}, got {list(input.shape)}")
    return made(facula.cat([input._i, product._i], 1), facula.cat([input._v * beta, product._v * alpha]), input.shape,
                False)


@implements("linear")
def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """`input @ weight.t() + bias` with a sparse weight, or a sparse input."""
    if isinstance(weight, SparseTensor):
        if isinstance(input, SparseTensor):
            raise NotImplementedError("linear of a sparse input with a sparse weight is not in Facula yet")
        flat = input.reshape(-1, input.shape[-1])
        found = _by_dense(weight, flat.t()).t().reshape(*input.shape[:-1], weight.shape[0])
    else:
        found = mm(input, weight.t())
    return found if bias is None else found + bias

