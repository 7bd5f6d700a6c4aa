"""Nodes that are steps of their own: a file for each kind that machine code computes so, named like the kind
(engine/graph/primitives/), which defines `LOWERING`. What has none, and is not computed in loops, goes to the host.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from facula.engine.compiler.kernel import Machine
from facula.engine.compiler.plan import HostOperand, HostStep, Made, Work
from facula.engine.compiler.reads import Graph
from facula.engine.compiler.single.lowering import Lowering, Slots
from facula.engine.graph.node import Node
from facula.engine.graph.primitives import KINDS

LOWERINGS: dict[str, Lowering] = {kind: import_module(f"{__name__}.{kind}").LOWERING
                                  for kind in KINDS if find_spec(f"{__name__}.{kind}") is not None}


def is_native(node: Node) -> bool:
    """Does machine code compute it, as a step of its own?"""
    lowering = LOWERINGS.get(node.op.kind)
    return lowering is not None and lowering.native(node)


def fills(node: Node, place: int) -> bool:
    """Does its lowering take a constant as this operand without having it in memory?"""
    return is_native(node) and place in LOWERINGS[node.op.kind].fills


def lower_single(node: Node, graph: Graph, formats: dict[int, str], machine: Machine) -> list[Work]:
    """Work that computes `node`; reads and writes values in memory."""
    if not is_native(node):
        return [host(node, graph)]
    return LOWERINGS[node.op.kind].work(node, graph, formats, machine)


def host(node: Node, graph: Graph, reason: str = "") -> Work:
    """NumPy computes it."""
    at = graph.numbers_at.get(node, -1)
    count = len(node.scalars) if node.scalars is not None else 0
    calls = [n for n in graph.order if n.op.name == "call"]
    is_call = node.op.name == "call"
    sources = [s for s, _ in graph.reads[node]] if node in graph.reads else list(node.inputs)

    def make(slots: Slots, in_place: bool) -> list[Made]:
        inputs = [
            HostOperand(-1, i.shape, i.dtype, call=calls.index(i))
            if i in calls
            else HostOperand(slots[i], i.shape, i.dtype)
            for i in node.inputs
        ]
        return [
            HostStep(
                node.op,
                node.attrs,
                tuple(inputs),
                node.shape,
                node.dtype,
                -1 if is_call else slots[node],
                at,
                count,
                calls.index(node) if is_call else -1,
                reason,
            )
        ]

    return Work([s for s in sources if s not in calls], [] if is_call else [node], make)
