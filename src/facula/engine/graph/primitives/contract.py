"""CONTRACT: products of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.dtypes import dtype
from facula.engine.graph.expr import operand
from facula.engine.graph.node import CONTRACT, Formula, Node, Primitive, size_of
from facula.engine.graph.primitives.elements import convert
from facula.engine.graph.primitives.kind import Array, Kind, Recording, sized

_ADD = Formula("add", operand(0) + operand(1))


def _wrong(node: Node) -> str:
    a, b = node.inputs[0].shape, node.inputs[1].shape
    fits = len(a) == len(b) and len(a) in (2, 3) and a[-1] == b[-2] and a[:-2] == b[:-2] \
        and node.shape == (*a[:-1], b[-1])
    return "" if fits else f"a product of {a} and {b}"


def _meaning(node: Node, inputs: list[Array]) -> Array:
    a, b = (convert(x, i.dtype, node.dtype) for x, i in zip(inputs, node.inputs, strict=True))
    return np.asarray(np.matmul(a, b))


def _cost(node: Node) -> tuple[int, int]:
    read = sum(size_of(i.shape) * i.dtype.itemsize for i in node.inputs)
    return 2 * read, 2 * size_of(node.shape) * node.inputs[0].shape[-1]


def _tangent(do: Recording, op: Primitive, primals: list[Node], tangents: list[Node | None], attrs: Any, scalars: Any,
             out: Node) -> Node:
    (a, b), (s, t) = primals, tangents
    pairs = [*([] if s is None else [(s, b)]), *([] if t is None else [(a, t)])]
    parts = [do.record(op, pair, attrs, scalars, out.shape, out.dtype) for pair in pairs]
    return parts[0] if len(parts) == 1 else do.formula(_ADD, *parts)


def _batching(do: Recording, size: int, op: Primitive, nodes: tuple[Node, ...], mine: tuple[bool, ...], attrs: Any,
              scalars: Any, shape: tuple[int, ...], of: dtype) -> Node:
    (a, b), (ours, other) = nodes, mine
    m, n = shape[-2:]
    k = a.shape[-1]
    if len(shape) == 2 and not other:  # rows of all together
        product = do.record(op, (do.reshaped(a, (size * m, k)), b), attrs, scalars, sized((size * m, n)), of)
        return do.reshaped(product, (size, m, n))
    total = size * size_of(shape[:-2])
    left, right = (do.reshaped(do.over(size, node, has), (total, *node.shape[-2:]))
                   for node, has in ((a, ours), (b, other)))
    product = do.record(op, (left, right), attrs, scalars, sized((total, m, n)), of)
    return do.reshaped(product, (size, *shape))


KIND = Kind(inputs=2, wrong=_wrong, meaning=_meaning, cost=_cost, tangents={CONTRACT: _tangent}, batching=_batching)
