"""A backward pass that has been seen before is run, not walked.

What a walk records is a function of the tape's structure, of the pending graph's structure and of which leaves have
a `.grad`. All three make one key here. Under a key seen twice stands what the whole step came to: one plan from
the pending nodes to the gradients, so that no gradient rule is called and no node is recorded. Whatever only a walk
can do (hooks, anomaly mode) is left to it, and so is everything that does not map cleanly. A tape with custom Functions
is for partial.py: they have to be called.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from facula._tensor.assigning import put_memory
from facula._tensor.handle import device_of, laid, new
from facula._tensor.reading import layout_of, memory_of
from facula.autograd import partial
from facula.autograd.graph import mode
from facula.autograd.survey import Survey, survey, use_machine_code
from facula.autograd.walk import settle, walk
from facula.devices import CPU
from facula.devices import META as META_DEVICE
from facula.engine import realize, recorder
from facula.engine.graph.node import BUFFER, CONST, Node, elsewhere
from facula.engine.placing import placed_node
from facula.engine.session import session
from facula.engine.targets import PROCESSOR, target_of
from facula.engine.trace.replay import NEVER, Replay, Scene, capture, captures, on
from facula.engine.trace.signature import primitives, signature

_rule, _op = attrgetter("rule"), attrgetter("op")
pending, lock = session.pending, session.lock


def backward(roots: Sequence[tuple[Any, Any]], keep: bool) -> None:
    """Add the gradients of `roots` to those of the leaves. Whatever is pending then is for the caller to compute."""
    found = survey(roots, keep) if recorder.LIMIT and session.traced is None else None
    if found is not None and not session.plain and not _on_one_device(found):
        found = None
    if found is None or found.functions:
        if found is None or elsewhere:  # notes of custom Functions know of the cpu alone
            gradients = walk(roots, keep, False, None)
        else:
            gradients = _through_functions(found, roots, keep)
        del found  # only what the program holds may count as held
        settle(gradients, False, None)
        return
    with lock:
        if found.sums and found.stale():
            del found
            settle(walk(roots, keep, False, None), False, None)
            return
        nodes = pending[:]
        if elsewhere and not on(found.target, nodes):  # there is work for several devices: none of it is a replay
            del nodes, found
            settle(walk(roots, keep, False, None), False, None)
            return
        structure, leaves, numbers = signature(nodes, found.values)
        key = (*found.parts, structure)
        try:
            # of what has been seen a few times only the hash is kept
            entry = session.seen.get(key, 0) or session.seen.get(("walked", hash(key)), 0)
        except TypeError:  # something saved has no hash
            entry = NEVER
        if type(entry) is Replay:
            if captures.new > 0.01:
                captures.met(False)
            try:
                recorder.taken(nodes)
                numbers += found.numbers
                entry.used = True
                if not entry.paid:
                    entry.paid = True
                    captures.paid()
                _run(entry, found, nodes, leaves, numbers, keep)
            except BaseException as error:
                recorder.put_back(nodes, error)
                raise
            return
        captures.met(entry == 0)
        if entry < captures.sights or not recorder.READY.issuperset(map(_op, leaves)):
            if entry != NEVER:  # a key that does not come back is not worth a plan
                session.seen.keep(("walked", hash(key)), entry + 1)
            del nodes, leaves, found
            settle(walk(roots, keep, False, None), False, None)
            return
        scene = Scene(found.target, nodes, leaves, len(numbers), found.formula_numbers(), tuple(map(_rule, found.tape)))
        tensors, looks = found.leaves, session.looks
        del nodes, leaves, found
        settle(walk(roots, keep, False, None), False, None)
        entry = capture(scene, [_gradient(t._grad) for t in tensors], session.looks == looks)
        if type(entry) is Replay:
            captures.made()
            entry.layouts = [layout_of(t._grad) for t in tensors]
        session.seen.keep(key, entry)
        if session.survey is None:
            use_machine_code()


def _on_one_device(found: Survey) -> bool:
    """Does all that a walk would meet lie on one device (constants lie anywhere)? If so, `found` has its target."""
    places = {node.device for node in found.values if node.op is not CONST}
    places.update([device_of(t) for t in found.leaves])
    if len(places) != 1 or META_DEVICE in places:
        return False
    found.target = target_of(places.pop())
    if found.target is not PROCESSOR:
        found.parts.append(found.target)
    return True


def _through_functions(found: Survey, roots: Sequence[tuple[Any, Any]], keep: bool) -> dict[Any, Any]:
    """What `walk` returns. Without the lock: a Function may do anything. What is pending does not matter here, where
    nodes are only recorded: the key has which of the values are the same, and what they are."""
    structure, leaves, _ = signature([], found.values)
    key = (*found.parts, structure)
    try:
        entry = session.seen.get(key, 0) or session.seen.get(("walked", hash(key)), 0)
    except TypeError:
        entry = NEVER
    if entry == 0:
        session.seen.keep(("walked", hash(key)), 1)
    recording = mode.grad
    mode.grad = False
    try:
        if isinstance(entry, partial.Notes):
            return partial.replayed(entry, found, keep)
        if entry != 1:
            return walk(roots, keep, False, None)
        kept = primitives([], leaves), tuple(map(_rule, found.tape))
        del leaves
        notes, gradients = partial.noted(found, roots, keep, kept)
        session.seen.keep(key, NEVER if notes is None or elsewhere else notes)
        if session.survey is None:
            use_machine_code()
        return gradients
    finally:
        mode.grad = recording


def _run(entry: Replay, found: Survey, nodes: list[Node], leaves: list[Node], numbers: list[Any],
         keep: bool) -> None:
    numbers += entry.constants
    there = found.target.device
    for shape, of in entry.fresh:
        nodes.append(Node(BUFFER, (), None, None, shape, of) if there is CPU else
                     placed_node(there, BUFFER, (), None, None, shape, of))
    if not keep:
        for step in found.released:
            step._saved = None
    leaves += entry.tables
    realize.run_step(entry.step, nodes, leaves, numbers)
    for t, (pending, place), layout in zip(found.leaves, entry.grads, entry.layouts, strict=True):
        node = nodes[place] if pending else leaves[place]
        if t._grad is None:
            t._grad = new(node) if layout is None else laid(node, t.shape, layout[1])
        else:
            put_memory(t._grad, node)


def _gradient(grad: Any) -> int | None:
    """The id of the node that a leaf's gradient is, None if there is none, or it is only part of one."""
    node = None if grad is None else memory_of(grad)
    return None if node is None else id(node)
