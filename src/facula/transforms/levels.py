"""Levels: one for each transform that is at work, and the choice of the one that a primitive goes to.

A level is alive as long as a node refers to it, since a tape may lead back into a function that has returned. Only
while one is alive does recording look at what it is given (`session.traced`).
"""

from __future__ import annotations

import threading
from itertools import count
from typing import Any

from facula._tensor.handle import view_node
from facula.autograd.graph import Rule, next_seq
from facula.devices import device
from facula.dtypes import dtype
from facula.engine import recorder
from facula.engine.graph.node import Node, Number, Primitive
from facula.engine.graph.primitives.kind import Recording
from facula.engine.placing import constant_node
from facula.engine.recorder import lock, record
from facula.engine.session import session

_orders = count(1).__next__
_alive = 0


class _Stack(threading.local):
    def __init__(self) -> None:
        self.levels: list[Level] = []
        self.inside = 0  # walks that are part of an operation, and know no boundary


_stack = _Stack()


class Level:
    """A transform at work. Of nested levels the inner one has the greater `order`.

    `start` is the tape's count when the level was made: older steps of the tape lie outside it.
    """

    __slots__ = ("order", "start", "crossed")

    name = "transform"

    def __init__(self) -> None:
        global _alive
        self.order = _orders()
        self.crossed = False  # has the gradient that is being computed come from outside?
        self.start = next_seq()
        with lock:
            _alive += 1
            if session.traced is None:
                recorder.set_traced(traced)

    def __del__(self) -> None:
        global _alive
        with lock:
            _alive -= 1
            if not _alive:
                recorder.set_traced(None)

    def __enter__(self) -> Any:
        _stack.levels.append(self)
        return self

    def __exit__(self, *exc: object) -> None:
        _stack.levels.remove(self)

    @property
    def active(self) -> bool:
        """Is its function running, in this thread?"""
        return self in _stack.levels

    @property
    def keeps_gradients(self) -> bool:
        """Is a gradient computed inside, of something inside? Then it stays there."""
        return _stack.inside > 0 or not self.crossed and self.active

    def record(self, op: Primitive, inputs: tuple[Node, ...], attrs: Any, scalars: Any, shape: tuple[int, ...],
               of: dtype) -> Node:
        """`op` over inputs some of which are of this level, and none of one further in."""
        raise NotImplementedError


class Crossing(Rule):
    """The rule of entering or leaving a level: nothing gets tangents by it."""

    __slots__ = ()


def active_levels() -> list[Level]:
    """The levels whose functions are running in this thread, the innermost last."""
    return _stack.levels


class inside:
    """Gradients that are computed in this block, for an operation, stay in whatever levels they are."""

    def __enter__(self) -> None:
        _stack.inside += 1

    def __exit__(self, *exc: object) -> None:
        _stack.inside -= 1


def a_walk_begins() -> list[Level]:
    """The levels whose gradients come from outside, in a walk that this one interrupts. For `a_walk_ends`."""
    found = [level for level in _stack.levels if level.crossed]
    for level in found:
        level.crossed = False
    return found


def a_walk_ends(crossed: list[Level]) -> None:
    for level in _stack.levels:
        level.crossed = level in crossed


def level_of(node: Node) -> Level | None:
    """The level that a node belongs to, if it stands for something else."""
    if node.op.kind != "traced":
        return None
    assert node.attrs is not None
    level = node.attrs[0]
    assert isinstance(level, Level)
    return level


def innermost(nodes: tuple[Node, ...]) -> Level | None:
    """The innermost of the levels that some nodes belong to."""
    top = None
    for node in nodes:
        if node.op.kind == "traced":
            level = level_of(node)
            if top is None or level is not None and level.order > top.order:
                top = level
    return top


def traced(op: Primitive, inputs: tuple[Node, ...], attrs: tuple[object, ...] | None,
           scalars: tuple[Number, ...] | None, shape: tuple[int, ...], of: dtype) -> Node | None:
    """What `record` asks while a level is alive."""
    top = innermost(inputs)
    return None if top is None else top.record(op, inputs, attrs, scalars, shape, of)


# ---- what the rules share -----------------------------------------------------------------------------


def const(value: Any, shape: tuple[int, ...], of: dtype, place: device) -> Node:
    """`value` everywhere on a device, in the Python type that the dtype asks for."""
    value = complex(value) if of.is_complex else float(value) if of.is_floating_point else value
    return constant_node(place, value, shape, of)


DO = Recording(record, view_node, const)  # the means of the rules
reshaped, expanded = DO.reshaped, DO.expanded
