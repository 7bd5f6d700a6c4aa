"""A backward pass that has been seen before is run, not walked.

What a walk records is a function of the tape's structure, of the pending graph's structure and of which leaves have
a `.grad`. All three make one key here. Under a key seen twice stands what the whole step came to: one plan from
the pending nodes to the gradients, so that no gradient rule is called and no node is recorded. Whatever only a walk
can do (hooks, custom Functions, anomaly mode) is left to it, and so is everything that does not map cleanly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, count
from operator import attrgetter
from typing import Any

from facula.autograd.graph import GradNode, Rule, Saved
from facula.engine import realize, recorder
from facula.engine.graph.node import BUFFER, CONST, Node, size_of
from facula.engine.runtime.buffer import class_of
from facula.engine.steps import (
    Key,
    Step,
    Work,
    held_of,
    number_starts,
    numbers_of,
    signature,
)
from facula.ops.pointwise import CastRule, FormulaRule
from facula.size import Size
from facula.tensor import assign, new, read

_PURE = frozenset((Rule, FormulaRule, CastRule))  # rules that depend on nothing but their GradNode
_STATIC = frozenset((int, bool, str, tuple, Size, type(None)))
_seq, _edges = attrgetter("seq"), attrgetter("edges")


class Survey:
    """What a backward pass depends on beside the pending graph."""

    __slots__ = ("tape", "leaves", "parts", "values", "numbers", "released")

    def __init__(self) -> None:
        self.tape: list[GradNode] = []
        self.leaves: list[Any] = []  # leaf tensors
        self.parts: list[object] = []  # of the key
        self.values: list[Node] = []  # that the rules read
        self.numbers: list[Any] = []  # of formulas: they vary freely
        self.released: list[GradNode] = []  # steps of the tape that have saved something


class _Replay:
    """A step that computes what is pending together with the gradients."""

    __slots__ = ("step", "fresh", "grads", "constants")

    def __init__(self, step: Step, fresh: Sequence[tuple[Any, Any]], grads: Sequence[tuple[bool, int]],
                 constants: Sequence[Any]) -> None:
        self.step = step  # over the pending nodes, then the fresh ones
        self.fresh = fresh  # (shape, dtype) of results that are no pending node
        self.grads = grads  # per leaf tensor: is it among `nodes` (else among `leaves`), and where
        self.constants = constants


_known: dict[Key, _Replay | int] = {}  # an int: how often it was walked. NEVER: it does not map
NEVER = -1


def survey(roots: Sequence[tuple[Any, Any]], keep: bool) -> Survey | None:
    """None: something here needs a walk."""
    found = Survey()
    parts, values = found.parts, found.values
    tape: dict[Any, None] = {}
    for edge, g in roots:
        if type(edge) is tuple:
            edge = edge[0]
            parts.append(edge.outputs)
        if type(edge) is not GradNode or g._rg:
            return None
        tape[edge] = None
        values.append(read(g))
    stack = list(tape)
    several = False
    for node in stack:  # it grows
        for e in node.edges:
            if e is not None and e not in tape:
                tape[e] = None
                if type(e) is GradNode:
                    stack.append(e)
                elif type(e) is tuple:
                    several = True
                    if e[0] not in tape:
                        tape[e[0]] = None
                        stack.append(e[0])
    stack.sort(key=_seq)  # the order of the walk, which decides the order of sums
    found.tape = stack
    edges = list(chain.from_iterable(map(_edges, stack)))
    numbering = dict(zip(dict.fromkeys(chain(stack, edges)), count(), strict=False))
    parts += (keep, tuple(map(numbering.__getitem__, edges)), tuple([numbering[edge] if type(edge) is GradNode
                                                                       else numbering[edge[0]] for edge, _ in roots]))
    if several:
        parts.append(tuple([(numbering[e[0]], e[1]) for e in numbering if type(e) is tuple]))
    for node in stack:
        rule = node.rule
        saved = node._saved
        if type(rule) not in _PURE or node._cold is not None or saved is None:
            return None
        parts += (rule, len(node.edges), node.shapes, node.dtypes, len(saved))
        if type(rule) is FormulaRule:
            if saved[0]:
                found.numbers += saved[0]
            bits = 0
            for value in saved[1:]:
                bits += bits
                if value is not None:
                    values.append(value)
                    bits += 1
            parts.append(bits)
            if bits:
                found.released.append(node)
            continue
        for value in saved:
            kind = type(value)
            if kind is Saved:
                values.append(value.node)
                parts.append(value.own)
                if not found.released or found.released[-1] is not node:
                    found.released.append(node)
            elif kind in _STATIC:
                parts.append(value)
            elif kind is float:
                parts.append((value, str(value)))  # 0.0 == -0.0
            else:
                return None
    for t in numbering:
        if type(t) is GradNode or type(t) is tuple or t is None:
            continue
        if t._hooks or "_post_accumulate_grad_hooks" in t.__dict__:
            return None
        found.leaves.append(t)
        grad = t._grad
        parts += (t.shape, t.dtype)
        if grad is None:
            parts.append(None)
        else:
            if grad._rg or grad.dtype is not t.dtype or grad._storage is not None and grad._storage.shared:
                return None
            parts.append(type(grad))
            values.append(read(grad))
    for node in values:
        if node.op is CONST:  # a rule may have folded it
            parts.append(str(node.scalars))
    return found


def backward(roots: Sequence[tuple[Any, Any]], keep: bool, walk: Callable[[], None]) -> None:
    """Do what `walk()` does, and compute everything that is pending."""
    found = survey(roots, keep) if recorder.LIMIT else None
    if found is None:
        walk()
        realize.flush()
        return
    with recorder.lock:
        nodes = recorder.pending[:]
        structure, leaves = signature(nodes, found.values)
        key = (*found.parts, structure)
        try:
            entry = _known.get(key, 0)
        except TypeError:  # something saved has no hash
            entry = NEVER
        if type(entry) is _Replay:
            del recorder.pending[:len(nodes)]
            _run(entry, found, nodes, leaves, keep)
            return
        if entry != 1:  # a key that never comes back is not worth a plan
            if entry == 0:
                realize.keep(_known, key, 1)
            del nodes, found
            walk()
            realize.flush()
            return
        scene = _Scene(nodes, leaves, found)
        del nodes, found  # only what the program holds may count as held
        walk()
        _known[key] = _capture(scene)


def _run(entry: _Replay, found: Survey, nodes: list[Node], leaves: list[Node], keep: bool) -> None:
    numbers = numbers_of(nodes, leaves)
    numbers += found.numbers
    numbers += entry.constants
    for shape, of in entry.fresh:
        nodes.append(Node(BUFFER, (), None, None, shape, of))
    if not keep:
        for step in found.released:
            step._saved = None
    realize.run_step(entry.step, nodes, leaves, entry.step.number_picks(numbers))
    for t, (pending, place) in zip(found.leaves, entry.grads, strict=True):
        node = nodes[place] if pending else leaves[place]
        if t._grad is None:
            t._grad = new(node)
        else:
            assign(t._grad, node)


class _Scene:
    """What was there before a walk that is being captured, without holding a pending node."""

    __slots__ = ("places", "leaves", "number_starts", "formula_starts", "formula_numbers", "tensors")

    def __init__(self, nodes: list[Node], leaves: list[Node], found: Survey) -> None:
        self.places = {id(node): i for i, node in enumerate(nodes)}
        self.leaves = leaves
        self.number_starts = number_starts(nodes, leaves)
        self.tensors = found.leaves
        # the tuples themselves are kept, so that no other comes to have their id
        self.formula_numbers = [step._saved[0] for step in found.tape if type(step.rule) is FormulaRule and step._saved]
        self.formula_starts: dict[int, int] = {}
        at = len(numbers_of(nodes, leaves))
        for numbers in self.formula_numbers:
            if numbers:
                self.formula_starts.setdefault(id(numbers), at)
                at += len(numbers)
        self.number_starts[0] = at  # where constants start: no node has this id


def _capture(scene: _Scene) -> _Replay | int:
    """Compute what is pending after a walk, and say how to do so without one."""
    nodes = recorder.pending[:]
    recorder.pending.clear()
    entry: _Replay | int = NEVER
    if [id(node) for node in nodes[:len(scene.places)]] == list(scene.places):  # nothing was computed on the way
        held = held_of(nodes)
        work = Work(nodes, held)
        if not work.written:
            entry = _mapped(work, nodes, scene)
        del work
    realize.run(nodes)
    return entry


def _mapped(work: Work, nodes: list[Node], scene: _Scene) -> _Replay | int:
    """`work`, told in terms of what was there before the walk."""
    before = len(scene.places)
    grads = [_node_of(t._grad) for t in scene.tensors]
    if None in grads:
        return NEVER
    fresh: list[tuple[Any, Any]] = []
    place_of: dict[int, tuple[bool, int]] = {id(leaf): (False, k) for k, leaf in enumerate(scene.leaves)}
    results = []
    wanted = set(map(id, grads))
    for node in work.outputs:
        place = scene.places.get(id(node))
        if place is None:
            if id(node) not in wanted:
                return NEVER
            place = before + len(fresh)
            fresh.append((node.shape, node.dtype))
        place_of[id(node)] = True, place
        nbytes = size_of(node.shape) * node.dtype.itemsize
        results.append((place, nbytes, class_of(nbytes)))
    reads = [place_of.get(id(leaf), (True, 0)) for leaf in work.leaves]
    if any(pending for pending, _ in reads) or any(id(g) not in place_of for g in grads):
        return NEVER
    picks: list[int] = []
    constants: list[Any] = []
    for node in work.numbers_at:
        scalars = node.scalars or ()
        start = scene.number_starts.get(id(node))
        if start is None:
            start = scene.formula_starts.get(id(scalars))
        if start is None:
            start = scene.number_starts[0] + len(constants)
            constants += scalars
        picks += range(start, start + len(scalars))
    plan = realize.plan_of(work, frozenset())
    if plan is None:
        return NEVER
    step = Step(b"", (), results, [k for _, k in reads], picks, ())
    step.plan = plan
    return _Replay(step, fresh, [place_of[id(g)] for g in grads], constants)


def _node_of(grad: Any) -> Node | None:
    """The node that a leaf's gradient is, None if it is only part of one."""
    if grad._node is not None:
        return grad._node  # type: ignore[no-any-return]
    node = grad._storage.node
    return node if node.shape == grad.shape and grad._cached is node else None
