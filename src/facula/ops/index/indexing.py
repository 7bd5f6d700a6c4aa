"""`x[...]` and `x[...] = value`.

An index expression is taken apart once (`parse`): integers, slices, None and `...` become views; what is left
are index tensors on dimensions of that view, and those go through the flat index of index_nodes.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from numbers import Complex
from operator import index as as_int
from typing import Any

import numpy as np

from facula._tensor.assigning import update
from facula._tensor.handle import Tensor, new, strides_of
from facula._tensor.layout import Layout, pointwise
from facula._tensor.reading import lay, read
from facula._tensor.refusing import onto_itself, refuse_leaf, refuse_overlap, refuse_shared
from facula.autograd.graph import mode
from facula.dtypes import bool_, float32, int32, int64, uint8
from facula.engine.checks import waiting, withdraw
from facula.engine.graph.node import BATCHED, Node, contiguous_strides, size_of
from facula.engine.realize import leaf, value_of
from facula.engine.threads import turn
from facula.errors import warn
from facula.ops.casting import constant, to_dtype
from facula.ops.index.gathering import truth
from facula.ops.index.index_nodes import Array, checked, flat_index, index_leaf
from facula.ops.index.indexed_rows import INDEX_RULE, rows
from facula.ops.index.masking import put_mask
from facula.ops.index.scattering import fit, put_rows
from facula.ops.promotion import scalar_value
from facula.ops.registry import DTYPE_NAMES, op, write_back
from facula.ops.view.reshaping import unsqueeze
from facula.ops.view.views import alias_view, select_view, slice_view
from facula.size import Size

_FULL = slice(None)
_HINT = "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices (got {})"


# ---- taking an index expression apart -------------------------------------------------------------------


def _items(key: Any) -> tuple[Any, ...]:
    """The index as a tuple. A list that holds slices, tensors, lists or None stands for one, as in torch."""
    if type(key) is tuple:
        return key
    if isinstance(key, tuple):
        return tuple(key)
    if isinstance(key, (Tensor, np.ndarray, str)) or not isinstance(key, Sequence) or len(key) >= 32:
        return (key,)
    for item in key:
        if item is None or item is Ellipsis or isinstance(item, (Tensor, slice, Sequence)):
            warn(
                "Using a non-tuple sequence for multidimensional indexing is deprecated and will be changed in "
                "pytorch 2.9; use x[tuple(seq)] instead of x[seq]. In pytorch 2.9 this will be interpreted as tensor "
                "index, x[torch.tensor(seq)], which will result either in an error or a different result",
                UserWarning)
            return tuple(key)
    return (key,)


def _as_tensor(item: Any) -> Tensor:
    """A list, a range or a NumPy array as an index tensor."""
    array = item if isinstance(item, np.ndarray) else np.asarray(_plain(item))
    if array.size == 0 and not isinstance(item, np.ndarray):
        array = array.astype(np.int64)
    if array.dtype == np.bool_:
        return new(leaf(np.array(array, order="C"), tuple.__new__(Size, array.shape), bool_))
    if array.dtype == np.uint8 and isinstance(item, np.ndarray):
        return new(leaf(np.array(array, order="C"), tuple.__new__(Size, array.shape), uint8))
    if array.dtype.kind not in "iu":
        raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
    return new(index_leaf(np.array(array, dtype=np.int64)))


def _plain(item: Any) -> Any:
    if isinstance(item, Tensor):
        return value_of(read(item)).tolist()
    if isinstance(item, Sequence) and not isinstance(item, str):
        return [_plain(x) for x in item]
    return item


def _bound(x: Any) -> int | None:
    if x is None or type(x) is int:
        return x
    if isinstance(x, Tensor):
        if size_of(x.shape) != 1 or x.dtype.is_floating_point or x.dtype.is_complex:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(value_of(read(x)).reshape(())[()])
    try:
        return as_int(x)
    except TypeError:
        raise TypeError("slice indices must be integers or None or have an __index__ method") from None


_length = tuple.__getitem__  # of a Size: its own is written in Python


def _slice(t: Tensor, dim: int, item: slice) -> Tensor:
    if item.step is not None and _bound(item.step) <= 0:  # type: ignore[operator]
        raise ValueError("step must be greater than zero")
    if not t.shape:
        raise IndexError("slice() cannot be applied to a 0-dim tensor.")
    start, stop, step = slice(_bound(item.start), _bound(item.stop), _bound(item.step)).indices(t.shape[dim])
    if start == 0 and stop >= t.shape[dim] and step == 1:
        return t
    return slice_view(t, dim, start, max(start, stop), step)


def _select(t: Tensor, dim: int, i: int) -> Tensor:
    if not t.shape:
        raise IndexError("invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in "
                         "C++ to convert a 0-dim tensor to a number")
    size = _length(t.shape, dim)
    if not -size <= i < size:
        raise IndexError(f"index {i} is out of bounds for dimension {dim} with size {size}")
    return select_view(t, dim, i if i >= 0 else i + size)


def _consumes(item: Any) -> int:
    """How many dimensions of the tensor an index takes."""
    if item is None or item is Ellipsis or item is True or item is False:
        return 0
    if isinstance(item, Tensor) and (item.dtype is bool_ or item.dtype is uint8):
        return len(item.shape)
    return 1


def _normal(item: Any) -> Any:
    """One of: int, slice, None, Ellipsis, True, False, Tensor of at least one dimension."""
    kind = type(item)
    if kind is int or kind is slice or item is None or item is Ellipsis or kind is bool:
        return item
    if isinstance(item, (np.bool_, np.integer)):
        return item.item()
    if isinstance(item, np.ndarray) or (isinstance(item, Sequence) and not isinstance(item, str)):
        item = _as_tensor(item)
    elif not isinstance(item, Tensor):
        if isinstance(item, str):
            raise TypeError("new(): invalid data type 'str'")
        try:
            return as_int(item)
        except TypeError:
            raise IndexError(_HINT.format(kind.__name__)) from None
    of = item.dtype
    if of is not int64 and of is not bool_ and of is not int32 and of is not uint8:
        raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
    if not item.shape:
        if read(item).op is BATCHED and of is not bool_:
            return item
        value = value_of(read(item)).reshape(())[()]
        return bool(value) if of is bool_ or of is uint8 else int(value)
    if of is uint8:
        warn("indexing with dtype torch.uint8 is now deprecated, please use a dtype torch.bool instead.",
             UserWarning)
    return item


Indices = dict[int, Tensor | Array]


def parse(t: Tensor, key: Any) -> tuple[Tensor, Indices]:
    """The view that the basic part of an index means, and the index tensors on its dimensions.

    A mask is on the first of the dimensions it covers.
    """
    items = [_normal(item) for item in _items(key)]
    taken = 0
    for item in items:
        taken += _consumes(item)
    rank = len(t.shape)
    if taken > rank:
        if rank == 0 and len(items) == 1 and type(items[0]) is int:
            _select(t, 0, 0)
        raise IndexError(f"too many indices for tensor of dimension {rank}")
    result = t
    dim = 0
    advanced: Indices = {}
    for item in items:
        kind = type(item)
        if kind is int:
            result = _select(result, dim, item)
        elif kind is slice:
            if item != _FULL:
                result = _slice(result, dim, item)
            dim += 1
        elif item is None:
            result = unsqueeze(result, dim)
            dim += 1
        elif item is Ellipsis:
            dim += rank - taken
            taken = rank
        elif kind is bool:
            result = unsqueeze(result, dim)
            advanced[dim] = np.zeros(1 if item else 0, np.int64)
            dim += 1
        else:
            advanced[dim] = item
            dim += _consumes(item)
    return result, advanced


def resolve(t: Tensor, advanced: Indices) -> tuple[Node, int, int, tuple[int, ...]]:
    """Index tensors and masks on dimensions of `t`, as a flat index: see index_nodes.flat_index."""
    nodes: dict[int, Node] = {}
    if len(advanced) > 1:
        plain = [x.shape for x in advanced.values() if isinstance(x, np.ndarray) or x.dtype.category > 1
                 or x.dtype is int64]
        try:
            np.broadcast_shapes(*plain)
        except ValueError:
            raise IndexError("shape mismatch: indexing tensors could not be broadcast together with shapes "
                             + ", ".join(str(list(s)) for s in plain)) from None
    for dim, item in advanced.items():
        if isinstance(item, np.ndarray):
            nodes[dim] = index_leaf(item)
        elif item.dtype is bool_ or item.dtype is uint8:
            _mask_fits(t, dim, item)
            for k, part in enumerate(np.nonzero(truth(item))):
                nodes[dim + k] = index_leaf(part)
        else:
            size = t.shape[dim]
            empty = size and (0 in item.shape or 0 in t.shape)  # nothing is read, so it matters to nobody what is asked
            nodes[dim] = read(to_dtype(item, int64)) if empty else checked(item, size, dim)
    return flat_index(t.shape, nodes)


def _mask_fits(t: Tensor, dim: int, mask: Tensor) -> None:
    for k, size in enumerate(mask.shape):
        if t.shape[dim + k] != size:
            raise IndexError(f"The shape of the mask {list(mask.shape)} at index {k} does not match the shape of the "
                             f"indexed tensor {list(t.shape)} at index {dim + k}")


# ---- reading --------------------------------------------------------------------------------------------


@op(name="__getitem__", function=False)
def getitem(self: Tensor, key: Any) -> Tensor:
    kind = type(key)
    if kind is int:
        return _select(self, 0, key)
    view, advanced = parse(self, key)
    if not advanced:
        return alias_view(self) if view is self else view
    index, v, d, shape = resolve(view, advanced)
    out = rows(view, index, v, d, shape, INDEX_RULE)
    if view._storage is not None or any(isinstance(i, Tensor) and i._storage is not None for i in advanced.values()):
        lay(out, _layout(view, advanced, out))
    return out


def _layout(view: Tensor, advanced: Indices, out: Tensor) -> Layout | None:
    """As of an elementwise operation on what is indexed, which stands still along an index, and on the indices."""
    covered: list[int] = []
    indices: list[tuple[Any, Any]] = []
    for dim, item in advanced.items():
        mask = isinstance(item, Tensor) and (item.dtype is bool_ or item.dtype is uint8)
        covered += range(dim, dim + (len(item.shape) if mask else 1))
        if isinstance(item, Tensor) and not mask:
            indices.append((tuple(item.shape), strides_of(item)))
        elif isinstance(item, np.ndarray):
            indices.append((item.shape, contiguous_strides(item.shape)))
    strides = strides_of(view)
    rest = [strides[k] for k in range(len(view.shape)) if k not in covered]
    rank = len(out.shape) - len(rest)
    first = min(covered) if covered == list(range(min(covered), min(covered) + len(covered))) else 0
    if not indices:  # masks alone
        indices.append((out.shape[first:first + rank], (1,) * rank))
    after = len(rest) - first
    operands: list[tuple[Any, Any]] = [(out.shape, (*rest[:first], *(0,) * rank, *rest[first:]))]
    operands += [((*s, *(1,) * after), (*st, *(0,) * after)) for s, st in indices]
    return pointwise(out.shape, tuple(operands))


@op(name="__len__", function=False)
def length(self: Tensor) -> int:
    if not self.shape:
        raise TypeError("len() of a 0-d tensor")
    return self.shape[0]


@op(name="__iter__", function=False)
def iterate(self: Tensor) -> Iterator[Tensor]:
    if not self.shape:
        raise TypeError("iteration over a 0-d tensor")
    return iter(self.unbind(0))


@op(name="__contains__", function=False)
def contains(self: Tensor, element: Any) -> bool:
    if isinstance(element, Tensor):
        return bool((element == self).any().item())
    if isinstance(element, (Complex, np.number, np.bool_)):
        t = to_dtype(self, float32) if self.dtype.name == "bfloat16" else self
        return bool((value_of(read(t)) == element).any())
    raise RuntimeError("Tensor.__contains__ only supports Tensor or scalar, but you passed in a "
                       f"{type(element)}.")


# ---- writing --------------------------------------------------------------------------------------------


@op(name="__setitem__", function=False)
def setitem(self: Tensor, key: Any, value: Any) -> None:
    if not isinstance(value, Tensor):
        if isinstance(value, (np.number, np.bool_)):
            value = value.item()
        elif not isinstance(value, Complex):
            kind = "numpy.ndarray" if isinstance(value, np.ndarray) else type(value).__name__
            raise TypeError(f"can't assign a {kind} to a torch.{DTYPE_NAMES[self.dtype.name]}Tensor")
    if type(key) is int:
        _fill_view(_select(self, 0, key), value)
        return
    if isinstance(key, Tensor) and key.dtype is bool_ and key.shape == self.shape and size_of(key.shape) \
            and not isinstance(value, Tensor):
        with turn():
            write_back(self, put_mask(self, key, value), "index_put_")  # as below, without the ways to it
        return
    view, advanced = parse(self, key)
    if not advanced:
        _fill_view(view, value)
        return
    put_into(view, advanced, value, False)


def _fill_view(view: Tensor, value: Any) -> None:
    """`view[...] = value`."""
    shape = view.shape
    if isinstance(value, Tensor):
        if onto_itself(view, value):
            return
        if value.dtype is not view.dtype:
            value = to_dtype(value, view.dtype)
        if value.shape != shape:
            extra = len(value.shape) - len(shape)
            if extra > 0 and all(s == 1 for s in value.shape[:extra]):
                value = value.reshape(value.shape[extra:])
            value = value.expand(shape)
        if view._storage is not None:
            refuse_overlap(view, (value,))
    else:
        value = new(constant(scalar_value(value, view.dtype), shape, view.dtype))
    if size_of(shape) or value.requires_grad:  # nothing to write otherwise, and nothing to remember
        update(view, value)
    elif mode.grad and view._rg:
        refuse_leaf(view)


def put_into(view: Tensor, advanced: Indices, value: Any, accumulate: bool) -> Tensor:
    """Index tensors applied to `view` in place."""
    if isinstance(value, Tensor) and value._storage is view._storage and not (
            size_of(value.shape) == 1 and all(isinstance(i, Tensor) and i.dtype is bool_ for i in advanced.values())):
        refuse_shared(view, (value,))
    refuse_shared(view, advanced.values())
    with turn():
        result = _put(view, advanced, value, accumulate)
        if size_of(view.shape) or result.requires_grad:
            return update(view, result)
        return view


def _put(view: Tensor, advanced: Indices, value: Any, accumulate: bool, leading: bool = True) -> Tensor:
    """`leading`: may the value have leading 1s too many, as `x[...] = value` allows?"""
    if len(advanced) == 1 and not accumulate:
        (dim, mask), = advanced.items()
        if dim == 0 and isinstance(mask, Tensor) and mask.dtype is bool_ and (
                not isinstance(value, Tensor) or size_of(value.shape) == 1):
            _mask_fits(view, 0, mask)
            return put_mask(view, mask, value)
    if isinstance(value, Tensor) and not value.shape and value.dtype is not view.dtype and any(
            isinstance(i, Tensor) and i.dtype is bool_ for i in advanced.values()):
        value = to_dtype(value, view.dtype)
    before = len(waiting)
    index, v, d, shape = resolve(view, advanced)
    try:
        return put_rows(view, index, v, d, shape, value, accumulate, leading)
    except Exception:
        withdraw(before)
        raise


@op(inplace=True)
def index_put(input: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False) -> Tensor:
    """`input` with `values` at the places that `indices` name (None: a whole dimension)."""
    if not isinstance(values, Tensor):
        raise TypeError(f"index_put_(): argument 'values' (position 2) must be Tensor, not {type(values).__name__}")
    view, advanced = parse(input, tuple([_FULL if i is None else _vector(i) for i in indices]))
    if view is not input:  # a 0-d mask: its new dimension is not part of the result
        return _put(view, advanced, values, accumulate, False).reshape(input.shape)
    if not advanced:
        return fit(values, input.shape, False).clone()
    return _put(input, advanced, values, accumulate, False)


def _vector(i: Any) -> Any:
    """A 0-d index as one of one element: here it is no `select`."""
    if isinstance(i, Tensor) and not i.shape and i.dtype is not bool_ and i.dtype is not uint8:
        return i.reshape(1)
    return i


def index(input: Tensor, indices: Sequence[Tensor | None]) -> Tensor:
    """`input[indices]`, as the aten operator has it."""
    return getitem(input, tuple([_FULL if i is None else i for i in indices]))


