"""Along one dimension, each element of the result as a weighted sum of elements of the operand (`lines.py` says of
which). The gradient is the same the other way round: nothing is scattered.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from facula._tensor.handle import Tensor, new
from facula._tensor.reading import read
from facula._tensor.tape import attach
from facula.autograd.graph import Rule
from facula.engine.graph.expr import function, operand, where
from facula.engine.graph.node import SUM, Formula, Node
from facula.engine.realize import leaf
from facula.engine.recorder import record
from facula.ops.conv.lines import Way, line
from facula.ops.index.index_nodes import flat_index, index_leaf
from facula.ops.index.indexed_rows import node_rows
from facula.size import Size

Ints = tuple[int, ...]
WRITTEN_OUT = 12  # elements of a sum: more are added up by a loop, which rounds in blocks


def taps(x: Tensor, dim: int, way: Way) -> Tensor:
    """`x` with the elements along `dim` combined as `way` says."""
    return attach(new(_combined(read(x), dim, way)), _MEAN if way.kind == "averaging" else _TAPS, (x,),
                  (dim, tuple(way)))


def _backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    dim, parts = ctx.saved
    way = Way(*parts)
    return (taps(g, dim, way._replace(turned=not way.turned)),)


_TAPS, _MEAN = Rule("UpsampleBackward0", _backward), Rule("AdaptiveAvgPoolBackward0", _backward)


def _picked(x: Node, dim: int, table: Any) -> Node:
    flat, v, d, shape = flat_index(x.shape, {dim: index_leaf(table)})
    return node_rows(x, flat, v, d, shape)


@functools.cache
def _written_out(each: int, all_there: bool) -> Formula:
    """The sum of operands, each times a weight. Without one it does not count: 0 * inf were NaN."""
    terms = []
    for k in range(each):
        x, weight = operand(k), operand(each + k)
        terms.append(x * weight if all_there else where(function("isnan")(weight), 0.0, x * weight))
    return Formula("taps", functools.reduce(lambda a, b: a + b, terms))


def _combined(x: Node, dim: int, way: Way) -> Node:
    table, weights = line(way)
    if weights is None:
        return _picked(x, dim, table[:, 0])
    out, each = table.shape
    shape = tuple.__new__(Size, (*x.shape[:dim], out, *x.shape[dim + 1:]))
    ones = (1,) * (len(x.shape) - dim - 1)
    all_there = not np.isnan(weights).any()
    if each <= WRITTEN_OUT:
        inputs = [_picked(x, dim, table[:, k]) for k in range(each)]
        inputs += [_weights(weights[:, k], x, (out, *ones)) for k in range(each)]
        return record(_written_out(each, all_there), tuple(inputs), None, None, shape, x.dtype)
    picked = _picked(x, dim, table)
    products = record(_written_out(1, all_there), (picked, _weights(weights, x, (out, each, *ones))), None, None,
                      picked.shape, x.dtype)
    return record(SUM, (products,), ((dim + 1,),), None, shape, x.dtype)


def _weights(values: Any, x: Node, shape: Ints) -> Node:
    return leaf(np.array(values, x.dtype.numpy, order="C").reshape(shape), tuple.__new__(Size, shape), x.dtype)
