"""A backward pass through custom Functions that has been seen before.

A Function's `backward` is the user's and has to be called. What the walk records before, between and after such calls
is the same each time, so it is recorded from notes: the nodes, with what they read by number. The key it is found
under is that of replay.py. A Function whose gradients are of another kind than when the notes were taken sends the
rest of the pass back to the walk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from facula._tensor.handle import alias, new
from facula._tensor.reading import read
from facula.autograd.function import FunctionRule
from facula.autograd.graph import GradNode
from facula.autograd.walk import Walk, release
from facula.config import threshold
from facula.engine.graph.node import BUFFER, CONST, Node, size_of
from facula.engine.recorder import pending, record
from facula.engine.session import session
from facula.engine.trace.work import bytes_of
from facula.ops.elementwise.pointwise import FormulaRule

if TYPE_CHECKING:
    from facula.autograd.survey import Survey

MOST_IN_TABLES = threshold("replay_elements")  # elements of what is kept with the notes
# (primitive, what takes the inputs out of the nodes met, attrs, scalars, step of the tape whose scalars they are or -1,
# shape, dtype)
_Note = tuple[Any, Callable[[list[Node]], tuple[Node, ...]], Any, Any, int, Any, Any]


class Part:
    """What is recorded up to the call of a Function. A *place* is a number in the list of nodes that a pass has met:
    the values of the survey, the notes' own constants, then what is recorded and what Functions return."""

    __slots__ = ("notes", "released", "function", "gradient", "geometry", "results", "waiting", "leaves")

    def __init__(self) -> None:
        self.notes: list[_Note] = []
        self.released: list[int] = []  # steps of the tape that are done
        self.function = -1  # the step that is the Function's; -1: the walk has ended
        self.gradient: Any = None  # the place of what the Function gets
        self.geometry: Any = None  # shape, strides and offset, if it gets a view of that: it may go by strides
        self.results: list[Any] = []  # what it returned: None, or as `_kind`
        self.waiting: list[tuple[int, int, Any]] = []  # (step, its output or -1, place): gradients on their way
        self.leaves: list[tuple[int, Any]] = []  # (leaf, place): gradients that have arrived


class Notes:
    __slots__ = ("parts", "constants", "kept", "weight")

    def __init__(self, parts: list[Part], constants: list[Node], kept: object) -> None:
        self.parts = parts
        self.constants = constants
        self.kept = kept  # whatever must not die before the key
        self.weight = 400 * (len(parts) + sum(len(part.notes) for part in parts)) + sum(map(bytes_of, constants))


def _kind(node: Node) -> object:
    """What a rule may go by: a constant by its value."""
    return str(node.scalars) if node.op is CONST else ""


def replayed(notes: Notes, found: Survey, keep: bool) -> dict[Any, Any]:
    """The gradients of the leaves, as `walk` returns them."""
    tape, leaves = found.tape, found.leaves
    met = found.values + notes.constants
    meet = met.append
    for part in notes.parts:
        for op, inputs, attrs, scalars, owner, shape, of in part.notes:
            if owner >= 0:
                scalars = tape[owner]._saved[0]
            meet(record(op, inputs(met), attrs, scalars, shape, of))
        if not keep:
            for step in part.released:
                tape[step]._saved = None
        if part.function < 0:
            break
        function = tape[part.function]
        g = new(met[part.gradient])
        results = function.rule.backward(function, alias(g, *part.geometry) if part.geometry else g)
        if not keep:
            release(function)
        nodes = [None if g is None else g._node or read(g) for g in results]
        if [None if node is None else _kind(node) for node in nodes] != part.results:
            return _walked(part, function, results, met, found, keep)
        met += nodes  # type: ignore[arg-type]
    return {leaves[leaf]: new(met[place]) for leaf, place in part.leaves}


def _walked(part: Part, function: GradNode, results: Any, met: list[Node], found: Survey, keep: bool) -> dict[Any, Any]:
    """The rest of a pass that has left the notes."""
    walk = Walk(keep)
    walk.leaves = {found.leaves[leaf]: new(met[place]) for leaf, place in part.leaves}
    edges = [(found.tape[step], output) if output >= 0 else found.tape[step] for step, output, _ in part.waiting]
    walk.run([*edges, *function.edges], [*(new(met[place]) for *_, place in part.waiting), *results])
    return walk.leaves


def noted(found: Survey, roots: Sequence[tuple[Any, Any]], keep: bool,
          kept: object) -> tuple[Notes | None, dict[Any, Any]]:
    """Walk and take notes. None: it cannot be told by notes."""
    walk = Walk(keep)
    edges: Any = [e for e, _ in roots]
    results: Any = [g for _, g in roots]
    steps = {id(node): i for i, node in enumerate(found.tape)}
    leaf_numbers = {id(t): i for i, t in enumerate(found.leaves)}
    book = _Notebook(found)
    while True:
        before, looks = len(pending), session.looks
        halt = walk.run(edges, results, FunctionRule)
        part = Part()
        if halt is not None:
            function, g = halt
            part.function = steps[id(function)]
            if g is not None and g._storage is None:
                part.gradient = _node(g)
            elif g is not None and not g._storage.shared and g.dtype is g._storage.node.dtype:
                part.gradient, part.geometry = g._storage.node, (g.shape, g._strides, g._offset)
            else:
                book.good = False
        part.waiting = [(steps[id(node)], k, _node(g)) for node, several in walk.grads.items()
                        for k, g in (enumerate(several) if node.outputs > 1 else [(-1, several)]) if g is not None]
        part.leaves = [(leaf_numbers[id(t)], _node(g)) for t, g in walk.leaves.items()]
        part.released = [i for i, node in enumerate(found.tape) if node._saved is None]
        book.add(part, pending[before:])
        if looks != session.looks:  # a rule that looks at values may go by them
            book.good = False
        if halt is None:
            break
        results = () if g is None else function.rule.backward(function, g)
        if not keep:
            release(function)
        edges = function.edges
        part.results = [None if g is None else _node(g) for g in results]
        book.returned(part)
    return book.notes(kept), walk.leaves


def _picker(places: list[int]) -> Callable[[list[Node]], tuple[Node, ...]]:
    if len(places) != 1:
        return itemgetter(*places) if places else lambda met: ()
    only = places[0]
    return lambda met: (met[only],)


def _node(g: Any) -> Node:
    return g._node or read(g)  # type: ignore[no-any-return]


class _Notebook:
    """Notes in the making, with nodes for places. What a node is has to be noted at once: the next Function may have
    it computed."""

    def __init__(self, found: Survey) -> None:
        self.good = True
        self.parts: list[Part] = []
        self.values = found.values
        self.known = set(map(id, found.values))
        self.constants: dict[int, Node] = {}
        self.met: list[list[tuple[Node, Any, tuple[Node, ...], Any, Any]]] = []
        # A formula's numbers vary. The tuples are kept, so that no other comes to have their id.
        self.numbers = [(i, node._saved[0]) for i, node in enumerate(found.tape)
                        if type(node.rule) is FormulaRule and node._saved and node._saved[0]]

    def add(self, part: Part, nodes: list[Node]) -> None:
        self.parts.append(part)
        for node in nodes:
            for source in node.inputs:
                self._see(source)
            self.known.add(id(node))
        self.met.append([(node, node.op, node.inputs, node.attrs, node.scalars) for node in nodes])
        for node in self._wanted(part):
            self._see(node)

    def returned(self, part: Part) -> None:
        self.known.update(id(node) for node in part.results if node is not None)
        part.results = [None if node is None else (node, _kind(node)) for node in part.results]

    def _see(self, node: Node) -> None:
        if id(node) not in self.known:
            self.constants[id(node)] = node  # a rule's own: numbers, indices
            if node.op is not CONST and node.op is not BUFFER:
                self.good = False

    @staticmethod
    def _wanted(part: Part) -> list[Node]:
        found = [g for *_, g in part.waiting] + [g for _, g in part.leaves]
        return found if part.gradient is None else [part.gradient, *found]

    def notes(self, kept: object) -> Notes | None:
        """The notes with places, of what leads to something."""
        if not self.good or sum(size_of(node.shape) for node in self.constants.values()
                                if node.op is BUFFER) > MOST_IN_TABLES:
            return None
        wanted = {id(node) for part in self.parts for node in self._wanted(part)}
        for notes in reversed(self.met):
            for node, _, inputs, _, _ in reversed(notes):
                if id(node) in wanted:
                    wanted.update(map(id, inputs))
        numbers = {id(scalars): i for i, scalars in reversed(self.numbers)}
        places: dict[int, int] = {}
        count = 0

        def placed(node: Node | None) -> None:
            nonlocal count
            if node is not None:
                places.setdefault(id(node), count)
            count += 1

        for node in (*self.values, *self.constants.values()):
            placed(node)
        done: set[int] = set()
        for part, notes in zip(self.parts, self.met, strict=True):
            for node, op, inputs, attrs, scalars in notes:
                if id(node) in wanted:
                    part.notes.append((op, _picker([places[id(source)] for source in inputs]), attrs, scalars,
                                       numbers.get(id(scalars), -1), node.shape, node.dtype))
                    placed(node)
            part.waiting = [(step, k, places[id(g)]) for step, k, g in part.waiting]
            part.leaves = [(leaf, places[id(g)]) for leaf, g in part.leaves]
            part.gradient = places[id(part.gradient)] if part.function >= 0 else None
            for result in part.results:
                placed(None if result is None else result[0])
            part.results = [None if result is None else result[1] for result in part.results]
            part.released = [i for i in part.released if i not in done]  # each step once, where it is done
            done.update(part.released)
        return Notes(self.parts, list(self.constants.values()), kept)
