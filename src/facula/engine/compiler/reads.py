"""What the passes work on: nodes with their reads, as simplify.py has found them."""

from __future__ import annotations

from dataclasses import dataclass, field

from facula.engine.compiler.operands import Padding
from facula.engine.compiler.values import Read
from facula.engine.graph.node import Node


@dataclass
class Graph:
    """What the passes work on.

    order    nodes to compute, arguments first
    reads    for nodes that loops compute: the values they read, and where
    loops    nodes computed by loop kernels; the other nodes of `order` are steps of their own
    kept     values that must be in memory
    same     values whose memory an output is: the output is the same elements in another shape
    padding  (product, number of the operand): what surrounds the memory that it reads
    """

    leaves: set[Node]
    outputs: list[Node]
    numbers_at: dict[Node, int]
    order: list[Node] = field(default_factory=list)
    reads: dict[Node, list[Read]] = field(default_factory=dict)
    loops: set[Node] = field(default_factory=set)
    kept: set[Node] = field(default_factory=set)
    same: dict[Node, Node] = field(default_factory=dict)
    padding: dict[tuple[Node, int], Padding] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
