"""The time steps of a recurrent layer, one after the other, on the host: routines that a CALL names.

A step is a program (`cells.py`), made once for a number of running sequences. Sequences are packed: `sizes` (T,) says
how many are running at each step, fewer and fewer, at last none; rows of one step lie together, so a step reads and
writes parts of the arrays where they lie.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from facula.dtypes import dtype, float32, float64
from facula.engine import preparing
from facula.engine.graph.node import CONST, Node
from facula.engine.runtime import interpreter
from facula.engine.runtime.routines import Array, register
from facula.engine.session import session
from facula.engine.targets import PROCESSOR
from facula.engine.trace.work import Work

from .cells import Body, backward, forward
from .steps import Before, InTurn, Operand, Steps, own, shared


class _Step:
    """A program of a step, and which of the memory that a step has it reads."""

    __slots__ = ("program", "work", "places", "weight", "used")

    def __init__(self, body: Body) -> None:
        self.work: Work = body.work()
        self.program = preparing.plan_of(PROCESSOR, self.work, frozenset())
        self.places = [*[body.leaves.index(leaf) for leaf in self.work.leaves],
                       *[len(body.leaves) + body.outputs.index(node) for node in self.work.outputs]]
        self.used = True
        self.weight = 2000 + 400 * len(self.work.order) + (self.program.weight if self.program is not None else 0)

    def run(self, operands: list[Operand], addresses: Array) -> None:
        """Steps one after the other, each with operands at `addresses` (steps, leaves and outputs of the body)."""
        if self.places != list(range(len(operands))):
            operands, addresses = [operands[k] for k in self.places], addresses[:, self.places]
        direct = None if self.program is None else self.program.direct(self.work.numbers)
        if direct is not None:
            direct(addresses)
            return
        nodes = [*self.work.leaves, *self.work.outputs]
        for row in addresses.tolist():
            self._by_node([o.at(address, node) for o, address, node in zip(operands, row, nodes, strict=True)])

    def _by_node(self, arrays: list[Array]) -> None:
        values: dict[Node, Any] = dict(zip(self.work.leaves, arrays, strict=False))
        for node in self.work.numbers_at:
            if node.op is CONST:
                values[node] = interpreter.compute(node, [])
        for node in self.work.order:
            values[node] = interpreter.compute(node, [values[i] for i in node.inputs])
        for node, array in zip(self.work.outputs, arrays[len(self.work.leaves):], strict=True):
            array[...] = values[node]


def _step(way: Any, mode: str, rows: int, width: int, of: dtype, *more: bool) -> _Step:
    key = ("recurrent", way, mode, rows, width, of, *more)
    found = session.seen.get(key)
    if found is None:
        found = _Step(way(mode, rows, width, of, *more))
        session.seen.keep(key, found)
    found.used = True
    return found  # type: ignore[no-any-return]


def _dtype(array: Array) -> dtype:
    return float64 if array.dtype == np.float64 else float32


@register("recurrence")
def _recurrence(x: Array, w: Array, sizes: Array, *more: Any) -> tuple[Array, ...]:
    """x (N, gates), w (gates, width), sizes (T,), states before (B, width) each, [the hidden bias]; then the attributes
    mode, reverse, keep. Gives out (N, width), the states after, and if `keep` h before each step (N, width) and what
    else backward needs."""
    *arrays, mode, reverse, keep = more
    steps = Steps(sizes, reverse)
    of, width = _dtype(x), w.shape[1]
    x, w = np.ascontiguousarray(x), np.ascontiguousarray(w)
    before = arrays[:2 if mode == "LSTM" else 1]
    states = [np.array(s, order="C") for s in before]
    bias = [np.ascontiguousarray(b) for b in arrays[len(before):]]
    out = np.empty((len(x), width), x.dtype)
    after = [out, *[np.empty_like(out) for _ in states[1:]]]  # the states after each step
    z = [np.empty_like(x if keep else x[:steps.most])] if mode in ("LSTM", "GRU") else []
    operands = [own(x), shared(w), *map(Before, states, after), *map(shared, bias),
                *map(own, after), *map(own if keep else shared, z)]
    steps.run(lambda rows: _step(forward, mode, rows, width, of, bool(bias)), operands,
              partial(_grown, states, after) if reverse else None)
    last = [steps.last(rows) for rows in after]
    if not keep:
        return out, *last
    h, *c = [steps.shifted(state, rows) for state, rows in zip(before, after, strict=True)]
    return out, *last, h, *z, *c


def _grown(states: list[Array], after: list[Array], start: int, count: int) -> None:
    """More sequences run from now on: the states before the next step are what the last one has given, of `count`
    sequences, and of the others the first."""
    for state, rows in zip(states, after, strict=True):
        state[:count] = rows[start:start + count]


@register("recurrence_backward")
def _recurrence_backward(w: Array, sizes: Array, *more: Any) -> tuple[Array, ...]:
    """w, sizes; the gradients of out (N, width) and of the states after (B, width) each; h before (N, width), what was
    kept; then the attributes mode, reverse. Gives the gradients of the states before, of x, GRU: of z."""
    g, *arrays, mode, reverse = more
    steps = Steps(sizes, not reverse)  # from the last to the first
    of, width = _dtype(w), w.shape[1]
    count = 2 if mode == "LSTM" else 1
    g, w = np.ascontiguousarray(g), np.ascontiguousarray(w)
    states = [np.array(s, order="C") for s in arrays[:count]]
    kept = [np.ascontiguousarray(a) for a in arrays[count:]]
    others = list(map(np.copy, states))  # steps read one and write the other; what has not run yet is in both
    found = [np.empty((len(g), len(w)), w.dtype) for _ in range(2 if mode == "GRU" else 1)]
    operands = [own(g), *map(InTurn, states, others), shared(w), *map(own, kept),
                *map(InTurn, others, states), *map(own, found)]
    steps.run(lambda rows: _step(backward, mode, rows, width, of), operands)
    return *map(steps.latest, states, others), *found
