"""The time steps of a recurrent layer, one after the other, on the host: routines that a CALL names.

A step is a program (`cells.py`), made once for a number of running sequences. Sequences are packed: `sizes` (T,) says
how many are running at each step, fewer and fewer, at last none; rows of one step lie together, so a step reads and
writes parts of the arrays where they lie.
"""

from __future__ import annotations

from collections.abc import Callable
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


class _Step:
    """A program of a step, and which of the memory that a step has it reads."""

    __slots__ = ("program", "work", "leaves", "outputs", "weight", "used")

    def __init__(self, body: Body) -> None:
        self.work: Work = body.work()
        self.program = preparing.plan_of(PROCESSOR, self.work, frozenset())
        self.leaves = [body.leaves.index(leaf) for leaf in self.work.leaves]
        self.outputs = [body.outputs.index(node) for node in self.work.outputs]
        self.used = True
        self.weight = 2000 + 400 * len(self.work.order) + (self.program.weight if self.program is not None else 0)

    def on(self, leaves: list[_Rows], outputs: list[_Rows]) -> Callable[[int], None]:
        """What runs the step whose rows start there."""
        reads, writes = [leaves[k] for k in self.leaves], [outputs[k] for k in self.outputs]
        direct = None if self.program is None else self.program.direct(self.work.numbers)
        if direct is None:
            return lambda start: self._by_node([r.at(start, n) for r, n in zip(reads, self.work.leaves, strict=True)],
                                               [r.at(start, n) for r, n in zip(writes, self.work.outputs, strict=True)])
        places = [(r.ptr, r.step) for r in (*reads, *writes)]
        return lambda start: direct([ptr + start * step for ptr, step in places])

    def _by_node(self, reads: list[Array], writes: list[Array]) -> None:
        values: dict[Node, Any] = dict(zip(self.work.leaves, reads, strict=True))
        for node in self.work.numbers_at:
            if node.op is CONST:
                values[node] = interpreter.compute(node, [])
        for node in self.work.order:
            values[node] = interpreter.compute(node, [values[i] for i in node.inputs])
        for node, array in zip(self.work.outputs, writes, strict=True):
            array[...] = values[node]


class _Rows:
    """An array of which each step has its rows (`moves`) or the first; all of it, where it is one for all steps."""

    __slots__ = ("array", "ptr", "step", "moves")

    def __init__(self, array: Array, moves: bool = False) -> None:
        self.array = array
        self.ptr = array.__array_interface__["data"][0]
        self.step = array.strides[0] if moves else 0
        self.moves = moves

    def at(self, start: int, node: Node) -> Array:
        """What `node` of a step is."""
        count = node.shape[0]
        return self.array[start:start + count] if self.moves else self.array[:count]


def _step(way: Any, mode: str, rows: int, width: int, of: dtype, *more: bool) -> _Step:
    key = ("recurrent", way, mode, rows, width, of, *more)
    found = session.seen.get(key)
    if found is None:
        found = _Step(way(mode, rows, width, of, *more))
        session.seen.keep(key, found)
    found.used = True
    return found  # type: ignore[no-any-return]


def _order(sizes: Array, reverse: bool) -> list[tuple[int, int]]:
    """(where a step's rows start, how many they are), in the order in which the steps run."""
    sizes = sizes[:np.count_nonzero(sizes)]
    ends = np.cumsum(sizes).tolist()
    steps = [(end - rows, rows) for end, rows in zip(ends, sizes.tolist(), strict=True)]
    return steps[::-1] if reverse else steps


def _dtype(array: Array) -> dtype:
    return float64 if array.dtype == np.float64 else float32


@register("recurrence")
def _recurrence(x: Array, w: Array, sizes: Array, *more: Any) -> tuple[Array, ...]:
    """x (N, gates), w (gates, width), sizes (T,), states before (B, width) each, [the hidden bias]; then the attributes
    mode, reverse, keep. Gives out (N, width), the states after, and if `keep` h before each step (N, width) and what
    else backward needs."""
    *arrays, mode, reverse, keep = more
    of, width = _dtype(x), w.shape[1]
    x, w = np.ascontiguousarray(x), np.ascontiguousarray(w)
    states = [np.array(s, order="C") for s in arrays[:2 if mode == "LSTM" else 1]]
    bias = [np.ascontiguousarray(b) for b in arrays[len(states):]]
    out = np.empty((len(x), width), x.dtype)
    leaves = [_Rows(x, True), _Rows(w), *map(_Rows, states), *map(_Rows, bias)]
    outputs, kept = [_Rows(out, True)], [np.empty_like(out)] if keep else []
    if mode == "LSTM":
        cells = np.empty_like(states[1])
        outputs.append(_Rows(cells))
    if mode in ("LSTM", "GRU"):
        z = np.empty_like(x if keep else x[:sizes[0]])
        outputs.append(_Rows(z, keep))
        if keep:
            kept.append(z)
    if mode == "LSTM" and keep:
        kept.append(np.empty_like(out))
    runs: dict[int, Callable[[int], None]] = {}
    for start, rows in _order(sizes, reverse):
        end = start + rows
        if keep:
            kept[0][start:end] = states[0][:rows]
            if mode == "LSTM":
                kept[2][start:end] = states[1][:rows]
        run = runs.get(rows)
        if run is None:
            run = runs[rows] = _step(forward, mode, rows, width, of, bool(bias)).on(leaves, outputs)
        run(start)
        states[0][:rows] = out[start:end]
        if mode == "LSTM":
            states[1][:rows] = cells[:rows]
    return out, *states, *kept


@register("recurrence_backward")
def _recurrence_backward(w: Array, sizes: Array, *more: Any) -> tuple[Array, ...]:
    """w, sizes; the gradients of out (N, width) and of the states after (B, width) each; h before (N, width), what was
    kept; then the attributes mode, reverse. Gives the gradients of the states before, of x, GRU: of z."""
    g, *arrays, mode, reverse = more
    of, width = _dtype(w), w.shape[1]
    count = 2 if mode == "LSTM" else 1
    g, w = np.ascontiguousarray(g), np.ascontiguousarray(w)
    states = [np.array(s, order="C") for s in arrays[:count]]
    kept = [np.ascontiguousarray(a) for a in arrays[count:]]
    leaves = [_Rows(g, True), *map(_Rows, states), _Rows(w), *[_Rows(a, True) for a in kept]]
    scratch = [np.empty_like(s) for s in states]
    found = [np.empty((len(g), len(w)), w.dtype) for _ in range(2 if mode == "GRU" else 1)]
    outputs = [*map(_Rows, scratch), *[_Rows(a, True) for a in found]]
    runs: dict[int, Callable[[int], None]] = {}
    for start, rows in reversed(_order(sizes, reverse)):
        run = runs.get(rows)
        if run is None:
            run = runs[rows] = _step(backward, mode, rows, width, of).on(leaves, outputs)
        run(start)
        for state, new in zip(states, scratch, strict=True):
            state[:rows] = new[:rows]
    return *states, *found
