"""CONST: a run-time number everywhere."""

from __future__ import annotations

from facula.engine.graph.node import Node
from facula.engine.graph.primitives.elements import attributes, number
from facula.engine.graph.primitives.kind import Array, Kind


def _meaning(node: Node, inputs: list[Array]) -> Array:
    return number(attributes(node.scalars)[0], node.dtype)


KIND = Kind(inputs=0, wrong=lambda node: "", meaning=_meaning, numbers=lambda node: 1)
