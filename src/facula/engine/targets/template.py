"""Plans of one structure are made once, and had for other sizes by arithmetic.

The passes run over symbols in place of sizes (symbols.py): what comes out is a `Template`, a function from sizes to a
`PlanSpec`, for all sizes of which the passes would have asked the same and been answered the same. Where a condition
does not hold the passes run again, which may give another template of the structure.

FACULA_VERIFY=1 has every plan made both ways and compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from facula import config
from facula.config import threshold
from facula.engine.compiler import pipeline, symbols
from facula.engine.compiler.kernel import Machine, Step
from facula.engine.compiler.plan import HostOperand, HostStep, PlanSpec
from facula.engine.compiler.symbols import Trace, Untraceable, text_of
from facula.engine.graph.node import Node
from facula.engine.trace.kept import Kept
from facula.engine.trace.structure import MOST_NODES, Outcome, kinds_of, structure_of, with_sizes
from facula.errors import VerifyError

MOST = 8  # templates of a structure that have not been of use: with so many no more are made
MISS, TRACED = 8, 4  # what a plan costs that is not had at once, in plans that are; what of that a template is worth
PATIENCE = 6  # plans of a structure that are made before another template is, at most
LINE_BYTES = 150  # of a template's function, for each line


class Template:
    """The plan of a structure, for some of its sizes: of these, those must be equal that were when it was made."""

    def __init__(self, function: Callable[[Sequence[int]], Any], kinds: list[int], formats: list[str],
                 notes: list[str], leaves: int, outputs: int, weight: int) -> None:
        self.function = function
        self.kinds = kinds
        firsts: dict[int, int] = {}
        for place, kind in enumerate(kinds):
            firsts.setdefault(kind, place)
        self.firsts = list(firsts.values())
        self.formats = formats
        self.notes = notes
        self.leaves = leaves
        self.outputs = outputs
        self.weight = weight

    def at(self, sizes: Sequence[int]) -> PlanSpec | None:
        """The plan; None if it is not for these sizes."""
        different = [sizes[k] for k in self.firsts]
        if [different[k] for k in self.kinds] != sizes:
            return None
        try:
            found = self.function(different)
        except ZeroDivisionError:
            return None
        if found is None:
            return None
        made, temporaries, aliases = found
        steps = [Step(*fields) if host is None else host(fields) for host, fields in made]
        return PlanSpec(steps, self.leaves, self.outputs, temporaries, self.formats, dict(aliases), self.notes)


class _Known:
    """What has come of a structure so far."""

    __slots__ = ("sights", "templates", "useless", "missed", "weight", "used")

    def __init__(self) -> None:
        self.sights = 0
        self.templates: list[Template] = []
        self.useless = 0  # templates made since one served
        self.missed = 0  # plans made without one since
        self.weight = 200
        self.used = False


known = Kept(threshold("template_bytes"), 8)


def plan_for(order: list[Node], leaves: list[Node], outputs: list[Node], numbers_at: dict[Node, int],
             donated: frozenset[Node], machine: Machine) -> PlanSpec:
    """As `compile_plan`."""
    if machine.programs or config.DEBUG.value or len(order) > MOST_NODES:
        return pipeline.compile_plan(order, leaves, outputs, numbers_at, donated, machine)
    structure, sizes = structure_of(order, leaves, outputs, numbers_at, donated)
    entry: _Known | None = known.get(structure)
    if entry is None:
        entry = _Known()
        known.keep(structure, entry)
    entry.used = True
    entry.sights += 1
    for k, template in enumerate(entry.templates):
        spec = template.at(sizes)
        if spec is not None:
            entry.useless = 0
            Outcome.gain = 1
            if k:
                entry.templates.insert(0, entry.templates.pop(k))
            if config.VERIFY.value:
                _compare(spec, pipeline.compile_plan(order, leaves, outputs, numbers_at, donated, machine))
            return spec
    spec = pipeline.compile_plan(order, leaves, outputs, numbers_at, donated, machine)
    Outcome.gain = -MISS
    if entry.useless >= MOST:
        return spec
    entry.missed += 1
    # to make a template takes as long as to make several plans: the next one has to be asked for more often
    if entry.sights > 1 and sizes and entry.missed > min(len(entry.templates), PATIENCE):
        entry.useless += 1
        entry.missed = 0
        try:  # every kernel has been printed: none is printed of symbols
            template = template_of(order, leaves, outputs, numbers_at, donated, machine)
        except Exception as error:  # it may be that a symbol was asked for what it cannot do: then there is no template
            if config.VERIFY.value and not isinstance(error, (Untraceable, AttributeError, TypeError)):
                raise
            entry.useless = MOST
        else:
            entry.templates.insert(0, template)
            Outcome.gain += TRACED
            entry.weight += template.weight
            known.grown(template.weight)
            if config.VERIFY.value:
                again = template.at(sizes)
                if again is None:
                    raise VerifyError("a template does not serve the sizes it was made of")
                _compare(again, spec)
    return spec


def template_of(order: list[Node], leaves: list[Node], outputs: list[Node], numbers_at: dict[Node, int],
                donated: frozenset[Node], machine: Machine) -> Template:
    """What the passes make of these nodes, whatever the sizes."""
    trace = Trace()
    kinds, listed = kinds_of(order, leaves)
    stand_in: dict[int, Any] = {}
    for (_, n), kind in kinds.items():
        if kind not in stand_in:
            stand_in[kind] = trace.symbol(kind, n)
    copies = with_sizes(order, leaves, {one: stand_in[kind] for one, kind in kinds.items()})
    symbols.tracing.append(trace)
    try:
        nodes, given, wanted = ([copies[n] for n in some] for some in (order, leaves, outputs))
        spec = pipeline.compile_plan(nodes, given, wanted, {copies[n]: at for n, at in numbers_at.items()},
                                     {copies[n] for n in donated}, machine)
        constants = trace.constants
        made = ", ".join([_step_text(step, constants) for step in spec.steps])
        text = f"([{made}], {text_of(spec.temporaries, constants)}, {text_of(tuple(spec.aliases.items()), constants)})"
        lines = len(trace.lines)
        function = trace.finished(len(stand_in), text)
    finally:
        symbols.tracing.remove(trace)
        trace.open = False
    weight = LINE_BYTES * lines + 2 * len(text) + 16 * len(listed) + 1000
    return Template(function, listed, spec.formats, spec.notes, spec.leaves, spec.outputs, weight)


def _step_text(step: Step | HostStep, constants: dict[str, Any]) -> str:
    """A step as Template.at reads it: (None, fields), or (what makes a host step of them, fields)."""
    if isinstance(step, Step):
        fields = (step.kernel, list(step.args), step.tiles, step.cost, step.bytes, step.flops)
        return f"(None, {text_of(fields, constants)})"
    inputs = tuple([(i.slot, i.shape, i.dtype, i.call) for i in step.inputs])
    fields = (step.op, step.attrs, inputs, step.shape, step.dtype, step.slot, step.number_at, step.numbers,  # type: ignore[assignment]
              step.call, step.reason)
    return f"({text_of(_host, constants)}, {text_of(fields, constants)})"


def _host(fields: tuple[Any, ...]) -> HostStep:
    op, attrs, inputs, *rest = fields
    return HostStep(op, attrs, tuple([HostOperand(*i) for i in inputs]), *rest)


def _compare(mine: PlanSpec, fresh: PlanSpec) -> None:
    """Is the plan of a template the one that the passes make?"""
    for what, a, b in (("temporaries", mine.temporaries, fresh.temporaries), ("formats", mine.formats, fresh.formats),
                       ("aliases", mine.aliases, fresh.aliases), ("steps", len(mine.steps), len(fresh.steps)),
                       *[(f"step {k}", _facts(x), _facts(y)) for k, (x, y) in
                         enumerate(zip(mine.steps, fresh.steps, strict=False))]):
        if a != b:
            raise VerifyError(f"a plan by its structure has other {what} than a plan of its own: {a}, {b}")


def _facts(step: Step | HostStep) -> object:
    if isinstance(step, HostStep):
        return step
    return (step.kernel.name, hash(step.kernel.ir), list(step.args), step.tiles, step.cost, step.bytes, step.flops)
