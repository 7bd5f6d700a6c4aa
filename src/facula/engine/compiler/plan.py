"""Last pass: steps in order, memory for every value.

Slots of the buffer table: the leaves, the outputs, then temporaries. A temporary's memory is handed on after
its last use; an output may be built in place of a leaf that is donated (`PlanSpec.aliases`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from facula.dtypes import dtype
from facula.engine.compiler.kernel import Step
from facula.engine.compiler.symbols import called
from facula.engine.graph.node import Primitive
from facula.errors import CompileError


class HostOperand(NamedTuple):
    """What a host step reads: slot `slot` of the buffer table, or (call >= 0) the result of a CALL."""

    slot: int
    shape: tuple[int, ...]
    dtype: dtype
    call: int = -1


class HostStep(NamedTuple):
    """A primitive that NumPy computes: `interpreter.compute` on a Node made from this description.

    number_at   position of the first of `numbers` run-time scalars, -1 if there are none
    slot        where the result goes; -1 for a CALL, whose tuple is kept under the number `call`
    """

    op: Primitive
    attrs: tuple[object, ...] | None
    inputs: tuple[HostOperand, ...]
    shape: tuple[int, ...]
    dtype: dtype
    slot: int
    number_at: int = -1
    numbers: int = 0
    call: int = -1
    reason: str = ""


@dataclass
class PlanSpec:
    """All that running a plan takes, as data.

    steps     native steps and host steps, in order
    leaves, outputs    how many slots each takes: [0, leaves) and [leaves, leaves + outputs)
    temporaries        bytes of each slot after those; equal slots are reused over time already
    formats   'd' (double) or 'q' (int64) for each run-time number; '' where nothing reads it natively
    aliases   output number -> leaf number: give that donated leaf's memory to the output
    notes     what was not fused, and why
    """

    steps: list[Step | HostStep]
    leaves: int
    outputs: int
    temporaries: Sequence[int]
    formats: list[str]
    aliases: dict[int, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def launches(self) -> list[tuple[Any, ...] | HostStep]:
        """The steps as a processor wants them: (kernel, arguments, tiles, cost, ...), or a host step."""
        return [step if isinstance(step, HostStep) else (step.kernel, step.args, step.tiles, step.cost)
                for step in self.steps]

    def describe(self) -> str:
        """For people: one line a step, then the refusals."""
        lines = []
        for k, step in enumerate(self.steps):
            if isinstance(step, HostStep):
                lines.append(
                    f"{k:3} host    {step.op.name}{list(step.shape)}  ({step.reason or 'no native lowering'})"
                )
            else:
                lines.append(
                    f"{k:3} kernel  {step.kernel.title}  [{step.kernel.name}] tiles {step.tiles}, "
                    f"{step.bytes / 1e6:.3g} MB, {step.flops / 1e6:.3g} Mflop, ~{step.cost / 1e3:.3g} us"
                )
        if self.temporaries:
            lines.append(f"    temporaries: {len(self.temporaries)}, {sum(self.temporaries) / 1e6:.3g} MB")
        lines += [f"    not fused: {note}" for note in self.notes]
        return "\n".join(lines)


Made = Step | HostStep


@dataclass(eq=False)
class Work:
    """Steps before memory is assigned: what they read and write, and how to make them once slots are known.

    `make(slots, in_place)`; in_place is true if `overwrites` (a value that is read last here) has the
    memory of the result, `writes[0]`. `replaces`: results that may have the memory of one of some values,
    where these are read last here, without `make` having to know.
    """

    reads: list[object]
    writes: list[object]
    make: Callable[[dict[object, int], bool], list[Made]]
    overwrites: object = None
    replaces: dict[object, list[object]] = field(default_factory=dict)


class _Lives(tuple[int, ...]):
    """Births and deaths of temporaries in order: k, and -1 - k. (A class of its own, so that a trace has it as a
    constant.)"""


@functools.lru_cache(512)
def _packed(first: int, lives: _Lives, *nbytes: int) -> tuple[Any, ...]:
    """For each temporary the slot of the piece of memory that it has (these begin with `first`), the best fitting free
    one if that is not far too large; then the bytes of the pieces. It looks at sizes, so a trace asks it again for
    others (symbols.called)."""
    places = [0] * len(nbytes)
    pieces: list[int] = []
    free: list[int] = []
    for one in lives:
        if one < 0:
            free.append(places[-1 - one])
            continue
        wanted = nbytes[one]
        fits = [t for t in free if wanted <= pieces[t] <= 4 * wanted + 4096]
        if fits:
            places[one] = t = min(fits, key=lambda t: pieces[t])
            free.remove(t)
        else:
            places[one] = len(pieces)
            pieces.append(wanted or 1)
    return (*[first + place for place in places], tuple(pieces))


class Memory:
    """Slots for values. What is neither a leaf nor an output gets a number of its own, and at the end (`settle`) the
    slot of a piece of memory that others have before and after it."""

    def __init__(self, leaves: list[object], outputs: list[object]) -> None:
        self.slots: dict[object, int] = {leaf: k for k, leaf in enumerate(leaves)}
        for k, output in enumerate(outputs):
            self.slots.setdefault(output, len(leaves) + k)
        self.first = len(leaves) + len(outputs)
        self.temporaries: tuple[int, ...] = ()  # bytes of the pieces, once it is settled
        self.nbytes: list[int] = []
        self.lives: list[int] = []

    def take(self, value: object, nbytes: int) -> None:
        """`value` needs memory from now on."""
        self.slots[value] = self.first + len(self.nbytes)
        self.lives.append(len(self.nbytes))
        self.nbytes.append(nbytes)

    def give_back(self, value: object) -> None:
        number = self.slots[value] - self.first
        if number >= 0:  # not memory of a leaf or an output
            self.lives.append(-1 - number)

    def settle(self) -> Callable[[int], Any]:
        """What tells the slot of a number."""
        *places, self.temporaries = called(_packed, len(self.nbytes) + 1, self.first, _Lives(self.lives),
                                           *self.nbytes)
        first = self.first
        return lambda slot: slot if slot < first else places[slot - first]


def assign(
    work: list[Work],
    leaves: list[object],
    outputs: list[object],
    donated: set[object],
    size: Callable[[object], int],
    same: Mapping[Any, Any] | None = None,
) -> tuple[list[Made], Memory, dict[int, int]]:
    """Walk the steps in order, taking memory at a value's birth and giving it back after its last use.

    `same` maps values to outputs that have their memory.
    Returns the steps, the memory, and which outputs are built in the memory of which donated leaves.
    """
    memory = Memory(leaves, outputs)
    last: dict[object, int] = {}
    for k, w in enumerate(work):
        for value in (*w.reads, *w.writes):
            last[value] = k
    fixed = {*leaves, *outputs}
    for value, output in (same or {}).items():
        memory.slots[value] = memory.slots[output]
        fixed.add(value)
    in_place = _overwritten(work, last, fixed, donated, memory, leaves, outputs)
    _replace(work, last, donated.difference(w.overwrites for w in in_place), memory, outputs, same or {}, size)
    made: list[tuple[Work, dict[object, int]]] = []
    aliases: dict[int, int] = {}
    written = set(leaves)
    owners: dict[int, set[object]] = {}  # slot -> values alive in it
    known = set(leaves)  # values that have been written: a step that reads another one would read garbage
    for k, w in enumerate(work):
        missing = [value for value in w.reads if value not in known and size(value)]
        if missing:
            raise AssertionError(f"step {k} reads {missing}, which no earlier step has computed")
        known.update(w.writes)
        if w in in_place:
            memory.slots[w.writes[0]] = memory.slots[w.overwrites]
            output = (same or {}).get(w.writes[0])
            if output is not None:
                memory.slots[output] = memory.slots[w.overwrites]
        written.update(w.writes)
        for value in w.reads:
            if value not in written and size(value):  # rather no plan than one that reads garbage
                raise CompileError(f"no step computes {value!r}, and one reads it")
        for value in (*w.writes, *w.reads):
            if value not in memory.slots:
                memory.take(value, size(value))
            owners.setdefault(memory.slots[value], set()).add(value)
        made.append((w, {value: memory.slots[value] for value in (*w.reads, *w.writes)}))
        for value in dict.fromkeys((*w.reads, *w.writes)):
            if last[value] == k and value not in fixed:
                alive = owners.get(memory.slots[value], set())
                alive.discard(value)
                if not alive:
                    memory.give_back(value)
    for k, output in enumerate(outputs):
        slot = memory.slots[output]
        if slot < len(leaves):
            aliases[k] = slot
    place = memory.settle()
    memory.slots = {value: place(slot) for value, slot in memory.slots.items()}
    steps: list[Made] = []
    for w, slots in made:
        steps += w.make({value: place(slot) for value, slot in slots.items()}, w in in_place)
    return steps, memory, aliases


def _overwritten(
    work: list[Work],
    last: dict[object, int],
    fixed: set[object],
    donated: set[object],
    memory: Memory,
    leaves: list[object],
    outputs: list[object],
) -> set[Work]:
    """Which works may overwrite their base; last first, so a base ends up where the final result must be."""
    chosen: set[Work] = set()
    for k in range(len(work) - 1, -1, -1):
        w = work[k]
        base = w.overwrites
        if base is None or last[base] != k or w.reads.count(base) > 1:
            continue
        result = w.writes[0]
        if base in fixed:
            # a leaf: only if it is donated (an output has to keep its value)
            if base in donated and base not in outputs and base in leaves:
                chosen.add(w)
        elif memory.slots.get(result, -1) >= len(leaves):
            memory.slots[base] = memory.slots[result]
            chosen.add(w)
        elif result not in memory.slots:
            chosen.add(w)
    return chosen


def _replace(
    work: list[Work],
    last: dict[object, int],
    donated: set[object],
    memory: Memory,
    outputs: list[object],
    same: Mapping[Any, Any],
    size: Callable[[object], int],
) -> None:
    """Give outputs the memory of donated leaves: of one that the same step reads, if it may be written over as it is
    read, or of one that no step needs any more when the output's comes."""
    free = {leaf: size(leaf) for leaf in last if leaf in donated and leaf not in outputs}
    settled = {*same, *same.values()}
    for k, w in enumerate(work):
        for result in w.writes:
            if not free or result not in outputs or result in settled or w.overwrites is not None:
                continue
            settled.add(result)
            bases = w.replaces.get(result, ())
            base = next((b for b in bases if b in free and last[b] == k), None)
            if base is None:
                wanted = size(result)
                base = next((b for b, n in free.items() if n == wanted and last[b] < k), None)
            if base is not None:
                del free[base]
                memory.slots[result] = memory.slots[base]
