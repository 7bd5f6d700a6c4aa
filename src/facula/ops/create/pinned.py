"""Pinned memory: the computer's own, which a device reads in its own time (`Target.pin`).

A pinned tensor's storage is treated like one that NumPy shares: whatever is written goes into that memory at the call.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from facula import devices
from facula._tensor.cells import Storage
from facula._tensor.handle import Tensor, alias, device_of, new, strides_of
from facula._tensor.reading import read, strided
from facula.devices import CPU, device
from facula.engine.graph.node import BUFFER, Node, contiguous_strides, size_of
from facula.engine.moving import arrived
from facula.engine.realize import value_of
from facula.engine.targets import target_of
from facula.engine.targets.protocol import Pinned
from facula.ops.registry import DTYPE_NAMES

NO_ALLOCATOR = ("pin_memory=True requires a CUDA or other accelerator backend; no pinned memory allocator is available "
                "on this system.")


def memory_of(t: Tensor) -> Pinned | None:
    """The pinned memory in which the elements of `t` are, if they are in such."""
    storage = t._storage
    buffer = None if storage is None else storage.node.buffer
    return buffer if isinstance(buffer, Pinned) else None


def pinned(t: Tensor, place: device | None = None) -> Tensor:
    """A copy of `t`, with its strides, in memory that is pinned for `place` (the accelerator of this machine, unless
    told). RuntimeError if there is none, or if `t` is not on the cpu."""
    if device_of(t) is not CPU:
        kind = f"{device_of(t).type.capitalize()}{DTYPE_NAMES[t.dtype.name]}Type"
        raise RuntimeError(f"cannot pin '{kind}' only dense CPU tensors can be pinned")
    if place is None:
        place = devices.current_accelerator()
    elif place.type in ("cpu", "meta"):
        raise RuntimeError(f"{place.type.upper()} device type not an accelerator.")
    strides = strides_of(t)
    if 0 in t.shape or any(stride < 0 for stride in strides):
        strides = contiguous_strides(t.shape)
    extent = 0 if 0 in t.shape else 1 + sum((n - 1) * k for n, k in zip(t.shape, strides, strict=True))
    whole = new(node(place, (extent,), t.dtype))
    whole._storage, whole._node = Storage(whole._node, 0, True), None
    whole._strides, whole._offset, whole._cached = (1,), 0, None
    out = alias(whole, t.shape, strides, 0)
    np.copyto(strided(out), value_of(read(t)))
    return out


def node(place: device, shape: tuple[int, ...], of: Any) -> Node:
    """Uninitialised elements of the cpu, in memory that is pinned for `place`."""
    found = Node(BUFFER, (), None, None, shape, of)
    found.buffer = target_of(devices.check_available(place)).pin(size_of(shape) * of.itemsize)
    return found


def as_told(t: Tensor, pin_memory: Any, what: str) -> Tensor:
    """What a factory does about its `pin_memory`, which is not False."""
    if pin_memory is None:
        return t
    if type(pin_memory) is not bool:
        raise TypeError(f"{what}(): argument 'pin_memory' must be bool, not {type(pin_memory).__name__}")
    place = device_of(t)
    if place is devices.META:
        return t
    if place is not CPU:
        raise RuntimeError("Only dense CPU tensors can be pinned")
    if devices.accelerator() is None:
        raise RuntimeError(NO_ALLOCATOR)
    return pinned(t)


def sent(t: Tensor, place: device) -> Node | None:
    """The elements of the pinned `t` on another device, which reads them when it comes to that; None if they do not lie
    in memory that it reads, and in order."""
    memory = memory_of(t)
    if memory is None or memory.target.device.type != place.type:
        return None
    array = strided(t)
    return arrived(place, target_of(place).upload_pinned(memory, array), t.shape, t.dtype) \
        if array.flags.c_contiguous else None
