"""One update of many rows of tensors, as one plan: what an optimizer does to every parameter.

A row is what belongs together: a parameter, its gradient, its state. The update of one row is recorded as usual; here
it is told in terms of the row's columns (an `Update`), made anew for rows of other shapes, and compiled for many rows
at once. Rows are run without recording anything, and what nobody else holds is overwritten where it lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from facula.engine.cpython import execute_code
from facula.engine.graph.node import BUFFER, CONST, Formula, Node, Number
from facula.engine.realize import run_into
from facula.engine.runtime.buffer import class_of
from facula.engine.session import session
from facula.engine.targets import PROCESSOR
from facula.engine.trace.step import Step
from facula.engine.trace.work import Work, bytes_of

if TYPE_CHECKING:
    from facula.dtypes import dtype
    from facula.engine.targets.protocol import Program

NEVER = -1  # in place of a Rows: nobody compiles it
PATIENCE = 32  # plans made in a row, none of which was asked for again, after which only a second sight makes one
_fresh = 0


class Update(NamedTuple):
    """What becomes of a row: formulas over its columns and over each other's results.

    nodes     per node (formula, what it reads, its numbers' number, dtype). Columns count from 0, nodes from -1
              downwards; a constant is (dtype,). Its number comes among the run-time numbers after those of the node.
    written   (column, node): what the column holds afterwards
    """

    nodes: tuple[tuple[Formula, tuple[int | tuple[dtype], ...], int, dtype], ...]
    written: tuple[tuple[int, int], ...]


def update_of(made: list[Node], columns: Sequence[Node], after: Sequence[Node]) -> tuple[Update, list[Number]] | None:
    """What has been recorded (`made`) for a row whose columns were `columns` and are `after` now, and the numbers in
    it. None: more than formulas of the row's own elements."""
    places: dict[int, int] = {id(node): k for k, node in enumerate(columns)}
    shape = columns[0].shape
    nodes: list[tuple[Formula, tuple[int | tuple[dtype], ...], int, dtype]] = []
    numbers: list[Number] = []
    for k, node in enumerate(made):
        if not isinstance(node.op, Formula) or node.attrs is not None or node.shape != shape:
            return None
        reads: list[int | tuple[dtype]] = []
        numbers += node.scalars or ()
        for source in node.inputs:
            place = places.get(id(source))
            if place is not None:
                reads.append(place)
            elif source.op is CONST and source.shape == shape:
                reads.append((source.dtype,))
                numbers += source.scalars or ()
            else:
                return None
        nodes.append((node.op, tuple(reads), len(node.scalars or ()), node.dtype))
        places[id(node)] = -1 - k
    written: list[tuple[int, int]] = []
    for k, (old, new) in enumerate(zip(columns, after, strict=True)):
        if new is not old:
            place = places.get(id(new), 0)
            if place >= 0 or new.dtype is not old.dtype or place in [node for _, node in written]:
                return None
            written.append((k, place))
    return (Update(tuple(nodes), tuple(written)), numbers) if written else None


def most_rows(update: Update, columns: int, numbers: int) -> int:
    """How many rows one plan has at most: so many that the machine code which starts it can hold their tables."""
    return max(1, execute_code.MOST // (columns + 2 * len(update.written) + numbers + 1))


class Rows:
    """An update of a list of rows, made executable. Leaves lie column after column, `targets` too."""

    __slots__ = ("step", "program", "recipe", "takes", "weight", "used")

    def __init__(self, step: Step, program: Program, takes: tuple[int, ...]) -> None:
        self.step = step
        self.program = program
        _, self.recipe = step.prepare(program)
        self.takes = takes  # per result the leaf whose memory it takes; none if they have memory of their own
        self.weight = step.weight
        self.used = True

    def run(self, targets: list[Node], leaves: list[Node], numbers: list[Number]) -> None:
        """Compute `targets` (which may be leaves themselves, where memory is taken over) from `leaves`."""
        step = self.step
        if self.takes:
            results: list[Any] = [leaves[k].buffer for k in self.takes]
        else:
            results = list(map(step.allocate, step.sizes, step.classes))
        run_into(step, self.program, self.recipe, targets, leaves, numbers, results, bool(self.takes))


def rows_of(update: Update, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[dtype], numbers: list[Number],
            in_place: bool) -> Rows | None:
    """The executable for rows of these shapes and columns of these dtypes, which is kept. None: nobody compiles it, or
    these rows are others each time (which parameters have gradients, say)."""
    global _fresh
    key = ("rows", update, tuple(shapes), tuple(dtypes), in_place)
    found = session.seen.get(key)
    if found is not None:
        _fresh = 0
        if isinstance(found, Rows):
            found.used = True
    else:
        sight = ("rows", hash(key))
        if _fresh >= PATIENCE and sight not in session.seen:
            session.seen.keep(sight, 1)
            return None
        _fresh += 1
        found = _made(update, shapes, dtypes, numbers, in_place)
        session.seen.keep(key, found)
    return found if isinstance(found, Rows) else None


def _made(update: Update, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[dtype], numbers: list[Number],
          in_place: bool) -> Rows | int:
    count = len(shapes)
    leaves = [Node(BUFFER, (), None, None, shape, of) for of in dtypes for shape in shapes]
    places_of: dict[int, int] = {}  # node -> where its first number is
    nodes: list[Node] = []
    target_of: dict[int, int] = {}  # node that is a result -> its place among the targets
    for row, shape in enumerate(shapes):
        at = 0
        mine: list[Node] = []
        for formula, reads, own_numbers, of in update.nodes:
            own = at
            at += own_numbers
            inputs: list[Node] = []
            for read in reads:
                if isinstance(read, tuple):
                    inputs.append(Node(CONST, (), None, (numbers[at],), shape, read[0]))
                    places_of[id(inputs[-1])] = at
                    at += 1
                else:
                    inputs.append(leaves[read * count + row] if read >= 0 else mine[-1 - read])
            scalars = tuple(numbers[own:own + own_numbers]) or None
            mine.append(Node(formula, tuple(inputs), None, scalars, shape, of))
            places_of[id(mine[-1])] = own
        for place, (_, node) in enumerate(update.written):
            target_of[id(mine[-1 - node])] = place * count + row
        nodes += mine
    work = Work(nodes, bytes([id(node) in target_of for node in nodes]))
    donated = frozenset([leaves[column * count + row] for column, _ in update.written for row in range(count)]
                        if in_place else [])
    program = PROCESSOR.compile(work.order, work.leaves, work.outputs, work.numbers_at, donated)
    if program is None or in_place and len(program.aliases) < len(work.outputs):
        return NEVER
    slots = {id(leaf): k for k, leaf in enumerate(leaves)}
    results = [(target_of[id(node)], bytes_of(node), class_of(bytes_of(node))) for node in work.outputs]
    reads_at = [slots[id(leaf)] for leaf in work.leaves]
    picks = [places_of[id(node)] + k for node in work.numbers_at for k in range(len(node.scalars or ()))]
    step = Step(PROCESSOR, b"", (), results, reads_at, picks, ())
    return Rows(step, program, tuple([reads_at[program.aliases[k]] for k in range(len(results))]) if in_place else ())
