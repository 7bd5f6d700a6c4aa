"""Seeds, states and generators: `facula.random`, and the `Generator` class.

`facula.manual_seed(0)` makes a program's random numbers PyTorch's for the same seed. States are byte tensors
in PyTorch's layout, so a state saved by one can be restored by the other.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterable
from typing import Any

from facula import devices
from facula._tensor.handle import Tensor
from facula.devices import device as Device
from facula.rng import Engine, default_engine, fresh_seed, seed_all
from facula.undisturbed import PutBack

__all__ = ["set_rng_state", "get_rng_state", "manual_seed", "seed", "initial_seed", "fork_rng",
           "thread_safe_generator"]


class Generator:
    """A source of random numbers of its own, for the `generator=` argument of random functions.

    Args:
        device: whose numbers it draws; the CPU's unless given.

    Example:
        >>> import facula
        >>> g = facula.Generator().manual_seed(0)
        >>> facula.rand(2, generator=g)
        tensor([0.4963, 0.7682])
    """

    __slots__ = ("device", "engine", "__weakref__")

    def __init__(self, device: Any = "cpu") -> None:
        self.device = Device(device)
        if not devices.count(self.device.type):
            raise RuntimeError(f"Generator: no device '{self.device}' on this machine")
        self.engine = Engine()

    def manual_seed(self, seed: int) -> Generator:
        """Start over from `seed` and return the generator itself. Negative seeds count from 2**64.

        Raises:
            RuntimeError: `seed` is not an integer.
            ValueError: `seed` is outside [-2**63, 2**64).
        """
        try:
            seed = operator.index(seed)
        except TypeError:
            kind = type(seed).__name__
            raise RuntimeError(f"manual_seed expected a long, but got {kind}") from None
        if not -2**63 <= seed < 2**64:
            raise ValueError("Overflow when unpacking long long")
        self.engine.seed(seed)
        return self

    def seed(self) -> int:
        """Start over from a seed the operating system gives; it is returned."""
        seed = fresh_seed()
        self.engine.seed(seed)
        return seed

    def initial_seed(self) -> int:
        """The seed that the generator last started from."""
        return self.engine.initial_seed

    def get_state(self) -> Tensor:
        """The state as a byte tensor (5056,), in PyTorch's layout."""
        from facula.ops.create.conversion import from_numpy
        return from_numpy(self.engine.get_state())

    def set_state(self, new_state: Tensor) -> None:
        """Continue from a state that `get_state` gave.

        Raises:
            TypeError: not a byte tensor.
            RuntimeError: of another size, or no state of a generator.
        """
        if not isinstance(new_state, Tensor):
            raise TypeError(f"expected a torch.ByteTensor, but got {type(new_state).__name__}")
        self.engine.set_state(new_state.detach().cpu().numpy())

    def clone_state(self) -> Generator:
        """A second generator that will draw the same numbers."""
        other = Generator(self.device)
        other.engine.set_state(self.engine.get_state())
        return other

    def get_offset(self) -> int:
        raise RuntimeError("CPU Generator does not use offset")

    def set_offset(self, offset: int) -> None:
        raise RuntimeError("CPU Generator does not use offset")

    def __reduce__(self) -> Any:
        return _restore, (self.engine.get_state(), str(self.device))


def _restore(state: Any, place: str = "cpu") -> Generator:
    generator = Generator(place)
    generator.engine.set_state(state)
    return generator


default_generator = Generator.__new__(Generator)
default_generator.device = Device("cpu")
default_generator.engine = default_engine()


def generator_of(place: Device) -> Generator:
    """The default generator of a device."""
    if place is devices.CPU:
        return default_generator
    found = Generator.__new__(Generator)
    found.device, found.engine = place, default_engine(place)
    return found


def set_rng_state(new_state: Tensor) -> None:
    """Set the state of the default generator.

    Example:
        >>> import facula
        >>> state = facula.get_rng_state()
        >>> a = facula.rand(3)
        >>> facula.set_rng_state(state)
        >>> facula.equal(a, facula.rand(3))
        True
    """
    default_generator.set_state(new_state)


def get_rng_state() -> Tensor:
    """The state of the default generator, a byte tensor (5056,)."""
    return default_generator.get_state()


def manual_seed(seed: int) -> Generator:
    """Seed the default generators of all devices, and return the cpu's.

    Example:
        >>> import facula
        >>> _ = facula.manual_seed(0)
        >>> facula.rand(2)
        tensor([0.4963, 0.7682])
    """
    default_generator.manual_seed(int(seed))
    _seed_others(default_generator.initial_seed())
    return default_generator


def _seed_others(seed: int) -> None:
    """Seed what draws elsewhere: the default generators of devices, and modules that programs have registered."""
    seed_all(seed)
    for module in devices.told_of_seeds:
        if not getattr(module, "_is_in_bad_fork", bool)():
            module.manual_seed_all(seed)


def seed() -> int:
    """Seed the default generators of all devices with a number from the operating system, and return that."""
    found = default_generator.seed()
    _seed_others(found)
    return found


def initial_seed() -> int:
    """The seed that the default generator last started from."""
    return default_generator.initial_seed()


def fork_rng(devices: Iterable[Any] | None = None, enabled: bool = True, _caller: str = "fork_rng",
             _devices_kw: str = "devices", device_type: str | None = None) -> _Fork:
    """Within the block, random numbers may be drawn freely: afterwards the default generators are as before.

    Args:
        devices: the accelerators (indices, names) whose generators are meant as well; all of them unless told.
        device_type: their type; that of this machine's accelerator unless told.
        enabled: False makes the block do nothing.

    Example:
        >>> import facula
        >>> state = facula.get_rng_state()
        >>> with facula.random.fork_rng():
        ...     _ = facula.rand(5)
        >>> facula.equal(state, facula.get_rng_state())
        True
    """
    return _Fork(devices, enabled and device_type != "meta", device_type)


class _Fork(PutBack, contextlib.ContextDecorator):
    def __init__(self, devices: Iterable[Any] | None, enabled: bool, device_type: str | None) -> None:
        self._arguments = devices, enabled, device_type
        self._states: list[tuple[Engine, Any]] = []

    def _recreate_cm(self) -> _Fork:
        return _Fork(*self._arguments)

    def change(self) -> None:
        chosen, enabled, device_type = self._arguments
        if enabled:
            engines = [default_generator.engine, *_engines_of(chosen, device_type)]
            self._states = [(engine, engine.get_state()) for engine in engines]

    def put_back(self) -> None:
        for engine, state in self._states:
            engine.set_state(state)


def _engines_of(chosen: Iterable[Any] | None, device_type: str | None) -> list[Engine]:
    kind = devices.accelerator() if device_type is None else device_type
    if kind is None or not devices.count(kind) or kind == "cpu":
        return []
    places = [Device(kind, k) if isinstance(k, int) else Device(k)
              for k in (range(devices.count(kind)) if chosen is None else chosen)]
    return [default_engine(devices.check_available(place)) for place in places if place.type != "cpu"]


def thread_safe_generator() -> Generator | None:
    """The generator of the DataLoader worker thread that asks; None elsewhere: use the default one."""
    from facula.utils.data._utils.worker import get_worker_info  # loads the loader: not before it is needed
    worker = get_worker_info()
    return getattr(worker, "generator", None)
