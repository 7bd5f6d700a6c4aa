"""A step: a list of pending nodes with what it takes to run it again without looking at it again.

A loop records the same graph each time around. `signature` describes a list of nodes by structure, in machine
code (0.05 us a node); the `Step` found under it knows the plan, which nodes are results, which leaves and
numbers the plan reads. `arrange` is the slow, readable way to the same facts, taken once a structure.

`getrefcount` tells what is alive (cpython/liveness.py measures what the counts mean): a node that is referred to by
more than the other pending nodes is held by a tensor, by the tape, or by somebody's local variable. The counts are
part of the signature, so equal signatures have equal lives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, count
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from facula.config import threshold
from facula.dtypes import float32
from facula.engine import recorder
from facula.engine.cpython import liveness
from facula.engine.cpython.liveness import getrefcount
from facula.engine.graph.node import BUFFER, CALL, CONST, VIEW, WRITE, Formula, Node, Number, size_of
from facula.engine.runtime.buffer import Buffer, allocate, class_of

if TYPE_CHECKING:
    from facula.engine.runtime.cpu.plan import Plan

Key = tuple[object, ...]
Ready = tuple["Plan | None", "bytes | None"]  # a plan (None: the interpreter), and its recipe if it has one
_op, _attrs, _shape, _dtype = map(attrgetter, ("op", "attrs", "shape", "dtype"))
_inputs, _scalars = map(attrgetter, ("inputs", "scalars"))
_face = attrgetter("op", "shape", "dtype")
_NOTHING: tuple[Node, ...] = ()
# Bytes from which a result takes the memory of what it replaces. Below, both lie in caches, and to write where another
# core has just read costs more (an update of 1000x100 by two threads: 20 us in place, 8 beside it).
WORTH_REPLACING = threshold("replace_bytes")


# Counts up to which what is looked at is held by nothing but the lists that are known of (the
# first: in no list). Measured at the end of this page.
_LONE_NODE = _LONE_LEAF = _LONE_MEMORY = liveness.UNKNOWN

_describe: Callable[..., Any] | None = None  # the walk in machine code, once there is some
_asked = False


def use_machine_code() -> None:
    """From now on the walks run as builtins, where Python takes them. Called when the first kernels have been made:
    programs on the interpreter never load the machinery."""
    global _describe, _asked
    if not _asked:
        _asked = True
        from facula.engine.cpython import fingerprint
        _describe = fingerprint.describer(Node, _describes_as_we_do)
        recorder.use_machine_code()


def signature(nodes: list[Node], extras: list[Node]) -> tuple[Key, list[Node], list[Number]]:
    """The structure of `nodes`; the nodes they (and `extras`) refer to that are not among them, in order of first
    appearance; the run-time numbers of both. Whoever calls this must hold the nodes by the same references each
    time. A key has addresses in it: whoever keeps one must keep the primitives alive (`Step.kept`)."""
    if _describe is not None:
        leaves: list[Node] = []
        attrs: list[object] = []
        numbers: list[Number] = []
        text = _describe(nodes, extras, leaves, attrs, numbers)
        if text is not None:
            return (text, *attrs), leaves, numbers
    return described(nodes, extras)


def _describes_as_we_do(describe: Callable[..., Any]) -> bool:
    """Does the builtin tell apart what `described` tells apart, and find the same leaves and numbers?"""
    a, b = (Node(BUFFER, (), None, None, shape, float32) for shape in ((2, 3), (3,)))
    one = Node(CONST, (), None, (1.5,), (), float32)

    def graphs() -> Iterator[tuple[list[Node], list[Node], object]]:
        for op, inputs, attrs, scalars, shape in (
                (VIEW, (a,), ((1, 2),), (0,), (3, 2)), (VIEW, (a,), ((1, 2),), (4,), (3, 2)),
                (VIEW, (a,), ((2, 1),), (0,), (3, 2)), (VIEW, (b,), ((1, 2),), (0,), (3, 2)),
                (WRITE, (a, b), ((1,),), (0,), (2, 3)), (WRITE, (b, a), ((1,),), (0,), (2, 3)),
                (WRITE, (a, a), ((1,),), (0,), (2, 3)), (CALL, (a, one), None, None, ())):
            first = Node(op, inputs, attrs, scalars, shape, float32)
            for later in ((), (first,), (first, b)):
                nodes = [first, Node(CALL, (a, *later), None, None, (2,), float32)]
                yield nodes, [], None
                yield nodes, [b, first], None
                yield nodes, [], first  # held once more

    seen = []
    for nodes, extras, held in graphs():
        leaves: list[Node] = []
        attrs: list[object] = []
        numbers: list[Number] = []
        text = describe(nodes, extras, leaves, attrs, numbers)
        key, twin_leaves, twin_numbers = described(nodes, extras)
        if list(map(id, leaves)) != list(map(id, twin_leaves)) or numbers != twin_numbers:
            return False
        seen.append(((text, *attrs), key))
        del held
    return all((mine == other) == (key == twin) for mine, key in seen for other, twin in seen)


def described(nodes: list[Node], extras: list[Node]) -> tuple[Key, list[Node], list[Number]]:
    """`signature`, in Python: C-level passes only."""
    counts = tuple(map(getrefcount, nodes))
    inputs = list(map(_inputs, nodes))
    read = [*chain.from_iterable(inputs), *extras]
    numbering = dict(zip(dict.fromkeys(chain(nodes, read)), count(), strict=False))
    leaves = list(numbering)[len(nodes):]
    key = (tuple(map(_op, nodes)), tuple(map(_attrs, nodes)), tuple(map(_shape, nodes)), tuple(map(_dtype, nodes)),
           counts, tuple(map(len, inputs)), tuple(map(numbering.__getitem__, read)), tuple(map(_face, leaves)))
    return key, leaves, numbers_of(nodes, leaves)


def numbers_of(nodes: list[Node], leaves: list[Node]) -> list[Number]:
    """The run-time numbers of `nodes`, then of the constants among `leaves`."""
    return [*chain.from_iterable(filter(None, map(_scalars, nodes))),
            *chain.from_iterable(filter(None, map(_scalars, leaves)))]


class Step:
    """How to run a list of nodes with a known signature. Indices count `nodes`, `leaves` and `numbers`."""

    __slots__ = ("held", "order", "results", "sizes", "classes", "reads", "picks", "written", "ready", "only", "kept",
                 "program", "used")

    def __init__(self, held: bytes, order: Sequence[int], results: Sequence[tuple[int, int, int]],
                 reads: Sequence[int], picks: Sequence[int], written: Sequence[tuple[int, int]]) -> None:
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
        self.program: Any = None  # what runs it on another device than the cpu
        self.used = False  # has it been met again?
        self.kept: object = None  # whatever must not die before the key this is found under

    def weight(self) -> int:
        """Bytes, about; a plan counts for each step that keeps it alive."""
        own = 600 + 40 * len(self.order) + 120 * len(self.results) + 20 * (len(self.reads) + len(self.picks))
        kept = sum(plan.weight() + len(recipe or b"") for plan, recipe in self.ready.values() if plan is not None)
        return own + kept

    def memory(self, leaves: list[Node]) -> list[Buffer]:
        return [leaves[k].buffer for k in self.reads]  # type: ignore[misc]

    def prepare(self, plan: Plan | None, donated: tuple[int, ...] = ()) -> Ready:
        """`plan` is how this is run when the leaves `donated` may be overwritten."""
        ready = plan, None if plan is None else plan.recipe(self.reads, self.results, self.picks)
        self.ready[donated] = ready
        if not self.written:
            self.only = ready
        return ready

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


def allocate_results(step: Step, plan: Plan, leaves: list[Node]) -> list[Buffer]:
    aliases = plan.aliases
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


# ---- the slow way -----------------------------------------------------------------------------------------


def held_of(nodes: list[Node], lists: int = 1) -> bytes:
    """Per node 1 if somebody beside the nodes themselves holds it. So many lists of the caller's do, and nothing else
    of his. Under the lock: the nodes are marked."""
    if not nodes:
        return b""
    uses = [0] * len(nodes)
    for i, node in enumerate(nodes):
        node.slot = i
        for source in node.inputs:
            if source.slot is not None:
                uses[source.slot] += 1
    for node in nodes:
        node.slot = None
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
        for i, node in enumerate(nodes):
            node.slot = i
        for i in range(len(nodes) - 1, -1, -1):
            if needed[i]:
                for source in nodes[i].inputs:
                    if source.slot is not None:
                        needed[source.slot] = 1
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
                node.slot = None
                continue
            node.slot = len(self.order)
            self.order.append(node)
            parts += (node.op, node.attrs, node.shape, node.dtype, held[i])
            for source in node.inputs:
                slot = source.slot
                if slot is None:
                    if source.op is CONST:
                        source.slot = slot = -1 - 2 * len(constants)
                        constants.append(source)
                        self._number(source)
                    else:
                        source.slot = slot = -2 - 2 * len(self.leaves)
                        self.leaves.append(source)
                    parts += (source.shape, source.dtype)
                parts.append(slot)
            if node.scalars:
                self._number(node)
            if held[i]:
                self.outputs.append(node)
            if node.op.kind in ("write", "scatter") and node.inputs[0].op is BUFFER:
                self.written.append(node.inputs[0])
        for node in chain(self.order, self.leaves, constants):
            node.slot = None
        self.key = tuple(parts)

    def replaceable(self) -> list[Node]:
        """Leaves that are as large as an elementwise result, which may take the place of one that dies: an optimizer's
        step, say. Small ones are not worth asking about."""
        sizes = {_bytes(node) for node in self.outputs if isinstance(node.op, Formula)}
        return [leaf for leaf in self.leaves if _bytes(leaf) >= WORTH_REPLACING and _bytes(leaf) in sizes]

    def _number(self, node: Node) -> None:
        assert node.scalars is not None
        self.numbers_at[node] = len(self.numbers)
        self.numbers += node.scalars


def _bytes(node: Node) -> int:
    return size_of(node.shape) * node.dtype.itemsize


def references(leaf: Node, nodes: list[Node]) -> int:
    return sum(source is leaf for node in nodes for source in node.inputs)


def step_of(nodes: list[Node], leaves: list[Node], held: bytes) -> Step:
    """The Step for `nodes`, whose signature named `leaves`."""
    work = Work(nodes, held)
    places = {id(node): i for i, node in enumerate(nodes)}
    leaf_places = {id(node): i for i, node in enumerate(leaves)}
    starts = number_starts(nodes, leaves)
    picks = [starts[id(node)] + k for node in work.numbers_at for k in range(len(node.scalars or ()))]
    results = []
    for node in work.outputs:
        nbytes = _bytes(node)
        results.append((places[id(node)], nbytes, class_of(nbytes)))
    written = [(leaf_places[id(leaf)], references(leaf, nodes))
               for leaf in dict.fromkeys([*work.written, *work.replaceable()])]
    step = Step(held, [places[id(node)] for node in work.order], results,
                [leaf_places[id(leaf)] for leaf in work.leaves], picks, written)
    step.kept = primitives(nodes, leaves)
    return step


def primitives(nodes: list[Node], leaves: list[Node]) -> object:
    """What the addresses in a signature belong to, beside dtypes, which live for ever."""
    return tuple(map(_op, nodes)), tuple(map(_op, leaves))


def number_starts(nodes: list[Node], leaves: list[Node]) -> dict[int, int]:
    """id of a node -> where its numbers start in `numbers_of(nodes, leaves)`."""
    starts: dict[int, int] = {}
    at = 0
    for node in chain(nodes, leaves):
        if node.scalars:
            starts[id(node)] = at
            at += len(node.scalars)
    return starts


# ---- what the counts are, on this Python ------------------------------------------------------------------


class _Memory:
    """Stands for a Buffer while counts are measured."""

    __slots__ = ("size_class",)

    def __init__(self) -> None:
        self.size_class = 1


def _calibrate() -> None:
    namespace = globals()

    def node(*inputs: Node) -> Node:
        return Node(BUFFER, inputs, None, None, (), float32)

    def no_holder(held: bool) -> bool:
        """One node that another reads (twice), and that one: both must be seen rightly."""
        first = node()
        nodes = [first, node(first, first)]
        other = first if held else None
        del first
        seen = held_of(nodes)
        del other
        return seen == b"\0\0"

    def leaf_of_no_other(held: bool) -> bool:
        leaves = [node()]
        leaves[0].buffer = _Memory()  # type: ignore[assignment]
        other = leaves[0] if held else None
        seen = step.donated(leaves)
        del other
        return bool(seen)

    def memory_of_no_other(held: bool) -> bool:
        leaves = [node()]
        leaves[0].buffer = _Memory()  # type: ignore[assignment]
        other = leaves[0].buffer if held else None
        seen = step.donated(leaves)
        del other
        return bool(seen)

    step = Step(b"", (), (), (), (), ((0, 0),))
    liveness.calibrate(namespace, "_LONE_NODE", no_holder)
    namespace["_LONE_MEMORY"] = -liveness.UNKNOWN  # while the leaf alone is asked about
    liveness.calibrate(namespace, "_LONE_LEAF", leaf_of_no_other)
    liveness.calibrate(namespace, "_LONE_MEMORY", memory_of_no_other)


_calibrate()
