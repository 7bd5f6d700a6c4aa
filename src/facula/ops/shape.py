"""Copies, joins and rearrangements: what gives fresh elements rather than another look at the same ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from operator import index
from typing import Any

import numpy as np

from facula.autograd.graph import Rule
from facula.dtypes import FLOAT, bool_, dtype, int64
from facula.engine.graph.expr import operand, scalar, where
from facula.engine.graph.node import INDEX, WRITE, Formula, contiguous_strides, size_of
from facula.engine.meta import meta_node
from facula.engine.realize import leaf
from facula.engine.recorder import record
from facula.ops.creation import placed
from facula.ops.pointwise import apply, broadcast, constant, number_for, result_dtype, to_dtype
from facula.ops.registry import DTYPE_NAMES, FUNCTIONS, alias_of, op
from facula.ops.views import (
    Ints,
    diagonal,
    expand,
    ints,
    is_contiguous_geometry,
    region_put,
    region_view,
    reshape,
    select_view,
    slice_view,
    transpose,
    unsqueeze,
    wrap_dim,
)
from facula.tensor import Tensor, attach, is_meta, new, read, view_node

_CLONE = Rule("CloneBackward0", lambda ctx, g: (g,))


@op
def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy. (Values are immutable: the elements are copied when either is written.)"""
    if not isinstance(input, Tensor):
        raise TypeError(f"clone(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
    return attach(new(read(input)), _CLONE, (input,))


@op(function=False)
def contiguous(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """`input` if its elements lie row-major, otherwise a copy."""
    return input if is_contiguous_geometry(input) else clone(input)


# ---- joining -----------------------------------------------------------------------------------------------

def _list(tensors: Any, what: str) -> list[Tensor]:
    if isinstance(tensors, Tensor):
        raise TypeError(f"{what}(): argument 'tensors' (position 1) must be tuple of Tensors, not Tensor")
    items = list(tensors)
    for k, x in enumerate(items):
        if not isinstance(x, Tensor):
            raise TypeError(f"expected Tensor as element {k} in argument 0, but got {type(x).__name__}")
    return items


def _cat_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    dim, starts = ctx.saved
    strides = contiguous_strides(g.shape)
    out: list[Tensor | None] = []
    for need, shape, of, start in zip(ctx.needs, ctx.shapes, ctx.dtypes, starts, strict=False):
        if not need:
            out.append(None)
        elif start < 0:
            out.append(new(constant(0, shape, of)))
        else:
            out.append(_cast_back(region_view(g, tuple(shape), strides, start * strides[dim], "SliceBackward0"), of))
    return tuple(out)


def _cast_back(g: Tensor, of: dtype) -> Tensor:
    if g.dtype.is_complex and not of.is_complex:
        g = g.real
    return to_dtype(g, of)


_CAT = Rule("CatBackward0", _cat_backward)


@op(method=False, out=True)
def cat(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Tensors one after another along `dim`."""
    items = _list(tensors, "cat")
    if axis is not None:
        dim = axis
    if not items:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    for k, x in enumerate(items):
        if not x.shape:
            raise RuntimeError(f"zero-dimensional tensor (at position {k}) cannot be concatenated")
    real = [k for k, x in enumerate(items) if tuple(x.shape) != (0,)]
    of = result_dtype(tuple(items))
    if not real:
        wrap_dim(dim, 1)
        return attach(new(constant(0, (0,), of)), _CAT, tuple(items), (0, (-1,) * len(items)))
    first = tuple(items[real[0]].shape)
    d = wrap_dim(dim, len(first))
    total = 0
    starts = [-1] * len(items)
    for k in real:
        shape = items[k].shape
        if len(shape) != len(first):
            raise RuntimeError(f"Tensors must have same number of dimensions: got {len(first)} and {len(shape)}")
        for j, (a, b) in enumerate(zip(first, shape, strict=False)):
            if a != b and j != d:
                raise RuntimeError(f"Sizes of tensors must match except in dimension {d}. Expected size {a} but got "
                                   f"size {b} for tensor number {k} in the list.")
        starts[k] = total
        total += shape[d]
    full = (*first[:d], total, *first[d + 1:])
    strides = contiguous_strides(full)
    node = constant(0, full, of)
    for k in real:
        x = items[k]
        if not size_of(x.shape):
            continue
        value = read(x) if x.dtype is of else read(to_dtype(x, of))
        if x.shape[d] == total:
            node = value
        else:
            node = record(WRITE, (node, value), (strides,), (starts[k] * strides[d],), node.shape, of)
    return attach(new(node), _CAT, tuple(items), (d, tuple(starts)))


alias_of("cat", "concat", "concatenate")


def _stack_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    dim, = ctx.saved
    strides = contiguous_strides(g.shape)
    rest = (*strides[:dim], *strides[dim + 1:])
    return tuple(
        [
            _cast_back(region_view(g, tuple(shape), rest, k * strides[dim], "SelectBackward0"), of) if need else None
            for k, (need, shape, of) in enumerate(zip(ctx.needs, ctx.shapes, ctx.dtypes, strict=False))
        ]
    )


_STACK = Rule("StackBackward0", _stack_backward)


@op(method=False, out=True)
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape side by side along a new dimension."""
    items = _list(tensors, "stack")
    if not items:
        raise RuntimeError("stack expects a non-empty TensorList")
    shape = tuple(items[0].shape)
    d = wrap_dim(dim, len(shape) + 1)
    for k, x in enumerate(items):
        if x.shape != shape:
            raise RuntimeError(f"stack expects each tensor to be equal size, but got {list(shape)} at entry 0 and "
                               f"{list(x.shape)} at entry {k}")
    of = result_dtype(tuple(items))
    full = (*shape[:d], len(items), *shape[d:])
    strides = contiguous_strides(full)
    rest = (*strides[:d], *strides[d + 1:])
    node = constant(0, full, of)
    if size_of(shape):
        for k, x in enumerate(items):
            value = read(x) if x.dtype is of else read(to_dtype(x, of))
            node = record(WRITE, (node, value), (rest,), (k * strides[d],), node.shape, of)
    return attach(new(node), _STACK, tuple(items), (d,))


def _stacker(name: str, grow: Callable[[Sequence[Tensor]], Sequence[Tensor]],
             dim: Callable[[Sequence[Tensor]], int]) -> None:
    def body(tensors: Sequence[Tensor]) -> Tensor:
        items = _list(tensors, name)
        if not items:
            raise RuntimeError(f"{name} expects a non-empty TensorList")
        items = list(grow(items))
        return cat(items, dim(items))
    body.__name__ = body.__qualname__ = name
    op(body, method=False, out=True)


_stacker("hstack", lambda x: FUNCTIONS["atleast_1d"](x), lambda x: 0 if len(x[0].shape) == 1 else 1)
_stacker("vstack", lambda x: FUNCTIONS["atleast_2d"](x), lambda x: 0)
_stacker("dstack", lambda x: FUNCTIONS["atleast_3d"](x), lambda x: 2)
_stacker("column_stack", lambda x: [reshape(t, (size_of(t.shape), 1)) if len(t.shape) <= 1 else t for t in x],
         lambda x: 1)
alias_of("vstack", "row_stack")


@op(method=False)
def block_diag(*tensors: Tensor) -> Tensor:
    """Matrices along the diagonal of a matrix of zeros."""
    items = [reshape(t, (1, 1)) if not t.shape else unsqueeze(t, 0) if len(t.shape) == 1 else t for t in tensors]
    for k, x in enumerate(items):
        if len(x.shape) != 2:
            raise RuntimeError(f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {k} has "
                               f"{len(x.shape)} dimensions")
    if not items:
        from facula import defaults
        return new(constant(0, (1, 0), defaults.get_default_dtype()))
    of = result_dtype(tuple(items))
    rows, columns = sum(x.shape[0] for x in items), sum(x.shape[1] for x in items)
    out = new(constant(0, (rows, columns), of))
    at = 0
    for x in items:
        out = region_put(out, to_dtype(x, of), (columns, 1), at)
        at += x.shape[0] * columns + x.shape[1]
    return out


# ---- rearranging ---------------------------------------------------------------------------------------------

@op
def flip(input: Tensor, *dims: Any, **kw: Any) -> Tensor:
    """The order along `dims` reversed."""
    n = len(input.shape)
    wanted = [wrap_dim(d, n) for d in ints((kw["dims"],) if kw else dims, "dims")]
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
    by = ints((shifts,) if isinstance(shifts, (tuple, list)) else (shifts,))
    if dims is None or isinstance(dims, (tuple, list)) and not dims:
        if len(by) != 1:
            raise RuntimeError(f"shifts and dimensions must align. shifts: {len(by)}, dims:0")
        flat = new(view_node(read(input), (size_of(input.shape),), (1,), 0, input.dtype))
        turned = read(roll(flat, by, (0,)))
        out = new(view_node(turned, input.shape, contiguous_strides(input.shape), 0, input.dtype))
        return attach(out, _ROLL, (input,), (by, None))
    along = ints((dims,) if isinstance(dims, (tuple, list)) else (dims,))
    if not by:
        raise RuntimeError("`shifts` required")
    if len(by) != len(along):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(by)}, dims:{len(along)}")
    if not input.shape:
        raise IndexError(f"Dimension specified as {along[0]} but tensor has no dimensions")
    node = read(input)
    for s, d in zip(by, along, strict=False):
        d = wrap_dim(d, len(input.shape))
        n = node.shape[d]
        if not n or not s % n or not size_of(node.shape):
            continue
        s %= n
        strides = contiguous_strides(node.shape)
        shape = tuple(node.shape)
        tail = view_node(node, (*shape[:d], s, *shape[d + 1:]), strides, (n - s) * strides[d], node.dtype)
        head = view_node(node, (*shape[:d], n - s, *shape[d + 1:]), strides, 0, node.dtype)
        whole = record(WRITE, (constant(0, shape, node.dtype), tail), (strides,), (0,), node.shape, node.dtype)
        node = record(WRITE, (whole, head), (strides,), (s * strides[d],), node.shape, node.dtype)
    return attach(new(node), _ROLL, (input,), (by, along))


_ROLL = Rule("RollBackward0", lambda ctx, g: (roll(g, tuple([-s for s in ctx.saved[0]]), ctx.saved[1]),))


@op
def rot90(input: Tensor, k: int = 1, dims: Any = (0, 1)) -> Tensor:
    """The plane `dims` turned by 90 degrees, `k` times."""
    return attach(new(read(_turned(input, k, dims))), _ROT90, (input,), (k, tuple(dims)))


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
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}")
    k %= 4
    if k == 1:
        return clone(transpose(flip(input, (b,)), a, b))
    if k == 2:
        return flip(input, (a, b))
    return clone(transpose(flip(input, (a,)), a, b)) if k == 3 else clone(input)


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
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
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
def repeat_interleave(input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None,
                      ) -> Tensor:
    """Each element (or part along `dim`) repeated in place."""
    if repeats is None:
        counts = input.tolist()
        return new(leaf(np.repeat(np.arange(len(counts)), counts).astype(np.int64), (sum(counts),), int64))
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
                raise RuntimeError("repeats must have the same size as input along dim, but got repeats.size(0) = "
                                   f"{len(counts)} and input.size({d}) = {shape[d]}")
            if min(counts, default=0) < 0:
                raise RuntimeError("repeats can not be negative")
            at = np.repeat(np.arange(shape[d]), counts).astype(np.int64)
            return input.index_select(d, new(leaf(at, at.shape, int64)))
    times = index(repeats)
    if times < 0:
        raise RuntimeError("Repeats must be non-negative")
    grown = expand(unsqueeze(input, d + 1), (*shape[:d + 1], times, *shape[d + 1:]))
    return reshape(clone(grown), (*shape[:d], shape[d] * times, *shape[d + 1:]))


# ---- padding -------------------------------------------------------------------------------------------------

def _pad_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    pads, = ctx.saved
    return (constant_pad_nd(g, tuple([-p for p in pads]), 0),)


_PAD = Rule("ConstantPadNdBackward0", _pad_backward)


@op(method=False)
def constant_pad_nd(input: Tensor, pad: Sequence[int], value: Any = 0) -> Tensor:
    """`value` around `input`: pad = (before, after) of the last dimension, then of the one before it, ..."""
    pads = ints((tuple(pad),), "pad")
    old = tuple(input.shape)
    n = len(old)
    if len(pads) % 2:
        raise RuntimeError(f"Length of pad must be even but instead it equals {len(pads)}")
    if len(pads) > 2 * n:
        raise RuntimeError("Length of pad should be no more than twice the number of dimensions of the input. Pad "
                           f"length is {len(pads)} while the input has {n} dimensions.")
    node = read(input)
    full, inner, cut, put = list(old), list(old), [0] * n, [0] * n
    for k in range(len(pads) // 2):
        d = n - 1 - k
        before, after = pads[2 * k], pads[2 * k + 1]
        full[d] += before + after
        if full[d] < 0:
            raise RuntimeError(f"The input size {old[d]}, plus negative padding {before} and {after} resulted in a "
                               f"negative output size, which is invalid. Check dimension {d} of your input.")
        inner[d] += min(before, 0) + min(after, 0)
        if inner[d] < 0:  # what is cut off at both ends overlaps
            raise RuntimeError("narrow(): length must be non-negative.")
        cut[d], put[d] = max(-before, 0), max(before, 0)
    if min(inner, default=1) > 0:
        strides = contiguous_strides(old)
        if inner != list(old):
            node = view_node(
                node, tuple(inner), strides, sum(c * s for c, s in zip(cut, strides, strict=False)), input.dtype
            )
        if full != inner:
            shape = tuple(full)
            to = contiguous_strides(shape)
            base = constant(number_for(value or 0, input.dtype), shape, input.dtype)
            node = record(
                WRITE,
                (base, node),
                (to,),
                (sum(p * s for p, s in zip(put, to, strict=False)),),
                base.shape,
                input.dtype,
            )
    else:
        node = constant(number_for(value or 0, input.dtype), tuple(full), input.dtype)
    return attach(new(node), _PAD, (input,), (pads,))


@op(name="pad", namespace="nn.functional")
def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Padding of the last dimensions: constant, reflect, replicate or circular."""
    pads = ints((tuple(pad),), "pad")
    if len(pads) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if len(pads) > 2 * len(input.shape):
        raise RuntimeError("Padding length should be less than or equal to two times the input dimension but got "
                           f"padding length {len(pads)} and input of dimension {len(input.shape)}")
    if mode == "constant":
        return constant_pad_nd(input, pads, 0 if value is None else value)
    if value is not None and value != 0:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    n = len(input.shape)
    if not (len(pads) // 2 in (n - 1, n - 2) and 2 <= n <= 5):
        raise NotImplementedError("Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now")
    out = input
    for k in range(len(pads) // 2):
        out = _pad_dim(out, n - 1 - k, pads[2 * k], pads[2 * k + 1], mode)
    return out


def _pad_dim(t: Tensor, d: int, before: int, after: int, mode: str) -> Tensor:
    n = t.shape[d]
    if mode == "reflect" and (before >= n or after >= n):
        raise RuntimeError("Argument #4: Padding size should be less than the corresponding input dimension, but got: "
                           f"padding ({before}, {after}) at dimension {d} of input {list(t.shape)}")
    if mode == "circular" and (before > n or after > n):
        raise RuntimeError("Padding value causes wrapping around more than once.")
    middle = t
    if before < 0 or after < 0:
        middle = slice_view(t, d, max(-before, 0), n - max(-after, 0))
    if mode == "circular":
        t, n = middle, middle.shape[d]
    parts = [middle]
    if before > 0:
        if mode == "reflect":
            parts.insert(0, flip(slice_view(t, d, 1, before + 1), (d,)))
        elif mode == "replicate":
            parts.insert(0, _edge(t, d, 0, before))
        else:
            parts.insert(0, slice_view(t, d, n - before, n))
    if after > 0:
        if mode == "reflect":
            parts.append(flip(slice_view(t, d, n - 1 - after, n - 1), (d,)))
        elif mode == "replicate":
            parts.append(_edge(t, d, n - 1, after))
        else:
            parts.append(slice_view(t, d, 0, after))
    return cat(parts, d) if len(parts) > 1 else parts[0]


def _edge(t: Tensor, d: int, i: int, times: int) -> Tensor:
    shape = t.shape
    return expand(slice_view(t, d, i, i + 1), (*shape[:d], times, *shape[d + 1:]))


# ---- several tensors ---------------------------------------------------------------------------------------

@op(method=False)
def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """Every tensor expanded to the shape they have in common."""
    items = list(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else list(tensors)
    shape: Ints = ()
    for x in items:
        shape = broadcast(shape, x.shape)
    return tuple([expand(x, shape) for x in items])


@op(method=False)
def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """The coordinates of a grid, one tensor a dimension."""
    items = list(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else list(tensors)
    if not items:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    if indexing not in (None, "ij", "xy"):
        raise RuntimeError(f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    for x in items:
        if len(x.shape) > 1:
            raise RuntimeError("torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: "
                               f"{len(x.shape)}")
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
    items: list[Tensor] = list(
        tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors)
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
    return reshape(found, at.shape)


# ---- triangles and diagonals -------------------------------------------------------------------------------

_MASKS = {"tril": Formula("tril_mask", operand(1) - operand(0) <= scalar(0)),
          "triu": Formula("triu_mask", operand(1) - operand(0) >= scalar(0))}
_KEEP = {name: (Formula(name, where(operand(1), operand(0), 0)), Formula(name, operand(0) & operand(1)))
         for name in _MASKS}


def _triangle(input: Tensor, diagonal: int, which: str) -> Tensor:
    n = len(input.shape)
    if n < 2:
        raise RuntimeError(f"{which}: input tensor must have at least 2 dimensions")
    plane = tuple(input.shape[-2:])
    row = record(INDEX, (), (0,), None, plane, int64)
    column = record(INDEX, (), (1,), None, plane, int64)
    mask = new(record(_MASKS[which], (row, column), None, (index(diagonal),), plane, bool_))
    return apply(_KEEP[which][input.dtype is bool_], (input, mask), None, input.dtype)


@op(inplace=True, out=True)
def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The lower triangle; zeros above."""
    return _triangle(input, diagonal, "tril")


@op(inplace=True, out=True)
def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The upper triangle; zeros below."""
    return _triangle(input, diagonal, "triu")


for _name in ("tril_", "triu_"):
    FUNCTIONS.pop(_name, None)


def _indices(row: int, col: int, offset: int, of: Any, lower: bool, device: Any) -> Tensor:
    of = of or int64
    for name, n in (("row", row), ("col", col)):
        if n < 0:
            raise RuntimeError(f"{name} must be non-negative, got{n}")
    if of.category >= FLOAT:
        raise NotImplementedError(f"\"{'tril' if lower else 'triu'}_indices\" not implemented for "
                                  f"'{DTYPE_NAMES[of.name]}'")
    r, c = np.tril_indices(row, offset, col) if lower else np.triu_indices(row, offset, col)
    return placed(new(leaf(np.stack([r, c]).astype(of.numpy), (2, r.size), of)), device, "tril_indices")


@op(method=False)
def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None, layout: Any = None,
                 ) -> Tensor:
    """Coordinates of the lower triangle, row by row."""
    return _indices(row, col, offset, dtype, True, device)


@op(method=False)
def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None, layout: Any = None,
                 ) -> Tensor:
    """Coordinates of the upper triangle, row by row."""
    return _indices(row, col, offset, dtype, False, device)


@op(out=True)
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix, or the matrix with this diagonal."""
    n = len(input.shape)
    if n == 1:
        return FUNCTIONS["diag_embed"](input, diagonal)  # type: ignore[no-any-return]
    if n == 2:
        return clone(_diagonal(input, diagonal))
    raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {n}D")


_diagonal = diagonal


@op
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """A matrix with all the elements of `input` on its diagonal."""
    return diag(reshape(input, (size_of(input.shape),)), offset)


# ---- writing into a copy -----------------------------------------------------------------------------------

def _scatter_into(input: Tensor, src: Tensor, region: Tensor, strides: Ints, offset: int, name: str) -> Tensor:
    if src.shape != region.shape:
        raise RuntimeError(f"expected src to have a size equal to the slice of self. src size = {list(src.shape)}, "
                           f"slice size = {list(region.shape)}")
    return region_put(input, to_dtype(src, input.dtype), strides, offset, name)


def _plain(input: Tensor) -> Tensor:
    return new(constant(0, input.shape, input.dtype))


@op
def slice_scatter(input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None,
                  step: int = 1) -> Tensor:
    """A copy of `input` with `src` in place of `input[start:end:step]` along `dim`."""
    d = wrap_dim(dim, len(input.shape))
    a, b, _ = slice(start, end).indices(input.shape[d])
    region = slice_view(_plain(input), d, a, b, step)
    return _scatter_into(input, src, region, region._strides, region._offset, "SliceScatterBackward0")


@op
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy of `input` with `src` in place of `input[index]` along `dim`."""
    d = wrap_dim(dim, len(input.shape))
    n = input.shape[d]
    if not -n <= index < n:
        raise IndexError(f"select_scatter(): index {index} out of range for tensor of size {list(input.shape)} at "
                         f"dimension {d}")
    region = select_view(_plain(input), d, index % n)
    return _scatter_into(input, src, region, region._strides, region._offset, "SelectScatterBackward0")


@op
def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A copy of `input` with `src` on a diagonal."""
    region = diagonal(_plain(input), offset, dim1, dim2)
    return _scatter_into(input, src, region, region._strides, region._offset, "DiagonalScatterBackward0")


@op
def as_strided_scatter(input: Tensor, src: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """A copy of `input` with `src` in place of `input.as_strided(...)`."""
    region = FUNCTIONS["as_strided"](_plain(input), size, stride, storage_offset or 0)
    return _scatter_into(input, src, region, region._strides, region._offset, "AsStridedScatterBackward0")
