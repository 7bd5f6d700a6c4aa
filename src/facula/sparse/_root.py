"""Functions of sparse tensors that stand at torch's root."""

from __future__ import annotations

from typing import Any

from facula.sparse import _products
from facula.sparse._tensor import HANDLERS


def spmm(input: Any, mat2: Any) -> Any:
    """The product of a sparse matrix with another: `torch.sparse.mm`.

    Example:
        >>> import facula
        >>> facula.spmm(facula.eye(2).to_sparse(), facula.ones(2, 1))
        tensor([[1.],
                [1.]])
    """
    return _products.mm(input, mat2)


dsmm = spmm


def hspmm(mat1: Any, mat2: Any) -> Any:
    """The product of a sparse and a dense matrix: a tensor of sparse rows.

    Example:
        >>> import facula
        >>> facula.hspmm(facula.eye(2).to_sparse(), facula.ones(2, 1)).dense_dim()
        1
    """
    return _products.hspmm(mat1, mat2)


hsmm = hspmm


def smm(input: Any, mat: Any) -> Any:
    """The product of a sparse and a dense matrix, as a sparse one.

    Example:
        >>> import facula
        >>> facula.smm(facula.eye(2).to_sparse(), facula.ones(2, 1)).is_sparse
        True
    """
    return _products.smm(input, mat)


def sspaddmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """`beta * input + alpha * (mat1 @ mat2)`: all of it sparse but `mat2`.

    Raises:
        RuntimeError: sizes that do not fit.

    Example:
        >>> import facula
        >>> s = facula.eye(2).to_sparse()
        >>> facula.sspaddmm(s, s, facula.eye(2)).to_dense()
        tensor([[2., 0.],
                [0., 2.]])
    """
    return _products.sspaddmm(input, mat1, mat2, beta=beta, alpha=alpha)


def saddmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """As `sspaddmm`.

    Example: see there.
    """
    return _products.sspaddmm(input, mat1, mat2, beta=beta, alpha=alpha)


def resize_as_sparse_(input: Any, the_template: Any) -> Any:
    """Have a sparse tensor be of the shape of another, with its places.

    Example:
        >>> import facula
        >>> s = facula.sparse_coo_tensor(size=(1, 1))
        >>> facula.resize_as_sparse_(s, facula.eye(2).to_sparse()).shape
        torch.Size([2, 2])
    """
    return HANDLERS["resize_as_sparse_"](input, the_template)
