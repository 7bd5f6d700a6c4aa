"""Tensors brought to a common shape: expand, broadcast_to; grids and combinations."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from facula._tensor.handle import Tensor, new
from facula.autograd.graph import Rule
from facula.dtypes import int64
from facula.engine.graph.node import size_of
from facula.engine.realize import leaf
from facula.ops.arguments import ints
from facula.ops.arrange.joining import stack
from facula.ops.casting import constant
from facula.ops.elementwise.pointwise import broadcast, sum_to
from facula.ops.registry import DTYPE_NAMES, op
from facula.ops.view.regions import Ints
from facula.ops.view.reshaping import reshape
from facula.ops.view.value_views import reshape_value
from facula.ops.view.views import geometry, make_view

_EXPAND = Rule("ExpandBackward0", lambda ctx, g: (sum_to(g, ctx.shapes[0]),))


@op(function=False)
def expand(input: Tensor, *sizes: Any, size: Any = None, implicit: bool = False) -> Tensor:
    """`input` repeated along dimensions of length 1, without a copy."""
    target = ints((size,) if size is not None else sizes)
    old = tuple(input.shape)
    extra = len(target) - len(old)
    if extra < 0:
        raise RuntimeError(
            f"expand(torch.{DTYPE_NAMES[input.dtype.name]}Tensor{{{list(old)}}}, "
            f"size={list(target)}): the number of sizes provided ({len(target)}) must be greater "
            f"or equal to the number of dimensions in the tensor ({len(old)})"
        )
    strides, offset = geometry(input)
    shape, to = list(target), [0] * len(target)
    for k, s in reversed(list(enumerate(target))):
        if k < extra:
            if s < 0:
                raise RuntimeError(f"The expanded size of the tensor ({s}) isn't allowed in a "
                                   f"leading, non-existing dimension {k}")
            if s == 1 and old:
                to[k] = shape[k + 1] * to[k + 1]
            continue
        have = old[k - extra]
        if s == -1:
            shape[k] = s = have
        if s == have:
            to[k] = strides[k - extra]
        elif have != 1 or s < 0:
            raise RuntimeError(f"The expanded size of the tensor ({s}) must match the existing "
                               f"size ({have}) at non-singleton dimension {k}.  Target sizes: "
                               f"{list(target)}.  Tensor sizes: {list(old)}")
    return make_view(input, tuple(shape), tuple(to), offset, _EXPAND)


@op(function=False)
def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """`input` expanded to the shape of `other`."""
    return expand(input, other.shape)


@op
def broadcast_to(input: Tensor, *sizes: Any, size: Any = None) -> Tensor:
    """`input` broadcast to `size`."""
    return expand(input, *sizes, size=size)


def _listed(tensors: tuple[Any, ...]) -> list[Tensor]:
    """The tensors of `f(a, b)` or `f([a, b])`."""
    one = len(tensors) == 1 and isinstance(tensors[0], (tuple, list))
    return list(tensors[0] if one else tensors)


@op(method=False)
def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """Every tensor expanded to the shape they have in common."""
    items = _listed(tensors)
    shape: Ints = ()
    for x in items:
        shape = broadcast(shape, x.shape)
    return tuple([expand(x, shape) for x in items])


# ---- grids ---------------------------------------------------------------------------------------

@op(method=False)
def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """The coordinates of a grid, one tensor a dimension."""
    items = _listed(tensors)
    if not items:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    if indexing not in (None, "ij", "xy"):
        raise RuntimeError('torch.meshgrid: indexing must be one of "xy" or "ij", but received: '
                           f"{indexing}")
    for x in items:
        if len(x.shape) > 1:
            raise RuntimeError("torch.meshgrid: Expected 0D or 1D tensor in the tensor list but "
                               f"got: {len(x.shape)}")
        if x.dtype is not items[0].dtype:
            raise RuntimeError("torch.meshgrid expects all tensors to have the same dtype")
    swapped = indexing == "xy" and len(items) >= 2
    if swapped:
        items[0], items[1] = items[1], items[0]
    shape = tuple([size_of(x.shape) for x in items])
    grids = [expand(reshape(x, (1,) * k + (shape[k],) + (1,) * (len(shape) - 1 - k)), shape)
             for k, x in enumerate(items)]
    if swapped:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


@op(method=False)
def cartesian_prod(*tensors: Any) -> Tensor:
    """Every combination of an element of each."""
    items = _listed(tensors)
    for x in items:
        if len(x.shape) != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(x.shape)}")
    if len(items) == 1:
        return items[0]
    return stack([reshape(x, (size_of(x.shape),)) for x in meshgrid(items, indexing="ij")], 1)


@op(method=False)
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """Every choice of `r` elements of a vector."""
    if len(input.shape) != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if not r:
        return new(constant(0, (0,), input.dtype))
    pick = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    at = np.array(list(pick(range(input.shape[0]), r)), np.int64).reshape(-1, r)
    found = input.index_select(0, new(leaf(at.reshape(-1), (at.size,), int64)))
    return reshape_value(found, at.shape)
