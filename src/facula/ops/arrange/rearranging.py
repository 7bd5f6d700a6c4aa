"""Elements in another order, or several times over: flip, roll, rot90, repeat, tile."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from facula._tensor.handle import Tensor, is_meta, new
from facula._tensor.reading import copied, lay, layout_of, read, view_node
from facula._tensor.tape import attach
from facula.autograd.graph import Rule
from facula.dtypes import int64
from facula.engine.graph.node import WRITE, contiguous_strides, size_of
from facula.engine.placing import meta_node
from facula.engine.realize import leaf
from facula.engine.recorder import record
from facula.layouts import contiguous_format
from facula.ops.arguments import ints, wrap_dim
from facula.ops.casting import constant
from facula.ops.registry import op
from facula.ops.result_layouts import format_of
from facula.ops.view.broadcasting import expand
from facula.ops.view.copying import clone
from facula.ops.view.permuting import transpose
from facula.ops.view.reshaping import reshape, unsqueeze


@op
def flip(input: Tensor, *dims: Any, **kw: Any) -> Tensor:
    """The order along `dims` reversed."""
    n = len(input.shape)
    dims_named = kw.pop("dims", None)
    if kw:
        raise TypeError(f"flip() got an unexpected keyword argument '{next(iter(kw))}'")
    wanted = [wrap_dim(d, n) for d in ints((dims_named,) if dims_named is not None else dims, "dims")]
    for d in wanted:
        if wanted.count(d) > 1:
            raise RuntimeError(f"dim {d} appears multiple times in the list of dims")
    strides = list(contiguous_strides(input.shape))
    offset = 0
    if size_of(input.shape) and n:
        for d in wanted:
            offset += (input.shape[d] - 1) * strides[d]
            strides[d] = -strides[d]
    else:
        return clone(input)
    out = new(view_node(read(input), input.shape, tuple(strides), offset, input.dtype))
    return attach(out, _FLIP, (input,), (tuple(wanted),))


_FLIP = Rule("FlipBackward0", lambda ctx, g: (flip(g, ctx.saved[0]),))


@op
def fliplr(input: Tensor) -> Tensor:
    """Columns in reverse order."""
    if len(input.shape) < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip(input, (1,))


@op
def flipud(input: Tensor) -> Tensor:
    """Rows in reverse order."""
    if not input.shape:
        raise RuntimeError("Input must be >= 1-d.")
    return flip(input, (0,))


@op
def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Elements moved along `dims`; what falls off the end comes in at the start."""
    by = ints((shifts,))
    if dims is None or isinstance(dims, (tuple, list)) and not dims:
        if len(by) != 1:
            raise RuntimeError(f"shifts and dimensions must align. shifts: {len(by)}, dims:0")
        flat = new(view_node(read(input), (size_of(input.shape),), (1,), 0, input.dtype))
        turned = read(roll(flat, by, (0,)))
        out = new(view_node(turned, input.shape, contiguous_strides(input.shape), 0, input.dtype))
        return attach(out, _ROLL, (input,), (by, None))
    along = ints((dims,))
    if not by:
        raise RuntimeError("`shifts` required")
    if len(by) != len(along):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(by)}, "
                           f"dims:{len(along)}")
    if not input.shape:
        raise IndexError(f"Dimension specified as {along[0]} but tensor has no dimensions")
    node = read(input)
    idle = False  # PyTorch goes another way where a step moves nothing
    for s, d in zip(by, along, strict=False):
        d = wrap_dim(d, len(input.shape))
        n = node.shape[d]
        if not n or not s % n or not size_of(node.shape):
            idle = True
            continue
        s %= n
        strides = contiguous_strides(node.shape)
        shape = tuple(node.shape)
        at = (n - s) * strides[d]
        tail = view_node(node, (*shape[:d], s, *shape[d + 1:]), strides, at, node.dtype)
        head = view_node(node, (*shape[:d], n - s, *shape[d + 1:]), strides, 0, node.dtype)
        zeros = constant(0, shape, node.dtype)
        whole = record(WRITE, (zeros, tail), (strides,), (0,), node.shape, node.dtype)
        node = record(WRITE, (whole, head), (strides,), (s * strides[d],), node.shape, node.dtype)
    out = new(node) if idle else lay(new(node), format_of(input.shape, [input]))
    return attach(out, _ROLL, (input,), (by, along))


_ROLL = Rule("RollBackward0", lambda ctx, g: (
    roll(g, tuple([-s for s in ctx.saved[0]]), ctx.saved[1]),))


@op
def rot90(input: Tensor, k: int = 1, dims: Any = (0, 1)) -> Tensor:
    """The plane `dims` turned by 90 degrees, `k` times."""
    turned = _turned(input, k, dims)
    return attach(copied(turned, layout_of(turned)), _ROT90, (input,), (k, tuple(dims)))


_ROT90 = Rule("Rot90Backward0", lambda ctx, g: (rot90(g, -ctx.saved[0], ctx.saved[1]),))


def _turned(input: Tensor, k: int, dims: Any) -> Tensor:
    n = len(input.shape)
    dims = tuple(dims)
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if n < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {n}")
    a, b = wrap_dim(dims[0], n), wrap_dim(dims[1], n)
    if a == b:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {dims[0]} and "
                           f"dim1 = {dims[1]}")
    k %= 4
    if k == 1:
        return transpose(flip(input, (b,)), a, b)
    if k == 2:
        return flip(input, (a, b))
    return transpose(flip(input, (a,)), a, b) if k == 3 else clone(input, memory_format=contiguous_format)


# ---- repetition ----------------------------------------------------------------------------------

def _repeat_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    shape, = ctx.saved
    split = reshape(g, shape)
    if not size_of(g.shape):
        return (new(constant(0, ctx.shapes[0], g.dtype)),)
    return (reshape(split.sum(tuple(range(0, len(shape), 2))), ctx.shapes[0]) if shape else split,)


_REPEAT = Rule("RepeatBackward0", _repeat_backward)


@op(function=False)
def repeat(input: Tensor, *repeats: Any, **kw: Any) -> Tensor:
    """Copies side by side: `repeats` along each dimension."""
    times = ints((kw["repeats"],) if kw else repeats, "repeats")
    extra = len(times) - len(input.shape)
    if extra < 0:
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of "
                           "dimensions of tensor")
    shape = (1,) * extra + tuple(input.shape)
    if any(r < 0 for r in times):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(times)}: "
                           f"{[r * s for r, s in zip(times, shape, strict=False)]}")
    strides = contiguous_strides(shape)
    split = tuple([x for pair in zip(times, shape, strict=False) for x in pair])
    steps = tuple([x for s in strides for x in (0, s)])
    full = tuple([r * s for r, s in zip(times, shape, strict=False)])
    if not size_of(full):
        node = constant(0, full, input.dtype)
    else:
        node = view_node(read(input), split, steps, 0, input.dtype)
        node = view_node(node, full, contiguous_strides(full), 0, input.dtype)
    return attach(new(node), _REPEAT, (input,), (split,))


@op
def tile(input: Tensor, *dims: Any, **kw: Any) -> Tensor:
    """`repeat`, where missing leading repeats are 1."""
    times = ints((kw["dims"],) if kw else dims, "dims")
    return repeat(input, (1,) * (len(input.shape) - len(times)) + times)


@op
def repeat_interleave(input: Tensor, repeats: Any = None, dim: int | None = None, *,
                      output_size: int | None = None) -> Tensor:
    """Each element (or part along `dim`) repeated in place."""
    if repeats is None:
        counts = input.tolist()
        at = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
        return new(leaf(at, (sum(counts),), int64))
    if dim is None:
        input = reshape(input, (size_of(input.shape),))
        dim = 0
    d = wrap_dim(dim, len(input.shape))
    if not input.shape:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    shape = tuple(input.shape)
    if isinstance(repeats, Tensor):
        if repeats.dtype.name not in ("int32", "int64"):
            raise RuntimeError("repeats has to be Long or Int tensor")
        if is_meta(repeats):
            if output_size is None:
                raise RuntimeError("cannot repeat_interleave a meta tensor without output_size")
            return input.index_select(d, new(meta_node((output_size,), int64)))
        counts = repeats.tolist()
        if isinstance(counts, int):
            repeats = counts
        elif len(counts) == 1:
            repeats = counts[0]
        else:
            if len(counts) != shape[d]:
                raise RuntimeError("repeats must have the same size as input along dim, but got "
                                   f"repeats.size(0) = {len(counts)} and input.size({d}) = "
                                   f"{shape[d]}")
            if min(counts, default=0) < 0:
                raise RuntimeError("repeats can not be negative")
            at = np.repeat(np.arange(shape[d]), counts).astype(np.int64)
            return input.index_select(d, new(leaf(at, at.shape, int64)))
    times = index(repeats)
    if times < 0:
        raise RuntimeError("Repeats must be non-negative")
    grown = expand(unsqueeze(input, d + 1), (*shape[:d + 1], times, *shape[d + 1:]))
    return reshape(clone(grown), (*shape[:d], shape[d] * times, *shape[d + 1:]))
