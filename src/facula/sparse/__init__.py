"""`torch.sparse`: tensors of which only some elements are kept, by places or compressed by rows or columns.

    _tensor.py      SparseTensor, what answers for it, its places
    _creating.py    of indices and values, of dense tensors, from one layout to another
    _elementwise.py, _shapes.py, _products.py, _reducing.py     what operations do to it, by their names
    _parts.py, _checks.py, _printing.py

Indices and values are ordinary tensors and every operation is made of operations on these, so gradients go through it.
Blocks (`torch.sparse_bsr`), semi-structured tensors and solvers are not in Facula yet.

Example:
    >>> import facula
    >>> s = facula.eye(2).to_sparse()
    >>> facula.sparse.mm(s, facula.ones(2, 1))
    tensor([[1.],
            [1.]])
"""

from __future__ import annotations

from typing import Any

import facula
from facula import absent
from facula.sparse import _parts, _printing, _products, _reducing
from facula.sparse._checks import check_sparse_tensor_invariants
from facula.sparse._tensor import SparseTensor

SparseSemiStructuredTensor = absent.kind("torch.sparse.SparseSemiStructuredTensor")
SparseSemiStructuredTensorCUSPARSELT = absent.kind("torch.sparse.SparseSemiStructuredTensorCUSPARSELT")
SparseSemiStructuredTensorCUTLASS = absent.kind("torch.sparse.SparseSemiStructuredTensorCUTLASS")
to_sparse_semi_structured = absent.function("torch.sparse.to_sparse_semi_structured")
spsolve = absent.function("torch.sparse.spsolve", "torch.linalg.solve takes dense matrices")
assert _parts and _printing

__all__ = ["SparseSemiStructuredTensor", "SparseSemiStructuredTensorCUSPARSELT", "SparseSemiStructuredTensorCUTLASS",
           "addmm", "as_sparse_gradcheck", "check_sparse_tensor_invariants", "log_softmax", "mm", "softmax", "spsolve",
           "sum", "to_sparse_semi_structured"]


def mm(mat1: Any, mat2: Any, reduce: str = "sum") -> Any:
    """The product of a sparse matrix (n, m) and a matrix (m, k): sparse if both are, else dense.

    Args:
        reduce: what becomes of the products of a row: "sum", "mean", "amax" or "amin" (with a dense `mat2`).

    Raises:
        RuntimeError: sizes or dtypes that do not fit.

    Example:
        >>> import facula
        >>> a = facula.sparse_coo_tensor([[0, 1], [1, 0]], [2.0, 3.0], (2, 2))
        >>> facula.sparse.mm(a, facula.tensor([[1.0], [10.0]]))
        tensor([[20.],
                [ 3.]])
    """
    if not isinstance(mat1, SparseTensor) and not isinstance(mat2, SparseTensor):
        return facula.mm(mat1, mat2)
    if reduce not in ("sum", "mean", "amax", "amin"):
        raise RuntimeError(f"torch.sparse.mm: expected reduce to be sum, mean, amax or amin, got {reduce!r}")
    if reduce != "sum" and isinstance(mat2, SparseTensor):
        raise NotImplementedError(f"torch.sparse.mm of two sparse matrices with reduce={reduce!r} is not in Facula yet")
    return _products.mm(mat1, mat2, reduce)


def addmm(mat: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """`beta * mat + alpha * (mat1 @ mat2)` with a sparse `mat1`.

    Raises:
        RuntimeError: sizes or dtypes that do not fit.

    Example:
        >>> import facula
        >>> facula.sparse.addmm(facula.ones(2, 1), facula.eye(2).to_sparse(), facula.ones(2, 1), alpha=5)
        tensor([[6.],
                [6.]])
    """
    return _products.addmm(mat, mat1, mat2, beta=beta, alpha=alpha)


def sum(input: Any, dim: Any = None, dtype: Any = None) -> Any:
    """The sum of a sparse tensor's elements, or sums along dimensions: sparse while a sparse dimension is left.

    Example:
        >>> import facula
        >>> facula.sparse.sum(facula.eye(2).to_sparse(), 0).to_dense()
        tensor([1., 1.])
    """
    return _reducing.sum(input, dim, dtype=dtype)


def softmax(input: Any, dim: int, *, dtype: Any = None) -> Any:
    """The softmax along a dimension, of the elements that are there: the others count as minus infinity.

    Raises:
        NotImplementedError: a compressed layout, integers.

    Example:
        >>> import facula
        >>> s = facula.sparse_coo_tensor([[0, 0], [0, 2]], [1.0, 1.0], (1, 3))
        >>> facula.sparse.softmax(s, 1).to_dense()
        tensor([[0.5000, 0.0000, 0.5000]])
    """
    return _reducing.softmax(input, dim, dtype=dtype)


def log_softmax(input: Any, dim: int, *, dtype: Any = None) -> Any:
    """The logarithm of `softmax`; what is not there stays so. Raises as that.

    Example:
        >>> import facula
        >>> s = facula.sparse_coo_tensor([[0], [2]], [1.0], (1, 3))
        >>> facula.sparse.log_softmax(s, 1).to_dense()
        tensor([[0., 0., 0.]])
    """
    return _reducing.log_softmax(input, dim, dtype=dtype)


def as_sparse_gradcheck(gradcheck: Any) -> Any:
    """A `gradcheck` whose function may take and give sparse tensors: they are checked by their values.

    Example:
        >>> import facula
        >>> check = facula.sparse.as_sparse_gradcheck(facula.autograd.gradcheck)
        >>> s = facula.eye(2, dtype=facula.float64).to_sparse().requires_grad_()
        >>> check(lambda s: facula.sparse.mm(s, s.to_dense()), s)
        True
    """
    def checked(func: Any, inputs: Any, **options: Any) -> bool:
        given = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
        options.pop("masked", None)
        values = tuple([s._v if isinstance(s, SparseTensor) else s for s in given])

        def of_values(*parts: Any) -> Any:
            from facula.sparse._tensor import with_values
            found = func(*[with_values(s, v) if isinstance(s, SparseTensor) else v
                           for s, v in zip(given, parts, strict=True)])
            if isinstance(found, (tuple, list)):
                return tuple([f.to_dense() if isinstance(f, SparseTensor) else f for f in found])
            return found.to_dense() if isinstance(found, SparseTensor) else found
        return bool(gradcheck(of_values, values, **options))
    return checked


def __getattr__(name: str) -> Any:
    raise absent.missing("sparse", name)
