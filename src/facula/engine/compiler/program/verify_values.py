"""The formulas of a loop program: types, axes that stand somewhere, positions inside their buffers."""

from __future__ import annotations

from dataclasses import dataclass

from facula.dtypes import bool_, int64
from facula.engine.compiler.program.formulas import (
    Apply,
    Axis,
    Buffer,
    Coordinate,
    Gather,
    Index,
    Kept,
    Load,
    Total,
    Value,
    arguments,
)
from facula.engine.compiler.program.statements import Accumulator
from facula.engine.graph.expr import COMPARISONS
from facula.errors import VerifyError


@dataclass
class Known:
    """axes     that stand somewhere here
    totals   accumulators that are finished
    kept     numbers of scratch slots that have been filled
    """

    axes: set[Axis]
    totals: set[Accumulator]
    kept: set[int]

    def copy(self) -> Known:
        return Known(set(self.axes), self.totals, self.kept)


def verify_value(value: Value, known: Known, lanes: bool) -> None:
    """`lanes`: are there any here?"""
    seen = {value}
    stack = [value]
    while stack:
        v = stack.pop()
        if v.vector and not lanes:
            raise VerifyError(f"{type(v).__name__} of every lane is asked for where no lanes are")
        _verify_one(v, known)
        for a in arguments(v):
            if a.vector and not v.vector:
                raise VerifyError(f"{type(v).__name__} for all lanes takes one of every lane")
            if a not in seen:
                seen.add(a)
                stack.append(a)


def _verify_one(v: Value, known: Known) -> None:
    match v:
        case Apply():
            _verify_types(v)
        case Load():
            if v.dtype is not v.buffer.dtype:
                raise VerifyError(f"{v.dtype} is loaded from buffer {v.buffer.number} of {v.buffer.dtype}")
            within(v.index, v.buffer, known, 0)
        case Gather():
            if v.row.dtype is not int64 or v.dtype is not v.buffer.dtype:
                raise VerifyError(f"a gather of {v.dtype} by {v.row.dtype} from {v.buffer.dtype}")
            within(v.index, v.buffer, known, v.step * (v.rows - 1))
        case Coordinate():
            _stand(v.index, known)
        case Total():
            if v.of not in known.totals:
                raise VerifyError(f"the {v.of.name} is asked for before it is finished")
        case Kept():
            if v.slot.number not in known.kept or v.dtype is not v.of.dtype:
                raise VerifyError(f"slot {v.slot.number} is read before it is filled")


def _verify_types(v: Apply) -> None:
    types = [a.dtype for a in v.args]
    if v.fn == "cast":
        return
    if v.fn == "where":
        if types[0] is not bool_:
            raise VerifyError(f"where by {types[0]}")
        del types[0]
    if any(t is not types[0] for t in types):
        raise VerifyError(f"{v.fn} of {types}")
    wanted = bool_ if v.fn in COMPARISONS else types[0]
    if v.dtype is not wanted and v.dtype.compute is not wanted.compute:
        raise VerifyError(f"{v.fn} of {types} gives {v.dtype}")


def _stand(index: Index, known: Known) -> None:
    for axis, stride in index.terms:
        if axis not in known.axes:
            raise VerifyError(f"{axis!r} stands nowhere, and an index takes {stride} of it")


def within(index: Index, buffer: Buffer, known: Known, further: int) -> None:
    """Every position lies in the buffer; with an offset that comes at run time: some offset makes it so."""
    _stand(index, known)
    if any(axis.extent == 0 for axis, _ in index.terms):
        return
    steps = [(axis.extent - 1) * stride for axis, stride in index.terms] + [further]
    low, high = sum(s for s in steps if s < 0), sum(s for s in steps if s > 0)
    bad = high - low >= buffer.size if index.nums else index.const + low < 0 or index.const + high >= buffer.size
    if bad:
        raise VerifyError(f"positions {index.const + low} to {index.const + high} of buffer {buffer.number}, which has "
                          f"{buffer.size} elements")
