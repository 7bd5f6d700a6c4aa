"""A sparse tensor's parts, copies, dtype and device, and what it says instead of having memory."""

from __future__ import annotations

from typing import Any

import facula
from facula import layouts
from facula.sparse._creating import expected
from facula.sparse._tensor import SparseTensor, become, coalesced, dense, implements, made, with_values


def _coo(s: Any, what: str) -> SparseTensor:
    if not isinstance(s, SparseTensor) or s._layout is not layouts.sparse_coo:
        raise expected(what, "sparse coordinate", s)
    return s


@implements("indices")
def indices(self: Any) -> Any:
    """Where the values are."""
    if not _coo(self, "indices")._whole:
        raise RuntimeError("Cannot get indices on an uncoalesced tensor, please call .coalesce() first")
    return self._i  # type: ignore[no-any-return]


@implements("values")
def values(self: Any) -> Any:
    """The values."""
    if self._layout is layouts.sparse_coo and not self._whole:
        raise RuntimeError("Cannot get values on an uncoalesced tensor, please call .coalesce() first")
    return self._v.view_as(self._v) if self._v.requires_grad else self._v  # type: ignore[no-any-return]


implements("_indices")(lambda self: _coo(self, "indices")._i)
implements("_values")(lambda self: self._v.detach())
implements("_nnz")(lambda self: self._v.shape[0])
implements("coalesce")(lambda self: coalesced(_coo(self, "coalesce")))
implements("is_coalesced")(lambda self: _coo(self, "is_coalesced")._whole)
implements("sparse_dim", "_dimI")(lambda self: self._i.shape[0])
implements("dense_dim", "_dimV")(lambda self: self._v.dim() - 1)


def _compressed_part(name: str, layout: Any, side: str, part: Any) -> None:
    def get(self: Any) -> Any:
        if self._layout is not layout:
            raise expected(name, f"sparse {side} compressed", self)
        return part(self)
    implements(name)(get)


_compressed_part("crow_indices", layouts.sparse_csr, "row", lambda s: s._p)
_compressed_part("col_indices", layouts.sparse_csr, "row", lambda s: s._i[1])
_compressed_part("ccol_indices", layouts.sparse_csc, "column", lambda s: s._p)
_compressed_part("row_indices", layouts.sparse_csc, "column", lambda s: s._i[0])


def moved(s: SparseTensor, v: Any) -> SparseTensor:
    """The places where the values `v` are: on their device."""
    if v.device == s._i.device:
        return with_values(s, v)
    return made(s._i.to(v.device), v, s.shape, s._whole, s._layout, None if s._p is None else s._p.to(v.device))


@implements("to", "type_as")
def to(self: Any, *args: Any, **kwargs: Any) -> Any:
    """In another dtype, or elsewhere."""
    if not isinstance(self, SparseTensor):  # as another one, which is sparse
        return self.to(args[0]._v)
    v = self._v.to(*[a._v if isinstance(a, SparseTensor) else a for a in args], **kwargs)
    return self if v is self._v else moved(self, v)


for _name in ("cpu", "cuda"):
    implements(_name)(lambda self, *args, _name=_name, **kwargs: moved(self, getattr(self._v, _name)(*args, **kwargs)))


@implements("clone")
def clone(input: Any, *, memory_format: Any = None) -> SparseTensor:
    """A copy."""
    if memory_format not in (None, layouts.preserve_format):
        raise RuntimeError(f"unsupported memory format option {memory_format}")
    return made(input._i.clone(), input._v.clone(), input.shape, input._whole, input._layout,
                None if input._p is None else input._p.clone())


implements("__copy__")(lambda self: with_values(self, self._v.detach().requires_grad_(self._v.requires_grad)))
implements("detach")(lambda self: with_values(self, self._v.detach()))


@implements("detach_")
def detach_(self: Any) -> Any:
    """Without history from now on."""
    self._v = self._v.detach()
    return self


@implements("requires_grad_")
def requires_grad_(self: Any, requires_grad: bool = True) -> Any:
    """Have gradients arrive here, or not."""
    self._v.requires_grad_(requires_grad)
    return self


@implements("zeros_like", "empty_like")
def zeros_like(input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, layout: Any = None,
               **options: Any) -> Any:
    """No values."""
    if layout is layouts.strided:
        return facula.zeros(tuple(input.shape), dtype=dtype or input.dtype, device=device or input._v.device,
                            requires_grad=requires_grad)
    v = input._v[:0].detach().to(dtype=dtype or input.dtype, device=device or input._v.device)
    p = None if input._p is None else facula.zeros_like(input._p, device=v.device)
    return made(input._i[:, :0].to(v.device), v.requires_grad_(requires_grad), input.shape, True, input._layout, p)


@implements("zero_")
def zero_(self: Any) -> Any:
    """Have no values any more."""
    return become(self, zeros_like(self))


@implements("copy_", "resize_as_sparse_")
def copy_(self: Any, src: Any, non_blocking: bool = False) -> Any:
    """Have the values of another one."""
    if not (isinstance(self, SparseTensor) and isinstance(src, SparseTensor)):
        raise RuntimeError("copy_() between dense and sparse Tensors is not implemented! Found self type = "
                           f"{self.layout} and src type = {src.layout}")
    return become(self, clone(src))


implements("numpy", "__array__")(lambda self, *a, **k: _no_numpy())


def _no_numpy() -> Any:
    raise TypeError("can't convert Sparse layout tensor to numpy. Use Tensor.to_dense() first.")


@implements("type")
def type_(self: Any, dtype: Any = None, non_blocking: bool = False, **options: Any) -> Any:
    """The name of its type, or the tensor as another one."""
    if dtype is None:
        return facula.empty(0, dtype=self.dtype, device=self._v.device).type().replace("torch.", "torch.sparse.", 1)
    return with_values(self, self._v.type(dtype.replace("sparse.", "") if isinstance(dtype, str) else dtype))


implements("is_contiguous", "is_pinned", "is_shared")(lambda self, *a, **k: False)
implements("stride")(lambda self, dim=None: (0,) * self.dim() if dim is None else 0)
implements("__bool__")(lambda self: bool(dense(self)))
implements("item", "__float__", "__int__")(lambda self: dense(self).item())
