"""What of a list of nodes is alive, and the work that is: the slow, readable way to what a step knows, taken once a
structure."""

from __future__ import annotations

from operator import attrgetter

from facula.config import threshold
from facula.dtypes import float32
from facula.engine import recorder
from facula.engine.cpython import liveness
from facula.engine.cpython.liveness import getrefcount
from facula.engine.graph.node import BUFFER, CALL, CONST, Formula, Node, Number, size_of

_op = attrgetter("op")
# Bytes from which a result takes the memory of what it replaces. Below, both lie in caches, and to write where another
# core has just read costs more (an update of 1000x100 by two threads: 20 us in place, 8 beside it).
WORTH_REPLACING = threshold("replace_bytes")
# References to a node, in no list, up to which nothing holds it. Measured at the end of this page.
_LONE_NODE = liveness.UNKNOWN


def held_of(nodes: list[Node], lists: int = 1) -> bytes:
    """Per node 1 if somebody beside the nodes themselves holds it. So many lists of the caller's do, and nothing else
    of his. Under the lock."""
    if not nodes:
        return b""
    uses = [0] * len(nodes)
    slots: dict[int, int] = {}  # by id: nothing is written on nodes, where it would stay if a signal came in between
    for i, node in enumerate(nodes):
        slots[id(node)] = i
        for source in node.inputs:
            slot = slots.get(id(source))
            if slot is not None:
                uses[slot] += 1
    source = None  # type: ignore[assignment]
    del node  # lingering, either would count as a holder of a node
    lists += _LONE_NODE
    # A CALL is never a value: its PICKs are
    return bytes([references - used > lists and op is not CALL
                  for references, used, op in zip(map(getrefcount, nodes), uses, map(_op, nodes), strict=True)])


recorder.above.held_of = held_of


class Work:
    """The live part of a list of nodes, as the compiler wants it."""

    __slots__ = ("key", "order", "leaves", "outputs", "numbers", "numbers_at", "written")

    def __init__(self, nodes: list[Node], held: bytes) -> None:
        needed = bytearray(held)
        slots = {id(node): i for i, node in enumerate(nodes)}
        for i in range(len(nodes) - 1, -1, -1):
            if needed[i]:
                for source in nodes[i].inputs:
                    slot = slots.get(id(source))
                    if slot is not None:
                        needed[slot] = 1
        slots.clear()  # from here on: of what is computed, constants and leaves
        parts: list[object] = []
        self.leaves: list[Node] = []
        self.numbers: list[Number] = []
        self.numbers_at: dict[Node, int] = {}
        self.order: list[Node] = []
        self.outputs: list[Node] = []
        self.written: list[Node] = []  # bases of writes that have been computed: they might be overwritten
        constants: list[Node] = []
        for i, node in enumerate(nodes):
            if not needed[i]:
                continue
            slots[id(node)] = len(self.order)
            self.order.append(node)
            parts += (node.op, node.attrs, node.shape, node.dtype, held[i])
            for source in node.inputs:
                slot = slots.get(id(source))
                if slot is None:
                    if source.op is CONST:
                        slots[id(source)] = slot = -1 - 2 * len(constants)
                        constants.append(source)
                        self._number(source)
                    else:
                        slots[id(source)] = slot = -2 - 2 * len(self.leaves)
                        self.leaves.append(source)
                    parts += (source.shape, source.dtype)
                parts.append(slot)
            if node.scalars:
                self._number(node)
            if held[i]:
                self.outputs.append(node)
            if node.op.kind in ("write", "scatter") and node.inputs[0].op is BUFFER:
                self.written.append(node.inputs[0])
        self.key = tuple(parts)

    def repeatable(self) -> bool:
        """May memory be overwritten on the way? A library's routine may fail (a matrix is singular): then what has
        been overwritten before would be lost."""
        return CALL not in map(_op, self.order)

    def replaceable(self) -> list[Node]:
        """Leaves that are as large as an elementwise result, which may take the place of one that dies: an optimizer's
        step, say. Small ones are not worth asking about."""
        sizes = {bytes_of(node) for node in self.outputs if isinstance(node.op, Formula)}
        return [leaf for leaf in self.leaves if bytes_of(leaf) >= WORTH_REPLACING and bytes_of(leaf) in sizes]

    def _number(self, node: Node) -> None:
        assert node.scalars is not None
        self.numbers_at[node] = len(self.numbers)
        self.numbers += node.scalars


def bytes_of(node: Node) -> int:
    return size_of(node.shape) * node.dtype.itemsize


def references(leaf: Node, nodes: list[Node]) -> int:
    return sum(source is leaf for node in nodes for source in node.inputs)


# ---- what the counts are, on this Python ------------------------------------------------------------------


def _no_holder(held: bool) -> bool:
    """One node that another reads (twice), and that one: both must be seen rightly."""
    first = Node(BUFFER, (), None, None, (), float32)
    nodes = [first, Node(BUFFER, (first, first), None, None, (), float32)]
    other = first if held else None
    del first
    seen = held_of(nodes)
    del other
    return seen == b"\0\0"


liveness.calibrate(globals(), "_LONE_NODE", _no_holder)
