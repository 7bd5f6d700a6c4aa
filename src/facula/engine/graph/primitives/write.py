"""WRITE: the base with a region of it replaced."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.dtypes import dtype
from facula.engine.graph.node import WRITE, Node, Primitive, size_of
from facula.engine.graph.primitives.elements import convert
from facula.engine.graph.primitives.kind import Array, Kind, Recording, linear, sized, unlike
from facula.engine.graph.primitives.view import outside, region, unfixed


def _wrong(node: Node) -> str:
    base, value = node.inputs
    if value.dtype is not node.dtype:
        return f"{value!r} is written into it"
    return unlike(node, base) or outside(node, value.shape, size_of(base.shape))


def _meaning(node: Node, inputs: list[Array]) -> Array:
    out = np.array(inputs[0], order="C")
    if inputs[1].size:
        region(out, node, inputs[1].shape)[...] = convert(inputs[1], node.inputs[1].dtype, node.dtype)
    return out


def _batching(do: Recording, size: int, op: Primitive, nodes: tuple[Node, ...], mine: tuple[bool, ...], attrs: Any,
              scalars: Any, shape: tuple[int, ...], of: dtype) -> Node:
    both = tuple([do.over(size, node, has) for node, has in zip(nodes, mine, strict=True)])
    strides, *fixed = attrs
    return do.record(op, both, ((size_of(shape), *strides), *fixed), scalars, sized((size, *shape)), of)


KIND = Kind(inputs=2, wrong=_wrong, meaning=_meaning, numbers=unfixed, tangents={WRITE: linear}, batching=_batching)
