"""The typed loop program: what stands between a loop nest and the text of a kernel. Data only.

A program is a tree of statements. A loop over an axis goes through the interval that the loops around it have
left of that axis, in ascending order, in pieces of `axis.size` points; loops inside it over the same axis go
through its piece. Threads take the pieces of the outermost loops. Below, `Vectors` binds an axis to `count`
vectors of `lanes` lanes: each of its statements is done for `count * lanes` consecutive points, from where
the innermost loop over that axis stands.

Reduced dimensions with no kept one between them are one axis to a sum, however many the values are read along: its
elements are numbered row by row, and the sum's order is told by these numbers. Where the values cannot be read so,
either the loops go through the parts in that order (`Lines` where a block ends within a line), or, where lanes run
along the axis, a block of elements is left in scratch memory by lines and added up from there.

    Loop, Vectors                    as above
    Lines      axis                  what the loops around have left of `axis`, which is made of parts, in lines along
                                     the last of these: the body is done once for each, with the others standing still
                                     and the line's points left of the last
    Let        value                 compute it here, for all that follows in this loop; what is not named is computed
                                     where it is first asked for
    Store      buffer, index, value  in `vector` form an element for each lane
    Keep       slot, value           leave it in scratch memory for a later pass
    Start, Accumulate, Flush, Finish an accumulator's life

**The order of a sum** is the program's. An accumulator has `vectors * lanes` partial sums. `Accumulate` adds
the element of every lane to its partial sum, in the order of the loops; lanes that are masked out keep
theirs. With two levels `Flush` adds the partial sums to second ones, which begin at 0 as they do, and clears
them. `Finish` combines: first the vectors, the first half with the second half, until one is left; then its
lanes in the same way (arg-reductions: neighbouring vectors in pairs, lanes by halves). Without `across`
nothing is combined: each lane is a result of its own.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from facula.dtypes import FLOAT, dtype
from facula.engine.compiler.program.formulas import Axis, Buffer, Index, Slot, Value


class Binding(enum.Enum):
    THREADS = "threads"
    SERIAL = "serial"


class Part(enum.Enum):
    """Which points of its interval a loop goes through, in terms of `Loop.unit`: a number of points."""

    ALL = "all"
    WHOLE = "whole"  # those that fill whole units
    REST = "rest"  # those left over
    BOTH = "both"  # WHOLE, and after it REST as a piece of its own: one text for the two


class Statement:
    __slots__ = ()


@dataclass(frozen=True, eq=False, slots=True)
class Loop(Statement):
    """`masked`: lanes of its pieces that lie beyond the interval's end do nothing."""

    axis: Axis
    body: tuple[Statement, ...]
    binding: Binding = Binding.SERIAL
    part: Part = Part.ALL
    unit: int = 1
    masked: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Lines(Statement):
    axis: Axis
    body: tuple[Statement, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Vectors(Statement):
    axis: Axis
    count: int
    body: tuple[Statement, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Let(Statement):
    value: Value


@dataclass(frozen=True, eq=False, slots=True)
class Store(Statement):
    buffer: Buffer
    index: Index
    value: Value
    dtype: dtype
    vector: bool


@dataclass(frozen=True, eq=False, slots=True)
class Keep(Statement):
    slot: Slot
    value: Value


@dataclass(frozen=True, eq=False, slots=True)
class Accumulator:
    """name      sum, prod, max, min, any, all, argmax or argmin of `element`
    position  for arg-reductions: the flat number of the current element among the reduced ones
    across    do the lanes (and vectors) hold partial results of one reduction?
    """

    name: str
    element: Value
    position: Index
    across: bool

    @property
    def levels(self) -> int:
        return 2 if self.name == "sum" and self.element.dtype.category == FLOAT else 1

    @property
    def is_arg(self) -> bool:
        return self.name in ("argmax", "argmin")


@dataclass(frozen=True, eq=False, slots=True)
class Start(Statement):
    accumulators: tuple[Accumulator, ...]
    vectors: int


@dataclass(frozen=True, eq=False, slots=True)
class Accumulate(Statement):
    accumulator: Accumulator


@dataclass(frozen=True, eq=False, slots=True)
class Flush(Statement):
    accumulators: tuple[Accumulator, ...]
    vectors: int


@dataclass(frozen=True, eq=False, slots=True)
class Finish(Statement):
    accumulators: tuple[Accumulator, ...]
    vectors: int


@dataclass(frozen=True, eq=False, slots=True)
class LoopProgram:
    """axes      of the nest, outermost first
    prelude   values that are the same everywhere
    """

    title: str
    axes: tuple[Axis, ...]
    lanes: int
    buffers: tuple[Buffer, ...]
    prelude: tuple[Value, ...]
    body: tuple[Statement, ...]
