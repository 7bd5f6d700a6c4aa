"""A step: a list of pending nodes with what it takes to run it again without looking at it again.

The `Step` found under a signature knows the plan, which nodes are results, which leaves and numbers the plan reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from facula.dtypes import float32
from facula.engine.cpython import liveness
from facula.engine.cpython.liveness import getrefcount
from facula.engine.graph.node import BUFFER, Node
from facula.engine.runtime.buffer import Buffer, class_of
from facula.engine.trace.signature import number_starts, primitives
from facula.engine.trace.work import Work, bytes_of, references

if TYPE_CHECKING:
    from facula.engine.targets.protocol import Program, Target

Ready = tuple["Program | None", "bytes | None"]  # a program (None: `interpret`), and its recipe if it has one
_NOTHING: tuple[Node, ...] = ()
# Counts up to which a leaf, and its memory, are held by nothing but the lists that are known of. Measured at the end of
# this page.
_LONE_LEAF = _LONE_MEMORY = liveness.UNKNOWN


class Step:
    """How to run a list of nodes with a known signature. Indices count `nodes`, `leaves` and `numbers`."""

    __slots__ = ("held", "order", "results", "sizes", "classes", "reads", "picks", "written", "ready", "only", "kept",
                 "target", "allocate", "weight", "used")

    def __init__(self, target: Target, held: bytes, order: Sequence[int], results: Sequence[tuple[int, int, int]],
                 reads: Sequence[int], picks: Sequence[int], written: Sequence[tuple[int, int]]) -> None:
        self.target = target
        self.allocate = target.allocate
        self.held = held  # per node: does somebody outside hold it?
        self.order = order  # the nodes that are computed
        self.results = [place for place, _, _ in results]  # the plan's outputs among `nodes`
        self.sizes = [nbytes for _, nbytes, _ in results]
        self.classes = [size for _, _, size in results]  # size classes
        self.reads = reads  # the plan's leaves among `leaves`
        self.picks = picks  # the plan's numbers among all numbers
        self.written = written  # (leaf, references from the nodes): its memory may become that of a result
        self.ready: dict[tuple[int, ...], Ready] = {}  # by donated leaves
        self.only: Ready | None = None  # ready[()], when nothing can be donated
        self.used = False  # has it been met again?
        self.kept: object = None  # whatever must not die before the key this is found under
        self.weight = 1000 + 80 * len(order) + 150 * (len(results) + len(reads))  # bytes, about

    def memory(self, leaves: list[Node]) -> list[Buffer]:
        return [leaves[k].buffer for k in self.reads]  # type: ignore[misc]

    def prepare(self, plan: Program | None, donated: tuple[int, ...] = ()) -> Ready:
        """`plan` is how this is run when the leaves `donated` may be overwritten."""
        ready = plan, None if plan is None else plan.recipe(self.reads, self.results, self.picks)
        self.ready[donated] = ready
        self.weight += plan.weight if plan is not None else 0
        if not self.written:
            self.only = ready
        return ready

    def computed(self, nodes: list[Node], results: list[Buffer]) -> None:
        """The results are there. May be said again."""
        for i, buffer in zip(self.results, results, strict=True):
            computed(nodes[i], buffer)

    def donated(self, leaves: list[Node]) -> tuple[int, ...]:
        """Leaves that may be overwritten: nobody holds the node or its memory but this list of nodes."""
        found = []
        for place, uses in self.written:
            leaf = leaves[place]
            if getrefcount(leaf) - uses <= _LONE_LEAF:
                buffer = leaf.buffer
                if buffer is not None and buffer.size_class and getrefcount(buffer) <= _LONE_MEMORY:
                    found.append(place)
        return tuple(found)


def allocate_results(step: Step, plan: Program, leaves: list[Node]) -> list[Buffer]:
    """Memory for the results; of those that take a leaf's, that."""
    aliases, allocate = plan.aliases, step.allocate
    if not aliases:
        return list(map(allocate, step.sizes, step.classes))
    memory = step.memory(leaves)
    return [memory[aliases[k]] if k in aliases else allocate(nbytes, size)
            for k, (nbytes, size) in enumerate(zip(step.sizes, step.classes, strict=True))]


def computed(node: Node, buffer: Buffer) -> None:
    """From now on `node` is a leaf with memory."""
    node.buffer = buffer
    node.op = BUFFER
    node.inputs = _NOTHING
    node.attrs = node.scalars = None


def step_of(target: Target, nodes: list[Node], leaves: list[Node], held: bytes, work: Work) -> Step:
    """The Step for `nodes`, which are the target's and whose signature named `leaves`; `work` is what is alive."""
    places = {id(node): i for i, node in enumerate(nodes)}
    leaf_places = {id(node): i for i, node in enumerate(leaves)}
    starts = number_starts(nodes, leaves)
    picks = [starts[id(node)] + k for node in work.numbers_at for k in range(len(node.scalars or ()))]
    results = []
    for node in work.outputs:
        nbytes = bytes_of(node)
        results.append((places[id(node)], nbytes, class_of(nbytes)))
    written = [(leaf_places[id(leaf)], references(leaf, nodes))
               for leaf in dict.fromkeys([*work.written, *work.replaceable()])] if work.repeatable() else []
    step = Step(target, held, [places[id(node)] for node in work.order], results,
                [leaf_places[id(leaf)] for leaf in work.leaves], picks, written)
    step.kept = primitives(nodes, leaves)
    return step


# ---- what the counts are, on this Python ------------------------------------------------------------------


class _Memory:
    """Stands for a Buffer while counts are measured."""

    __slots__ = ("size_class",)

    def __init__(self) -> None:
        self.size_class = 1


class _Nowhere:
    """Stands for a target."""

    allocate = None


_ANY = Step(_Nowhere(), b"", (), (), (), (), ((0, 0),))  # type: ignore[arg-type]


def _leaf_of_no_other(held: bool) -> bool:
    leaves = [Node(BUFFER, (), None, None, (), float32)]
    leaves[0].buffer = _Memory()  # type: ignore[assignment]
    other = leaves[0] if held else None
    seen = _ANY.donated(leaves)
    del other
    return bool(seen)


def _memory_of_no_other(held: bool) -> bool:
    leaves = [Node(BUFFER, (), None, None, (), float32)]
    leaves[0].buffer = _Memory()  # type: ignore[assignment]
    other = leaves[0].buffer if held else None
    seen = _ANY.donated(leaves)
    del other
    return bool(seen)


_LONE_MEMORY = -liveness.UNKNOWN  # while the leaf alone is asked about
liveness.calibrate(globals(), "_LONE_LEAF", _leaf_of_no_other)
liveness.calibrate(globals(), "_LONE_MEMORY", _memory_of_no_other)
