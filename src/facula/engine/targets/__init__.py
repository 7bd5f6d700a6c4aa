"""Who computes: one object for each device (protocol.py says what it does), found by the device.

The cpu's is there from the start (host.py). Others are announced: by `register`, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable

from facula import devices
from facula.devices import CPU, device
from facula.engine.targets.host import Processor
from facula.engine.targets.protocol import Target, dropped, release_dropped

PROCESSOR: Target = Processor()
_made: dict[device, Target] = {CPU: PROCESSOR}
_kinds: dict[str, Callable[[device], Target]] = {}


def register(kind: str, count: int, make: Callable[[device], Target]) -> None:
    """From now on this machine has `count` devices of type `kind`; `make` gives the target of one, when first asked.

    ValueError if there are some already, or if no device has that type.
    """
    if kind in _kinds or kind in ("cpu", "meta"):
        raise ValueError(f"there is a target for {kind!r} already")
    devices.announce(kind, count)
    _kinds[kind] = make


def unregister(kind: str) -> None:
    """The machine has no such devices any more. Tensors that are still there keep their target."""
    del _kinds[kind]
    devices.withdraw(kind)
    for place in [place for place in _made if devices.kind_of(place.type) == kind]:
        del _made[place]


def target_of(place: device) -> Target:
    """The target of a device that has elements."""
    if dropped:
        release_dropped()
    found = _made.get(place)
    if found is None:
        make = _kinds.get(devices.kind_of(place.type))
        if make is None:
            raise RuntimeError(f"there is no target for device {place}")
        found = _made.setdefault(place, make(place))
    return found
