"""Do the graphs of this program begin with writes, or picked rows, that are others each time? (engine/arranging.py)"""

from __future__ import annotations

from collections.abc import Iterable

from facula.config import threshold
from facula.engine.graph.node import BUFFER, CONST, GATHER, VIEW, WRITE, Node

GRAPHS = threshold("arranged_graphs")
_AT_HAND = frozenset((BUFFER, CONST))
_MOVES = frozenset((WRITE, GATHER))


class Arranged:
    """How many graphs, none of them seen before, had such writes."""

    __slots__ = ("graphs", "at_once")

    def __init__(self) -> None:
        self.graphs = 0
        self.at_once = False

    def met(self, nodes: Iterable[Node]) -> None:
        """A graph has come that nobody has seen."""
        if not self.at_once and any(map(_moves_what_is_at_hand, nodes)):
            self.graphs += 1
            self.at_once = self.graphs >= GRAPHS


def _moves_what_is_at_hand(node: Node) -> bool:
    return node.op in _MOVES and all(i.op in _AT_HAND or i.op is VIEW and i.inputs[0].op is BUFFER for i in node.inputs)


arranged = Arranged()
