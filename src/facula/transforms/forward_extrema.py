"""Tangents of products and of extrema, whose derivatives depend on which elements are zero or equal.

Of equal extreme elements each counts the same, as in the gradients of `amax` and `scatter_reduce`.
"""

from __future__ import annotations

from typing import Any

from facula._tensor.handle import view_node
from facula.dtypes import dtype, int64
from facula.engine.graph.expr import function, make, operand, scalar, where
from facula.engine.graph.node import (
    CUMMAX,
    GATHER,
    INDEX,
    SCATTER_ADD,
    SCATTER_MUL,
    SUM,
    WRITE,
    Formula,
    Node,
    Primitive,
    contiguous_strides,
    size_of,
)
from facula.engine.recorder import record
from facula.transforms.levels import const, expanded, reshaped, sized

Pair = tuple[Node, Node]  # a value and its tangent

_a, _b, _c, _d = (operand(k) for k in range(4))
_eq, _ne, _or, _and = (function(n) for n in ("eq", "ne", "or", "and"))
_nan = _ne(_a, _a)



IS_ZERO = Formula("is_zero", where(_eq(_a, 0.0), 1.0, 0.0))
NO_ZERO = Formula("no_zero", where(_eq(_a, 0.0), 1.0, _a))
SLOPE = Formula("slope", where(_eq(_a, 0.0), 0.0, _b / _a))  # of log |x|
AT_ZERO = Formula("at_zero", where(_eq(_a, 0.0), _b, 0.0))
# Of a product into rows, which has no pairs. It is right once: differentiated again where an element is zero, not.
# zeros, product of the others, sum of their slopes, sum of the tangents at zeros
PRODUCT = Formula("prod_tangent", where(_eq(_a, 0.0), _b * _c, where(_eq(_a, 1.0), _b * _d, 0.0)))
SAME = Formula("same", where(_or(_eq(_a, _b), _and(_nan, _ne(_b, _b))), 1.0, 0.0))
AT_SAME = Formula("at_same", where(_or(_eq(_a, _b), _and(_nan, _ne(_b, _b))), _c, 0.0))
SHARE = Formula("share", _b / where(_eq(_a, 0.0), 1.0, _a))
PLACE = Formula("place", where(_or(_nan, _eq(_a, _b)), _c, 0))


def f(formula: Formula, *nodes: Node, of: dtype | None = None) -> Node:
    """A formula over nodes the first of which has the result's shape."""
    return record(formula, nodes, None, None, nodes[0].shape, of or nodes[0].dtype)


def _zeros(node: Node) -> Node:
    return const(0, node.shape, node.dtype, node.device)


# A product and its tangent, by pairs: exact where elements are zero, however often it is differentiated.
TIMES = Formula("mul", _a * _b)
TIMES_TANGENT = Formula("mul_tangent", _a * _d + _b * _c)


def _times(a: Pair, b: Pair) -> Pair:
    return f(TIMES, a[0], b[0]), f(TIMES_TANGENT, a[0], b[0], a[1], b[1])


def _part(node: Node, start: int, n: int) -> Node:
    """`n` places of (outer, places, inner)."""
    outer, places, inner = node.shape
    return view_node(node, (outer, n, inner), (places * inner, inner, 1), start * inner)


def product(op: Primitive, primals: list[Node], tangents: Any, attrs: Any, scalars: Any, out: Node) -> Node:
    dims, shape = attrs[0], primals[0].shape
    order = [k for k in range(len(shape)) if k not in dims] + list(dims)
    strides = contiguous_strides(tuple(shape))
    m = size_of(out.shape)
    if not size_of(shape):
        return _zeros(out)
    n = size_of(shape) // m
    x, t = [reshaped(view_node(node, tuple(shape[k] for k in order), tuple(strides[k] for k in order)), (m, n, 1))
            for node in (primals[0], tangents[0])]
    left: Pair | None = None  # an odd one
    while n > 1:
        half = n // 2
        if n % 2:
            odd = _part(x, n - 1, 1), _part(t, n - 1, 1)
            left = odd if left is None else _times(left, odd)
        x, t = _times((_part(x, 0, half), _part(t, 0, half)), (_part(x, half, half), _part(t, half, half)))
        n = half
    return reshaped(t if left is None else _times((x, t), left)[1], out.shape)


def extremum(op: Primitive, primals: list[Node], tangents: Any, attrs: Any, scalars: Any, out: Node) -> Node:
    (x,), (t,) = primals, tangents
    kept = sized([1 if k in attrs[0] else n for k, n in enumerate(x.shape)])
    whole = expanded(reshaped(out, kept), x.shape)

    def total(node: Node) -> Node:
        return record(SUM, (node,), attrs, None, out.shape, out.dtype)

    return f(SHARE, total(f(SAME, x, whole)), total(f(AT_SAME, x, whole, t)))


def running_product(op: Primitive, primals: list[Node], tangents: Any, attrs: Any, scalars: Any, out: Node) -> Node:
    """Each place takes in the one before, the ones two before, four before, ..."""
    shape, dim = out.shape, attrs[0]
    n = shape[dim]
    outer, inner = size_of(shape[:dim]), size_of(shape[dim + 1:])
    if not size_of(shape):
        return _zeros(out)
    x, t = [reshaped(node, (outer, n, inner)) for node in (primals[0], tangents[0])]
    step = 1
    while step < n:
        m = n - step
        later = _times((_part(x, step, m), _part(t, step, m)), (_part(x, 0, m), _part(t, 0, m)))
        x, t = [record(WRITE, (whole, part), ((n * inner, inner, 1),), (step * inner,), whole.shape, whole.dtype)
                for whole, part in zip((x, t), later, strict=True)]
        step *= 2
    return reshaped(t, shape)


_flat: dict[tuple[int, int], Formula] = {}


def _flat_index(dim: int, rank: int) -> Formula:
    """Positions in the flat array from the coordinates along `dim`."""
    found = _flat.get((rank, dim))
    if found is None:
        total = operand(0) * scalar(dim)
        for k in range(rank):
            if k != dim:
                total = total + make("index", value=k) * scalar(k)
        found = _flat[rank, dim] = Formula("linear", total)
    return found


def running_extremum(op: Primitive, primals: list[Node], tangents: Any, attrs: Any, scalars: Any, out: Node) -> Node:
    """The tangent of the last element that is the extreme so far."""
    (x,), (t,) = primals, tangents
    shape, dim = out.shape, attrs[0]
    if not size_of(shape):
        return _zeros(out)
    along = record(INDEX, (), (dim,), None, shape, int64)
    at = record(CUMMAX, (f(PLACE, x, out, along, of=int64),), attrs, None, shape, int64)
    flat = record(_flat_index(dim, len(shape)), (at,), None, contiguous_strides(tuple(shape)), shape, int64)
    rows = record(GATHER, (reshaped(t, (size_of(shape), 1)), flat), None, None, sized((*shape, 1)), out.dtype)
    return view_node(rows, shape, contiguous_strides(tuple(shape)))


def _tangents(primals: list[Node], tangents: Any) -> tuple[Node, Node]:
    s, t = tangents[0], tangents[2]
    return _zeros(primals[0]) if s is None else s, _zeros(primals[2]) if t is None else t


def scattered_product(op: Primitive, primals: list[Node], tangents: Any, attrs: Any, scalars: Any,
                      out: Node) -> Node:
    base, index, source = primals
    s, t = _tangents(primals, tangents)

    def scatter(primitive: Primitive, a: Node, b: Node) -> Node:
        return record(primitive, (a, index, b), attrs, None, out.shape, out.dtype)

    return f(PRODUCT, scatter(SCATTER_ADD, f(IS_ZERO, base), f(IS_ZERO, source)),
             scatter(SCATTER_MUL, f(NO_ZERO, base), f(NO_ZERO, source)),
             scatter(SCATTER_ADD, f(SLOPE, base, s), f(SLOPE, source, t)),
             scatter(SCATTER_ADD, f(AT_ZERO, base, s), f(AT_ZERO, source, t)))


def scattered_extremum(op: Primitive, primals: list[Node], tangents: Any, attrs: Any, scalars: Any,
                       out: Node) -> Node:
    base, index, source = primals
    s, t = _tangents(primals, tangents)
    there = record(GATHER, (out, index), None, None, source.shape, out.dtype)

    def scatter(a: Node, b: Node) -> Node:
        return record(SCATTER_ADD, (a, index, b), attrs, None, out.shape, out.dtype)

    return f(SHARE, scatter(f(SAME, base, out), f(SAME, source, there)),
             scatter(f(AT_SAME, base, out, s), f(AT_SAME, source, there, t)))
