"""Sums, norms and softmaxes of sparse tensors."""

from __future__ import annotations

from typing import Any

import facula
from facula import layouts
from facula._tensor.handle import Tensor
from facula.sparse._creating import as_coo
from facula.sparse._shapes import at
from facula.sparse._tensor import SparseTensor, coalesced, implements, keys, made, sparse_sizes, summed, with_values


@implements("sum")
def sum(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The sum of all elements, or along dimensions: sparse while a sparse dimension is left."""
    s, n = input, input._i.shape[0]
    if dim is None or dim == () or dim == []:
        return s._v.sum(dtype=dtype)
    s = as_coo(s)
    dims = sorted({at(s, d) for d in ((dim,) if isinstance(dim, int) else dim)})
    v = s._v if dtype is None else s._v.to(dtype)
    inner = [d - n + 1 for d in dims if d >= n]
    if inner:
        v = v.sum(inner, dtype=dtype)
    left = [d for d in range(n) if d not in dims]
    shape = [size for d, size in enumerate(s.shape) if d not in dims]
    if not left:
        found = v.sum(0, dtype=dtype)
        return found.reshape([1 if d in dims else size for d, size in enumerate(s.shape)]) if keepdim else found
    if v.dtype is facula.bool or not (v.is_floating_point() or v.is_complex()) and dtype is None:
        v = v.to(facula.int64)
    result: Any = coalesced(made(s._i[left], v, shape, s._whole and left == list(range(n))))
    if keepdim:
        for d in dims:
            result = result.unsqueeze(d)
        result._whole = False
    return result


@implements("norm")
def norm(input: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """The norm of all elements."""
    if dim is not None and list(dim if not isinstance(dim, int) else [dim]) != list(range(input.dim())):
        raise RuntimeError("norm of sparse tensors is of all elements")
    s = coalesced(input) if input._layout is layouts.sparse_coo else input
    return s._v.reshape(-1).norm(2 if p in ("fro", None) else p, dtype=dtype)  # type: ignore[no-any-return]


@implements("any")
def any_(input: Any) -> Any:
    """Is an element not 0?"""
    s = coalesced(input) if input._layout is layouts.sparse_coo else input
    return (s._v != 0).any()  # type: ignore[no-any-return]


def _softmax(s: SparseTensor, dim: int, dtype: Any, log: bool) -> SparseTensor:
    if not isinstance(s, SparseTensor) or s._layout is not layouts.sparse_coo:
        raise NotImplementedError("torch.sparse.softmax is of tensors of layout torch.sparse_coo")
    s = coalesced(s)
    d, n, v = at(s, dim), s._i.shape[0], s._v if dtype is None else s._v.to(dtype)
    if not v.is_floating_point():
        raise NotImplementedError(f"softmax of a sparse tensor: expected floating point numbers, got {v.dtype}")
    if d >= n:
        return with_values(s, (facula.log_softmax if log else facula.softmax)(v, d - n + 1))
    others = [k for k in range(n) if k != d]
    sizes = sparse_sizes(s)
    first, groups = facula.unique(keys(s._i[others], [sizes[k] for k in others]), return_inverse=True)
    count = first.shape[0]
    most = facula.full((count, *v.shape[1:]), -facula.inf, dtype=v.dtype, device=v.device).index_reduce(
        0, groups, v.detach(), "amax")
    shifted = v - most[groups]
    total = summed(shifted.exp(), groups, count)[groups]
    return with_values(s, shifted - total.log() if log else shifted.exp() / total)


@implements("_sparse_softmax")
def softmax(input: Any, dim: int, *, dtype: Any = None) -> SparseTensor:
    """See `torch.sparse.softmax`."""
    return _softmax(input, dim, dtype, False)


@implements("_sparse_log_softmax")
def log_softmax(input: Any, dim: int, *, dtype: Any = None) -> SparseTensor:
    """See `torch.sparse.log_softmax`."""
    return _softmax(input, dim, dtype, True)


@implements("autograd.grad")
def grad(outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
    """Gradients by sparse tensors are sparse, of their places."""
    one = isinstance(inputs, Tensor)
    asked = [inputs] if one else list(inputs)
    found = facula.autograd.grad(outputs, [s._v if isinstance(s, SparseTensor) else s for s in asked], *args, **kwargs)
    return tuple([with_values(s, g) if isinstance(s, SparseTensor) and g is not None else g
                  for s, g in zip(asked, found, strict=True)])
