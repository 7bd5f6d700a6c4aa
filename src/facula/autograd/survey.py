"""What a backward pass depends on beside the pending graph: the part of its signature that the tape is.

`survey` walks the tape in machine code; `surveyed` is the same walk for Pythons that take no builtins, and what that is
compared with. Whatever only a walk through the rules can do (hooks, anomaly mode) is left to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, count, islice
from operator import attrgetter
from typing import Any

from facula import defaults
from facula._tensor.reading import memory_of, read
from facula.autograd.function import FunctionRule
from facula.autograd.graph import GradNode, Rule, Saved, grad_node
from facula.devices import META as META_DEVICE
from facula.dtypes import float32
from facula.engine.graph.node import CONST, Node, PlacedNode
from facula.engine.session import session
from facula.engine.targets import PROCESSOR
from facula.engine.threads import others
from facula.ops.casting import CastRule
from facula.ops.elementwise.pointwise import FormulaRule
from facula.size import Size

_PURE = frozenset((Rule, FormulaRule, CastRule))  # rules that depend on nothing but their GradNode
_REPLAYED = _PURE | {FunctionRule}
_STATIC = frozenset((int, bool, str, tuple, Size, type(None)))
_seq, _edges, _rule = map(attrgetter, ("seq", "edges", "rule"))
_shapes, _dtypes, _cold = map(attrgetter, ("shapes", "dtypes", "_cold"))
_asked = False


class Survey:
    """What a backward pass depends on beside the pending graph."""

    __slots__ = ("tape", "leaves", "parts", "values", "numbers", "released", "functions", "target", "sums")

    def __init__(self) -> None:
        self.target = PROCESSOR  # where all of it lies
        self.tape: list[GradNode] = []
        self.leaves: list[Any] = []  # leaf tensors
        self.parts: list[object] = []  # of the key
        self.values: list[Node] = []  # that the rules read
        self.numbers: list[Any] = []  # of formulas: they vary freely
        self.released: list[GradNode] = []  # steps of the tape that have saved something
        self.functions: list[GradNode] = []  # steps that are custom Functions
        self.sums: list[Any] = []  # the node of each leaf's `.grad`, or None; where there are other threads

    def stale(self) -> bool:
        """Has another thread added to a leaf's `.grad` since?"""
        return any(_sum_of(t) is not node for t, node in zip(self.leaves, self.sums, strict=True))

    def formula_numbers(self) -> list[tuple[Any, ...]]:
        """The numbers of formulas as their steps have saved them: all of them are `numbers`."""
        return [step._saved[0] for step in self.tape if type(step.rule) is FormulaRule and step._saved
                and step._saved[0]]


def _sum_of(t: Any) -> Node | None:
    return None if t._grad is None else read(t._grad)


def use_machine_code() -> None:
    """As signature.use_machine_code."""
    global _asked
    if _asked:
        return
    _asked = True
    from facula.engine.cpython import fingerprint
    session.survey = fingerprint.surveyor({
        "grad_node": GradNode, "saved": Saved, "node": Node, "placed_node": PlacedNode, "tuple": tuple, "rule": Rule,
        "formula_rule": FormulaRule, "cast_rule": CastRule, "function_rule": FunctionRule}, _surveys_as_we_do)


def _small_tapes() -> Iterator[GradNode]:
    """Tapes that differ in what a survey has to tell apart; the last two need a walk."""
    one, two = (Node(CONST, (), None, (k,), (), float32) for k in (1.0, 2.0))
    placed = PlacedNode(META_DEVICE, CONST, (), None, (1.0,), (), float32)
    plain, other = Rule("plain", _never), Rule("other", _never)
    formula, bare = (FormulaRule(name, None) for name in ("formula", "bare"))  # type: ignore[arg-type]
    function, leaf, second = FunctionRule.__new__(FunctionRule), object(), object()
    for rule, edges, saved, shapes in (
            (plain, (leaf, None), (), ((2, 3), None)), (other, (leaf, None), (), ((2, 3), None)),
            (plain, (None, leaf), (), (None, (2, 3))), (plain, (leaf, second), (3, (1, 2)), ((2,), (3,))),
            (plain, (leaf, leaf), (one, 3), ((2,), (3,))), (plain, (leaf, leaf), (4, one), ((2,), (3,))),
            (plain, (leaf,), (placed, 3), ((2,),)), (plain, (leaf,), (Saved(one, None, None, True),), ((2,),)),
            (plain, (leaf,), (Saved(one, None, None, True, (0, 2, 1)),), ((2,),)),
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
    if session.survey is not None:
        statics: list[Any] = []
        tape = found.tape[:]
        text = session.survey(tape, found.leaves, found.values, found.numbers, statics, found.released, found.functions)
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
        if others:
            found.sums.append(_sum_of(t))
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
            if kind is Saved or kind is Node or kind is PlacedNode:
                values.append(value.node if kind is Saved else value)
                parts.append((value.own, value.order) if kind is Saved else "node")
                if not released or released[-1] is not node:
                    released.append(node)
            elif not _add_static(parts, value):
                return False
    found.tape = stack
    found.leaves += [t for t in islice(numbering, len(stack), None) if t is not None and type(t) is not tuple]
    return True
