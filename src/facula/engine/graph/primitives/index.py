"""INDEX: the coordinate of each element along a dimension."""

from __future__ import annotations

from facula.dtypes import int64
from facula.engine.graph.node import Node
from facula.engine.graph.primitives.elements import attributes, coordinate
from facula.engine.graph.primitives.kind import Array, Kind


def _wrong(node: Node) -> str:
    (dim,) = node.attrs or (-1,)
    fits = type(dim) is int and 0 <= dim < len(node.shape) and node.dtype is int64
    return "" if fits else f"coordinates along {dim}"


def _meaning(node: Node, inputs: list[Array]) -> Array:
    return coordinate(node.shape, attributes(node.attrs)[0])


KIND = Kind(inputs=0, wrong=_wrong, meaning=_meaning)
