"""What a matrix product reads: memory through affine maps, with padding where the map leaves it.

A plain operand has one stride a dimension. A *mapped* one (the windows of a convolution, a weight turned round) has
rows, columns and batches that are several dimensions each, and may be read through the padding around a value: a WRITE
of a box into a constant. Then coordinates are bounded, and outside the constant is read. Nothing of it is written to
memory: each tile of the product packs its own block (emit/gemm_map.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from facula.engine.compiler.affine import Affine, compose, decode, identity, joined, normal, view_map
from facula.engine.compiler.matmul_operand import Map, Operand
from facula.engine.compiler.symbols import row_major
from facula.engine.compiler.values import Read, coordinate_map, steps_of
from facula.engine.graph.node import CONST, INDEX, VIEW, WRITE, Node, offset_of, size_of

if TYPE_CHECKING:
    from facula.engine.compiler.reads import Graph

MOST_DIMS = 12  # of the rows, the columns or the batches of a mapped operand
MOST_BOUNDS = 3
FEW = 16  # rows and columns of a product up to which packing by a map is a loss. As loops.SHORT: one question
MOST_ELEMENTS = 1 << 31  # kernels have a vector's positions and coordinates in 32 bits


@dataclass(frozen=True)
class Bound:
    """A coordinate start + sum(i_d * coefs[d]) that must be in [0, size); it moves the position by `step`."""

    coefs: tuple[int, ...]
    start: int
    size: int
    step: int


@dataclass(frozen=True)
class Padding:
    """The points where all bounds hold read memory; the others are `fill`, a CONST."""

    bounds: tuple[Bound, ...]
    fill: Node


def resolve(node: Node, map: Affine, graph: Graph) -> Read:
    """Follow views down to a value in memory or one that is computed."""
    while node not in graph.leaves:
        if node.op is not VIEW:
            if node.op is INDEX and compose(map, coordinate_map(node)) is None:
                graph.kept.add(node)
            break
        found = compose(map, view_map(node, graph.numbers_at.get(node, -1)))
        if found is None or joined([found.dims, normal(found).dims]) is None:
            graph.notes.append(f"{node!r}: kept, since the positions read through it are not affine")
            break
        map = found
        node = node.inputs[0]
    return node, map


def product_operands(product: Node, graph: Graph) -> list[tuple[Node, Affine, Padding | None]]:
    """What the product reads each of its inputs from: memory through a map, or the input as it is in memory.

    A map that only changes an order is not always worth it: to few rows or columns a copy and the kernels that take
    no maps are quicker. Where one operand has to be mapped, these are out of question, and both may be.
    """
    direct = [(source, identity(source.shape), None) for source in product.inputs]
    found = [_operand(source, graph) or as_it_is for source, as_it_is in zip(product.inputs, direct, strict=True)]
    plain = [padding is None and steps_of(map, source.shape) is not None
             for source, (_, map, padding) in zip(product.inputs, found, strict=True)]
    if 1 in product.shape[-2:] and product.attrs is None:  # the order of its sums is not that of blocks
        return [one if is_plain else as_it_is for one, is_plain, as_it_is in zip(found, plain, direct, strict=True)]
    if any(n <= FEW for n in product.shape[-2:]) and not any(
            padding is not None or not is_plain and size_of(source.shape) > size_of(node.shape)
            for source, (node, _, padding), is_plain in zip(product.inputs, found, plain, strict=True)):
        return [one if is_plain else as_it_is for one, is_plain, as_it_is in zip(found, plain, direct, strict=True)]
    return found


def _operand(source: Node, graph: Graph) -> tuple[Node, Affine, Padding | None] | None:
    """The memory that `source` is read from; None if `source` has to be in memory as it is."""
    node, map = resolve(source, identity(source.shape), graph)
    padding = None
    if node.op is WRITE and node not in graph.leaves and source.dtype.compute is source.dtype:
        found = _through_padding(node, map, graph)
        if found is not None:
            node, map, padding = found
            padding = padding if padding.bounds else None
    if node.op is CONST or len(map.nums) > 1 or map.nums and map.nums[0][1] != 1:
        return None
    if padding is None and steps_of(map, source.shape) is not None:
        return node, map, None
    parts = axes(map, source.shape)
    reach = abs(map.const) + sum((n - 1) * abs(s) for n, s in zip(map.dims, map.strides, strict=True))
    if parts is None or any(last - first > MOST_DIMS for first, last in parts) or reach >= MOST_ELEMENTS:
        return None
    return node, map, padding


def matrix_of(map: Affine, shape: tuple[int, ...], memory: int, padding: Padding | None = None,
              fill_at: int = -1) -> Operand:
    """What the product's lowering is told of an operand of `shape` in `memory` elements (its slot it learns later)."""
    at = map.nums[0][0] if map.nums else None
    steps = steps_of(map, shape) if padding is None else None
    if steps is not None:
        batch, row, column = steps if len(steps) == 3 else (0, *steps)
        return Operand(-1, map.const, (batch, row, column), at)
    bounds = padding.bounds if padding is not None else ()
    parts = axes(map, shape)
    assert parts is not None
    found = [_axis(map, bounds, first, last) for first, last in parts]
    whole = Map(tuple([(), *found][-3:]), memory, tuple((b.start, b.size) for b in bounds), fill_at)
    return Operand(-1, map.const, (0, 0, 0), at, whole)


def _axis(map: Affine, bounds: tuple[Bound, ...], first: int, last: int) -> tuple[tuple[int, ...], ...]:
    """(size, stride, step of each bounded coordinate) of each dimension, the innermost first; merged where one goes on
    where the other ends."""
    out: list[tuple[int, ...]] = []
    for d in reversed(range(first, last)):
        dim = (map.dims[d], map.strides[d], *(b.coefs[d] for b in bounds))
        if dim[0] == 1:
            continue
        if out and all(outer == out[-1][0] * inner for outer, inner in zip(dim[1:], out[-1][1:], strict=True)):
            out[-1] = (out[-1][0] * dim[0], *out[-1][1:])
        else:
            out.append(dim)
    return tuple(out)


def axes(map: Affine, shape: tuple[int, ...]) -> tuple[tuple[int, int], ...] | None:
    """Which dimensions of `map` make up each one of `shape`: [first, last) of each; None if one straddles a border."""
    out: list[tuple[int, int]] = []
    at = 0
    for size in shape:
        first, product = at, 1
        while product < size and at < len(map.dims):
            product *= map.dims[at]
            at += 1
        if product != size:
            return None
        out.append((first, at))
    while at < len(map.dims) and map.dims[at] == 1:
        at += 1
    return tuple(out) if at == len(map.dims) else None


def _through_padding(write: Node, map: Affine, graph: Graph) -> tuple[Node, Affine, Padding] | None:
    """`map` reads a box written into a constant: the same as a map of what is in the box."""
    base, value = write.inputs
    assert write.attrs is not None
    if base.op is not CONST or base in graph.leaves or len(write.attrs) == 1 or value.dtype is not write.dtype:
        return None
    if not size_of(value.shape):
        return None
    plain = row_major(base.shape)
    strides: tuple[int, ...] = write.attrs[0]  # type: ignore[assignment]
    if len(value.shape) != len(base.shape) or max(base.shape, default=0) >= MOST_ELEMENTS \
            or any(n > 1 and s != p for n, s, p in zip(value.shape, strides, plain, strict=True)):
        return None
    before, rest = [], offset_of(write)
    for p in plain:
        before.append(rest // p)
        rest %= p
    if any(b + n > m for b, n, m in zip(before, value.shape, base.shape, strict=True)):
        return None  # it wraps around a row
    found = decode(map, base.shape)
    source, inner = resolve(value, identity(value.shape), graph)
    steps = steps_of(inner, value.shape)
    if steps is None:
        source, inner, steps = value, identity(value.shape), row_major(value.shape)
    if found is None:
        return None
    dims, coordinates = found
    total, const, bounds = [0] * len(dims), inner.const, []
    for (row, start), b, n, step in zip(coordinates, before, value.shape, steps, strict=True):
        low = start - b + sum(c * (size - 1) for c, size in zip(row, dims, strict=True) if c < 0)
        high = start - b + sum(c * (size - 1) for c, size in zip(row, dims, strict=True) if c > 0)
        if low < 0 or high >= n:
            bounds.append(Bound(row, start - b, n, step))
        const += (start - b) * step
        total = [t + c * step for t, c in zip(total, row, strict=True)]
    if len(bounds) > MOST_BOUNDS:
        return None
    return source, Affine(dims, tuple(total), const, inner.nums), Padding(tuple(bounds), base)
