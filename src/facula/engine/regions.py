"""Rows written into a region of memory, as a scatter into that memory.

A tensor that is a part of another one (`cache[layer]`), or lies in another order, is read as a VIEW. What has scattered
rows into that value would be written back as a whole; the same rows scattered into the memory itself cost what is
written.
"""

from __future__ import annotations

import functools
from math import gcd
from typing import Any

from facula.engine.graph.expr import function, make, operand, scalar, where
from facula.engine.graph.node import VIEW, Formula, Node, contiguous_strides, size_of
from facula.engine.recorder import record
from facula.size import Size

_floordiv, _remainder = function("floordiv"), function("remainder")
Dims = list[tuple[int, int]]  # (size, stride), the outermost first


def scattered(base: Node, node: Node, strides: tuple[int, ...], offset: int) -> Node | None:
    """`base` with the region replaced by `node`, if that is the region's own value with rows scattered into it, which
    is still pending; else None."""
    inputs = node.inputs  # before asking: others compute meanwhile
    if node.op.kind != "scatter" or not inputs:
        return None
    view, index, source = inputs
    if view.op is not VIEW or view.inputs != (base,) or view.attrs != (strides,) or view.scalars != (offset,):
        return None
    shape, columns = node.shape, source.shape[-1]
    first = len(shape)
    while first and size_of(shape[first:]) < columns:
        first -= 1
    if size_of(shape[first:]) != columns or not size_of(shape):
        return None
    rows = _joined(shape[:first], strides[:first])
    run, rest = _run(_joined(shape[first:], strides[first:]))
    unit = gcd(run, offset, size_of(base.shape), *[s for _, s in rows], *[s for _, s in rest])
    if unit < run:
        rest = [*rest, (run // unit, unit)]
    if [s for _, s in rows] != [unit] or rest or offset:
        extra = tuple([n for n, _ in rest])
        numbers: list[int] = [size_of(shape[:first]), offset // unit]
        for k, (n, stride) in enumerate(rows):
            numbers += [stride // unit, n, size_of([n for n, _ in rows[k + 1:]])]  # type: ignore[arg-type]
        numbers += [stride // unit for _, stride in rest]
        flat = index if not extra else record(VIEW, (index,), (contiguous_strides((*index.shape, *[1] * len(extra))),),
                                              (0,), _sized((*index.shape, *[1] * len(extra))), index.dtype)
        index = record(_place(len(rows), len(index.shape), len(rest)), (flat,), None, tuple(numbers),
                       _sized((*index.shape, *extra)), index.dtype)
    if source.shape != (*index.shape, unit):
        whole = _sized((*index.shape, unit))
        source = record(VIEW, (source,), (contiguous_strides(whole),), (0,), whole, source.dtype)
    return record(node.op, (base, index, source), node.attrs, node.scalars, base.shape, base.dtype)


def _sized(shape: tuple[int, ...]) -> Any:
    return tuple.__new__(Size, shape)


def _joined(shape: tuple[int, ...], strides: tuple[int, ...]) -> Dims:
    """Dimensions of one element left out, and those that follow each other in memory made one."""
    out: Dims = []
    for n, stride in zip(shape, strides, strict=True):
        if n == 1:
            continue
        if out and out[-1][1] == n * stride:
            out[-1] = out[-1][0] * n, stride
        else:
            out.append((n, stride))
    return out


def _run(dims: Dims) -> tuple[int, Dims]:
    """How many elements follow each other in memory, and the dimensions around them."""
    if dims and dims[-1][1] == 1:
        return dims[-1][0], dims[:-1]
    return 1, dims


@functools.lru_cache(256)
def _place(rows: int, rank: int, rest: int) -> Formula:
    """The position of a row of the region, by dimensions of rows and of what is around a run. What is no row stays
    none."""
    row = operand(0)
    total = scalar(1)
    for k in range(rows):
        stride, n, after = (scalar(2 + 3 * k + j) for j in range(3))
        at = row if k == rows - 1 else _floordiv(row, after)
        total = total + (at if k == 0 else _remainder(at, n)) * stride
    for k in range(rest):
        total = total + make("index", value=rank + k) * scalar(2 + 3 * rows + k)
    return Formula("place", where((row >= 0) & (row < scalar(0)), total, -1))
