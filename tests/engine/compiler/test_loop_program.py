"""The verifier of loop programs: programs that the compiler makes are sound, and each of these changes is noticed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import compiler_harness as h
from facula import dtypes as dt
from facula.engine.compiler.program import statements as s
from facula.engine.compiler.program.formulas import Apply, Load
from facula.engine.compiler.program.verify import verify_program
from facula.engine.graph import node as g
from facula.errors import VerifyError


def program_of(outputs, at=0):
    return h.plan(outputs)[0].steps[at].program


def pointwise():
    x = h.leaf(np.zeros((3, 100), np.float32))
    return program_of([h.fn("add", x, h.const(1.0, ()))])


def row_sums():
    x = h.leaf(np.zeros((3, 100), np.float32))
    total = h.reduce(g.SUM, h.fn("exp", x), (1,))
    return program_of([h.fn("sub", x, h.expand(h.reshape(total, (3, 1)), (3, 100)))])


def column_sums():
    return program_of([h.reduce(g.SUM, h.leaf(np.zeros((300, 40), np.float32)), (0,))])


def changed(program, change):
    """`change` of every statement, inside first; None drops it."""
    def one(statement):
        if isinstance(statement, s.Loop | s.Vectors):
            statement = dataclasses.replace(statement, body=body(statement.body))
        return change(statement)

    def body(statements):
        return tuple(new for new in map(one, statements) if new is not None)

    return dataclasses.replace(program, body=body(program.body))


def refused(program, change, message):
    with pytest.raises(VerifyError, match=message):
        verify_program(changed(program, change))


def dropping(kind, **fields):
    def change(statement):
        fits = isinstance(statement, kind) and all(getattr(statement, k) == v for k, v in fields.items())
        return None if fits else statement
    return change


def with_fields(kind, test=lambda statement: True, **fields):
    def change(statement):
        return dataclasses.replace(statement, **fields) if isinstance(statement, kind) and test(statement) \
            else statement
    return change


@pytest.mark.parametrize("make", [pointwise, row_sums, column_sums], ids=lambda f: f.__name__)
def test_what_is_made_is_sound(make):
    verify_program(make())
    verify_program(changed(make(), lambda statement: statement))


@pytest.mark.parametrize("make", [pointwise, row_sums, column_sums], ids=lambda f: f.__name__)
def test_masks_and_tails(make):
    refused(make(), with_fields(s.Loop, masked=False), "without a mask")
    refused(make(), dropping(s.Loop, part=s.Part.REST), "no other half")
    refused(make(), dropping(s.Loop, part=s.Part.WHOLE), "no other half")
    refused(make(), with_fields(s.Loop, lambda loop: loop.part is s.Part.REST, unit=7), "no other half")
    refused(make(), with_fields(s.Loop, lambda loop: loop.part is s.Part.WHOLE, part=s.Part.ALL, unit=1),
            "no other half|without a mask")


def test_positions_outside_of_a_buffer():
    def moved(statement):
        if not isinstance(statement, s.Store):
            return statement
        return dataclasses.replace(statement, index=statement.index._replace(const=1))
    refused(pointwise(), moved, "positions 1 to 300 of buffer")
    program = pointwise()
    small = tuple(dataclasses.replace(b, size=299) for b in program.buffers)
    store = next(iter(stores(program)))
    refused(program, with_fields(s.Store, buffer=small[store.buffer.number]), "has 299 elements")
    load = next(v for v in values(store.value) if isinstance(v, Load))
    refused(program, with_fields(s.Store, value=dataclasses.replace(load, buffer=small[load.buffer.number])),
            "has 299 elements")


def stores(program):
    found = []
    changed(program, lambda statement: found.append(statement) if isinstance(statement, s.Store) else statement)
    return found


def values(value):
    yield value
    if isinstance(value, Apply):
        for a in value.args:
            yield from values(a)


def test_sums():
    for make in (row_sums, column_sums):
        refused(make(), dropping(s.Start), "0 partial sums|of None started")
        refused(make(), dropping(s.Flush), "not flushed")
        refused(make(), dropping(s.Accumulate), "nothing was added up")
        refused(make(), dropping(s.Finish), "before it is finished|never finished")
        refused(make(), with_fields(s.Start, vectors=3), "partial sums")
    program = column_sums()
    reduced = program.axes[0]

    refused(program, lambda statement: statement if not isinstance(statement, s.Loop) or statement.axis is not reduced
            else s.Vectors(reduced, 1, ()), "nobody goes through|nothing was added up|not given")


def test_types():
    program = pointwise()
    refused(program, with_fields(s.Store, dtype=dt.float64), "is stored as")
    store = stores(program)[0]
    wrong = dataclasses.replace(store.value, dtype=dt.int32)
    refused(program, with_fields(s.Store, value=wrong), "is stored as|gives")
