"""SCATTER_SET, _ADD, _MUL, _MAX, _MIN: rows put into those of a base, whose elements in their order are as many rows as
there are of the source's last dimension. An index that is no row writes nothing, as in the kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.dtypes import bool_, dtype, int64
from facula.engine.graph import node as g
from facula.engine.graph.expr import function, operand, scalar, where
from facula.engine.graph.node import Formula, Node, Primitive, size_of
from facula.engine.graph.primitives.elements import convert
from facula.engine.graph.primitives.gather import all_rows
from facula.engine.graph.primitives.kind import Array, Kind, Recording, elements_read, linear, sized, unlike
from facula.engine.graph.primitives.pairs import AT_SAME, SAME, SHARE

_STEPS: dict[str, np.ufunc] = {"scatter_add": np.add, "scatter_mul": np.multiply, "scatter_max": np.maximum,
                               "scatter_min": np.minimum}
_a, _b, _c, _d = (operand(k) for k in range(4))
_eq, _ne = function("eq"), function("ne")
_along = scalar(0)
_BEFORE = Formula("before", where(_a >= _along, _a - _along, _a))  # the place so far back; itself where there is none
_SAME_ROW = Formula("same_row", _eq(_a, _b) & _ne(_c, _d))
_TAKE_IN = Formula("take_in", where(_a, _b * _c, _b))
_TAKE_IN_TANGENT = Formula("take_in_tangent", where(_a, _b * operand(4) + _c * _d, _d))
_TIMES_TANGENT = Formula("mul_tangent", _a * _d + _b * _c)


def _wrong(node: Node) -> str:
    base, index, source = node.inputs
    if index.dtype is not int64 or source.shape[:-1] != index.shape or len(source.shape) != len(index.shape) + 1 \
            or size_of(base.shape) % (source.shape[-1] or 1) or source.dtype is not node.dtype:
        return f"{source!r} at {index!r}"
    return unlike(node, base)


def rows_of(base: Node, source: Node) -> tuple[int, int]:
    """How many rows the base of a scatter has, and how long they are."""
    columns = source.shape[-1]
    return size_of(base.shape) // columns if columns else 0, columns


def _meaning(node: Node, inputs: list[Array]) -> Array:
    whole = np.array(convert(inputs[0], node.inputs[0].dtype, node.dtype), order="C")
    out = whole.reshape(rows_of(node, node.inputs[2]))
    rows = inputs[1].reshape(-1)
    values = convert(inputs[2], node.inputs[2].dtype, node.dtype).reshape(rows.size, out.shape[1])
    inside = (rows >= 0) & (rows < out.shape[0])
    if not inside.all():
        rows, values = rows[inside], values[inside]
    if node.op is g.SCATTER_SET:
        out[rows] = values
    else:
        _STEPS[node.op.name].at(out, rows, values)
    return whole


def _cost(node: Node) -> tuple[int, int]:
    amount = elements_read(node) + size_of(node.shape)
    return 16 * amount, 40 * amount


def _moved(do: Recording, primals: list[Node], tangents: list[Node | None]) -> tuple[Node, Node]:
    s, t = tangents[0], tangents[2]
    return do.zeros(primals[0]) if s is None else s, do.zeros(primals[2]) if t is None else t


def _product(do: Recording, op: Primitive, primals: list[Node], tangents: list[Node | None], attrs: Any, scalars: Any,
             out: Node) -> Node:
    """Exact where elements are zero, however often it is differentiated: no quotients. With the rows in order, each
    place takes in the one before if that is of the same row, then what is two before, four before, ...; the last place
    of a row has its product."""
    base, index, source = primals
    s, t = _moved(do, primals, tangents)
    d, n = source.shape[-1], size_of(index.shape)
    if not n * size_of(out.shape):
        return s
    flat = do.reshaped(index, (n,))

    def picked(node: Node, at: Node) -> Node:
        return do.record(g.GATHER, (node, at), None, None, sized((n, node.shape[1])), node.dtype)

    order = do.record(g.ARGSORT, (flat,), (0, False, 0), None, flat.shape, int64)
    rows = picked(do.reshaped(flat, (n, 1)), order)
    x, y = picked(do.reshaped(source, (n, d)), order), picked(do.reshaped(t, (n, d)), order)
    place = do.record(g.INDEX, (), (0,), None, flat.shape, int64)
    step = 1
    while step < n:
        before = do.record(_BEFORE, (place,), None, (step,), flat.shape, int64)
        columns = [do.reshaped(node, (n, 1)) for node in (place, before)]
        same = do.formula(_SAME_ROW, rows, picked(rows, before), *columns, of=bool_)
        p, q = picked(x, before), picked(y, before)
        x, y = (do.record(formula, (same, *nodes), None, None, x.shape, x.dtype)
                for formula, nodes in ((_TAKE_IN, (x, p)), (_TAKE_IN_TANGENT, (x, p, y, q))))
        step *= 2

    def put(value: int, part: Node) -> Node:
        whole = do.constant(value, out.shape, out.dtype, out.device)
        return do.record(g.SCATTER_SET, (whole, do.reshaped(rows, (n,)), part), None, None, out.shape, out.dtype)

    return do.formula(_TIMES_TANGENT, base, put(1, x), s, put(0, y))


def _extremum(do: Recording, op: Primitive, primals: list[Node], tangents: list[Node | None], attrs: Any, scalars: Any,
              out: Node) -> Node:
    base, index, source = primals
    s, t = _moved(do, primals, tangents)
    there = do.record(g.GATHER, (do.reshaped(out, rows_of(base, source)), index), None, None, source.shape, out.dtype)

    def scatter(a: Node, b: Node) -> Node:
        return do.record(g.SCATTER_ADD, (a, index, b), attrs, None, out.shape, out.dtype)

    f = do.formula
    return f(SHARE, scatter(f(SAME, base, out), f(SAME, source, there)),
             scatter(f(AT_SAME, base, out, s), f(AT_SAME, source, there, t)))


def _batching(do: Recording, size: int, op: Primitive, nodes: tuple[Node, ...], mine: tuple[bool, ...], attrs: Any,
              scalars: Any, shape: tuple[int, ...], of: dtype) -> Node:
    base, index, source = nodes
    v = size_of(shape) // (source.shape[-1] or 1)
    inputs = do.over(size, base, mine[0]), all_rows(do, size, index, mine[1], v), do.over(size, source, mine[2])
    return do.record(op, inputs, attrs, scalars, sized((size, *shape)), of)


KIND = Kind(inputs=3, wrong=_wrong, meaning=_meaning, cost=_cost, batching=_batching,
            tangents={g.SCATTER_SET: linear, g.SCATTER_ADD: linear, g.SCATTER_MUL: _product,
                      g.SCATTER_MAX: _extremum, g.SCATTER_MIN: _extremum})
