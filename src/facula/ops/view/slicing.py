"""One part of a tensor: narrow, select, unfold, as_strided; copies with such a part replaced."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided as as_strided_array

from facula._tensor.handle import Tensor, new, share
from facula.dtypes import BOOL, FLOAT
from facula.engine.graph.node import contiguous_strides, size_of
from facula.ops.arguments import check_tensor, ints, wrap_dim
from facula.ops.casting import constant, to_dtype
from facula.ops.registry import op
from facula.ops.view.regions import Ints, as_strided_rule, region_put
from facula.ops.view.views import geometry, make_view, part_rule, part_view, select_view, slice_view


@op
def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """`length` places of dimension `dim`, from `start`."""
    check_tensor(input, "narrow")
    if not input.shape:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    length = index(length)
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    d = wrap_dim(dim, len(input.shape))
    n = input.shape[d]
    if isinstance(start, Tensor) and (start.shape or not BOOL < start.dtype.category < FLOAT):
        raise RuntimeError(f"start must be an 0-dim integral Tensor, got shape {list(start.shape)} of {start.dtype}")
    start = index(start)
    if not -n <= start <= n:
        raise IndexError(f"start out of range (expected to be in range of [{-n}, {n}], but got "
                         f"{start})")
    if start < 0:
        start += n
    if start + length > n:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return slice_view(input, d, start, start + length)


@op
def select(input: Tensor, dim: int, index: Any) -> Tensor:
    """The part of `input` at `index` along `dim`; the dimension is gone."""
    check_tensor(input, "select")
    if not input.shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    d = wrap_dim(dim, len(input.shape))
    n = input.shape[d]
    i = _index(index)
    if not -n <= i < n:
        raise IndexError(f"select(): index {i} out of range for tensor of size {list(input.shape)} "
                         f"at dimension {d}")
    return select_view(input, d, i + n if i < 0 else i)


_index = index


@op
def as_strided(input: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """A view of the storage of `input` with this geometry."""
    check_tensor(input, "as_strided")
    shape, strides = ints((size,)), ints((stride,))
    if len(shape) != len(strides):
        raise RuntimeError("mismatch in length of strides and shape")
    if any(s < 0 for s in strides):
        raise RuntimeError(
            f"as_strided: Negative strides are not supported at the moment, got strides: {list(strides)}"
        )
    if any(n < 0 for n in shape):
        raise RuntimeError(f"Storage size calculation overflowed with sizes={list(shape)} and strides={list(strides)}")
    old, at = geometry(input)
    offset = at if storage_offset is None else index(storage_offset)
    if offset < 0:
        raise RuntimeError(f"Tensor: invalid storage offset {offset}")
    if size_of(shape):
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=False))
        storage = share(input)
        have = size_of(storage.node.shape) * storage.node.dtype.itemsize // input.dtype.itemsize
        if last >= have:
            step = input.dtype.itemsize
            raise RuntimeError(f"setStorage: sizes {list(shape)}, strides {list(strides)}, storage "
                               f"offset {offset}, and itemsize {step} requiring a storage size of "
                               f"{(last + 1) * step} are out of bounds for storage of size "
                               f"{have * step}")
        base = input._base
        if base is not None and base._rg and base.dtype is input.dtype \
                and not _lies_within(shape, strides, offset, input.shape, old, at):
            input = base  # the gradients of what lies beside a view do not pass through it
            old, at = geometry(input)
    saved = (tuple(input.shape), old, at, shape, strides, offset)
    return make_view(input, shape, strides, offset, as_strided_rule, saved)


def _lies_within(shape: Ints, strides: Ints, offset: int, of: Ints, old: Ints, at: int) -> bool:
    """Are all elements of a region among those of a view, neither beside it nor in its gaps?"""
    if not size_of(of):
        return False
    last, end = (start + sum((n - 1) * s for n, s in zip(sizes, steps, strict=True))
                 for start, sizes, steps in ((offset, shape, strides), (at, of, old)))
    if offset < at or last > end:
        return False
    if old == contiguous_strides(of):
        return True
    here = np.zeros(end - at + 1, np.bool_)
    as_strided_array(here, of, old)[...] = True
    return bool(as_strided_array(here[offset - at:], shape, strides).all())


_UNFOLD = part_rule("UnfoldBackward0")


@op(function=False)
def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Windows of `size`, `step` apart, along a dimension; the window is a new last dimension."""
    shape = tuple(input.shape)
    size, step = index(size), index(step)
    d = wrap_dim(dimension, len(shape))
    n = shape[d] if shape else 1
    if size > n:
        raise RuntimeError(f"maximum size for tensor at dimension {d} is {n} but size is {size}")
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    if not shape:
        return part_view(input, (size,), lambda strides, offset: ((1,), offset), _UNFOLD)

    def move(strides: Ints, offset: int) -> tuple[Ints, int]:
        return (*strides[:d], strides[d] * step, *strides[d + 1:], strides[d]), offset
    windows = (n - size) // step + 1
    return part_view(input, (*shape[:d], windows, *shape[d + 1:], size), move, _UNFOLD)


# ---- writing into a copy -------------------------------------------------------------------------

def scatter_into(input: Tensor, src: Tensor, region: Tensor, name: str) -> Tensor:
    """A copy of `input` with `src` where `region`, a view of `plain_like(input)`, lies."""
    if src.shape != region.shape:
        raise RuntimeError("expected src to have a size equal to the slice of self. src size = "
                           f"{list(src.shape)}, slice size = {list(region.shape)}")
    return region_put(input, to_dtype(src, input.dtype), region._strides, region._offset, name)


def plain_like(input: Tensor) -> Tensor:
    """A contiguous tensor like `input`: its views say where a part of `input` lies."""
    return new(constant(0, input.shape, input.dtype))


@op(out=True)
def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """A copy of `input` with `src` in place of `input[start:end:step]` along `dim`."""
    d = wrap_dim(dim, len(input.shape))
    a, b, _ = slice(start, end).indices(input.shape[d])
    if step < 1:
        raise RuntimeError("slice step must be positive")
    region = slice_view(plain_like(input), d, a, b, step)
    return scatter_into(input, src, region, "SliceScatterBackward0")


@op
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy of `input` with `src` in place of `input[index]` along `dim`."""
    d = wrap_dim(dim, len(input.shape))
    n = input.shape[d]
    if not -n <= index < n:
        raise IndexError(f"select_scatter(): index {index} out of range for tensor of size "
                         f"{list(input.shape)} at dimension {d}")
    region = select_view(plain_like(input), d, index % n)
    return scatter_into(input, src, region, "SelectScatterBackward0")


@op
def as_strided_scatter(input: Tensor, src: Tensor, size: Any, stride: Any,
                       storage_offset: int | None = None) -> Tensor:
    """A copy of `input` with `src` in place of `input.as_strided(...)`."""
    region = as_strided(plain_like(input), size, stride, storage_offset or 0)
    return scatter_into(input, src, region, "AsStridedScatterBackward0")
