"""Nodes that are steps of their own."""

from __future__ import annotations

from facula.engine.compiler.plan import HostOperand, HostStep, Work
from facula.engine.compiler.simplify import Graph
from facula.engine.graph.node import Node


def lower_single(node: Node, graph: Graph, formats: dict[int, str], vector_bytes: int) -> list[Work]:
    """Work that computes `node`; reads and writes values in memory."""
    return [host(node, graph)]


def host(node: Node, graph: Graph, reason: str = "") -> Work:
    """NumPy computes it."""
    at = graph.numbers_at.get(node, -1)
    count = len(node.scalars) if node.scalars is not None else 0

    def make(slots: dict[object, int]) -> HostStep:
        inputs = []
        for i in node.inputs:
            if i.op.name == "call" and i not in graph.leaves:
                inputs.append(HostOperand(-1, i.shape, i.dtype, call=calls.index(i)))
            else:
                inputs.append(HostOperand(slots[i], i.shape, i.dtype))
        own = calls.index(node) if node.op.name == "call" else -1
        return HostStep(node.op, node.attrs, tuple(inputs), node.shape, node.dtype,
                        -1 if own >= 0 else slots[node], at, count, own, reason)

    calls = [n for n in graph.order if n.op.name == "call"]
    reads = [i for i in node.inputs if not (i.op.name == "call" and i not in graph.leaves)]
    writes: list[object] = [] if node.op.name == "call" else [node]
    return Work(list(reads), writes, make)
