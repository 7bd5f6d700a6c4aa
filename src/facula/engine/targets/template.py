"""Plans of one structure are made once, and had for other sizes by arithmetic.

The passes run over symbols in place of sizes (symbols.py): what comes out is a `Template`, a function from sizes to a
`PlanSpec`, for all sizes of which the passes would have asked the same and been answered the same. Where a condition
does not hold the passes run again, which may give another template of the structure.

FACULA_VERIFY=1 has every plan made both ways and compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any
from weakref import ref

from facula import config
from facula.config import threshold
from facula.engine.compiler import pipeline, symbols
from facula.engine.compiler.fixed import fixed
from facula.engine.compiler.kernel import Machine, Step
from facula.engine.compiler.plan import HostOperand, HostStep, PlanSpec
from facula.engine.compiler.symbols import Constants, NotPrinted, Trace, Untraceable, text_of
from facula.engine.graph.node import Node
from facula.engine.targets import plans_on_disk
from facula.engine.trace.kept import Kept
from facula.engine.trace.structure import MOST_NODES, Outcome, Pattern, Term, pattern_of, structure_of, with_sizes
from facula.errors import VerifyError

MOST = 8  # templates of a structure that have not been of use: with so many no more are made
MISS, TRACED = 8, 4  # what a plan costs that is not had at once, in plans that are; what of that a template is worth
FEW_SIGHTS = 3  # sizes that are remembered of a structure, for what they have in common
PATIENCE = 6  # plans of a structure that are made before another template is, at most
LINE_BYTES = 150  # of a template's function, for each line


class Template:
    """The plan of a structure, for some of its sizes: those that hang together as the pattern says."""

    def __init__(self, function: Callable[[Sequence[int]], Any], pattern: Pattern, formats: list[str],
                 notes: list[str], leaves: int, outputs: int, weight: int) -> None:
        self.function = function
        self.pattern = pattern
        self.bases = pattern.bases
        self.all_of = itemgetter(*pattern.kinds, pattern.kinds[0])  # of one place alone it would give no tuple
        self.terms = _terms(pattern.terms)
        self.formats = formats
        self.notes = notes
        self.leaves = leaves
        self.outputs = outputs
        self.weight = weight

    def keep(self, name: str, number: int) -> None:
        """On disk, for `Template(*...)` of another process."""
        plans_on_disk.keep_template(name, number, self.function, self.pattern, self.formats, self.notes, self.leaves,
                                    self.outputs, self.weight)

    def at(self, sizes: Sequence[int]) -> PlanSpec | None:
        """The plan; None if it is not for these sizes."""
        different = [sizes[k] for k in self.bases]
        if self.all_of(self.terms(different)) != (*sizes, sizes[0]):
            return None
        try:
            found = self.function(different)
        except ZeroDivisionError:
            return None
        if found is None:
            return None
        return _Sized(self, *found)


class _Sized(PlanSpec):
    """The plan of a template for some sizes. Its steps are made for those who look at them: to run it they are not
    needed."""

    def __init__(self, template: Template, made: list[tuple[Any, Any]], temporaries: Sequence[int],
                 aliases: tuple[Any, ...]) -> None:
        self.leaves = template.leaves
        self.outputs = template.outputs
        self.temporaries = temporaries
        self.formats = template.formats
        self.aliases = dict(aliases)
        self.notes = template.notes
        self._made = made

    def launches(self) -> list[tuple[Any, ...] | HostStep]:
        return [fields if host is None else HostStep._make(fields) for host, fields in self._made]

    @cached_property
    def steps(self) -> list[Step | HostStep]:  # type: ignore[override]
        return [Step(*fields) if host is None else host(fields) for host, fields in self._made]


def _terms(terms: list[Term]) -> Callable[[Sequence[int]], Sequence[int]]:
    """What gives them, of the bases."""
    texts = [" * ".join([str(term.number), *[f"q[{k}]" for k in term.factors]]) for term in terms]
    found: Callable[[Sequence[int]], Sequence[int]] = eval(f"lambda q: ({', '.join(texts)},)")
    return found


class _Known:
    """What has come of a structure so far."""

    __slots__ = ("name", "sights", "exact", "templates", "made", "useless", "missed", "weight", "used",
                 "__weakref__")

    def __init__(self, name: str) -> None:
        """`name`: of what other processes have made of it."""
        self.name = name
        self.exact = plans_on_disk.exact_plans(name) if name else {}
        self.sights: list[list[int]] = [list(sizes) for sizes in self.exact][-FEW_SIGHTS:]  # that no template was for
        self.templates = [Template(*facts) for facts in plans_on_disk.templates(name)] if name else []
        self.made = len(self.exact), len(self.templates)  # entries on disk
        self.useless = 0  # templates made since one served
        self.missed = 0  # plans made without one since
        self.weight = 200 + sum([t.weight for t in self.templates]) + sum(map(_weight, self.exact.values()))
        self.used = False

    def seen(self, sizes: list[int]) -> None:
        """They become the last of the sights."""
        count = len(self.sights)
        if sizes in self.sights:
            self.sights.remove(sizes)
        self.sights.append(sizes)
        if len(self.sights) > FEW_SIGHTS:
            del self.sights[1]
        elif len(self.sights) > count:
            grown = 8 * len(sizes)
            self.weight += grown
            known.grown(grown)

    def keep(self, sizes: list[int], made: PlanSpec | Template) -> None:
        """On disk: the plan of these sizes, or a template."""
        if not self.name:
            return
        exact, templates = self.made
        if isinstance(made, Template):
            made.keep(self.name, templates)
            self.made = exact, templates + 1
        else:
            plans_on_disk.keep_exact(self.name, exact, sizes, made)
            self.made = exact + 1, templates


def _weight(spec: PlanSpec) -> int:
    return 500 + 1500 * len(spec.steps)


known = Kept(threshold("template_bytes"), 8)


def plan_for(order: list[Node], leaves: list[Node], outputs: list[Node], numbers_at: dict[Node, int],
             donated: frozenset[Node], machine: Machine) -> PlanSpec:
    """As `compile_plan`."""
    if machine.programs or config.DEBUG.value or len(order) > MOST_NODES:
        return pipeline.compile_plan(order, leaves, outputs, numbers_at, donated, machine)
    structure, sizes = structure_of(order, leaves, outputs, numbers_at, donated)
    entry: _Known | None = known.get(structure)
    if entry is None:
        entry = _Known(plans_on_disk.name_of(structure, machine))
        known.keep(structure, entry)
    entry.used = True
    spec = entry.exact.get(tuple(sizes)) if entry.exact else None
    if spec is not None:  # of another process, whose templates are at hand as well
        if entry.templates:
            Outcome.gain, Outcome.of_sizes = 1, _later(entry)
        return spec
    for k, template in enumerate(entry.templates):
        spec = template.at(sizes)
        if spec is not None:
            entry.useless = 0
            Outcome.gain, Outcome.of_sizes = 1, _later(entry)
            if k:
                entry.templates.insert(0, entry.templates.pop(k))
            if config.VERIFY.value:
                _compare(spec, pipeline.compile_plan(order, leaves, outputs, numbers_at, donated, machine))
            return spec
    entry.seen(sizes)
    entry.missed += 1
    Outcome.gain = -MISS
    # to make a template takes as long as to make several plans: the next one has to be asked for more often
    wanted = entry.useless < MOST and len(entry.sights) > 1 and entry.missed > min(len(entry.templates) // 2, PATIENCE)
    given = order, leaves, outputs, numbers_at, donated, machine
    if wanted:
        entry.useless += 1
        entry.missed = 0
        spec = _new_template(entry, sizes, *given)
    if spec is None:
        spec = pipeline.compile_plan(*given)
        entry.keep(sizes, spec)
        if wanted and entry.useless < MOST:  # now every kernel has been printed
            _new_template(entry, sizes, *given)
    return spec


def _later(entry: _Known) -> Callable[[Sequence[int]], PlanSpec | None]:
    """What gives plans of the structure for other sizes, as far as templates do, and as long as it is kept."""
    found = ref(entry)

    def of_sizes(sizes: Sequence[int]) -> PlanSpec | None:
        entry = found()
        if entry is None:
            return None
        entry.used = True
        return next(filter(None, (template.at(sizes) for template in entry.templates)), None)
    return of_sizes


def _new_template(entry: _Known, sizes: list[int], *given: Any) -> PlanSpec | None:
    """Have another template, and the plan that it gives for these sizes; None if there is to be no template."""
    try:
        template = template_of(entry.sights, *given)
    except NotPrinted:
        return None
    except Exception as error:  # it may be that a symbol was asked for what it cannot do: then there is no template
        if config.VERIFY.value and not isinstance(error, (Untraceable, AttributeError, TypeError)):
            raise
        entry.useless = MOST
        return None
    spec = template.at(sizes)
    if config.VERIFY.value:
        if spec is None:
            raise VerifyError("a template does not serve the sizes it was made of")
        _compare(spec, pipeline.compile_plan(*given))
    entry.templates.insert(0, template)
    entry.keep(sizes, template)
    Outcome.gain += TRACED
    entry.weight += template.weight
    known.grown(template.weight)
    return spec


def template_of(sights: Sequence[list[int]], order: list[Node], leaves: list[Node], outputs: list[Node],
                numbers_at: dict[Node, int], donated: frozenset[Node], machine: Machine) -> Template:
    """What the passes make of these nodes, whatever the sizes, as long as they are what the sights have in common. The
    last sight is that of these nodes."""
    trace = Trace()
    pattern = pattern_of(sights)
    bases = []
    for k, place in enumerate(pattern.bases):
        n = sights[-1][place]
        bases.append(trace.symbol(k, n))
        trace.holds(f"q{k} {'>' if n > 0 else '<'} 0")
    terms: list[Any] = [math.prod([bases[k] for k in term.factors], start=fixed(term.number))
                        for term in pattern.terms]
    copies = with_sizes(order, leaves, [terms[kind] for kind in pattern.kinds])
    symbols.tracing.append(trace)
    try:
        nodes, given, wanted = ([copies[n] for n in some] for some in (order, leaves, outputs))
        spec = pipeline.compile_plan(nodes, given, wanted, {copies[n]: at for n, at in numbers_at.items()},
                                     {copies[n] for n in donated}, machine)
        constants = trace.constants
        made = ", ".join([_step_text(step, constants) for step in spec.steps])
        text = f"([{made}], {text_of(spec.temporaries, constants)}, {text_of(tuple(spec.aliases.items()), constants)})"
        lines = len(trace.lines)
        function = trace.finished(len(bases), text)
    finally:
        symbols.tracing.remove(trace)
        trace.open = False
    weight = LINE_BYTES * lines + 2 * len(text) + 16 * len(pattern.kinds) + 1000
    return Template(function, pattern, spec.formats, spec.notes, spec.leaves, spec.outputs, weight)


def _step_text(step: Step | HostStep, constants: Constants) -> str:
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
