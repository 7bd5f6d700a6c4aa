"""Do the graphs of this program begin with writes that are others each time? (engine/arranging.py)"""

from __future__ import annotations

from collections.abc import Iterable

from facula.config import threshold
from facula.engine.graph.node import BUFFER, CONST, WRITE, Node

GRAPHS = threshold("arranged_graphs")
_AT_HAND = frozenset((BUFFER, CONST))


class Arranged:
    """How many graphs, none of them seen before, had such writes."""

    __slots__ = ("graphs", "at_once")

    def __init__(self) -> None:
        self.graphs = 0
        self.at_once = False

    def met(self, nodes: Iterable[Node]) -> None:
        """A graph has come that nobody has seen."""
        if not self.at_once and any(node.op is WRITE and _AT_HAND.issuperset([i.op for i in node.inputs])
                                    for node in nodes):
            self.graphs += 1
            self.at_once = self.graphs >= GRAPHS


arranged = Arranged()
