"""The states of generators, so that a function draws the same random numbers twice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from facula import random
from facula._tensor.handle import Tensor
from facula.devices import CPU
from facula.undisturbed import PutBack
from facula.utils._pytree import tree_leaves


class DefaultDeviceType:
    """The type of accelerator whose generators are kept where no argument tells: 'cuda', or what was set."""

    _type = "cuda"

    @classmethod
    def set_device_type(cls, device: str = "cuda") -> None:
        """Set it."""
        cls._type = device

    @classmethod
    def get_device_type(cls) -> str:
        """The type that is set."""
        return cls._type


class Generators:
    """The states of all default generators that a function may draw from, to begin again with."""

    def __init__(self, leaves: Iterable[Any], keep: bool) -> None:
        places = {x.device for x in leaves if isinstance(x, Tensor) and x.device.type not in ("cpu", "meta")}
        self.states = [(random.generator_of(place), random.generator_of(place).get_state())
                       for place in [CPU, *places]] if keep else []

    def again(self) -> Again:
        """Within, the generators draw what they drew then; afterwards they are as before."""
        return Again(self.states)


class Again(PutBack):
    def __init__(self, states: list[tuple[Any, Any]]) -> None:
        self.states = states
        self.now = [(generator, generator.get_state()) for generator, _ in states]

    def change(self) -> None:
        for generator, state in self.states:
            generator.set_state(state)

    def put_back(self) -> None:
        for generator, state in self.now:
            generator.set_state(state)


def get_device_states(*args: Any) -> tuple[list[int], list[Any]]:
    """(indices, states of the generators) of the accelerators that the tensors among the arguments lie on."""
    places = {x.device for x in tree_leaves(args) if isinstance(x, Tensor) and x.device.type not in ("cpu", "meta")}
    ordered = sorted(places, key=str)
    return [place.index or 0 for place in ordered], [random.generator_of(place).get_state() for place in ordered]


def set_device_states(devices: list[int], states: list[Any], *, device_type: str | None = None) -> None:
    """Set the states of the generators of these accelerators."""
    from facula.devices import device
    kind = DefaultDeviceType.get_device_type() if device_type is None else device_type
    for index, state in zip(devices, states, strict=True):
        random.generator_of(device(kind, index)).set_state(state)
