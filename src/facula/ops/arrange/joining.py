"""Several tensors as one: cat, stack and their kin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from facula._tensor.handle import Tensor, new, strides_of
from facula._tensor.layout import dense_order, preserved
from facula._tensor.reading import lay, read
from facula._tensor.tape import attach
from facula.autograd.graph import Rule
from facula.dtypes import dtype
from facula.engine.arranging import written
from facula.engine.graph.node import contiguous_strides, size_of
from facula.ops.arguments import wrap_dim
from facula.ops.casting import constant, to_dtype
from facula.ops.promotion import result_dtype
from facula.ops.registry import alias_of, op
from facula.ops.result_layouts import same_format
from facula.ops.view.regions import region_put, region_view
from facula.ops.view.reshaping import at_least_2d, atleast_1d, atleast_2d, atleast_3d, reshape


def _list(tensors: Any, what: str) -> list[Tensor]:
    if isinstance(tensors, Tensor):
        raise TypeError(f"{what}(): argument 'tensors' (position 1) must be tuple of Tensors, not "
                        "Tensor")
    items = list(tensors)
    for k, x in enumerate(items):
        if not isinstance(x, Tensor):
            raise TypeError(f"expected Tensor as element {k} in argument 0, but got "
                            f"{type(x).__name__}")
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
            part = region_view(g, tuple(shape), strides, start * strides[dim], "SliceBackward0")
            _as_view(part, strides_of(g))
            out.append(_cast_back(part, of))
    return tuple(out)


def _as_view(part: Tensor, strides: tuple[int, ...]) -> None:
    """torch's part of a gradient is a view of it: as long as that has no gaps, it lies as a view would."""
    if dense_order(part.shape, strides) is not None:
        lay(part, preserved(part.shape, strides))


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
            raise RuntimeError(f"Tensors must have same number of dimensions: got {len(first)} and "
                               f"{len(shape)}")
        for j, (a, b) in enumerate(zip(first, shape, strict=False)):
            if a != b and j != d:
                raise RuntimeError(f"Sizes of tensors must match except in dimension {d}. Expected "
                                   f"size {a} but got size {b} for tensor number {k} in the list.")
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
            at = starts[k] * strides[d]
            node = written(node, value, strides, at)
    out = new(node)
    if items[real[0]]._storage is not None:
        lay(out, same_format(out.shape, [items[k] for k in real]))
    return attach(out, _CAT, tuple(items), (d, tuple(starts)))


alias_of("cat", "concat", "concatenate")


def _stack_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    dim, = ctx.saved
    strides = contiguous_strides(g.shape)
    rest = (*strides[:dim], *strides[dim + 1:])
    out: list[Tensor | None] = []
    for k, (need, shape, of) in enumerate(zip(ctx.needs, ctx.shapes, ctx.dtypes, strict=False)):
        if need:
            part = region_view(g, tuple(shape), rest, k * strides[dim], "SelectBackward0")
            _as_view(part, tuple([s for d, s in enumerate(strides_of(g)) if d != dim]))
            out.append(_cast_back(part, of))
        else:
            out.append(None)
    return tuple(out)


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
            raise RuntimeError(f"stack expects each tensor to be equal size, but got {list(shape)} "
                               f"at entry 0 and {list(x.shape)} at entry {k}")
    of = result_dtype(tuple(items))
    full = (*shape[:d], len(items), *shape[d:])
    strides = contiguous_strides(full)
    rest = (*strides[:d], *strides[d + 1:])
    node = constant(0, full, of)
    if size_of(shape):
        for k, x in enumerate(items):
            value = read(x) if x.dtype is of else read(to_dtype(x, of))
            node = written(node, value, rest, k * strides[d])
    out = new(node)
    if items[0]._storage is not None and d < len(shape):  # as `cat` along that dimension, which is split then
        joined = same_format((*shape[:d], shape[d] * len(items), *shape[d + 1:]), items)
        if joined is not None:
            steps = joined[1]
            lay(out, preserved(out.shape, (*steps[:d], steps[d] * shape[d], *steps[d:])))
    return attach(out, _STACK, tuple(items), (d,))


def _column(t: Tensor) -> Tensor:
    return reshape(t, (size_of(t.shape), 1)) if len(t.shape) <= 1 else t


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


_stacker("hstack", atleast_1d, lambda x: 0 if len(x[0].shape) == 1 else 1)
_stacker("vstack", atleast_2d, lambda x: 0)
_stacker("dstack", atleast_3d, lambda x: 2)
_stacker("column_stack", lambda x: [_column(t) for t in x], lambda x: 1)
alias_of("vstack", "row_stack")


@op(method=False)
def block_diag(*tensors: Tensor) -> Tensor:
    """Matrices along the diagonal of a matrix of zeros."""
    items = [at_least_2d(t) for t in tensors]
    for k, x in enumerate(items):
        if len(x.shape) != 2:
            raise RuntimeError("torch.block_diag: Input tensors must have 2 or fewer dimensions. "
                               f"Input {k} has {len(x.shape)} dimensions")
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
