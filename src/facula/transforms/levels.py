"""Levels: one for each transform that is at work, and the choice of the one that a primitive goes to.

A level is alive as long as a node refers to it, since a tape may lead back into a function that has returned. Only
while one is alive does recording look at what it is given (`session.traced`).
"""

from __future__ import annotations

import threading
from itertools import count
from typing import Any

from facula._tensor.reading import view_node
from facula.autograd.graph import Rule, next_seq
from facula.devices import device
from facula.dtypes import dtype
from facula.engine.graph.node import Node, Number, Primitive
from facula.engine.graph.primitives.kind import Recording
from facula.engine.placing import constant_node
from facula.engine.recorder import record
from facula.engine.session import Session, session
from facula.undisturbed import undisturbed

_orders = count(1).__next__
_alive: list[None] = []  # an entry for each level that is


class _Stack(threading.local):
    def __init__(self) -> None:
        self.levels: list[Level] = []
        self.inside = 0  # walks that are part of an operation, and know no boundary


_stack = _Stack()


class Level:
    """A transform at work. Of nested levels the inner one has the greater `order`.

    `start` is the tape's count when the level was made: older steps of the tape lie outside it.
    """

    __slots__ = ("order", "start", "crossed", "counted")

    name = "transform"

    def __init__(self) -> None:
        # Up to the next empty line, and in `__del__`, nothing is called: neither interrupt nor thread comes between.
        global _alive
        _alive += [None]
        self.counted = True
        session.traced, session.plain, session.record = traced, False, None

        self.crossed = False  # has the gradient that is being computed come from outside?
        self.order = _orders()
        self.start = next_seq()

    @undisturbed  # what a signal handler raised in here would be lost
    def __del__(self, alive: list[None] = _alive, session: Session = session) -> None:  # modules end before levels
        try:
            counted = self.counted
        except AttributeError:  # it never came to be one
            counted = False
        if not counted:
            return
        del alive[-1:]
        if not alive:
            session.traced = None
            session.plain = not session.devices
            session.record = session.native if session.plain else None

    @undisturbed
    def __enter__(self) -> Any:
        _stack.levels += [self]  # not append(): after a call an exception could come
        return self

    @undisturbed
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

    @undisturbed
    def __enter__(self) -> None:
        _stack.inside += 1

    @undisturbed
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
