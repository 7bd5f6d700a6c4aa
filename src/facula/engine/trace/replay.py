"""A backward pass that has been seen before: one plan from the pending nodes to the gradients.

A walk over the tape records nodes. What it came to is told here in terms of what was there before it (a Scene), so that
the next pass under the same key calls no gradient rule and records nothing. autograd/replay.py makes the keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from facula.config import threshold
from facula.engine import preparing, realize, recorder
from facula.engine.graph.node import Node, elsewhere, size_of
from facula.engine.runtime.buffer import class_of
from facula.engine.trace.signature import number_starts, primitives
from facula.engine.trace.step import Step
from facula.engine.trace.structure import Outcome, credit, name_of
from facula.engine.trace.work import Work, bytes_of, held_of, references

if TYPE_CHECKING:
    from facula.engine.targets.protocol import Program, Target

NEVER = -1  # in place of a Replay: what does not map
PATIENT = 3  # times that a pass is seen before it is captured, where captures have not been of use
FEW = 4  # captures that may wait for being of use
MOST_IN_TABLES = threshold("replay_elements")  # elements of what is kept with a replay


class _Captures:
    """Are captures worth it? One costs what several replays save, and where sizes change from step to step most keys
    that came twice do not come again: then captures stay unused, while most passes have keys that are new."""

    __slots__ = ("unused", "new")

    def __init__(self) -> None:
        self.unused = 0  # about: captures that have not been run, each that has makes up for one that never will be
        self.new = 0.0  # about: of the last passes, how many had a key that nobody had seen

    @property
    def sights(self) -> int:
        """How often a pass is to be seen before."""
        return PATIENT if self.unused >= FEW and self.new > 0.5 else 1

    def met(self, new: bool) -> None:
        """A pass has come."""
        self.new += (new - self.new) / 16

    def made(self) -> None:
        self.unused += 1

    def paid(self) -> None:
        self.unused = max(self.unused - 2, 0)


captures = _Captures()


class Replay:
    """A step that computes what is pending together with the gradients."""

    __slots__ = ("step", "fresh", "grads", "constants", "tables", "weight", "used", "layouts", "paid")

    def __init__(self, step: Step, fresh: Sequence[tuple[Any, Any]], grads: Sequence[tuple[bool, int]],
                 constants: Sequence[Any], tables: list[Node]) -> None:
        self.step = step  # over the pending nodes, then the fresh ones
        self.fresh = fresh  # (shape, dtype) of results that are no pending node
        self.grads = grads  # per leaf tensor: is it among `nodes` (else among `leaves`), and where
        self.constants = constants
        self.tables = tables  # leaves that rules have made of shapes alone (the indices of windows, say)
        self.paid = False  # has it been run?
        self.used = False  # since it was last asked whether it is to be kept
        self.layouts: Sequence[Any] = ()  # of the gradients, where they are new: autograd/replay.py fills it in
        self.weight = step.weight + 200 * len(grads) + 20 * len(constants) + sum(map(bytes_of, tables))


class Scene:
    """What was there before a walk that is being captured, without holding a pending node."""

    __slots__ = ("places", "leaves", "number_starts", "formula_starts", "formula_numbers", "kept", "target")

    def __init__(self, target: Target, nodes: list[Node], leaves: list[Node], numbers: int,
                 formula_numbers: list[tuple[Any, ...]], rules: tuple[Any, ...]) -> None:
        """`numbers`: how many `nodes` and `leaves` have; those of formulas on the tape (of `rules`) come after them."""
        self.target = target  # where all of it lies
        self.places = {id(node): i for i, node in enumerate(nodes)}
        self.leaves = leaves
        self.number_starts = number_starts(nodes, leaves)
        self.kept = primitives(nodes, leaves), rules
        self.formula_numbers = formula_numbers  # the tuples themselves: so that no other comes to have their id
        self.formula_starts: dict[int, int] = {}
        at = numbers
        for of_one in formula_numbers:
            self.formula_starts.setdefault(id(of_one), at)
            at += len(of_one)
        self.number_starts[0] = at  # where constants start: no node has this id


def on(target: Target, nodes: list[Node]) -> bool:
    """Do all of these, which may be pending, lie on the target's device?"""
    place = target.device
    return all(node.device is place for node in nodes)


def capture(scene: Scene, gradients: list[int | None], blind: bool) -> Replay | int:
    """Compute what is pending after a walk, and say how to do so without one. `gradients`: the ids of the nodes that
    are the leaves' gradients now. `blind`: no rule has looked at values, so none can have taken its way by them."""
    nodes = recorder.pending[:]
    try:
        recorder.taken(nodes)
        return _captured(nodes, scene, gradients, blind)
    except BaseException as error:
        recorder.put_back(nodes, error)
        raise


def _captured(nodes: list[Node], scene: Scene, gradients: list[int | None], blind: bool) -> Replay | int:
    entry: Replay | int = NEVER
    if not nodes:  # views of leaves and constants: there is nothing to run
        return entry
    # and nothing was computed on the way
    if elsewhere and not on(scene.target, nodes):  # what rules have put elsewhere
        realize.run_all(nodes)
        return entry
    if blind and [id(node) for node in nodes[:len(scene.places)]] == list(scene.places):
        held = held_of(nodes)
        work = Work(nodes, held)
        if not work.written and work.outputs:
            entry = _mapped(work, nodes, scene, gradients)
            credit(name_of(nodes))
        del work
    realize.run(nodes, scene.target)
    return entry


def _mapped(work: Work, nodes: list[Node], scene: Scene, gradients: list[int | None]) -> Replay | int:
    """`work`, told in terms of what was there before the walk."""
    before = len(scene.places)
    wanted = set(gradients)
    if None in wanted:
        return NEVER
    fresh: list[tuple[Any, Any]] = []
    place_of: dict[int, tuple[bool, int]] = {id(leaf): (False, k) for k, leaf in enumerate(scene.leaves)}
    results = []
    for node in work.outputs:
        place = scene.places.get(id(node))
        if place is None:
            if id(node) not in wanted:
                return NEVER
            place = before + len(fresh)
            fresh.append((node.shape, node.dtype))
        place_of[id(node)] = True, place
        nbytes = bytes_of(node)
        results.append((place, nbytes, class_of(nbytes)))
    tables = [leaf for leaf in work.leaves if id(leaf) not in place_of]
    if sum(size_of(leaf.shape) for leaf in tables) > MOST_IN_TABLES:
        return NEVER
    for k, leaf in enumerate(tables):
        place_of[id(leaf)] = False, len(scene.leaves) + k
    reads = [place_of[id(leaf)] for leaf in work.leaves]
    if any(pending for pending, _ in reads) or not wanted <= place_of.keys():
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
    Outcome.gain = 0  # of another plan
    plan = preparing.plan_of(scene.target, work, frozenset())
    if plan is None:
        return NEVER
    written, instead = _overwriting(work, nodes[:before], scene)
    step = Step(scene.target, b"", (), results, [k for _, k in reads], picks, written)
    step.prepare(plan)
    if instead is not None:
        step.prepare(instead, tuple([place for place, _ in written]))
    step.kept = scene.kept
    return Replay(step, fresh, [place_of[g] for g in gradients], constants, tables)  # type: ignore[index]


def _overwriting(work: Work, nodes: list[Node], scene: Scene) -> tuple[list[tuple[int, int]], Program | None]:
    """Leaves that may be overwritten by what takes their place, as in a Step, and the plan that does so for all of
    them: an optimizer's step is pending when the next loss is differentiated."""
    places = {id(leaf): k for k, leaf in enumerate(scene.leaves)}
    candidates = [leaf for leaf in work.replaceable() if id(leaf) in places] if work.repeatable() else []
    plan = preparing.plan_of(scene.target, work, frozenset(candidates)) if candidates else None
    if plan is None or not plan.aliases:
        return [], None
    used = [work.leaves[k] for k in sorted(set(plan.aliases.values()))]
    if len(used) < len(candidates):
        plan = preparing.plan_of(scene.target, work, frozenset(used))
    return [(places[id(leaf)], references(leaf, nodes)) for leaf in used], plan
