"""VIEW: a region of the base's memory, and what WRITE shares with it."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.dtypes import dtype
from facula.engine.graph.node import VIEW, Node, Primitive, inside, offset_of, size_of
from facula.engine.graph.primitives.elements import attributes
from facula.engine.graph.primitives.kind import Array, Kind, Recording, sized


def outside(node: Node, shape: tuple[int, ...], size: int) -> str:
    """What is wrong with the region, of `shape`, that a VIEW or WRITE means in a base of `size` elements."""
    strides: tuple[int, ...] = attributes(node.attrs)[0]
    if len(strides) != len(shape):
        return f"strides {strides} for the shape {shape}"
    offset = offset_of(node)
    if not inside(shape, strides, offset, size):
        return f"a region of shape {shape}, strides {strides}, from {offset}, in a base of {size} elements"
    return ""


def region(base: Array, node: Node, shape: tuple[int, ...]) -> Array:
    """The elements of contiguous `base` that a VIEW or WRITE means. `shape` has elements."""
    flat = base.reshape(-1)
    steps = [s * flat.itemsize for s in attributes(node.attrs)[0]]
    return np.lib.stride_tricks.as_strided(flat[offset_of(node):], shape, steps)


def unfixed(node: Node) -> int:
    """Is the offset a run-time number?"""
    return int(len(node.attrs or ()) < 2)


def _wrong(node: Node) -> str:
    base = node.inputs[0]
    if node.dtype is not base.dtype:
        return f"a view of {base.dtype.name}"
    return outside(node, node.shape, size_of(base.shape))


def _meaning(node: Node, inputs: list[Array]) -> Array:
    if size_of(node.shape) == 0:
        return np.empty(node.shape, inputs[0].dtype)
    return region(np.ascontiguousarray(inputs[0]), node, node.shape).copy()


def _tangent(do: Recording, op: Primitive, primals: list[Node], tangents: list[Node | None], attrs: Any, scalars: Any,
             out: Node) -> Node:
    strides, *fixed = attrs
    (t,) = tangents
    return do.view(t, out.shape, strides, fixed[0] if fixed else scalars[0], fixed=bool(fixed))


def _batching(do: Recording, size: int, op: Primitive, nodes: tuple[Node, ...], mine: tuple[bool, ...], attrs: Any,
              scalars: Any, shape: tuple[int, ...], of: dtype) -> Node:
    base = nodes[0]
    strides, *fixed = attrs
    return do.view(base, sized((size, *shape)), (size_of(base.shape[1:]), *strides), fixed[0] if fixed else scalars[0],
                   fixed=bool(fixed))


KIND = Kind(inputs=1, wrong=_wrong, meaning=_meaning, numbers=unfixed, tangents={VIEW: _tangent}, batching=_batching)
