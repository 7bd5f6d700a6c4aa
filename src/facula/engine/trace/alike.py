"""Steps for graphs that differ from known ones in sizes alone.

What a Step says of a list of nodes (what is alive, which nodes are results, which leaves and numbers the plan reads)
follows from their signature without its sizes. Where the plan of one came from a template (targets/template.py), the
next of its kind need not be looked at node by node: its signature is compared with the known one, the sizes in it left
out, and the plan is had of these sizes by arithmetic.

The sizes of a signature are the words of its text that stand for shapes (cpython/fingerprint_code.py: `describe`), and
the strides and offsets among its attributes; -1, 0 and 1 are none (trace/structure.py). FACULA_VERIFY makes each step
both ways and compares (realize.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from operator import itemgetter
from typing import Any

import numpy as np

from facula.engine.graph.node import Formula, Node
from facula.engine.runtime.buffer import class_of
from facula.engine.trace.step import Step
from facula.engine.trace.structure import ANY, REGIONS, structure_of
from facula.engine.trace.work import WORTH_REPLACING, Work
from facula.errors import VerifyError

FEW = 4  # kinds of one name
NO_SIZES = frozenset((-1, 0, 1))  # trace/structure.py
_LABEL = 1 << 40  # stands for the first size while places are looked for
PlanOf = Callable[[Sequence[int]], Any]  # a Program for sizes in the order of `structure_of`; None


class Alike:
    """A known step, for other sizes."""

    __slots__ = ("text", "places", "exact", "flat", "step", "results", "formulas", "order", "plan_of", "weight")

    def __init__(self, words: Any, places: Any, attrs: Sequence[tuple[bool, Any]], step: Step,
                 results: list[tuple[int, ...]], formulas: list[int], order: list[int], plan_of: PlanOf) -> None:
        masked = words.copy()
        masked[places] = 0
        self.text: bytes = masked.tobytes()
        self.places = places
        self.exact = [(k, given) for k, (flat, given) in enumerate(attrs) if not flat]
        self.flat = [(k, *_face(given)) for k, (flat, given) in enumerate(attrs) if flat]
        self.step = step
        self.results = results  # of each its bytes as a product: a number, and places among the sizes
        self.formulas = formulas  # results, of which large ones may take the memory of what they replace
        self.order = order  # of the sizes as `plan_of` wants them
        self.plan_of = plan_of
        self.weight = 2 * len(self.text) + 100 * len(self.exact) + 500 * len(self.flat) + 2000

    def step_for(self, text: bytes, attrs: Sequence[Any]) -> Step | None:
        """The step of a signature of these parts, if it is one of this kind."""
        words = np.frombuffer(text, np.int64)
        sizes = words[self.places]
        if len(sizes) and sizes.min() < ANY:
            return None
        masked = words.copy()
        masked[self.places] = 0
        if masked.tobytes() != self.text:
            return None
        for k, known in self.exact:
            if attrs[k] != known:
                return None
        found: list[int] = sizes.tolist()
        for k, counts, fixed_of, fixed, sizes_of in self.flat:
            strides, *offset = attrs[k]
            values = (*strides, *offset, 0, 0)  # itemgetter of fewer than two places would not give a tuple
            if (len(strides), len(values)) != counts or fixed_of(values) != fixed:
                return None
            found += sizes_of(values)[:-2]
        if not NO_SIZES.isdisjoint(found):
            return None
        results = []
        for place, (nbytes, *factors) in zip(self.step.results, self.results, strict=True):
            for k in factors:
                nbytes *= found[k]
            results.append((place, nbytes, class_of(nbytes)))
        if any(results[k][1] >= WORTH_REPLACING for k in self.formulas):
            return None
        program = self.plan_of([found[k] for k in self.order])
        if program is None:
            return None
        old = self.step
        step = Step(old.target, old.held, old.order, results, old.reads, old.picks, ())
        step.kept = old.kept
        step.prepare(program)
        return step


class Kinds:
    """Those that a name and a length of text stand for, the newest first."""

    __slots__ = ("all", "weight", "used")

    def __init__(self) -> None:
        self.all: list[Alike] = []
        self.weight = 100
        self.used = False

    def add(self, one: Alike) -> None:
        self.all = [one, *self.all[:FEW - 1]]
        self.weight = 100 + sum([one.weight for one in self.all])

    def step_for(self, text: bytes, attrs: Sequence[Any]) -> Step | None:
        for one in self.all:
            step = one.step_for(text, attrs)
            if step is not None:
                self.used = True
                return step
        return None


def compare(mine: Step, other: Step) -> None:
    """Is a step had by its kind the one that is made by looking?"""
    for what in ("held", "order", "results", "sizes", "classes", "reads", "picks", "written"):
        a, b = getattr(mine, what), getattr(other, what)
        if list(a) != list(b):
            raise VerifyError(f"a step had by its kind has other {what} than one made by looking: {a}, {b}")
    plans = [step.only[0] if step.only else None for step in (mine, other)]
    if None in plans or _said(plans[0]) != _said(plans[1]):
        raise VerifyError("a step had by its kind has another plan than one made by looking")


def _said(plan: Any) -> object:
    spec = plan.spec
    return [(s.kernel.ir, [*s.args], s.tiles, s.cost) if hasattr(s, "kernel") else s for s in spec.steps], \
        [*spec.temporaries], spec.formats, spec.aliases


def _face(attrs: Any) -> tuple[tuple[int, int], Callable[..., Any], Any, Callable[..., Any]]:
    """Of strides and an offset what must be the same: how many there are; what gives those that are no sizes, and
    these. Then what gives the sizes, and two zeros."""
    values = (*attrs[0], *attrs[1:], 0, 0)
    places = range(len(values) - 2), (len(values) - 2, len(values) - 1)
    fixed_of = itemgetter(*[k for k in places[0] if values[k] in NO_SIZES], *places[1])
    return (len(attrs[0]), len(values)), fixed_of, fixed_of(values), \
        itemgetter(*[k for k in places[0] if values[k] not in NO_SIZES], *places[1])


def alike(text: bytes, nodes: list[Node], leaves: list[Node], work: Work, step: Step, plan_of: PlanOf) -> Alike | None:
    """What has been learnt of `step`, which `work` is of; its plan, and those of its kind, are had by `plan_of`."""
    words = np.frombuffer(text, np.int64)
    labels = count(_LABEL)
    places: list[int] = []
    copies: dict[Node, Node] = {}
    regions: list[Any] = []

    def labelled(values: Sequence[int]) -> tuple[int, ...]:
        return tuple([n if -2 < n < ANY else next(labels) for n in values])

    def shape_at(at: int, node: Node) -> tuple[tuple[int, ...], int]:
        """Its shape in labels; where in the text it ends. `at`: its operation."""
        at += 3
        places.extend([at + k for k, n in enumerate(node.shape) if n >= ANY])
        return labelled(node.shape), at + len(node.shape)

    at, shapes = 0, {}
    for node in nodes:
        shapes[node], at = shape_at(at, node)
        at += 3 + len(node.inputs)
    for leaf in leaves:
        shape, at = shape_at(at, leaf)
        copies[leaf] = Node(leaf.op, (), leaf.attrs, leaf.scalars, shape, leaf.dtype)
    if at != len(words):
        return None  # it is written in another way than is thought here
    for node in nodes:
        attrs: Any = node.attrs
        if attrs is not None:
            flat = bool(attrs) and node.op.kind in REGIONS
            regions.append((flat, attrs))
            if flat:
                attrs = (labelled(attrs[0]), *labelled(attrs[1:]))
        copies[node] = Node(node.op, tuple([copies[source] for source in node.inputs]), attrs, node.scalars,
                            shapes[node], node.dtype)
    order, inputs, outputs = ([copies[node] for node in some] for some in (work.order, work.leaves, work.outputs))
    numbers_at = {copies[node]: k for node, k in work.numbers_at.items()}
    _, sizes = structure_of(order, inputs, outputs, numbers_at, frozenset())
    results = [(0 if 0 in node.shape else node.dtype.itemsize, *[n - _LABEL for n in shapes[node] if n >= _LABEL])
               for node in work.outputs]
    formulas = [k for k, node in enumerate(work.outputs) if isinstance(node.op, Formula)] if work.repeatable() else []
    return Alike(words, np.array(places, np.int64), regions, step, results, formulas, [n - _LABEL for n in sizes],
                 plan_of)
