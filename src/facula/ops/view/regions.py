"""Regions of a contiguous value as fresh tensors: looking at one, adding to one, replacing one.

A region is (shape, strides, offset). Views (views.py) are aliases; their gradients are made of
regions, because gradients are contiguous whatever the strides of the tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from facula._tensor.handle import Tensor, new
from facula._tensor.layout import dense_order
from facula._tensor.reading import lay, read, view_node
from facula._tensor.tape import attach, rules
from facula.autograd.graph import Rule
from facula.dtypes import int64
from facula.engine.graph.node import SCATTER_ADD, WRITE, contiguous_strides, inside, size_of
from facula.engine.realize import leaf
from facula.engine.recorder import record
from facula.ops.casting import cast_node, constant

Ints = tuple[int, ...]


def overlaps(shape: Ints, strides: Ints) -> bool:
    """May two indices meet the same element?"""
    reach = 0
    for stride, n in sorted((abs(st), n) for n, st in zip(shape, strides, strict=False) if n > 1):
        if stride <= reach:
            return True
        reach += stride * (n - 1)
    return False


def _demand(shape: Ints, strides: Ints, offset: int, size: int) -> None:
    """Kernels trust a region: one outside its base would be read, or written, in somebody else's memory."""
    if not inside(shape, strides, offset, size):
        raise AssertionError(f"a region of shape {shape}, strides {strides} and offset {offset} does not lie in "
                             f"a memory of {size} elements: please report this, nothing was read or written")


def region_view(t: Tensor, shape: Ints, strides: Ints, offset: int, name: str = "") -> Tensor:
    """The region (shape, strides, offset) of the contiguous value of `t`, as a fresh tensor."""
    _demand(shape, strides, offset, size_of(t.shape))
    out = new(view_node(read(t), shape, strides, offset, t.dtype))
    rule = _named(name, region_view_backward) if name else _REGION_VIEW
    return attach(out, rule, (t,), (strides, offset))


def region_view_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    strides, offset = ctx.saved
    return (region_add(g, ctx.shapes[0], strides, offset),)


def region_add(g: Tensor, shape: Ints, strides: Ints, offset: int) -> Tensor:
    """Zeros of `shape` with `g` added at the region: the transpose of `region_view`."""
    if offset == 0 and size_of(shape) == size_of(g.shape) \
            and strides == contiguous_strides(g.shape):
        return region_view(g, shape, contiguous_strides(shape), 0)
    _demand(g.shape, strides, offset, size_of(shape))
    zero = constant(0, shape, g.dtype)
    if not size_of(g.shape):
        node = zero
    elif not overlaps(g.shape, strides):
        node = record(WRITE, (zero, read(g)), (strides,), (offset,), zero.shape, g.dtype)
    else:
        where = np.full(g.shape, offset, np.int64)
        for d, (n, stride) in enumerate(zip(g.shape, strides, strict=False)):
            steps = np.arange(n) * stride
            where += steps.reshape([n if k == d else 1 for k in range(len(g.shape))])
        n = where.size
        total = size_of(shape)
        at = leaf(where.reshape(-1), (n,), int64)
        wide = g.dtype.compute  # 16 bits are no room for a sum
        value = view_node(cast_node(read(g), wide), (n, 1), (1, 1), 0, wide)
        zeros = constant(0, (total, 1), wide)
        flat = cast_node(record(SCATTER_ADD, (zeros, at, value), None, None, (total, 1), wide), g.dtype)
        node = view_node(flat, tuple(shape), contiguous_strides(tuple(shape)), 0, g.dtype)
    return attach(new(node), _REGION_ADD, (g,), (strides, offset))


def region_add_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    strides, offset = ctx.saved
    return (region_view(g, ctx.shapes[0], strides, offset),)


def region_put(base: Tensor, value: Tensor, strides: Ints, offset: int, name: str = "") -> Tensor:
    """A copy of contiguous `base` with the region replaced by `value`, of the same dtype."""
    _demand(value.shape, strides, offset, size_of(base.shape))
    if not size_of(value.shape):
        out = new(read(base))
    elif offset == 0 and size_of(base.shape) == size_of(value.shape) \
            and strides == contiguous_strides(value.shape):
        plain = contiguous_strides(base.shape)
        out = new(view_node(read(value), base.shape, plain, 0, value.dtype))
    else:
        inputs = (read(base), read(value))
        out = new(record(WRITE, inputs, (strides,), (offset,), base.shape, base.dtype))
    return attach(out, _named(name, _write_backward) if name else write_rule, (base, value),
                  (value.shape, strides, offset, base.shape))


def _write_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    shape, strides, offset, base_shape, *order = ctx.saved
    needs = ctx.needs
    if order and order[0] != tuple(range(len(base_shape))):  # where the base's memory has its dimensions otherwise
        g = g.permute(order[0])
    to_base = to_value = None
    if needs[0]:
        to_base = region_put(g, new(constant(0, shape, g.dtype)), strides, offset)
        if order:
            to_base = to_base.permute(tuple(sorted(range(len(base_shape)), key=order[0].__getitem__)))
    if needs[1]:
        to_value = region_view(g, shape, strides, offset)
        block = dense_order(shape, strides)
        if block is not None:  # a part that lies in one piece there: as it does
            lay(to_value, (block, strides))
    return to_base, to_value


def _as_strided_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    base_shape, base_strides, base_offset, shape, strides, offset = ctx.saved
    if base_strides == contiguous_strides(base_shape) \
            and inside(shape, strides, offset - base_offset, size_of(base_shape)):
        return (region_add(g, base_shape, strides, offset - base_offset),)
    low = min(offset, base_offset)
    high = low
    for s, st, o in ((shape, strides, offset), (base_shape, base_strides, base_offset)):
        high = max(high, o + sum((n - 1) * k for n, k in zip(s, st, strict=False) if n))
    flat = region_add(g, (high - low + 1,), strides, offset - low)
    if overlaps(base_shape, base_strides):
        # several elements of the base are one in memory: each takes its part, so that they sum to
        # the gradient
        ones = new(constant(1, base_shape, g.dtype))
        shares = region_add(ones, (high - low + 1,), base_strides, base_offset - low)
        flat = flat / shares.clamp_min(1)
    return (region_view(flat, base_shape, base_strides, base_offset - low),)


_rules: dict[tuple[str, Any], Rule] = {}


def _named(name: str, backward: Callable[..., Any]) -> Rule:
    found = _rules.get((name, backward))
    if found is None:
        found = _rules[name, backward] = Rule(name, backward)
    return found


_REGION_VIEW = Rule("AsStridedBackward0", region_view_backward)
_REGION_ADD = Rule("AsStridedScatterBackward0", region_add_backward)
write_rule = rules.write = Rule("CopySlices", _write_backward)
as_strided_rule = rules.as_strided = Rule("AsStridedBackward0", _as_strided_backward)
