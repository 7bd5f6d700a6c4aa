"""State such as `step` is a 0-d tensor for the outside, and a Python number where the update is computed.

Asking a tensor for its value would wait for everything recorded so far. But a constant's node says its value, and is
immutable: each parameter has tensors of its own, which are written in place, and those with the same number hold the
same node. What somebody else has written into one of them is asked for, once.
"""

from __future__ import annotations

import struct
from typing import Any

import facula
from facula._tensor.assigning import assign
from facula._tensor.handle import device_of, new
from facula.engine.graph.node import CONST, Node
from facula.engine.placing import constant_node


def number_in(tensor: Any) -> float:
    """The value of a 0-d tensor."""
    node = tensor._node
    return float(node.scalars[0]) if node is not None and node.op is CONST else float(tensor)


def made(number: float) -> Any:
    """A new 0-d tensor: float32, or float64 where that is the default type."""
    of = facula.float64 if facula.get_default_dtype() is facula.float64 else facula.float32
    return new(constant_node(facula.device("cpu"), held(number, of), (), of))


def put(tensor: Any, number: float) -> float:
    """Write a number into a 0-d tensor. Returns what the tensor holds then: the number as its type has it."""
    node = _constant(tensor, number)
    assign(tensor, node)
    return node.scalars[0]  # type: ignore[index,return-value]


def held(number: float, of: Any) -> float:
    """The number as a tensor of a type holds it."""
    if of is facula.float32:
        return struct.unpack("f", struct.pack("f", number))[0]  # type: ignore[no-any-return]
    return number if of is facula.float64 else float(facula.tensor(number, dtype=of))


def _constant(tensor: Any, number: float) -> Node:
    of = tensor.dtype
    value = held(number, of)
    return constant_node(device_of(tensor), value if of.is_floating_point else int(value), (), of)


class Steps:
    """Counts the steps of an optimizer's parameters, which mostly are at the same one."""

    __slots__ = ("_before", "_after", "_count")

    def __init__(self) -> None:
        self._before: Any = None  # the node that `advance` met last, and what came of it
        self._after: Any = None
        self._count = 0.0

    def advance(self, state: Any) -> float:
        """Add one to `state["step"]`, in place, and return the new number."""
        step = state["step"]
        node = step._node
        if node is None or node is not self._before:
            self._before, self._count = node, number_in(step) + 1.0
            self._after = _constant(step, self._count)
        assign(step, self._after)
        return self._count
