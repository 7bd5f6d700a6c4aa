"""A backward pass that has been seen before is run, not walked.

What a walk records is a function of the tape's structure, of the pending graph's structure and of which leaves have
a `.grad`. All three make one key here. Under a key seen twice stands what the whole step came to: one plan from
the pending nodes to the gradients, so that no gradient rule is called and no node is recorded. Whatever only a walk
can do (hooks, anomaly mode) is left to it, and so is everything that does not map cleanly. A tape with custom Functions
is for partial.py: they have to be called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, count, islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from facula import defaults
from facula._tensor.handle import laid, layout_of, memory_of, new, put_memory, read
from facula.autograd import partial
from facula.autograd.function import FunctionRule
from facula.autograd.graph import GradNode, Rule, Saved, grad_node, mode
from facula.autograd.walk import settle, walk
from facula.config import threshold
from facula.dtypes import float32
from facula.engine import realize, recorder
from facula.engine.graph.node import BUFFER, CONST, Node, elsewhere, size_of
from facula.engine.runtime.buffer import class_of
from facula.engine.steps import (
    Key,
    Step,
    Work,
    held_of,
    number_starts,
    primitives,
    references,
    signature,
)
from facula.ops.casting import CastRule
from facula.ops.elementwise.pointwise import FormulaRule
from facula.size import Size

if TYPE_CHECKING:
    from facula.engine.runtime.cpu.plan import Plan

_PURE = frozenset((Rule, FormulaRule, CastRule))  # rules that depend on nothing but their GradNode
_REPLAYED = _PURE | {FunctionRule}
_STATIC = frozenset((int, bool, str, tuple, Size, type(None)))
_seq, _edges, _rule = map(attrgetter, ("seq", "edges", "rule"))
_shapes, _dtypes, _cold = map(attrgetter, ("shapes", "dtypes", "_cold"))


class Survey:
    """What a backward pass depends on beside the pending graph."""

    __slots__ = ("tape", "leaves", "parts", "values", "numbers", "released", "functions")

    def __init__(self) -> None:
        self.tape: list[GradNode] = []
        self.leaves: list[Any] = []  # leaf tensors
        self.parts: list[object] = []  # of the key
        self.values: list[Node] = []  # that the rules read
        self.numbers: list[Any] = []  # of formulas: they vary freely
        self.released: list[GradNode] = []  # steps of the tape that have saved something
        self.functions: list[GradNode] = []  # steps that are custom Functions


class _Replay:
    """A step that computes what is pending together with the gradients."""

    __slots__ = ("step", "fresh", "grads", "constants", "tables")

    def __init__(self, step: Step, fresh: Sequence[tuple[Any, Any]], grads: Sequence[tuple[bool, int, Any]],
                 constants: Sequence[Any], tables: list[Node]) -> None:
        self.step = step  # over the pending nodes, then the fresh ones
        self.fresh = fresh  # (shape, dtype) of results that are no pending node
        self.grads = grads  # per leaf tensor: is it among `nodes` (else `leaves`), where, its layout
        self.constants = constants
        self.tables = tables  # leaves that rules have made of shapes alone (the indices of windows, say)


_known: dict[Key, _Replay | partial.Notes | int] = {}  # an int: how often it was walked. NEVER: it does not map
NEVER = -1
MOST_IN_TABLES = threshold("replay_elements")  # elements of what is kept with a replay
_survey: Callable[..., Any] | None = None  # the walk over the tape in machine code, once there is some
_asked = False


def use_machine_code() -> None:
    """As steps.use_machine_code."""
    global _survey, _asked
    if _asked:
        return
    _asked = True
    from facula.engine.cpython import fingerprint
    _survey = fingerprint.surveyor({"grad_node": GradNode, "saved": Saved, "node": Node, "rule": Rule,
                                    "formula_rule": FormulaRule, "cast_rule": CastRule, "tuple": tuple,
                                    "function_rule": FunctionRule}, _surveys_as_we_do)


def _small_tapes() -> Iterator[GradNode]:
    """Tapes that differ in what a survey has to tell apart; the last two need a walk."""
    one, two = (Node(CONST, (), None, (k,), (), float32) for k in (1.0, 2.0))
    plain, other = Rule("plain", _never), Rule("other", _never)
    formula, bare = (FormulaRule(name, None) for name in ("formula", "bare"))  # type: ignore[arg-type]
    function, leaf, second = FunctionRule.__new__(FunctionRule), object(), object()
    for rule, edges, saved, shapes in (
            (plain, (leaf, None), (), ((2, 3), None)), (other, (leaf, None), (), ((2, 3), None)),
            (plain, (None, leaf), (), (None, (2, 3))), (plain, (leaf, second), (3, (1, 2)), ((2,), (3,))),
            (plain, (leaf, leaf), (one, 3), ((2,), (3,))), (plain, (leaf, leaf), (4, one), ((2,), (3,))),
            (plain, (leaf,), (Saved(one, None, None, True),), ((2,),)),
            (plain, (leaf,), (Saved(two, None, 0, True), two), ((2,),)),
            (formula, (leaf,), ((2.5,), one, two), ((2,),)), (formula, (leaf,), ((3.5,), two, two), ((2,),)),
            (bare, (leaf,), (None,), ((2,),)), (function, (leaf,), (one,), ((2,),))):
        first = grad_node(rule, edges, saved, shapes, (float32,) * len(edges))
        yield first
        yield grad_node(plain, (first, leaf), (), (first.shapes[0], (1,)), (float32, float32))
        yield grad_node(plain, ((first, 1), first), (), ((), ()), (float32, float32))
    first = grad_node(plain, (leaf,), (), ((),), (float32,))
    first._cold = {"pre": ()}
    yield first
    first = grad_node(plain, (leaf,), (), ((),), (float32,))
    first._saved = None
    yield first


def _never(*args: Any) -> Any:
    raise AssertionError("a rule of a tape that is not run")


def _surveys_as_we_do(native: Callable[..., Any]) -> bool:
    """Does the builtin find what `surveyed` finds, and tell apart what that tells apart?"""
    seen = []
    for root in _small_tapes():
        twin, own, statics = Survey(), Survey(), []  # type: tuple[Survey, Survey, list[Any]]
        twin.tape.append(root)
        own.tape.append(root)
        text = native(own.tape, own.leaves, own.values, own.numbers, statics, own.released, own.functions)
        if (text is not None) != surveyed(twin):
            return False
        if text is None:
            continue
        for name in ("tape", "leaves", "values", "released", "functions"):  # each in an order of its own
            if sorted(map(id, getattr(own, name))) != sorted(map(id, getattr(twin, name))):
                return False
        if own.numbers != twin.numbers:
            return False
        seen.append(((text, *statics), tuple(twin.parts)))
    return all((mine == other) == (parts == twin_parts) for mine, parts in seen for other, twin_parts in seen)


def survey(roots: Sequence[tuple[Any, Any]], keep: bool) -> Survey | None:
    """None: something here needs a walk."""
    found = Survey()
    for edge, g in roots:
        if g._rg:
            return None
        if type(edge) is tuple:
            found.parts.append(edge[1])
            edge = edge[0]
        found.tape.append(edge)
        found.values.append(g._node or read(g))
    found.parts += (keep, defaults.get_default_dtype())
    if len(roots) > 1 and len(set(found.tape)) < len(roots):
        return None
    if _survey is not None:
        statics: list[Any] = []
        tape = found.tape[:]
        text = _survey(tape, found.leaves, found.values, found.numbers, statics, found.released, found.functions)
        if text is None:
            return None
        found.tape = tape
        found.parts.append(text)
        for value in statics:
            if type(value) in _STATIC:
                found.parts.append(value)
            elif not _add_static(found.parts, value):
                return None
    elif not surveyed(found):
        return None
    parts, values = found.parts, found.values
    for t in found.leaves:
        if not t._rg or t._hooks or "_post_accumulate_grad_hooks" in t.__dict__:
            return None
        grad = t._grad
        if grad is None:
            parts += (t.shape, t.dtype, None if t._storage is None else t._strides)
        else:
            if grad._rg or grad.dtype is not t.dtype or grad._storage is not None and grad._storage.shared:
                return None
            parts += (t.shape, t.dtype, type(grad))
            if grad._storage is not None:
                parts.append(grad._strides)
            values.append(grad._node or memory_of(grad) or read(grad))
    for node in values:
        if node.op is CONST:  # a rule may have folded it
            parts.append(str(node.scalars))
    return found


def _add_static(parts: list[object], value: Any) -> bool:
    """What a rule has kept beside tensors becomes part of the key; False if that cannot be."""
    kind = type(value)
    if kind is float:
        value = value, str(value)  # 0.0 == -0.0
    elif kind not in _STATIC:
        return False
    parts.append(value)
    return True


def surveyed(found: Survey) -> bool:
    """The walk over the tape in Python. False: something there needs a walk backwards."""
    tape: dict[Any, None] = dict.fromkeys(found.tape)
    stack = list(tape)
    several = []
    for node in stack:  # it grows
        if type(node) is not GradNode:
            return False  # a leaf as a root
        for e in node.edges:
            if e is not None and e not in tape:
                tape[e] = None
                if type(e) is GradNode:
                    stack.append(e)
                elif type(e) is tuple:
                    several.append(e)
                    if e[0] not in tape:
                        tape[e[0]] = None
                        stack.append(e[0])
    stack.sort(key=_seq)  # the order of the walk, which decides the order of sums
    rules = tuple(map(_rule, stack))
    kinds = set(map(type, rules))
    if any(map(_cold, stack)) or not kinds <= _REPLAYED:
        return False
    if FunctionRule in kinds:
        found.functions += [node for node in stack if type(node.rule) is FunctionRule]
        if any(node.outputs != 1 for node in found.functions):
            return False
    edges = list(chain.from_iterable(map(_edges, stack)))
    numbering = dict(zip(dict.fromkeys(chain(stack, edges)), count(), strict=False))
    values, parts = found.values, found.parts
    parts += (tuple(map(numbering.__getitem__, found.tape)), rules, tuple(map(_shapes, stack)),
              tuple(map(_dtypes, stack)), tuple(map(len, map(_edges, stack))), tuple(map(numbering.__getitem__, edges)))
    if several:
        parts.append(tuple([(numbering[e], numbering[e[0]], e[1]) for e in several]))
    released = found.released
    for node in stack:
        saved = node._saved
        if saved is None:
            return False
        if type(node.rule) is FormulaRule:
            scalars = saved[0]
            if scalars:
                found.numbers += scalars
            if len(saved) > 1:
                values += saved[1:]
                released.append(node)
            continue
        parts.append(len(saved))
        for value in saved:
            kind = type(value)
            if kind is Saved or kind is Node:
                values.append(value.node if kind is Saved else value)
                parts.append(value.own if kind is Saved else "node")
                if not released or released[-1] is not node:
                    released.append(node)
            elif not _add_static(parts, value):
                return False
    found.tape = stack
    found.leaves += [t for t in islice(numbering, len(stack), None) if t is not None and type(t) is not tuple]
    return True


def backward(roots: Sequence[tuple[Any, Any]], keep: bool) -> None:
    """Add the gradients of `roots` to those of the leaves, and compute everything that is pending."""
    plain = recorder.LIMIT and not elsewhere and recorder.traced is None
    found = survey(roots, keep) if plain else None
    if found is None or found.functions:
        gradients = walk(roots, keep, False, None) if found is None else _through_functions(found, roots, keep)
        del found  # only what the program holds may count as held
        settle(gradients, False, None)
        del gradients
        realize.flush()
        return
    with recorder.lock:
        nodes = recorder.pending[:]
        structure, leaves, numbers = signature(nodes, found.values)
        key = (*found.parts, structure)
        try:
            entry = _known.get(key, 0)
        except TypeError:  # something saved has no hash
            entry = NEVER
        if type(entry) is _Replay:
            recorder.taken(len(nodes))
            numbers += found.numbers
            _run(entry, found, nodes, leaves, numbers, keep)
            return
        if entry != 1:  # a key that never comes back is not worth a plan
            if entry == 0:
                realize.keep(_known, key, 1)
            del nodes, leaves, found
            settle(walk(roots, keep, False, None), False, None)
            realize.flush()
            return
        scene = _Scene(nodes, leaves, found, len(numbers))
        looks = realize.looks
        del nodes, leaves, found
        settle(walk(roots, keep, False, None), False, None)
        _known[key] = _capture(scene, realize.looks == looks)


def _through_functions(found: Survey, roots: Sequence[tuple[Any, Any]], keep: bool) -> dict[Any, Any]:
    """What `walk` returns. Without the lock: a Function may do anything. What is pending does not matter here, where
    nodes are only recorded: the key has which of the values are the same, and what they are."""
    structure, leaves, _ = signature([], found.values)
    key = (*found.parts, structure)
    try:
        entry = _known.get(key, 0)
    except TypeError:
        entry = NEVER
    if entry == 0:
        realize.keep(_known, key, 1)
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
        _known[key] = NEVER if notes is None else notes
        if _survey is None:
            use_machine_code()
        return gradients
    finally:
        mode.grad = recording


def _run(entry: _Replay, found: Survey, nodes: list[Node], leaves: list[Node], numbers: list[Any],
         keep: bool) -> None:
    numbers += entry.constants
    for shape, of in entry.fresh:
        nodes.append(Node(BUFFER, (), None, None, shape, of))
    if not keep:
        for step in found.released:
            step._saved = None
    leaves += entry.tables
    realize.run_step(entry.step, nodes, leaves, numbers)
    for t, (pending, place, layout) in zip(found.leaves, entry.grads, strict=True):
        node = nodes[place] if pending else leaves[place]
        if t._grad is None:
            t._grad = new(node) if layout is None else laid(node, t.shape, layout[1])
        else:
            put_memory(t._grad, node)


class _Scene:
    """What was there before a walk that is being captured, without holding a pending node."""

    __slots__ = ("places", "leaves", "number_starts", "formula_starts", "formula_numbers", "tensors", "kept")

    def __init__(self, nodes: list[Node], leaves: list[Node], found: Survey, numbers: int) -> None:
        self.places = {id(node): i for i, node in enumerate(nodes)}
        self.leaves = leaves
        self.number_starts = number_starts(nodes, leaves)
        self.tensors = found.leaves
        self.kept = primitives(nodes, leaves), tuple(map(_rule, found.tape))
        # the tuples themselves are kept, so that no other comes to have their id
        self.formula_numbers = [step._saved[0] for step in found.tape if type(step.rule) is FormulaRule and step._saved]
        self.formula_starts: dict[int, int] = {}
        at = numbers
        for kept in self.formula_numbers:
            if kept:
                self.formula_starts.setdefault(id(kept), at)
                at += len(kept)
        self.number_starts[0] = at  # where constants start: no node has this id


def _capture(scene: _Scene, blind: bool) -> _Replay | int:
    """Compute what is pending after a walk, and say how to do so without one. `blind`: no rule has looked at values,
    so none can have taken its way by them."""
    nodes = recorder.take()
    entry: _Replay | int = NEVER
    if not nodes:  # views of leaves and constants: there is nothing to run
        return entry
    # and nothing was computed on the way
    if blind and [id(node) for node in nodes[:len(scene.places)]] == list(scene.places):
        held = held_of(nodes)
        work = Work(nodes, held)
        if not work.written and work.outputs:
            entry = _mapped(work, nodes, scene)
        del work
    realize.run(nodes)
    return entry


def _mapped(work: Work, nodes: list[Node], scene: _Scene) -> _Replay | int:
    """`work`, told in terms of what was there before the walk."""
    before = len(scene.places)
    grads = [None if t._grad is None else memory_of(t._grad) for t in scene.tensors]
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
    tables = [leaf for leaf in work.leaves if id(leaf) not in place_of]
    if sum(size_of(leaf.shape) for leaf in tables) > MOST_IN_TABLES:
        return NEVER
    for k, leaf in enumerate(tables):
        place_of[id(leaf)] = False, len(scene.leaves) + k
    reads = [place_of[id(leaf)] for leaf in work.leaves]
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
    written, instead = _overwriting(work, nodes[:before], scene)
    step = Step(b"", (), results, [k for _, k in reads], picks, written)
    step.prepare(plan)
    if instead is not None:
        step.prepare(instead, tuple([place for place, _ in written]))
    step.kept = scene.kept
    if _survey is None:
        use_machine_code()
    places = [(*place_of[id(g)], layout_of(t._grad)) for g, t in zip(grads, scene.tensors, strict=True)]
    return _Replay(step, fresh, places, constants, tables)


def _overwriting(work: Work, nodes: list[Node], scene: _Scene) -> tuple[list[tuple[int, int]], Plan | None]:
    """Leaves that may be overwritten by what takes their place, as in a Step, and the plan that does so for all of
    them: an optimizer's step is pending when the next loss is differentiated."""
    places = {id(leaf): k for k, leaf in enumerate(scene.leaves)}
    candidates = [leaf for leaf in work.replaceable() if id(leaf) in places]
    plan = realize.plan_of(work, frozenset(candidates)) if candidates else None
    if plan is None or not plan.aliases:
        return [], None
    used = [work.leaves[k] for k in sorted(set(plan.aliases.values()))]
    if len(used) < len(candidates):
        plan = realize.plan_of(work, frozenset(used))
    return [(places[id(leaf)], references(leaf, nodes)) for leaf in used], plan
