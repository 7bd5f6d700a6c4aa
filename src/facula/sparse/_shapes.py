"""Sparse tensors in other shapes: transposed, joined, parts of them."""

from __future__ import annotations

from typing import Any

import facula
from facula import layouts
from facula.sparse._creating import as_coo
from facula.sparse._tensor import COMPRESSED, SparseTensor, become, coalesced, implements, joined, made, pointers

_OTHER = {layouts.sparse_csr: layouts.sparse_csc, layouts.sparse_csc: layouts.sparse_csr}


def at(s: Any, dim: int, more: int = 0) -> int:
    """A dimension, counted from the front. IndexError for one that is not there."""
    n = s.dim() + more
    if not -n <= dim < max(n, 1):
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})")
    return dim % n if n else 0


@implements("transpose", "swapaxes", "swapdims")
def transpose(input: Any, dim0: int, dim1: int) -> Any:
    """With two dimensions exchanged, both sparse or both dense."""
    a, b = sorted((at(input, dim0), at(input, dim1)))
    n = input._i.shape[0]
    if a == b:
        return input  # type: ignore[no-any-return]
    shape = list(input.shape)
    shape[a], shape[b] = shape[b], shape[a]
    if b < n:
        rows = list(range(n))
        rows[a], rows[b] = b, a
        if input._layout in COMPRESSED:
            return made(input._i[rows], input._v, shape, False, _OTHER[input._layout], input._p)
        return made(input._i[rows], input._v, shape, False)
    if a < n:
        raise RuntimeError(f"transpose(): can only transpose a sparse dimension with a sparse one, got {dim0} and "
                           f"{dim1} of a tensor with {n} sparse dimensions")
    return made(input._i, input._v.transpose(a - n + 1, b - n + 1), shape, input._whole)


@implements("t", "adjoint")
def t(input: Any) -> Any:
    """The transpose of a matrix."""
    if input.dim() > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 sparse and 0 dense dimensions, but got {input._i.shape[0]} "
                           f"sparse and {input._v.dim() - 1} dense dimensions")
    return input if input.dim() < 2 else transpose(input, 0, 1)


@implements("permute")
def permute(input: Any, *dims: Any) -> Any:
    """With the dimensions in another order; sparse ones stay in front."""
    order = [at(input, d) for d in (dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims)]
    n = input._i.shape[0]
    if sorted(order) != list(range(input.dim())):
        raise RuntimeError("permute(sparse_coo): number of dimensions in the tensor input does not match the length of "
                           f"the desired ordering of dimensions i.e. input.dim() = {input.dim()} is not equal to "
                           f"len(dims) = {len(order)}")
    if sorted(order[:n]) != list(range(n)):
        raise RuntimeError(f"permute(): a sparse dimension can only come where one was, got {order}")
    if input._layout in COMPRESSED:
        return input if order == [0, 1] else transpose(input, 0, 1)  # type: ignore[no-any-return]
    v = input._v.permute(0, *[d - n + 1 for d in order[n:]])
    whole = input._whole and order[:n] == list(range(n))
    return made(input._i[order[:n]], v, [input.shape[d] for d in order], whole)


@implements("unsqueeze")
def unsqueeze(input: Any, dim: int) -> SparseTensor:
    """With a dimension of length 1 more."""
    s, d = as_coo(input), at(input, dim, 1)
    shape, n = [*s.shape[:d], 1, *s.shape[d:]], s._i.shape[0]
    if d > n:
        return made(s._i, s._v.unsqueeze(d - n + 1), shape, s._whole)
    row = s._i.new_zeros(1, s._i.shape[1])
    return made(facula.cat([s._i[:d], row, s._i[d:]]), s._v, shape, s._whole)


@implements("cat", "concat", "concatenate")
def cat(tensors: Any, dim: int = 0) -> SparseTensor:
    """One after the other along a dimension."""
    parts = [as_coo(s) for s in tensors if isinstance(s, SparseTensor)]
    if len(parts) != len(tensors):
        raise RuntimeError("Concatenating sparse tensors, but a dense tensor was found")
    d, n = at(parts[0], dim), parts[0]._i.shape[0]
    rest = [[*s.shape[:d], *s.shape[d + 1:]] for s in parts]
    if any(one != rest[0] for one in rest) or any(s._i.shape[0] != n for s in parts):
        raise RuntimeError(f"All tensors must have the same shape except in dimension {dim}: got "
                           f"{[list(s.shape) for s in parts]}")
    shape = list(parts[0].shape)
    shape[d] = sum(s.shape[d] for s in parts)
    kind = parts[0].dtype
    for s in parts:
        kind = facula.promote_types(kind, s.dtype)
    indices, values, before = [], [], 0
    for s in parts:
        v, i = s._v.to(kind), s._i
        if d < n:
            shift = i.new_zeros(n, 1)
            shift[d] = before
            i = i + shift
        else:
            sides = v.new_zeros([v.shape[0], *shape[n:d], before, *shape[d + 1:]]), v.new_zeros(
                [v.shape[0], *shape[n:d], shape[d] - before - s.shape[d], *shape[d + 1:]])
            v = facula.cat([sides[0], v, sides[1]], d - n + 1)
        before += s.shape[d]
        indices.append(i)
        values.append(v)
    return made(facula.cat(indices, 1), facula.cat(values), shape, False)


@implements("stack")
def stack(tensors: Any, dim: int = 0) -> Any:
    """Along a new dimension."""
    return cat([unsqueeze(s, at(s, dim, 1)) for s in tensors], at(tensors[0], dim, 1))


@implements("index_select")
def index_select(input: Any, dim: int, index: Any) -> SparseTensor:
    """The parts at the places of `index` along a dimension."""
    s, d = as_coo(input), at(input, dim)
    n, size = s._i.shape[0], s.shape[d]
    shape = [*s.shape[:d], index.numel(), *s.shape[d + 1:]]
    if index.numel() and (int(index.min()) < -size or int(index.max()) >= size):
        raise IndexError(f"index_select(): index contains an index out of range for a dimension of size {size}")
    index = facula.where(index < 0, index + size, index).reshape(-1).to(facula.int64)
    if d >= n:
        return made(s._i, s._v.index_select(d - n + 1, index), shape, s._whole)
    order = facula.argsort(s._i[d], stable=True)
    starts = pointers(s._i[d], size)
    which, entry = joined((starts[1:] - starts[:-1])[index], starts[index])
    found = order[entry]
    i = s._i[:, found]
    return made(facula.cat([i[:d], which.reshape(1, -1), i[d + 1:]]), s._v[found], shape, False)


@implements("select")
def select(input: Any, dim: int, index: int) -> Any:
    """The part at one place of a dimension; dense if no sparse dimension is left."""
    s, d = as_coo(input), at(input, dim)
    n, size = s._i.shape[0], s.shape[d]
    if not -size <= index < size:
        raise IndexError(f"select(): index {index} out of range for tensor of size {list(s.shape)} at dimension {dim}")
    shape = [*s.shape[:d], *s.shape[d + 1:]]
    if d >= n:
        return made(s._i, s._v.select(d - n + 1, index), shape, s._whole)
    here = (s._i[d] == index % size).nonzero().reshape(-1)
    if n == 1:
        return s._v[here].sum(0)
    i = s._i[:, here]
    return coalesced(made(facula.cat([i[:d], i[d + 1:]]), s._v[here], shape, s._whole))


@implements("narrow_copy")
def narrow_copy(input: Any, dim: int, start: int, length: int) -> SparseTensor:
    """A piece along a dimension."""
    s, d = as_coo(input), at(input, dim)
    n, size = s._i.shape[0], s.shape[d]
    if not -size <= start <= size or (start % size if start < 0 else start) + length > size or length < 0:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({size}).")
    start = start % size if start < 0 else start
    shape = [*s.shape[:d], length, *s.shape[d + 1:]]
    if d >= n:
        return made(s._i, s._v.narrow(d - n + 1, start, length), shape, s._whole)
    here = ((s._i[d] >= start) & (s._i[d] < start + length)).nonzero().reshape(-1)
    shift = s._i.new_zeros(n, 1)
    shift[d] = start
    return made(s._i[:, here] - shift, s._v[here], shape, s._whole)


@implements("__getitem__")
def getitem(self: Any, index: Any) -> Any:
    """Parts at numbers; a slice of everything, an ellipsis and None are taken too."""
    given = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in [one for one in given if one is Ellipsis]:
        where = next(k for k, one in enumerate(given) if one is Ellipsis)
        missing = self.dim() - sum(one is not None for one in given) + 1
        given[where:where + 1] = [slice(None)] * missing
    d, found = 0, self
    for one in given:
        if one is None:
            found = found.unsqueeze(d)
            d += 1
        elif isinstance(one, slice):
            if one != slice(None):
                raise NotImplementedError("slices of sparse tensors are not there: use narrow_copy() or "
                                          "index_select()")
            d += 1
        elif isinstance(one, int) or getattr(one, "dim", lambda: 1)() == 0 and not one.is_floating_point():
            found = found.select(d, int(one))
        else:
            raise NotImplementedError(f"a sparse tensor is indexed by numbers, got {type(one).__name__}: use "
                                      "index_select()")
    return found


@implements("reshape", "view", "flatten", "contiguous", "expand", "narrow", "flip")
def refused(*args: Any, **kwargs: Any) -> Any:
    """Needs elements one after the other."""
    raise RuntimeError("reshape is not implemented for sparse tensors: compute with to_dense()")


@implements("sparse_resize_")
def sparse_resize_(self: Any, size: Any, sparse_dim: int, dense_dim: int) -> Any:
    """Another shape of as many dimensions, no smaller than what has values."""
    if sparse_dim + dense_dim != len(size):
        raise RuntimeError(f"'len(size) == sparse_dim + dense_dim' is not satisfied: len(size) = {len(size)}, "
                           f"sparse_dim = {sparse_dim}, dense_dim = {dense_dim}")
    same = sparse_dim == self._i.shape[0] and tuple(size)[sparse_dim:] == tuple(self._v.shape)[1:]
    if self._v.shape[0] and (not same or any(a < b for a, b in zip(size, self.shape, strict=True))):
        raise NotImplementedError("sparse_resize_ of a tensor with values only makes sparse dimensions larger: use "
                                  "sparse_resize_and_clear_")
    i, v = (self._i, self._v) if same else (self._i.new_zeros(sparse_dim, 0), self._v.new_zeros(
        [0, *tuple(size)[sparse_dim:]]))
    return become(self, made(i, v, size, self._whole))


@implements("sparse_resize_and_clear_")
def sparse_resize_and_clear_(self: Any, size: Any, sparse_dim: int, dense_dim: int) -> Any:
    """Another shape, without values."""
    empty = made(self._i.new_zeros(sparse_dim, 0), self._v.new_zeros([0, *tuple(size)[sparse_dim:]]), size, True)
    return become(self, empty)

