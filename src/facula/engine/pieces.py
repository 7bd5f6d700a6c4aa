"""A graph that has not been seen before, cut into pieces that have.

To compile a graph takes a hundred times as long as to run it once, so a program whose graphs are new each time (packed
sequences, ragged batches: other lengths, another graph) would do nothing but compile. But what is new is made of what
is known: the time steps of a network, the rows of a batch. Such a graph is cut where its own contents say (so that
equal stretches are cut equally, wherever they stand), each stretch into what hangs together, and each piece is run as a
graph of its own, under a signature of its own. A piece that is new itself is cut again, down to single operations,
unless these are new, too; what is met several times is compiled as it is (a whole graph the second time). So new work
runs at once on kernels that are there, and what repeats is fused, be it a time step or the whole.

Views between pieces are looked through by whoever reads them, as they are within one graph: so the bits are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from zlib import crc32

from facula.config import threshold
from facula.engine.graph.node import BUFFER, CONST, INDEX, PICK, VIEW, WRITE, Node, Primitive
from facula.engine.trace.structure import is_ready_made, name_of

LEVELS = ((8, 40), (3, 9), (1, 1))  # least and most nodes of a stretch
SMALL = threshold("whole_nodes")  # a graph of fewer nodes is compiled as a whole
STREAK = threshold("new_graphs")  # in a row, with none seen again in between, after which they are run in pieces
REPETITIVE = 8  # a graph that consists of so few different stretches that these are this fraction of it
MANY = 512  # nodes from which it is looked at for that
PATIENCE = 512  # of a repetitive graph, nodes for which one more sight is asked before it is compiled as a whole
LARGE = threshold("large_nodes")  # a graph of so many is compiled as a whole when it is seen again, not before
DEARER = 3  # to compile so many operations together costs what one costs alone
SIGHTS = threshold("piece_sights")  # of a piece before it is compiled: that costs what some tens of runs do
MOST_SEEN = 1 << 14  # signatures that are remembered, as their hashes
_READY = frozenset((BUFFER, CONST))
_marks: dict[Primitive, int] = {}


class Novelty:
    """How new the graphs are that this process meets."""

    def __init__(self) -> None:
        self.seen: dict[int, int] = {}  # hash of a signature -> how often it is to be run in pieces yet
        self.operations: set[int] = set()  # hashes of operations with their shapes
        self.streak = 0

    def in_pieces(self, key: object, nodes: list[Node]) -> bool:
        """Is this graph, which has no plan, to be run in pieces?"""
        if len(nodes) < SMALL:
            return False
        if is_ready_made(name_of(nodes)):
            return False
        name = hash(key)
        left = self.seen.get(name)
        if left is None:
            left = self._first_sight(nodes)
            self.streak += 1
        self._remember(name, left - 1)
        return left > 0

    def goes_finer(self, nodes: list[Node], level: int) -> bool:
        """Is this piece, which has no plan, to be cut again?"""
        if level == len(LEVELS) - 1 or len(nodes) <= LEVELS[-1][1]:
            return False
        name = name_of(nodes)
        if is_ready_made(name):
            return False
        left = self.seen.get(name, SIGHTS)
        self._remember(name, left - 1)
        return left > 0 and DEARER * self._new_operations(nodes) <= len(nodes)

    def _new_operations(self, nodes: list[Node]) -> int:
        """How many operations are among `nodes` that have never been met with these shapes. They are met now."""
        count = 0
        for node in nodes:
            name = hash((node.op, node.attrs, node.shape, *[i.shape for i in node.inputs]))
            if name not in self.operations:
                count += 1
                if len(self.operations) >= MOST_SEEN:
                    self.operations.clear()
                self.operations.add(name)
        return count

    def _remember(self, name: int, left: int) -> None:
        if self.seen.pop(name, None) is None and len(self.seen) >= MOST_SEEN:
            del self.seen[next(iter(self.seen))]
        self.seen[name] = left

    def _first_sight(self, nodes: list[Node]) -> int:
        """How often a graph that nobody has seen is to be run in pieces."""
        if len(nodes) >= MANY:
            stretches = [tuple([(n.op, n.attrs, n.shape) for n in nodes[a:b]]) for a, b in stretches_of(nodes, 0)]
            if REPETITIVE * sum(map(len, set(stretches))) <= len(nodes):
                return 1 + len(nodes) // PATIENCE
        return int(self.streak >= STREAK or len(nodes) >= LARGE)

    def met_again(self, nodes: list[Node]) -> None:
        """A graph that has been compiled as a whole came back."""
        if len(nodes) >= SMALL:
            self.streak = 0


novelty = Novelty()


def is_deferred(node: Node) -> bool:
    """Is it computed by its readers, each for itself, as it is within one graph?"""
    op = node.op
    if op is VIEW or op is INDEX:
        return True
    # padding, which a product reads through
    return op is WRITE and len(node.attrs or ()) > 1 and node.inputs[0].op is CONST


def held_views(nodes: list[Node], held: bytes) -> list[Node]:
    """Deferred nodes that somebody outside holds, the last one first."""
    return [node for node, mine in zip(reversed(nodes), reversed(held), strict=True) if mine and is_deferred(node)]


def pieces_of(nodes: list[Node], level: int) -> Iterator[list[Node]]:
    """Lists of nodes to be run one after the other, each held by its list alone; `nodes` is emptied. Deferred nodes
    are in the pieces that read them."""
    rest = [node for node in _with_picks(nodes) if not is_deferred(node)]
    nodes.clear()
    ends = [b for _, b in stretches_of(rest, level)]
    rest.reverse()
    count = len(rest)
    for end in ends:
        stretch = rest[count - end:]
        del rest[count - end:]
        stretch.reverse()
        parts = _connected(stretch)
        del stretch
        parts.reverse()
        while parts:
            yield parts.pop()


def stretches_of(nodes: list[Node], level: int) -> list[tuple[int, int]]:
    """Where to cut: before the least of the marks that lie within reach. Marks are made of the operations around
    alone, so wherever the same nodes come again the same places have the least marks."""
    least, most = LEVELS[level]
    marks = [_marks.get(node.op) or _mark(node.op) for node in nodes]
    around = [a * 0x9E3779B1 + b * 0x85EBCA6B + c * 0xC2B2AE35 & 0xFFFFFFFF
              for a, b, c in zip([0, *marks], marks, [*marks[1:], 0], strict=False)]
    found, start, n = [], 0, len(nodes)
    while n - start > most:
        reach = around[start + least:start + most + 1]
        end = start + least + reach.index(min(reach))
        while end < n and nodes[end].op is PICK:  # its CALL hands over a tuple, which is not kept
            end += 1
        found.append((start, end))
        start = end
    if start < n:
        found.append((start, n))
    return found


def _mark(op: Primitive) -> int:
    found = _marks[op] = crc32(op.name.encode()) | 1
    if len(_marks) > 4096:  # formulas are made for ever
        _marks.clear()
    return found


def _with_picks(nodes: list[Node]) -> list[Node]:
    """Each PICK right behind its CALL."""
    picks: dict[int, list[Node]] = {}
    for node in nodes:
        if node.op is PICK:
            picks.setdefault(id(node.inputs[0]), []).append(node)
    if not picks:
        return nodes
    return [one for node in nodes if node.op is not PICK for one in (node, *picks.get(id(node), ()))]


def _connected(stretch: list[Node]) -> list[list[Node]]:
    """The parts of a stretch that do not depend on each other, each with the deferred nodes that it reads."""
    places = {id(node): k for k, node in enumerate(stretch)}
    root = list(range(len(stretch)))
    extras: list[list[Node]] = []
    for k, node in enumerate(stretch):
        extra: list[Node] = []
        extras.append(extra)
        for source in node.inputs:
            if id(source) in places:
                _join(root, places[id(source)], k)
            elif source.op not in _READY:
                below = with_sources(source)
                extra += below
                for one in below:
                    for i in one.inputs:
                        if id(i) in places:
                            _join(root, places[id(i)], k)
    parts: dict[int, dict[int, Node]] = {}
    for k, node in enumerate(stretch):
        part = parts.setdefault(_root(root, k), {})
        for one in extras[k]:
            part[id(one)] = one
        part[id(node)] = node
    return [list(part.values()) for part in parts.values()]


def _join(root: list[int], a: int, b: int) -> None:
    a, b = _root(root, a), _root(root, b)
    root[max(a, b)] = min(a, b)


def _root(root: list[int], k: int) -> int:
    while root[k] != k:
        root[k] = k = root[root[k]]
    return k


def with_sources(node: Node) -> list[Node]:
    """A deferred node and what it reads that is deferred, arguments first."""
    order: dict[int, Node] = {}
    stack = [(node, False)]
    while stack:
        n, ready = stack.pop()
        if ready:
            order[id(n)] = n
        elif n.op not in _READY and id(n) not in order and is_deferred(n):
            stack.append((n, True))
            stack.extend((i, False) for i in n.inputs)
    return list(order.values())


def held_below(piece: list[Node], held: bytes) -> tuple[bytes, set[int]]:
    """What has to be in memory after a piece: of a deferred node that later readers hold, what it reads. And of that
    the leaves, by id: they may not be overwritten."""
    wanted = bytearray(held)
    places = {id(node): k for k, node in enumerate(piece)}
    leaves: set[int] = set()
    for k in range(len(piece) - 1, -1, -1):
        if wanted[k] and is_deferred(piece[k]):
            wanted[k] = 0
            for source in piece[k].inputs:
                place = places.get(id(source))
                if place is None:
                    leaves.add(id(source))
                else:
                    wanted[place] = 1
    return bytes(wanted), leaves
