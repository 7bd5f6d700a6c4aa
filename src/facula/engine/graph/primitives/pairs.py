"""What tangents of products and of extrema are made of: a value with its tangent, and formulas of such.

Of equal extreme elements each counts the same, as in the gradients of `amax` and `scatter_reduce`. A product of pairs
is exact where elements are zero, however often it is differentiated.
"""

from __future__ import annotations

from facula.engine.graph.expr import function, operand, where
from facula.engine.graph.node import Formula, Node
from facula.engine.graph.primitives.kind import Recording, sized

Pair = tuple[Node, Node]  # a value and its tangent

_a, _b, _c, _d = (operand(k) for k in range(4))
_eq, _ne, _or, _and = (function(n) for n in ("eq", "ne", "or", "and"))
_nan = _ne(_a, _a)
_same = _or(_eq(_a, _b), _and(_nan, _ne(_b, _b)))

SAME = Formula("same", where(_same, 1.0, 0.0))
AT_SAME = Formula("at_same", where(_same, _c, 0.0))
SHARE = Formula("share", _b / where(_eq(_a, 0.0), 1.0, _a))
PLACE = Formula("place", where(_or(_nan, _eq(_a, _b)), _c, 0))
_TIMES = Formula("mul", _a * _b)
_TIMES_TANGENT = Formula("mul_tangent", _a * _d + _b * _c)


def times(do: Recording, a: Pair, b: Pair) -> Pair:
    return do.formula(_TIMES, a[0], b[0]), do.formula(_TIMES_TANGENT, a[0], b[0], a[1], b[1])


def part(do: Recording, node: Node, start: int, n: int) -> Node:
    """`n` places of (outer, places, inner)."""
    outer, places, inner = node.shape
    return do.view(node, sized((outer, n, inner)), (places * inner, inner, 1), start * inner)
