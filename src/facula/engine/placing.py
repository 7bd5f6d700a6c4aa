"""Values on other devices than the cpu: how they are made, and where the running operation puts its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from facula import devices
from facula.devices import CPU, device
from facula.dtypes import dtype
from facula.engine import recorder
from facula.engine.graph.node import BUFFER, CONST, META, Node, Number, PlacedNode, Primitive
from facula.engine.targets import target_of
from facula.size import Size

_NOTHING: tuple[Node, ...] = ()
_NO_ELEMENTS = 0, -1  # as the range of an index: every check of indices lets it pass


class _Running(threading.local):
    """The operations that are running in this thread, while there are values on other devices (ops/placement.py)."""

    def __init__(self) -> None:
        self.names: list[str] = []  # from the outermost
        self.place: device | None = None  # where the tensors are that the outermost was given, once it has been asked
        self.find: Callable[[], device] = lambda: CPU
        self.given: Any = None  # the arguments of the outermost: (args, kwargs)

    @property
    def device(self) -> device:
        """Where the outermost operation's tensors are, and so where its constants and tables go."""
        if self.place is None:
            place = self.find()
            if self.names:
                self.place = place
            return place
        return self.place


    def rule(self, backward: Callable[..., Any], node: Any, *grads: Any) -> Any:
        """`backward(node, *grads)`, a rule of the tape: an operation like others, that was given the gradients."""
        kept = self.names, self.place, self.given
        try:
            self.names, self.given = ["backward"], (grads, {})
            self.place = next((g.device for g in grads if g is not None), CPU)
            return backward(node, *grads)
        finally:
            self.names, self.place, self.given = kept


running = _Running()


def placed_node(place: device, op: Primitive, inputs: tuple[Node, ...], attrs: tuple[object, ...] | None,
                scalars: tuple[Number, ...] | None, shape: tuple[int, ...], of: dtype) -> Node:
    """A node on another device than the cpu, which is not pending yet. NotImplementedError if the device cannot have
    such a value."""
    if place is not devices.META and op.kind != "traced":
        why = target_of(place).supports(op, inputs, shape, of)
        if why:
            name = running.names[0] if running.names else "a copy or a constant" if not inputs else op.name
            raise NotImplementedError(f"{name}: device {place} cannot do this: {why}")
    shape = shape if type(shape) is Size else tuple.__new__(Size, shape)
    node = PlacedNode(place, op, inputs, attrs, scalars, shape, of)
    recorder.look_at_devices()
    return node


def beside(node: Node, op: Primitive, inputs: tuple[Node, ...], attrs: tuple[object, ...] | None,
           shape: tuple[int, ...], of: dtype) -> Node:
    """A node where `node` is, which is not pending."""
    if node.device is CPU:
        return Node(op, inputs, attrs, None, shape, of)
    return placed_node(node.device, op, inputs, attrs, None, shape, of)


def meta_node(shape: tuple[int, ...], of: dtype) -> Node:
    """A value of the meta device: a shape and a dtype. Nothing computes it."""
    node = placed_node(devices.META, META, _NOTHING, None, None, shape, of)
    node.range = _NO_ELEMENTS
    return node


def constant_node(place: device, value: Number, shape: tuple[int, ...], of: dtype) -> Node:
    """`value` everywhere, on a device. Its Python type is the one that the dtype asks for."""
    if place is CPU:
        return Node(CONST, _NOTHING, None, (value,), shape if type(shape) is Size else tuple.__new__(Size, shape), of)
    if place is devices.META:
        return meta_node(shape, of)
    return placed_node(place, CONST, _NOTHING, None, (value,), shape, of)


def constant_like(node: Node, shape: tuple[int, ...]) -> Node:
    """The constant `node` in another shape."""
    assert node.scalars is not None
    if node.device is CPU:
        return Node(CONST, _NOTHING, None, node.scalars, shape if type(shape) is Size else tuple.__new__(Size, shape),
                    node.dtype)
    return constant_node(node.device, node.scalars[0], shape, node.dtype)


def upload(place: device, array: np.ndarray, shape: tuple[int, ...], of: dtype) -> Node:
    """The elements of an array on another device than the cpu."""
    if place is devices.META:
        return meta_node(shape, of)
    if recorder.pending and array.nbytes > recorder.SMALL:
        recorder.memory_made(array.nbytes)
    node = placed_node(place, BUFFER, _NOTHING, None, None, shape, of)
    node.buffer = target_of(place).upload(np.ascontiguousarray(array))
    return node
