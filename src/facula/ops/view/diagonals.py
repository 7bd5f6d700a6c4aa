"""Diagonals and triangles of matrices: reading them, making them, writing them into a copy."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from facula._tensor.handle import Tensor, new
from facula._tensor.reading import read
from facula._tensor.tape import attach
from facula.autograd.graph import Rule
from facula.dtypes import FLOAT, bool_, int64
from facula.engine.graph.expr import operand, scalar, where
from facula.engine.graph.node import INDEX, WRITE, Formula, Node, contiguous_strides, size_of
from facula.engine.realize import leaf
from facula.engine.recorder import record
from facula.ops.arguments import check_tensor, wrap_dim
from facula.ops.casting import constant
from facula.ops.create.creation import placed
from facula.ops.elementwise.pointwise import apply
from facula.ops.registry import DTYPE_NAMES, op, withdraw
from facula.ops.view.regions import Ints, region_add_backward
from facula.ops.view.reshaping import reshape
from facula.ops.view.slicing import plain_like, scatter_into
from facula.ops.view.views import part_rule, part_view

_DIAGONAL = part_rule("DiagonalBackward0")


@op
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of the planes (dim1, dim2), as the last dimension."""
    check_tensor(input, "diagonal")
    shape = tuple(input.shape)
    offset = index(offset)
    a, b = wrap_dim(dim1, len(shape)), wrap_dim(dim2, len(shape))
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    n = min(shape[a], shape[b] - offset) if offset >= 0 else min(shape[a] + offset, shape[b])
    n = max(0, n)
    rest = [d for d in range(len(shape)) if d not in (a, b)]

    def move(strides: Ints, at: int) -> tuple[Ints, int]:
        if n:
            at += offset * strides[b] if offset >= 0 else -offset * strides[a]
        return (*[strides[d] for d in rest], strides[a] + strides[b]), at
    return part_view(input, (*[shape[d] for d in rest], n), move, _DIAGONAL)


@op
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The last dimension as the diagonal of a plane (dim1, dim2) of zeros."""
    shape = tuple(input.shape)
    n = len(shape) + 1
    a, b = wrap_dim(dim1, n), wrap_dim(dim2, n)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    size = shape[-1] + abs(offset)
    rest = iter(shape[:-1])
    full = tuple([size if d in (a, b) else next(rest) for d in range(n)])
    strides = contiguous_strides(full)
    at = offset * strides[b] if offset >= 0 else -offset * strides[a]
    to = (*[strides[d] for d in range(n) if d not in (a, b)], strides[a] + strides[b])
    node: Node = constant(0, full, input.dtype)
    if size_of(shape):
        node = record(WRITE, (node, read(input)), (to,), (at,), full, input.dtype)
    return attach(new(node), _DIAG_EMBED, (input,), (to, at))


_DIAG_EMBED = Rule("DiagEmbedBackward0", region_add_backward)


@op(out=True)
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix, or the matrix with this diagonal."""
    n = len(input.shape)
    if n == 1:
        return diag_embed(input, diagonal)
    if n == 2:
        return _diagonal(input, diagonal).clone()
    raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {n}D")


_diagonal = diagonal


@op
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """A matrix with all the elements of `input` on its diagonal."""
    return diag(reshape(input, (size_of(input.shape),)), offset)


@op
def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0,
                     dim2: int = 1) -> Tensor:
    """A copy of `input` with `src` on a diagonal."""
    region = diagonal(plain_like(input), offset, dim1, dim2)
    return scatter_into(input, src, region, "DiagonalScatterBackward0")


# ---- triangles -----------------------------------------------------------------------------------

_MASKS = {"tril": Formula("tril_mask", operand(1) - operand(0) <= scalar(0)),
          "triu": Formula("triu_mask", operand(1) - operand(0) >= scalar(0))}
_KEEP = {name: (Formula(name, where(operand(1), operand(0), 0)),
                Formula(name, operand(0) & operand(1)))
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
    withdraw(_name)


def _indices(row: int, col: int, offset: int, of: Any, lower: bool, device: Any) -> Tensor:
    of = of or int64
    for name, n in (("row", row), ("col", col)):
        if n < 0:
            raise RuntimeError(f"{name} must be non-negative, got{n}")
    if of.category >= FLOAT:
        raise NotImplementedError(f"\"{'tril' if lower else 'triu'}_indices\" not implemented for "
                                  f"'{DTYPE_NAMES[of.name]}'")
    r, c = np.tril_indices(row, offset, col) if lower else np.triu_indices(row, offset, col)
    made = new(leaf(np.stack([r, c]).astype(of.numpy), (2, r.size), of))
    return placed(made, device, "tril_indices")


@op(method=False)
def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None,
                 layout: Any = None) -> Tensor:
    """Coordinates of the lower triangle, row by row."""
    return _indices(row, col, offset, dtype, True, device)


@op(method=False)
def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None,
                 layout: Any = None) -> Tensor:
    """Coordinates of the upper triangle, row by row."""
    return _indices(row, col, offset, dtype, False, device)
