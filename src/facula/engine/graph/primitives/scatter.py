"""SCATTER_SET, _ADD, _MUL, _MAX, _MIN: rows put into those of a matrix. An index that is no row writes nothing, as in
the kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.dtypes import dtype, int64
from facula.engine.graph import node as g
from facula.engine.graph.expr import function, operand, where
from facula.engine.graph.node import Formula, Node, Primitive, size_of
from facula.engine.graph.primitives.elements import convert
from facula.engine.graph.primitives.gather import all_rows
from facula.engine.graph.primitives.kind import Array, Kind, Recording, elements_read, linear, sized, unlike
from facula.engine.graph.primitives.pairs import AT_SAME, SAME, SHARE

_STEPS: dict[str, np.ufunc] = {"scatter_add": np.add, "scatter_mul": np.multiply, "scatter_max": np.maximum,
                               "scatter_min": np.minimum}
_a, _b, _c, _d = (operand(k) for k in range(4))
_eq = function("eq")
# Of a product into rows, which has no pairs. It is right once: differentiated again where an element is zero, not.
_IS_ZERO = Formula("is_zero", where(_eq(_a, 0.0), 1.0, 0.0))
_NO_ZERO = Formula("no_zero", where(_eq(_a, 0.0), 1.0, _a))
_SLOPE = Formula("slope", where(_eq(_a, 0.0), 0.0, _b / _a))  # of log |x|
_AT_ZERO = Formula("at_zero", where(_eq(_a, 0.0), _b, 0.0))
# zeros, product of the others, sum of their slopes, sum of the tangents at zeros
_PRODUCT = Formula("prod_tangent", where(_eq(_a, 0.0), _b * _c, where(_eq(_a, 1.0), _b * _d, 0.0)))


def _wrong(node: Node) -> str:
    base, index, source = node.inputs
    if index.dtype is not int64 or len(base.shape) != 2 or source.shape != (*index.shape, base.shape[1]) \
            or source.dtype is not node.dtype:
        return f"{source!r} at {index!r}"
    return unlike(node, base)


def _meaning(node: Node, inputs: list[Array]) -> Array:
    out = np.array(convert(inputs[0], node.inputs[0].dtype, node.dtype), order="C")
    rows = inputs[1].reshape(-1)
    values = convert(inputs[2], node.inputs[2].dtype, node.dtype).reshape(rows.size, out.shape[1])
    inside = (rows >= 0) & (rows < out.shape[0])
    if not inside.all():
        rows, values = rows[inside], values[inside]
    if node.op is g.SCATTER_SET:
        out[rows] = values
    else:
        _STEPS[node.op.name].at(out, rows, values)
    return out


def _cost(node: Node) -> tuple[int, int]:
    amount = elements_read(node) + size_of(node.shape)
    return 16 * amount, 40 * amount


def _moved(do: Recording, primals: list[Node], tangents: list[Node | None]) -> tuple[Node, Node]:
    s, t = tangents[0], tangents[2]
    return do.zeros(primals[0]) if s is None else s, do.zeros(primals[2]) if t is None else t


def _product(do: Recording, op: Primitive, primals: list[Node], tangents: list[Node | None], attrs: Any, scalars: Any,
             out: Node) -> Node:
    base, index, source = primals
    s, t = _moved(do, primals, tangents)

    def scatter(primitive: Primitive, a: Node, b: Node) -> Node:
        return do.record(primitive, (a, index, b), attrs, None, out.shape, out.dtype)

    f = do.formula
    return f(_PRODUCT, scatter(g.SCATTER_ADD, f(_IS_ZERO, base), f(_IS_ZERO, source)),
             scatter(g.SCATTER_MUL, f(_NO_ZERO, base), f(_NO_ZERO, source)),
             scatter(g.SCATTER_ADD, f(_SLOPE, base, s), f(_SLOPE, source, t)),
             scatter(g.SCATTER_ADD, f(_AT_ZERO, base, s), f(_AT_ZERO, source, t)))


def _extremum(do: Recording, op: Primitive, primals: list[Node], tangents: list[Node | None], attrs: Any, scalars: Any,
              out: Node) -> Node:
    base, index, source = primals
    s, t = _moved(do, primals, tangents)
    there = do.record(g.GATHER, (out, index), None, None, source.shape, out.dtype)

    def scatter(a: Node, b: Node) -> Node:
        return do.record(g.SCATTER_ADD, (a, index, b), attrs, None, out.shape, out.dtype)

    f = do.formula
    return f(SHARE, scatter(f(SAME, base, out), f(SAME, source, there)),
             scatter(f(AT_SAME, base, out, s), f(AT_SAME, source, there, t)))


def _batching(do: Recording, size: int, op: Primitive, nodes: tuple[Node, ...], mine: tuple[bool, ...], attrs: Any,
              scalars: Any, shape: tuple[int, ...], of: dtype) -> Node:
    base, index, source = nodes
    v, d = shape
    inputs = (do.reshaped(do.over(size, base, mine[0]), (size * v, d)), all_rows(do, size, index, mine[1], v),
              do.over(size, source, mine[2]))
    return do.reshaped(do.record(op, inputs, attrs, scalars, sized((size * v, d)), of), (size, v, d))


KIND = Kind(inputs=3, wrong=_wrong, meaning=_meaning, cost=_cost, batching=_batching,
            tangents={g.SCATTER_SET: linear, g.SCATTER_ADD: linear, g.SCATTER_MUL: _product,
                      g.SCATTER_MAX: _extremum, g.SCATTER_MIN: _extremum})
