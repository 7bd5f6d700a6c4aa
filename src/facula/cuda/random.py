"""Seeds of the CUDA generators: accepted, and without effect where there is no device."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

from facula.cuda.present import asked_of_devices


def _refuse(*args: Any, **kwargs: Any) -> NoReturn:
    raise AssertionError("Torch not compiled with CUDA enabled")


@asked_of_devices
def manual_seed(seed: int) -> None:
    """Seed the selected device's generator. Without a device: only checks that `seed` is a number.

    Example:
        >>> import facula.cuda
        >>> facula.cuda.manual_seed(0)
    """
    int(seed)


manual_seed_all = asked_of_devices(lambda seed: int(seed) and None, "manual_seed_all")


@asked_of_devices
def seed() -> None:
    """Seed the selected device's generator with a random number: nothing to seed."""


seed_all = asked_of_devices(lambda: None, "seed_all")


@asked_of_devices
def get_rng_state_all() -> list[Any]:
    """The state of every device's generator."""
    return []


@asked_of_devices
def set_rng_state_all(new_states: Iterable[Any]) -> None:
    """Set the state of every device's generator: AssertionError if there is a state to set."""
    for state in new_states:
        set_rng_state(state)


@asked_of_devices
def get_rng_state(device: Any = "cuda") -> Any:
    """The state of a device's generator: always an AssertionError here."""
    _refuse()


@asked_of_devices
def set_rng_state(new_state: Any, device: Any = "cuda") -> None:
    """Set the state of a device's generator: without a device, without effect."""


@asked_of_devices
def initial_seed() -> int:
    """The seed of the selected device's generator: always an AssertionError here."""
    _refuse()
