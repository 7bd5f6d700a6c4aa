"""What there is to know of a kind of primitives, whatever computes them.

The rules of transforms record primitives themselves. They are given the means (`Recording`), which belong to layers
above this one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from facula.dtypes import FLOAT, dtype
from facula.engine.graph.node import Formula, Node, Primitive, contiguous_strides, size_of
from facula.size import Size

Array = np.ndarray[Any, Any]


def sized(shape: Any) -> Size:
    return shape if type(shape) is Size else tuple.__new__(Size, shape)


class Recording:
    """How rules record: `record(op, inputs, attrs, scalars, shape, dtype)`, `constant(value, shape, dtype, device)`
    and `view(base, shape, strides, offset, fixed=)`; the rest is made of these."""

    __slots__ = ("record", "view", "constant")

    def __init__(self, record: Callable[..., Node], view: Callable[..., Node], constant: Callable[..., Node]) -> None:
        self.record, self.view, self.constant = record, view, constant

    def zeros(self, like: Node) -> Node:
        return self.constant(0, like.shape, like.dtype, like.device)

    def formula(self, formula: Formula, *nodes: Node, of: dtype | None = None) -> Node:
        """A formula over nodes the first of which has the result's shape."""
        return self.record(formula, nodes, None, None, nodes[0].shape, of or nodes[0].dtype)

    def reshaped(self, node: Node, shape: tuple[int, ...]) -> Node:
        """The elements in their order under another shape."""
        return self.view(node, sized(shape), contiguous_strides(tuple(shape)))

    def expanded(self, node: Node, shape: tuple[int, ...]) -> Node:
        """`node` repeated to a shape that it broadcasts to."""
        if tuple(node.shape) == tuple(shape):
            return node
        lead = len(shape) - len(node.shape)
        own = zip(node.shape, contiguous_strides(tuple(node.shape)), strict=True)
        return self.view(node, sized(shape), (0,) * lead + tuple([0 if n == 1 else s for n, s in own]))

    def over(self, size: int, node: Node, has: bool) -> Node:
        """`node` with the hidden dimension of `vmap`, repeated along it if it has none."""
        return node if has else self.expanded(node, (size, *node.shape))


# (means, primitive, inputs' values, their tangents (None: 0), attrs, scalars, the value) -> the value's tangent
Tangent = Callable[[Recording, Primitive, list[Node], "list[Node | None]", Any, Any, Node], Node]
# (means, size of the hidden dimension, primitive, inputs, which of them have it in front, attrs, scalars, shape without
# it, dtype) -> the result, which has it
Batching = Callable[[Recording, int, Primitive, tuple[Node, ...], tuple[bool, ...], Any, Any, tuple[int, ...], dtype],
                    Node]


def moving(node: Node) -> tuple[int, int]:
    """The cost of what looks at each element once or so."""
    amount = elements_read(node) + size_of(node.shape)
    return 16 * amount, 10 * amount


def elements_read(node: Node) -> int:
    return sum(size_of(i.shape) for i in node.inputs)


class Kind(NamedTuple):  # no dataclass: `import facula` would load and run what makes one
    """An entry of the vocabulary.

    inputs    their number
    wrong     what of a node does not fit (engine/graph/node.py has the types in words); "" if all does
    meaning   the value in NumPy: of the node and its inputs' values (elements.py says in which format), an array of the
              node's shape, or one that broadcasts to it, in the type that its dtype computes in
    numbers   how many run-time numbers a node has
    cost      bytes beside the result's own, and steps of about a nanosecond, of `meaning`
    tangents  for forward mode, of each primitive (None: its values are no floats), but for those without inputs
    batching  for `vmap`
    """

    inputs: int
    wrong: Callable[[Node], str]
    meaning: Callable[[Node, list[Array]], Any]
    numbers: Callable[[Node], int] = lambda node: 0
    cost: Callable[[Node], tuple[int, int]] = moving
    tangents: Mapping[Primitive, Tangent | None] = MappingProxyType({})
    batching: Batching | None = None


# ---- rules that several kinds have ----------------------------------------------------------------------


def linear(do: Recording, op: Primitive, primals: list[Node], tangents: list[Node | None], attrs: Any, scalars: Any,
           out: Node) -> Node:
    """Linear in all float inputs together: the same of the tangents."""
    moved = [t if t is not None else x if x.dtype.category < FLOAT else do.zeros(x)
             for x, t in zip(primals, tangents, strict=True)]
    return do.record(op, tuple(moved), attrs, scalars, out.shape, out.dtype)


def dims_move_up(do: Recording, size: int, op: Primitive, nodes: tuple[Node, ...], mine: tuple[bool, ...], attrs: Any,
                 scalars: Any, shape: tuple[int, ...], of: dtype) -> Node:
    """The first attribute is a dimension, or several of them; the rest stays."""
    first, *rest = attrs
    first = tuple([d + 1 for d in first]) if isinstance(first, tuple) else first + 1
    return do.record(op, nodes, (first, *rest), scalars, sized((size, *shape)), of)


def unlike(node: Node, source: Node) -> str:
    """What is wrong with a node that should be of the shape and dtype of one of its inputs."""
    same = node.shape == source.shape and node.dtype is source.dtype
    return "" if same else f"differs from {source!r} in shape or dtype"
