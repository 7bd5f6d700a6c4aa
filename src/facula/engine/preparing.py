"""What nobody has seen before is made ready to run: a step for a list of nodes, and its plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from facula import config
from facula.engine.graph.node import Node
from facula.engine.session import session
from facula.engine.targets import PROCESSOR
from facula.engine.trace.alike import Kinds, alike, compare
from facula.engine.trace.step import Ready, Step, step_of
from facula.engine.trace.structure import Outcome, credit, name_of
from facula.engine.trace.work import Work

if TYPE_CHECKING:
    from facula.engine.targets.protocol import Program, Target


def of_its_kind(text: bytes, attrs: list[Any], nodes: list[Node], leaves: list[Node]) -> Step | None:
    """The step for the signature of `nodes`, if one that differs in sizes alone is known."""
    name = name_of(nodes)
    kinds: Kinds | None = session.alike.get((name, len(text)))
    step = None if kinds is None else kinds.step_for(text, attrs)
    if step is not None:
        Outcome.gain = 1
        credit(name)
        if config.VERIFY.value:
            compare(step, new_step(PROCESSOR, nodes, leaves, step.held))
    return step


def new_step(target: Target, nodes: list[Node], leaves: list[Node], held: bytes, text: bytes | None = None) -> Step:
    """The Step for `nodes`, with its plan if there is but one. `text` of their signature: with such as differ from them
    in sizes alone it is to be had quicker."""
    work = Work(nodes, held)
    step = step_of(target, nodes, leaves, held, work)
    if step.results and not step.written:
        _prepared(step, nodes, work, ())
        if text is not None and Outcome.of_sizes is not None:
            kind = alike(text, nodes, leaves, work, step, Outcome.of_sizes)
            if kind is not None:
                key = name_of(nodes), len(text)
                kinds = session.alike.get(key) or Kinds()
                kinds.add(kind)
                session.alike.keep(key, kinds)
    return step


def _prepared(step: Step, nodes: list[Node], work: Work, donated: tuple[int, ...],
              overwritten: frozenset[Node] = frozenset()) -> Ready:
    Outcome.gain, Outcome.of_sizes = 0, None  # of another plan
    found = step.prepare(plan_of(step.target, work, overwritten), donated)
    credit(name_of(nodes))
    return found


def ready_for(step: Step, nodes: list[Node], leaves: list[Node]) -> Ready:
    donated = step.donated(leaves) if step.written else ()
    found = step.ready.get(donated)
    if found is None and not step.held:  # a replay: its nodes are not there to be compiled again
        return step.ready[()]
    if found is None:
        weight = step.weight
        found = _prepared(step, nodes, Work(nodes, step.held), donated, frozenset([leaves[k] for k in donated]))
        session.seen.grown(step.weight - weight)
    return found


def plan_of(target: Target, work: Work, donated: frozenset[Node]) -> Program | None:
    key = (*work.key, *(work.leaves.index(leaf) for leaf in donated), "donated") if donated else work.key
    if target is not PROCESSOR:
        key = target, *key
    plan = session.plans.get(key)
    if plan is None:
        plan = target.compile(work.order, work.leaves, work.outputs, work.numbers_at, donated)
        if plan is not None:
            session.plans[key] = plan
    return plan
