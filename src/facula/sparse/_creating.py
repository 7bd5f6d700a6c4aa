"""How sparse tensors are made: of indices and values, of dense ones, of each other."""

from __future__ import annotations

from typing import Any

import facula
from facula import layouts
from facula._tensor.handle import Tensor
from facula.sparse._checks import check, state
from facula.sparse._tensor import (
    COMPRESSED,
    KINDS,
    SparseTensor,
    coalesced,
    dense,
    implements,
    made,
    pointers,
    shape_of,
)


def _tensor(value: Any, dtype: Any, device: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to(dtype=dtype or value.dtype, device=device or value.device)
    return facula.tensor(value, dtype=dtype, device=device)


def _values(v: Tensor, requires_grad: bool) -> Any:
    """A leaf of its own if it is to be one; else what leads to the values that were given."""
    if requires_grad or not v.requires_grad:
        return v.detach().requires_grad_(requires_grad)
    return v.view_as(v)  # type: ignore[no-any-return]


def sparse_coo_tensor(indices: Any = None, values: Any = None, size: Any = None, *, dtype: Any = None,
                      device: Any = None, requires_grad: bool = False, check_invariants: bool | None = None,
                      is_coalesced: bool | None = None, pin_memory: bool = False) -> SparseTensor:
    """A sparse tensor of the places and values of its elements. Places may come twice: their values are added.

    Args:
        indices: (sparse dimensions, nnz), integers.
        values: (nnz, *dense dimensions). Gradients lead to them, unless `requires_grad` makes the tensor a leaf.
        size: the shape; else it is as large as the indices ask for.
        check_invariants: look whether all places lie within the shape.
        is_coalesced: the places are in order, each once.

    Raises:
        RuntimeError: indices, values and size that do not fit each other.

    Example:
        >>> import facula
        >>> s = facula.sparse_coo_tensor([[0, 1, 1], [2, 0, 2]], [3.0, 4.0, 5.0], (2, 3))
        >>> s.to_dense()
        tensor([[0., 0., 3.],
                [4., 0., 5.]])
        >>> s @ facula.ones(3, 1)
        tensor([[3.],
                [9.]])
    """
    if values is None:
        size = size if indices is None else indices
        if size is None:
            raise TypeError("sparse_coo_tensor: expected indices and values, or a size")
        shape = shape_of(size)
        v = facula.zeros(0, dtype=dtype, device=device).requires_grad_(requires_grad)
        return made(facula.zeros(len(shape), 0, dtype=facula.int64, device=v.device), v, shape, True)
    v = _tensor(values, dtype, device)
    i = _tensor(indices, None, v.device).to(facula.int64)
    if v.dim() == 0:
        v = v.reshape(1)
    if i.dim() != 2:
        if i.numel():
            raise RuntimeError(f"indices must be sparse_dim x nnz, but got: {list(i.shape)}")
        i = i.reshape(0 if size is None else len(size) - v.dim() + 1, 0)
    if i.shape[1] != v.shape[0]:
        raise RuntimeError("indices and values must have same nnz, but got nnz from indices: "
                           f"{i.shape[1]}, nnz from values: {v.shape[0]}")
    if size is None:
        lengths = (i.max(1).values + 1).tolist() if i.shape[1] else [0] * i.shape[0]
        size = (*lengths, *v.shape[1:])
    shape = shape_of(size)
    if len(shape) != i.shape[0] + v.dim() - 1:
        raise RuntimeError(f"'len(size) == sparse_dim + dense_dim' is not satisfied: len(size) = {len(shape)}, "
                           f"sparse_dim = {i.shape[0]}, dense_dim = {v.dim() - 1}")
    if tuple(shape)[i.shape[0]:] != tuple(v.shape[1:]):
        raise RuntimeError(f"values has incorrect size, expected {[v.shape[0], *tuple(shape)[i.shape[0]:]]}, got "
                           f"{list(v.shape)}")
    v = _values(v, requires_grad)
    whole = bool(is_coalesced) if is_coalesced is not None else i.shape[1] < 2
    if state.checked if check_invariants is None else check_invariants:
        check(i, shape, whole)
    return made(i, v, shape, whole)


def compressed(layout: Any, pointer: Any, plain: Any, values: Any, size: Any, dtype: Any, device: Any,
               requires_grad: bool, check_invariants: bool | None) -> SparseTensor:
    """A tensor of a compressed layout, of where rows (columns) begin and the columns (rows) of its values."""
    if layout not in COMPRESSED:
        raise NotImplementedError(f"sparse tensors of layout {layout} are not in Facula yet: torch.sparse_coo, "
                                  "torch.sparse_csr and torch.sparse_csc are")
    v = _tensor(values, dtype, device)
    p, other = (_tensor(part, None, v.device).to(facula.int64) for part in (pointer, plain))
    if p.dim() != 1 or other.dim() != 1 or v.dim() != 1:
        raise NotImplementedError(f"{layout} tensors with batches or dense dimensions are not in Facula yet")
    if other.shape != v.shape:
        raise RuntimeError(f"number of specified elements (nnz) must agree: {other.shape[0]} indices, {v.shape[0]} "
                           "values")
    at = COMPRESSED[layout]
    if size is None:
        sizes = [p.shape[0] - 1, int(other.max()) + 1 if other.shape[0] else 0]
        size = sizes if at == 0 else sizes[::-1]
    shape = shape_of(size)
    if len(shape) != 2 or p.shape[0] != shape[at] + 1:
        raise RuntimeError(f"{layout}: expected two sizes and one more pointer ({p.shape[0]}) than "
                           f"{'rows' if at == 0 else 'columns'}, got size {tuple(shape)}")
    rows = facula.repeat_interleave(facula.arange(shape[at], device=v.device), p.diff(), output_size=None)
    if rows.shape[0] != v.shape[0]:
        raise RuntimeError(f"{layout}: the pointers tell of {rows.shape[0]} values, there are {v.shape[0]}")
    v = _values(v, requires_grad)
    i = facula.stack([rows, other] if at == 0 else [other, rows])
    if state.checked if check_invariants is None else check_invariants:
        check(i, shape, False)
    return made(i, v, shape, False, layout, p)


def sparse_csr_tensor(crow_indices: Any, col_indices: Any, values: Any, size: Any = None, *, dtype: Any = None,
                      device: Any = None, requires_grad: bool = False, check_invariants: bool | None = None,
                      pin_memory: bool = False) -> SparseTensor:
    """A matrix by rows: where the values of each row begin, and their columns.

    Raises:
        RuntimeError: parts that do not fit each other. NotImplementedError: batches, dense dimensions.

    Example:
        >>> import facula
        >>> facula.sparse_csr_tensor([0, 1, 3], [2, 0, 2], [3.0, 4.0, 5.0]).to_dense()
        tensor([[0., 0., 3.],
                [4., 0., 5.]])
    """
    return compressed(layouts.sparse_csr, crow_indices, col_indices, values, size, dtype, device, requires_grad,
                      check_invariants)


def sparse_csc_tensor(ccol_indices: Any, row_indices: Any, values: Any, size: Any = None, *, dtype: Any = None,
                      device: Any = None, requires_grad: bool = False, check_invariants: bool | None = None,
                      pin_memory: bool = False) -> SparseTensor:
    """A matrix by columns: where the values of each column begin, and their rows. Raises as `sparse_csr_tensor`.

    Example:
        >>> import facula
        >>> facula.sparse_csc_tensor([0, 1, 1, 3], [1, 0, 1], [4.0, 3.0, 5.0]).to_dense()
        tensor([[0., 0., 3.],
                [4., 0., 5.]])
    """
    return compressed(layouts.sparse_csc, ccol_indices, row_indices, values, size, dtype, device, requires_grad,
                      check_invariants)


def sparse_compressed_tensor(compressed_indices: Any, plain_indices: Any, values: Any, size: Any = None, *,
                             dtype: Any = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
                             check_invariants: bool | None = None, pin_memory: bool = False) -> SparseTensor:
    """A matrix by rows or columns, as `layout` says. Raises as `sparse_csr_tensor`.

    Example:
        >>> import facula
        >>> facula.sparse_compressed_tensor([0, 1], [0], [2.0], layout=facula.sparse_csr).to_dense()
        tensor([[2.]])
    """
    if layout is None:
        raise RuntimeError("sparse_compressed_tensor: expected a layout, torch.sparse_csr or torch.sparse_csc")
    return compressed(layout, compressed_indices, plain_indices, values, size, dtype, device, requires_grad,
                      check_invariants)


# ---- from one layout to another -------------------------------------------------------------------------------------

@implements("to_dense", "_to_dense")
def to_dense(self: Any, dtype: Any = None, *, masked_grad: Any = None) -> Any:
    """All elements."""
    found = dense(self) if isinstance(self, SparseTensor) else self
    return found if dtype is None else found.to(dtype)


def of_dense(x: Tensor, sparse_dims: int) -> SparseTensor:
    """The elements of a dense tensor that are not 0; rows of them if not all dimensions are sparse."""
    told = x.detach()
    for _ in range(x.dim() - sparse_dims):
        told = (told != 0).any(-1)
    i = told.nonzero().t()
    return made(i, x[tuple(i)] if sparse_dims else x.reshape(1, *x.shape), x.shape, True)


def as_coo(s: SparseTensor) -> SparseTensor:
    """The same elements by places."""
    if s._layout is layouts.sparse_coo:
        return s
    return coalesced(made(s._i, s._v, s.shape, False))


def as_compressed(s: SparseTensor, layout: Any) -> SparseTensor:
    """The same elements by rows or columns."""
    if s._layout is layout:
        return s
    if s._i.shape[0] != 2 or s._v.dim() != 1:
        raise NotImplementedError(f"{layout} tensors with batches or dense dimensions are not in Facula yet")
    at = COMPRESSED[layout]
    whole = as_coo(s) if s._layout is not layouts.sparse_coo else coalesced(s)
    i, v = whole._i, whole._v
    if at == 1:
        order = facula.argsort(i[1], stable=True)
        i, v = i[:, order], v[order]
    return made(i, v, s.shape, False, layout, pointers(i[at], s.shape[at]))


@implements("to_sparse", "_to_sparse", "to_sparse_coo")
def to_sparse(self: Any, *args: Any, layout: Any = None, blocksize: Any = None, dense_dim: Any = None,
              sparse_dim: Any = None) -> Any:
    """See `Tensor.to_sparse`."""
    dims = args[0] if args else sparse_dim
    layout = layout or layouts.sparse_coo
    if not isinstance(self, SparseTensor):
        dims = self.dim() if dims is None else dims
        if not 0 <= dims <= self.dim() or dims == 0 < self.dim():
            raise RuntimeError(f"to_sparse: sparse_dim must be in [1, {self.dim()}], got {dims}")
        self = of_dense(self, dims)
    if layout is layouts.sparse_coo:
        return as_coo(self)
    if layout not in COMPRESSED:
        raise NotImplementedError(f"sparse tensors of layout {layout} are not in Facula yet")
    return as_compressed(self, layout)


for _layout in COMPRESSED:
    def _to(self: Any, dense_dim: Any = None, *, _layout: Any = _layout) -> Any:
        return to_sparse(self, layout=_layout)
    implements(f"to_{str(_layout).removeprefix('torch.')}")(_to)


def expected(what: str, wanted: str, s: Any) -> RuntimeError:
    """The error of who asks a tensor of another layout."""
    return RuntimeError(f"{what} expected {wanted} tensor layout but got {KINDS[s.layout]}")
