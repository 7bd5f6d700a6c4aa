"""Copies from one device to another."""

from __future__ import annotations

from typing import Any

from facula import devices
from facula._tensor.assigning import assign
from facula._tensor.handle import Tensor, device_of
from facula._tensor.reading import read
from facula._tensor.tape import attach
from facula.autograd.graph import Rule
from facula.engine.moving import moved
from facula.ops.create.creation import empty_like
from facula.ops.create.pinned import sent


def _to_where_it_came_from(ctx: Any, g: Tensor) -> tuple[Tensor]:
    place = ctx.saved[0]
    return (g if device_of(g) is place else transferred(g, place),)


_RULE = Rule("ToCopyBackward0", _to_where_it_came_from)


def transferred(t: Tensor, place: devices.device, non_blocking: bool = False) -> Tensor:
    """A copy of `t` on another device, with its strides. `non_blocking`: out of pinned memory, the device reads the
    elements in its own time; otherwise they have been read, or computed, when this returns."""
    result = empty_like(t, device=place)
    if place is not devices.META:
        node = sent(t, place) if non_blocking else None
        assign(result, moved(read(t), place) if node is None else node)
    return attach(result, _RULE, (t,), (device_of(t),))
