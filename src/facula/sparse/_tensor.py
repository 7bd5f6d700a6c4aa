"""A sparse tensor: the places of some elements, their values, and a shape. All other elements are 0.

It is a Tensor whose class is asked about every operation (`__torch_function__`); what it answers stands in `HANDLERS`,
by the operation's name, filled by the files beside this one. Indices and values are ordinary tensors, so gradients,
devices and transforms are theirs: a sparse tensor that requires gradients is one whose values do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import facula
from facula import layouts, overrides
from facula._tensor.handle import Tensor
from facula.ops import listening
from facula.size import Size

HANDLERS: dict[str, Callable[..., Any]] = {}
COMPRESSED = {layouts.sparse_csr: 0, layouts.sparse_csc: 1}  # which dimension is compressed
KINDS = {layouts.sparse_coo: "Sparse", layouts.sparse_csr: "SparseCsr", layouts.sparse_csc: "SparseCsc",
         layouts.strided: "Strided"}
# What its shape and dtype alone tell: asked of the tensor itself.
_PLAIN = frozenset(("size", "dim", "numel", "nelement", "ndimension", "__len__", "element_size", "is_floating_point",
                    "is_complex", "is_signed", "is_same_size", "ndim", "itemsize", "names", "name", "output_nr",
                    "shape", "is_inference", "__format__", "is_tensor", "is_storage"))
_names: dict[int, tuple[Any, str]] = {}


def implements(*names: str) -> Callable[[Any], Any]:
    """A function that is what an operation does to sparse tensors, under these names."""
    def decorate(function: Any) -> Any:
        HANDLERS.update(dict.fromkeys(names, function))
        return function
    return decorate


class SparseTensor(Tensor):
    """A tensor of layout `torch.sparse_coo`, `torch.sparse_csr` or `torch.sparse_csc`. See `torch.sparse_coo_tensor`.

    `_i`: indices, (sparse dimensions, nnz); `_v`: values, (nnz, *dense dimensions); `_whole`: are the places in order,
    each once?  `_p`: of a compressed layout where each row (column) begins.
    """

    _i: Any
    _v: Any
    _p: Any
    _whole: bool
    _layout: layouts.layout

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return answer(func, args, kwargs or {})

    layout = property(lambda self: self._layout)
    device = property(lambda self: self._v.device)
    is_sparse = property(lambda self: self._layout is layouts.sparse_coo)
    is_sparse_csr = property(lambda self: self._layout is layouts.sparse_csr)
    is_leaf = property(lambda self: self._v.is_leaf)
    grad_fn = property(lambda self: self._v.grad_fn)
    data = property(lambda self: with_values(self, self._v.detach()))
    requires_grad = property(lambda self: self._v.requires_grad, lambda self, on: HANDLERS["requires_grad_"](self, on))
    T = property(lambda self: HANDLERS["t"](self))
    mT = T

    def _get_grad(self) -> Any:
        grad = self._v.grad
        return None if grad is None else with_values(self, grad)

    def _set_grad(self, grad: Any) -> None:
        self._v.grad = None if grad is None else values_at(grad, self)

    grad = property(_get_grad, _set_grad)

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return HANDLERS["__repr__"](self)  # type: ignore[no-any-return]

    def __iter__(self) -> Any:
        return (self[k] for k in range(self.shape[0]))

    def __reduce_ex__(self, protocol: Any) -> Any:
        from facula.serialization.rebuild import _rebuild_sparse_tensor
        size = tuple(self.shape)
        if self._layout is layouts.sparse_coo:
            return _rebuild_sparse_tensor, (self._layout, (self._i, self._v.detach(), size, self._whole))
        return _rebuild_sparse_tensor, (self._layout, (self._p, self._i[1 - COMPRESSED[self._layout]], self._v.detach(),
                                                       size))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if not self._v.is_leaf:
            raise RuntimeError("Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
                               "protocol at the moment.")
        found = HANDLERS["clone"](HANDLERS["detach"](self))
        found._v.requires_grad_(self._v.requires_grad)
        memo[id(self)] = found
        return found


def made(i: Tensor, v: Tensor, shape: Any, whole: bool, layout: Any = layouts.sparse_coo,
         p: Any = None) -> SparseTensor:
    """A sparse tensor of its parts, which are not looked at."""
    # The tensor itself is a constant 0 of that shape: it has no memory, and nothing is ever computed with it.
    found: Any = Tensor._make_subclass(SparseTensor, facula.zeros(tuple(shape), dtype=v.dtype))
    found._i, found._v, found._whole, found._layout, found._p = i, v, whole, layout, p
    return found  # type: ignore[no-any-return]


def with_values(s: SparseTensor, v: Tensor) -> SparseTensor:
    """The same places with other values."""
    return made(s._i, v, s.shape, s._whole, s._layout, s._p)


def become(s: SparseTensor, other: SparseTensor) -> SparseTensor:
    """Have a tensor be what another one is: what in-place operations do."""
    if s._v.requires_grad and s._v.is_leaf and facula.is_grad_enabled():
        raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
    if not facula.can_cast(other.dtype, s.dtype):
        raise RuntimeError(f"result type {other.dtype} can't be cast to the desired output type {s.dtype}")
    v = other._v.to(s.dtype)
    base = facula.zeros(tuple(other.shape), dtype=s.dtype)
    handle: Any = s
    handle._node, handle.shape = base._node, base.shape
    s._i, s._v, s._whole, s._layout, s._p = other._i, v, other._whole, other._layout, other._p
    return s


def _name_of(func: Any) -> str:
    known = _names.get(id(func))
    if known is None or known[0] is not func:
        name = str(overrides.resolve_name(func) or getattr(func, "__name__", func)).removeprefix("torch.")
        _names[id(func)] = known = (func, name if name.startswith("autograd.") else
                                    name.removesuffix(".__get__").rpartition(".")[2])
    return known[1]


def answer(func: Any, args: Any, kwargs: Any) -> Any:
    """What an operation gives for arguments among which there are sparse tensors."""
    name = _name_of(func)
    handler = HANDLERS.get(name)
    if handler is not None:
        return handler(*args, **kwargs)
    base = HANDLERS.get(name[:-1]) if name.endswith("_") and not name.endswith("__") else None
    if base is not None and args and isinstance(args[0], SparseTensor):
        return become(args[0], base(*args, **kwargs))
    if name in _PLAIN:
        with listening.subclasses_quiet():
            return func(*args, **kwargs)
    if getattr(func, "__name__", "") == "__get__":  # what is asked of the device or the tape
        return func(args[0]._v)
    kinds = ", ".join(dict.fromkeys(KINDS[leaf._layout] for leaf in _sparse_among((args, kwargs))))
    raise NotImplementedError(f"torch.{name} is not there for sparse tensors ({kinds}): compute with to_dense(), or "
                              "with the values() of a coalesced tensor")


def _sparse_among(value: Any) -> list[SparseTensor]:
    return [leaf for leaf in facula.utils._pytree.tree_leaves(value) if isinstance(leaf, SparseTensor)]


# ---- places ---------------------------------------------------------------------------------------------------------

def keys(i: Tensor, sizes: Any) -> Any:
    """One number for each place, in the order of rows."""
    found = facula.zeros(i.shape[1], dtype=facula.int64, device=i.device)
    for row, size in zip(i, sizes, strict=True):
        found = found * size + row
    return found


def sparse_sizes(s: SparseTensor) -> Any:
    """The sizes of the sparse dimensions."""
    return tuple(s.shape)[:s._i.shape[0]]


def summed(v: Tensor, groups: Tensor, count: int) -> Any:
    """The sums of values by group; of bools whether any is True."""
    kind = facula.int64 if v.dtype is facula.bool else v.dtype
    found = facula.zeros(count, *v.shape[1:], dtype=kind, device=v.device).index_add(0, groups, v.to(kind))
    return found != 0 if v.dtype is facula.bool else found


def coalesced(s: SparseTensor) -> SparseTensor:
    """Its places in order, each once: values of one place are added."""
    if s._whole:
        return s
    key = keys(s._i, sparse_sizes(s))
    order = facula.argsort(key, stable=True)
    key = key[order]
    new = facula.cat([key.new_ones(min(key.shape[0], 1), dtype=facula.bool), key[1:] != key[:-1]])
    first = new.nonzero().reshape(-1)
    i, v = s._i[:, order[first]], s._v[order]
    if first.shape[0] != key.shape[0]:
        v = summed(v, new.cumsum(0) - 1, first.shape[0])
    return made(i, v, s.shape, True)


def dense(s: SparseTensor) -> Any:
    """All its elements."""
    whole = coalesced(s) if s._v.dtype is facula.bool else s
    n = s._i.shape[0]
    rows = 1
    for size in sparse_sizes(s):
        rows *= size
    flat = facula.zeros(rows, *tuple(s.shape)[n:], dtype=s.dtype, device=s._v.device)
    if n == 0:
        return whole._v.sum(0) if whole._v.shape[0] != 1 else whole._v[0]
    key = keys(whole._i, sparse_sizes(s))
    flat = flat.index_copy(0, key, whole._v) if whole._whole else flat.index_add(0, key, whole._v)
    return flat.reshape(tuple(s.shape))


def values_at(s: Any, pattern: SparseTensor) -> Any:
    """The values that a sparse tensor has at another's places: 0 where it has none."""
    if not isinstance(s, SparseTensor):
        return s[tuple(pattern._i)]  # type: ignore[no-any-return]
    whole, sizes = coalesced(s), sparse_sizes(s)
    mine, wanted = keys(whole._i, sizes), keys(pattern._i, sizes)
    if not mine.shape[0]:
        return facula.zeros(wanted.shape[0], *s._v.shape[1:], dtype=s.dtype, device=s._v.device)
    at = facula.searchsorted(mine, wanted).clamp(max=mine.shape[0] - 1)
    there = (mine[at] == wanted).reshape(-1, *[1] * (s._v.dim() - 1))
    return facula.where(there, whole._v[at], facula.zeros((), dtype=s.dtype, device=s._v.device))


def pointers(rows: Tensor, count: int) -> Any:
    """Where the entries of each row begin, of rows that are in order; and the end."""
    ends = facula.bincount(rows, minlength=count).cumsum(0)
    return facula.cat([ends.new_zeros(1), ends])


def joined(counts: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """`counts[k]` entries from `starts[k]` on, for every k: (k, entry) of each."""
    k = facula.repeat_interleave(facula.arange(counts.shape[0], device=counts.device), counts)
    before = counts.cumsum(0) - counts
    return k, facula.arange(k.shape[0], device=counts.device) - before[k] + starts[k]


def shape_of(size: Any) -> Size:
    """Sizes as torch.Size."""
    return Size(tuple(int(n) for n in size))
