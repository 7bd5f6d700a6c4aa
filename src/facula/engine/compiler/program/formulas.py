"""What a loop program computes with: axes, indices, buffers, and values as formulas over them. Data only.

An axis is one direction of the loops. An `Index` is an affine function of the points of axes; a `Value` is a
scalar formula at one point of them. A value is pure: it depends on nothing but the point, the buffers and the
run's numbers, and equal ones are one object within a program.

    Literal      value                          a number that belongs to the text
    Number       at                             a run-time number, by its position among the run's
    Coordinate   index                          int64: the index itself
    Load         buffer, index                  the element there
    Gather       buffer, index, row, step, rows the element at index + step * row, with row kept within [0, rows)
    Apply        fn, args                       a scalar function, "cast" to the value's type, or "round16"
    Total        of                             what an accumulator has come to
    Kept         of, slot                       `of`, which an earlier pass over the same points left in scratch memory
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from facula.dtypes import dtype

if TYPE_CHECKING:
    from facula.engine.compiler.program.statements import Accumulator


@dataclass(frozen=True, eq=False, slots=True)
class Axis:
    """`extent` points in a row; or the pieces of `size` points that axis `of` is cut into (the last may be smaller).

    parts   axes (outermost first) whose coordinates together are a point of this one, as in a flattened array
    fixed   the extent belongs to the text; any other is an argument of the kernel
    """

    name: str
    extent: int
    reduced: bool = False
    of: Axis | None = None
    size: int = 1
    parts: tuple[Axis, ...] = ()
    fixed: bool = False

    @property
    def root(self) -> Axis:
        return self if self.of is None else self.of

    def __repr__(self) -> str:
        return self.name if self.of is None else f"{self.name} (pieces of {self.size})"


POINT = Axis("point", 1, fixed=True)  # lanes run along this one where there is no other


class Index(NamedTuple):
    """const + sum(factor * number[at]) + sum(stride * point of axis)."""

    const: int
    nums: tuple[tuple[int, int], ...]  # (position among the run-time numbers, factor)
    terms: tuple[tuple[Axis, int], ...]  # (axis, stride), no stride 0: kept axes, then reduced ones, the lanes' last

    def stride(self, axis: Axis) -> int:
        for known, stride in self.terms:
            if known is axis:
                return stride
        return 0


@dataclass(frozen=True, eq=False, slots=True)
class Buffer:
    """Memory that the program reads or writes: number `number` of its buffers, `size` elements of `dtype`."""

    number: int
    dtype: dtype
    size: int


@dataclass(frozen=True, eq=False, slots=True)
class Slot:
    """Scratch memory for one value at points of the reduced axes, from byte `offset` on. Loops that go through the
    points by other axes have a Slot each, of the same number.

    index   position of a lane's element; counted in vectors (of `lanes` elements) where the lanes run along a kept axis
    start   counted from where the loops around stand of this axis
    """

    number: int
    offset: int
    index: Index
    vectors: bool
    start: Axis | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Value:
    """`vector`: has it an element for every lane, or one for all?"""

    dtype: dtype
    vector: bool


@dataclass(frozen=True, eq=False, slots=True)
class Literal(Value):
    value: object


@dataclass(frozen=True, eq=False, slots=True)
class Number(Value):
    at: int


@dataclass(frozen=True, eq=False, slots=True)
class Coordinate(Value):
    index: Index


@dataclass(frozen=True, eq=False, slots=True)
class Load(Value):
    buffer: Buffer
    index: Index


@dataclass(frozen=True, eq=False, slots=True)
class Gather(Value):
    buffer: Buffer
    index: Index
    row: Value
    step: int
    rows: int


@dataclass(frozen=True, eq=False, slots=True)
class Apply(Value):
    fn: str
    args: tuple[Value, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Total(Value):
    of: Accumulator


@dataclass(frozen=True, eq=False, slots=True)
class Kept(Value):
    of: Value
    slot: Slot


def arguments(value: Value) -> tuple[Value, ...]:
    """The values that `value` is computed from, at the same point."""
    if isinstance(value, Apply):
        return value.args
    return (value.row,) if isinstance(value, Gather) else ()
