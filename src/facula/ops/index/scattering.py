"""Writing elements by index tensors: scatter, index_add and their kin, masked_scatter, `x[i] = y`.

Each function says where its rows lie (index_nodes.py); indexed_rows.py writes them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from facula._tensor.handle import Tensor, is_meta, new
from facula._tensor.reading import read
from facula.dtypes import bool_, int64
from facula.engine.graph.node import Node, size_of
from facula.engine.placing import meta_node
from facula.engine.realize import value_of
from facula.ops.casting import constant, to_dtype
from facula.ops.elementwise.pointwise import broadcast
from facula.ops.index.gathering import gather_checks, masked, vector_checks, vector_index
from facula.ops.index.index_nodes import (
    OUT_OF_BOUNDS,
    along,
    checked,
    counted,
    index_leaf,
    shaped_index,
    want_tensor,
)
from facula.ops.index.indexed_rows import SET_RULE, add_rows, adding, reduce_rows, set_rows, setting
from facula.ops.promotion import scalar_value
from facula.ops.registry import DTYPE_NAMES, op
from facula.ops.severing import untouched
from facula.size import Size

_SET_VALUE = setting("ScatterBackward1")


def _place(what: str, input: Tensor, dim: int, index: Tensor,
           src: Tensor | None) -> tuple[Node, int, Tensor | None]:
    """The flat index of a scatter, V, and the part of `src` that is read."""
    shape, dim, index = gather_checks(what, input, dim, index)
    if src is not None:
        if (len(src.shape) or 1) != (len(index.shape) or 1):
            raise RuntimeError("Index tensor must have the same number of dimensions as src tensor")
        if src.shape != index.shape:
            if any(i > s for i, s in zip(index.shape or (1,), src.shape or (1,), strict=False)):
                raise RuntimeError(
                    f"Expected index {list(index.shape)} to be no larger than self "
                    f"{list(input.shape)} apart from dimension {dim} and to be no larger than src "
                    f"{list(src.shape)}")
            if src.shape:
                src = src[tuple(slice(0, s) for s in index.shape or (1,))]
    node = checked(index, shape[dim], dim, RuntimeError, False)
    flat, v = along(shape, dim, shaped_index(node))
    return flat, v, src


def _same_dtype(what: str, input: Tensor, src: Any) -> None:
    """Asked of an empty index too."""
    if isinstance(src, Tensor) and src.dtype is not input.dtype:
        raise RuntimeError(f"{what}(): Expected self.dtype to be equal to src.dtype")


_REDUCE = {"add": "sum", "multiply": "prod"}


@op(inplace=True, out=True)
def scatter(input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None,
            reduce: str | None = None) -> Tensor:
    """`input` with the elements of `src` (or one `value`) at `index` along `dim`."""
    if src is None:
        src = value
    want_tensor(index, "scatter", "index")
    _same_dtype("scatter", input, src)
    if size_of(index.shape) == 0:
        return untouched(input, src, f"ScatterBackward{int(not isinstance(src, Tensor))}")
    if reduce is not None and reduce not in _REDUCE:
        raise RuntimeError("reduce argument must be either add or multiply.")
    number = None if isinstance(src, Tensor) else scalar_value(src, input.dtype)
    flat, v, part = _place("scatter", input, dim, index, src if number is None else None)
    rule = SET_RULE
    if part is None:
        part = new(constant(number, index.shape, input.dtype))
        rule = _SET_VALUE
    if reduce is None:
        return set_rows(input, flat, part, v, 1, rule)
    return reduce_rows(input, flat, part, v, 1, _REDUCE[reduce], True)


@op(inplace=True, out=True)
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """`input` with the elements of `src` added at `index` along `dim`."""
    want_tensor(src, "scatter_add", "src")
    want_tensor(index, "scatter_add", "index")
    _same_dtype("scatter_add", input, src)
    if size_of(index.shape) == 0:
        return untouched(input, src, "ScatterAddBackward0")
    flat, v, part = _place("scatter_add", input, dim, index, src)
    assert part is not None
    return add_rows(input, flat, part, v, 1)


@op(inplace=True, out=True)
def scatter_reduce(input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *,
                   include_self: bool = True) -> Tensor:
    """The elements of `src` reduced into `input` at `index`: sum, prod, mean, amax or amin."""
    if reduce not in ("sum", "prod", "mean", "amax", "amin"):
        raise RuntimeError("reduce argument must be either sum, prod, mean, amax or amin, "
                           "got " + str(reduce))
    want_tensor(index, "scatter_reduce", "index")
    _same_dtype("scatter_reduce", input, src)
    if size_of(index.shape) == 0:
        return untouched(input, src, "ScatterReduceBackward0")
    if input.dtype.is_complex and reduce in ("amax", "amin") or input.dtype is bool_ and reduce == "mean":
        raise NotImplementedError(f"\"scatter_gather_tensor_cpu_reduce_{reduce}\" not implemented for "
                                  f"'{DTYPE_NAMES[input.dtype.name]}'")
    flat, v, part = _place("scatter", input, dim, index, src)
    assert part is not None
    return reduce_rows(input, flat, part, v, 1, reduce, include_self)


_INDEX_ADD = adding("IndexAddBackward0")
_INDEX_COPY = setting("IndexCopyBackward0")
_INDEX_FILL = (setting("IndexFillBackward0"), setting("IndexFillBackward1"))


def _source(what: str, input: Tensor, source: Tensor, shape: tuple[int, ...], dim: int) -> Tensor:
    """`source`, if it has the shape of the rows it is for."""
    want_tensor(source, what, "source")
    if source.dtype is not input.dtype:
        raise RuntimeError(f"{what}(): self ({DTYPE_NAMES[input.dtype.name]}) and source "
                           f"({DTYPE_NAMES[source.dtype.name]}) must have the same scalar type")
    if (source.shape or (1,)) == tuple(shape):
        return source
    count = (source.shape or (1,))[dim] if dim < (len(source.shape) or 1) else 1
    error = IndexError if what == "index_copy_" else RuntimeError
    if count != shape[dim]:
        given = count if what == "index_copy_" else list(source.shape)[dim] if source.shape else 1
        raise error(f"{what}(): Number of indices ({shape[dim]}) should be equal to "
                    f"source.size(dim): ({given}), for dim: {dim}")
    if not source.shape:
        return source
    raise error(f"{what}(): Source/destination tensor must have same slice shapes. Destination "
                f"slice shape: {[s for k, s in enumerate(shape) if k != dim]} at dimension {dim} "
                "and source slice shape: "
                f"{[s for k, s in enumerate(source.shape) if k != dim]} at dimension 0.")


@op(inplace=True, out=True)
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """`input` with the slices of `source` added to those that `index` names."""
    dim, shape = vector_checks("index_add_", input, dim, index)
    source = _source("index_add_", input, source, shape, dim)
    flat, v, d = vector_index(input, dim, index)
    return add_rows(input, flat, source, v, d, _INDEX_ADD, alpha)


@op(inplace=True, out=True)
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """`input` with the slices of `source` in place of those that `index` names."""
    message = "index_copy_(): index {i} is out of bounds for dimension {dim} with size {size}"
    dim, shape = vector_checks("index_copy_", input, dim, index)
    if index.dtype is not int64:
        raise RuntimeError(f"index_copy_(): Expected a long tensor for index, but got {DTYPE_NAMES[index.dtype.name]}")
    source = _source("index_copy_", input, source, shape, dim)
    flat, v, d = vector_index(input, dim, index, message=message)
    return set_rows(input, flat, source, v, d, _INDEX_COPY)


@op(inplace=True)
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """`input` with `value` in the slices that `index` names."""
    want_tensor(index, "index_fill_", "index")
    if index.dtype is not int64:
        raise IndexError("index_fill_(): Expected dtype int64 for index.")
    if isinstance(value, Tensor) and value._rg and len(index.shape) == 1 and not is_meta(index):
        # `value` counts once for each slice
        index = new(index_leaf(np.unique(value_of(read(index)))))
    dim, shape = vector_checks("index_fill_", input, dim, index)
    rule = _INDEX_FILL[isinstance(value, Tensor)]
    if isinstance(value, Tensor):
        if value.shape:
            raise RuntimeError("index_fill_ only supports a 0-dimensional value tensor, but got "
                               f"tensor with {len(value.shape)} dimension(s).")
        source = to_dtype(value, input.dtype).expand(shape)
    else:
        source = new(constant(scalar_value(value, input.dtype), tuple.__new__(Size, shape), input.dtype))
    flat, v, d = vector_index(input, dim, index, True, OUT_OF_BOUNDS)
    return set_rows(input, flat, source, v, d, rule)


@op(inplace=True, out=True)
def index_reduce(input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *,
                 include_self: bool = True) -> Tensor:
    """The slices of `source` reduced into those that `index` names: prod, mean, amax or amin."""
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError("reduce argument must be either prod, mean, amax or amin, "
                           "got " + str(reduce) + ".")
    kernel = "" if not (input.dtype.is_complex or input.dtype is bool_) else \
        "index_func_" if len(input.shape) < 2 else "" if include_self else "index_reduce_func_exclude_input_init"
    if not kernel and (input.dtype is bool_ and reduce == "mean"
                       or input.dtype.is_complex and reduce in ("amax", "amin")):
        kernel = {"mean": "div_floor_cpu", "amax": "maximum_cpu", "amin": "minimum_cpu"}[reduce]
    if kernel:
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{DTYPE_NAMES[input.dtype.name]}'")
    dim, shape = vector_checks("index_reduce_", input, dim, index)
    source = _source("index_reduce_", input, source, shape, dim)
    flat, v, d = vector_index(input, dim, index)
    return reduce_rows(input, flat, source, v, d, reduce, include_self)


# ---- anywhere ------------------------------------------------------------------------------------

_PUT_SET, _PUT_ADD = setting("PutBackward0"), adding("PutBackward0")


@op(inplace=True)
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """`input` with the elements of `source` at `index`, counted through it row by row."""
    want_tensor(index, "put", "index")
    if index.dtype is not int64:
        raise RuntimeError("put_(): Expected a long tensor for index, but got "
                           + DTYPE_NAMES[index.dtype.name])
    if source.dtype is not input.dtype:
        raise RuntimeError("put_(): self and source expected to have the same dtype, but got "
                           f"self.dtype = {DTYPE_NAMES[input.dtype.name]} and source.dtype = "
                           f"{DTYPE_NAMES[source.dtype.name]}")
    if size_of(source.shape) != size_of(index.shape):
        raise RuntimeError("put_(): Expected source and index to have the same number of elements, "
                           f"but got source.numel() = {size_of(source.shape)}, index.numel() = "
                           f"{size_of(index.shape)}")
    v = size_of(input.shape)
    node = counted(index, v)
    if accumulate:
        return add_rows(input, node, source, v, 1, _PUT_ADD)
    return set_rows(input, node, source, v, 1, _PUT_SET)


_MASKED_SCATTER = setting("MaskedScatterBackward0")


@op(inplace=True)
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """`input` with the elements of `source`, in order, where `mask` is True."""
    want_tensor(mask, "masked_scatter", "mask")
    want_tensor(source, "masked_scatter", "source")
    if mask.dtype is not bool_:
        raise RuntimeError("masked_scatter_ only supports boolean masks, but got mask with dtype "
                           + DTYPE_NAMES[mask.dtype.name])
    if source.dtype is not input.dtype:
        raise RuntimeError("masked_scatter: expected self and source to have same dtypes but got "
                           f"{DTYPE_NAMES[input.dtype.name]} and {DTYPE_NAMES[source.dtype.name]}")
    if is_meta(mask):  # which elements of `source` are taken is not known: as many as there are
        input = input.expand(broadcast(input.shape, mask.shape))
        index = meta_node((size_of(source.shape),), int64)
    else:
        input, index = masked(input, mask)
    count = index.shape[0]
    source = source.reshape(-1)
    if source.shape[0] < count:
        raise RuntimeError("Number of elements of source < number of ones in mask")
    if source.shape[0] != count:
        source = source[:count]
    return set_rows(input, index, source, size_of(input.shape), 1, _MASKED_SCATTER)


# ---- what __setitem__ stands on ------------------------------------------------------------------

INDEX_PUT_SET = setting("IndexPutBackward0")
INDEX_PUT_ADD = adding("IndexPutBackward0")


def fit(value: Tensor, shape: tuple[int, ...], leading: bool = True) -> Tensor:
    """`value` broadcast to what an index expression means; with `leading` too many leading 1s are dropped."""
    if value.shape == shape:
        return value
    extra = len(value.shape) - len(shape)
    if leading and extra > 0 and all(s == 1 for s in value.shape[:extra]):
        value = value.reshape(value.shape[extra:])
    n = len(value.shape)
    pairs = zip(value.shape, shape[len(shape) - n:], strict=False)
    if n > len(shape) or any(s != 1 and s != t for s, t in pairs):
        raise RuntimeError(f"shape mismatch: value tensor of shape {list(value.shape)} cannot be "
                           f"broadcast to indexing result of shape {list(shape)}")
    if value.shape == shape:
        return value
    return value.expand(shape)


def put_rows(base: Tensor, index: Node, v: int, d: int, shape: tuple[int, ...], value: Any,
             accumulate: bool = False, leading: bool = True) -> Tensor:
    """`base[...] = value` with the flat index of index_nodes.flat_index."""
    shape = tuple.__new__(Size, shape)
    if not isinstance(value, Tensor):
        value = new(constant(scalar_value(value, base.dtype), shape, base.dtype))
    else:
        if value.dtype is not base.dtype:
            raise RuntimeError("Index put requires the source and destination dtypes match, got "
                               f"{DTYPE_NAMES[base.dtype.name]} for the destination and "
                               f"{DTYPE_NAMES[value.dtype.name]} for the source.")
        value = fit(value, shape, leading)
    if accumulate:
        return add_rows(base, index, value, v, d, INDEX_PUT_ADD)
    return set_rows(base, index, value, v, d, INDEX_PUT_SET)
