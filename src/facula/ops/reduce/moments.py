"""Sums of squares around the mean, as nodes: what variances and deviations are made of."""

from __future__ import annotations

import math

from facula._tensor.handle import Tensor
from facula._tensor.reading import read, view_node
from facula.dtypes import float64
from facula.engine.graph.expr import cast, function, operand, scalar, where, wrap
from facula.engine.graph.node import SUM, Formula, Node, contiguous_strides
from facula.engine.recorder import record
from facula.ops.casting import constant
from facula.ops.reduce.reduction_nodes import DIVIDED, count_of, dropped, kept, reduce_node
from facula.ops.view.value_views import reshaped
from facula.size import Size

_a, _b = operand(0), operand(1)
_lt, _abs, _sqrt = function("lt"), function("abs"), function("sqrt")
_n, _freedom = scalar(0), scalar(1)

# of float64: around the mean
_SQUARES = Formula("var", (_a - _b) * (_a - _b))
_DEVIATION = Formula("std", _sqrt(_a / scalar(0)))

# of what is narrower: around the first element of each row, in doubles
_first = where(_lt(_abs(_b), wrap(math.inf)), cast(_b, float64), 0.0)
_away = cast(_a, float64) - _first
_AWAY = Formula("var", _away)
_AWAY_SQUARED = Formula("var", _away * _away)
_around = (_b - _a * _a / _n) / _freedom
_around = where(_lt(_around, 0.0), 0.0, _around)
_VARIANCE_OF_SUMS = Formula("var", _around)
_DEVIATION_OF_SUMS = Formula("std", _sqrt(_around))
_MEAN_OF_SUM = Formula("mean", _first + _a / _n)


def spread_node(x: Tensor, dims: tuple[int, ...], freedom: float, std: bool) -> tuple[Node, Node, Node | None]:
    """Variance (or deviation) of `x` over `dims` by `freedom`, dimensions dropped, and what `centre_node` takes."""
    node, of = x._node or read(x), x.dtype
    shape, n = node.shape, float(count_of(node.shape, dims))
    if of is float64:
        total = reduce_node(SUM, node, dims, True, of)
        centre = record(DIVIDED, (total,), None, (n,), total.shape, of)
        squares = reduce_node(SUM, record(_SQUARES, (node, centre), None, None, shape, of), dims, False, of)
        out = record(_DEVIATION if std else DIVIDED, (squares,), None, (freedom,), squares.shape, of)
        return out, centre, None
    first = _first_of(node, dims)
    away = reduce_node(SUM, record(_AWAY, (node, first), None, None, shape, float64), dims, False, float64)
    squares = record(_AWAY_SQUARED, (node, first), None, None, shape, float64)
    squares = reduce_node(SUM, squares, dims, False, float64)
    form = _DEVIATION_OF_SUMS if std else _VARIANCE_OF_SUMS
    return record(form, (away, squares), None, (n, freedom), away.shape, of), first, away


def centre_node(x: Tensor, dims: tuple[int, ...], first: Node, away: Node | None) -> Node:
    """The mean of `x`, of what `spread_node` gave; dimensions dropped."""
    small = dropped(x.shape, dims)
    if away is None:
        return reshaped(first, small)
    n = float(count_of(x.shape, dims))
    return record(_MEAN_OF_SUM, (away, reshaped(first, small)), None, (n,), small, x.dtype)


def _first_of(node: Node, dims: tuple[int, ...]) -> Node:
    """The first element of each row, over `dims`, which are kept; of no elements, 0."""
    shape = kept(node.shape, dims)
    if not count_of(node.shape, dims):
        return constant(0.0, shape, node.dtype)
    return view_node(node, Size(shape), contiguous_strides(node.shape))
