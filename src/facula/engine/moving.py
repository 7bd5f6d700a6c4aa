"""Where a node is recorded, and what follows it there.

Recording pays for this only while there is a PlacedNode: its builtin is off then, and `record` asks `place`. A node
lies where its inputs lie. Constants lie nowhere in particular; the computer's own elements among the inputs are copied
to the device: they are the operation's own tables, or a number. (That a program's tensors lie on one device is checked
before, at the call: ops/placement.py.)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from facula import devices
from facula.devices import CPU, device
from facula.dtypes import dtype
from facula.engine import recorder
from facula.engine.graph.node import BUFFER, CONST, Node, Number, Primitive
from facula.engine.placing import constant_node, meta_node, placed_node, running, upload
from facula.engine.realize import value_of
from facula.engine.runtime.buffer import Buffer, adopt


class _Check:
    on_mixture: Callable[[], None]  # raises, if it was the program that mixed devices; ops/placement.py puts it here


check = _Check()


def moved(node: Node, place: device) -> Node:
    """The value of `node` on `place`, by way of the computer's own memory."""
    if node.device is place:
        return node
    if place is devices.META:
        return meta_node(node.shape, node.dtype)
    if node.device is devices.META:
        raise NotImplementedError("Cannot copy out of meta tensor; no data!")
    if node.op is CONST:
        assert node.scalars is not None
        return constant_node(place, node.scalars[0], node.shape, node.dtype)
    if place is CPU:
        here = Node(BUFFER, (), None, None, node.shape, node.dtype)
        here.buffer = adopt(np.array(value_of(node), order="C"))
        return here
    buffer = node.buffer  # in memory: taken as it is, for to copy is not to look (session.looks)
    array = value_of(node) if buffer is None else buffer.array(node.shape, node.dtype)
    return upload(place, array, node.shape, node.dtype)


def arrived(place: device, buffer: Buffer, shape: tuple[int, ...], of: dtype) -> Node:
    """A value of another device, which is in its memory, or will be when it comes to that."""
    node = placed_node(place, BUFFER, (), None, None, shape, of)
    node.buffer = buffer
    return node


def place(op: Primitive, inputs: tuple[Node, ...], attrs: tuple[object, ...] | None,
          scalars: tuple[Number, ...] | None, shape: tuple[int, ...], of: dtype) -> Node | None:
    """`record` where an input may lie on another device; None if none does."""
    there = CPU
    for node in inputs:
        if node.device is not there and node.device is not CPU:
            if there is not CPU:
                raise RuntimeError("Expected all tensors to be on the same device, but found at least two devices, "
                                   f"{there} and {node.device}!")
            there = node.device
    if there is CPU:
        there = running.device if not inputs else CPU
        if there is CPU:
            return None
    for node in inputs:
        if node.device is CPU and node.shape:
            check.on_mixture()
            break
    if there is devices.META:
        return meta_node(shape, of)
    inputs = tuple([node if node.op is CONST or node.device is there else moved(node, there) for node in inputs])
    return placed_node(there, op, inputs, attrs, scalars, shape, of)


recorder.above.place = place
