"""One update of many rows of tensors, as one plan: what an optimizer does to every parameter.

A row is what belongs together: a parameter, its gradient, its state. The update of one row is recorded as usual; here
it is told in terms of the row's columns (an `Update`), made anew for rows of other shapes, and compiled for many rows
at once. Rows are run without recording anything, and what nobody else holds is overwritten where it lies. What comes
of a row may be one number (a norm): those of all rows are a vector then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from facula.dtypes import FLOAT
from facula.engine.cpython import execute_code
from facula.engine.graph.node import BUFFER, CONST, WRITE, Formula, Node, Number, Primitive
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
_NO_DIMS = ()


class Update(NamedTuple):
    """What becomes of a row: formulas over its columns and over each other's results, and reductions of all elements.

    nodes     per node (primitive, what it reads, its numbers' number, dtype, whether it has the row's shape: else it is
              0-d). Columns count from 0, and after them what all rows read; nodes from -1 downwards; a constant is
              (dtype, whether it has the row's shape). Its number comes among the run-time numbers after those of the
              node.
    written   (column, node): what the column holds afterwards
    gathered  0-d nodes of floats: of each the values of all rows are a result, a vector
    """

    nodes: tuple[tuple[Primitive, tuple[int | tuple[dtype, bool], ...], int, dtype, bool], ...]
    written: tuple[tuple[int, int], ...]
    gathered: tuple[int, ...] = ()


def update_of(made: list[Node], columns: Sequence[Node], after: Sequence[Node], shared: Sequence[Node] = (),
              gathered: Sequence[Node] = ()) -> tuple[Update, list[Number]] | None:
    """What has been recorded (`made`) for a row whose columns were `columns` and are `after` now, and the numbers in
    it. None: more than formulas of the row's own elements and of what is `shared` by all rows (0-d), and what is made
    of all elements of one."""
    places: dict[int, int] = {id(node): k for k, node in enumerate((*columns, *shared))}
    shape = columns[0].shape
    nodes: list[tuple[Primitive, tuple[int | tuple[dtype, bool], ...], int, dtype, bool]] = []
    numbers: list[Number] = []
    for k, node in enumerate(made):
        whole = node.shape == shape
        if isinstance(node.op, Formula):
            fits = node.attrs is None and (whole or not node.shape)
        else:
            fits = node.op.kind == "reduce" and not whole and not node.shape and node.inputs[0].shape == shape
        if not fits:
            return None
        reads: list[int | tuple[dtype, bool]] = []
        numbers += node.scalars or ()
        for source in node.inputs:
            place = places.get(id(source))
            if place is not None:
                reads.append(place)
            elif source.op is CONST and (source.shape == shape or not source.shape):
                reads.append((source.dtype, source.shape == shape))
                numbers += source.scalars or ()
            else:
                return None
        nodes.append((node.op, tuple(reads), len(node.scalars or ()), node.dtype, whole))
        places[id(node)] = -1 - k
    written: list[tuple[int, int]] = []
    for k, (old, new) in enumerate(zip(columns, after, strict=True)):
        if new is not old:
            place = places.get(id(new), 0)
            if place >= 0 or new.dtype is not old.dtype or place in [node for _, node in written]:
                return None
            written.append((k, place))
    found = [places.get(id(node), 0) for node in gathered]
    if any(place >= 0 or nodes[-1 - place][-1] or nodes[-1 - place][3].category != FLOAT for place in found):
        return None
    return (Update(tuple(nodes), tuple(written), tuple(found)), numbers) if written or found else None


def most_rows(update: Update, columns: int, numbers: int) -> int:
    """How many rows one plan has at most: so many that the machine code which starts it can hold their tables."""
    return max(1, execute_code.MOST // (columns + 2 * len(update.written) + len(update.gathered) + numbers + 1))


class Rows:
    """An update of a list of rows, made executable. Leaves lie column after column, `targets` too."""

    __slots__ = ("step", "program", "recipe", "takes", "places", "weight", "used")

    def __init__(self, step: Step, program: Program, takes: tuple[int, ...], places: Sequence[Number]) -> None:
        self.step = step
        self.program = program
        _, self.recipe = step.prepare(program)
        self.takes = takes  # per result the leaf whose memory it takes; none if they have memory of their own
        self.places = places  # numbers beside those of an update: where in a vector a row's value is
        self.weight = step.weight
        self.used = True

    def run(self, targets: list[Node], leaves: list[Node], numbers: list[Number]) -> None:
        """Compute `targets` (which may be leaves themselves, where memory is taken over) from `leaves`."""
        step = self.step
        if self.takes:
            results: list[Any] = [leaves[k].buffer for k in self.takes]
        else:
            results = list(map(step.allocate, step.sizes, step.classes))
        numbers = [*numbers, *self.places]
        run_into(step, self.program, self.recipe, targets, leaves, numbers, results, bool(self.takes))


def rows_of(update: Update, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[dtype], numbers: list[Number],
            in_place: bool, shared: Sequence[dtype] = ()) -> Rows | None:
    """The executable for rows of these shapes and columns of these dtypes, which is kept. None: nobody compiles it, or
    these rows are others each time (which parameters have gradients, say)."""
    global _fresh
    key = ("rows", update, tuple(shapes), tuple(dtypes), in_place, tuple(shared))
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
        found = _made(update, shapes, dtypes, numbers, in_place, shared)
        session.seen.keep(key, found)
    return found if isinstance(found, Rows) else None


def _made(update: Update, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[dtype], numbers: list[Number],
          in_place: bool, shared: Sequence[dtype]) -> Rows | int:
    count, columns = len(shapes), len(dtypes)
    leaves = [Node(BUFFER, (), None, None, shape, of) for of in dtypes for shape in shapes]
    leaves += [Node(BUFFER, (), None, None, _NO_DIMS, of) for of in shared]
    places_of: dict[int, int] = {}  # node -> where its first number is
    nodes: list[Node] = []
    values: list[list[Node]] = []  # per row, of what is gathered
    target_of: dict[int, int] = {}  # node that is a result -> its place among the targets
    for row, shape in enumerate(shapes):
        at = 0
        mine: list[Node] = []
        for op, reads, own_numbers, of, whole in update.nodes:
            own = at
            at += own_numbers
            inputs: list[Node] = []
            for read in reads:
                if isinstance(read, tuple):
                    inputs.append(Node(CONST, (), None, (numbers[at],), shape if read[1] else _NO_DIMS, read[0]))
                    places_of[id(inputs[-1])] = at
                    at += 1
                elif read < columns:
                    inputs.append(leaves[read * count + row] if read >= 0 else mine[-1 - read])
                else:
                    inputs.append(leaves[columns * count + read - columns])
            scalars = tuple(numbers[own:own + own_numbers]) or None
            attrs = None if isinstance(op, Formula) else (tuple(range(len(shape))),)
            mine.append(Node(op, tuple(inputs), attrs, scalars, shape if whole else _NO_DIMS, of))
            places_of[id(mine[-1])] = own
        for place, (_, node) in enumerate(update.written):
            target_of[id(mine[-1 - node])] = place * count + row
        values.append([mine[-1 - node] for node in update.gathered])
        nodes += mine
    places: list[Number] = [0.0, *range(count)] if update.gathered else []
    for place, column in enumerate(zip(*values, strict=True), len(update.written) * count):
        vector = Node(CONST, (), None, (0.0,), (count,), column[0].dtype)
        places_of[id(vector)] = len(numbers)
        for row, value in enumerate(column):
            vector = Node(WRITE, (vector, value), (_NO_DIMS,), (row,), vector.shape, vector.dtype)
            places_of[id(vector)] = len(numbers) + 1 + row
            nodes.append(vector)
        target_of[id(vector)] = place
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
    takes = tuple([reads_at[program.aliases[k]] for k in range(len(results))]) if in_place else ()
    return Rows(step, program, takes, places)
