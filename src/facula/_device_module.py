"""The module of a type of device: `facula.get_device_module("privateuseone")`, also `facula.privateuseone`.

Whatever target is announced has one, without a word of its own. `_register_device_module` puts another in its place.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from facula import _streams, devices, dtypes, random
from facula._tensor.handle import Tensor, device_of
from facula.accelerator import place_of, supported_dtypes, usage_of
from facula.engine.realize import flush
from facula.engine.targets import target_of
from facula.rng import default_engine, fresh_seed

_registered: dict[str, Any] = {}  # what programs have registered, by type
_made: dict[str, DeviceModule] = {}
_OWN = ("cpu", "cuda", "xpu", "mps")  # types whose modules are files


class DeviceModule(ModuleType):
    """The usual questions and commands, for the devices of type `kind`. `device` arguments: None, an index, a name."""

    Stream, Event = _streams.Stream, _streams.Event

    def __init__(self, kind: str) -> None:
        super().__init__(f"facula.{devices.name_of(kind)}")
        self._kind = kind

    def _place(self, which: Any = None) -> devices.device:
        return place_of(devices.name_of(self._kind), which)

    def _all(self) -> list[devices.device]:
        return [self._place(k) for k in range(self.device_count())]

    def is_available(self) -> bool:
        return self.device_count() > 0

    is_initialized = is_available

    def init(self) -> None:
        self._place()

    def device_count(self) -> int:
        return devices.count(self._kind)

    def current_device(self) -> int:
        index = self._place().index
        assert index is not None
        return index

    def set_device(self, device: Any) -> None:
        if isinstance(device, int) and device < 0:
            return
        found = self._place(device)
        assert found.index is not None
        devices.set_current_index(found.type, found.index)

    def device(self, device: Any) -> _Selected:
        """A context manager: inside, that device is meant. None or a negative index: no change."""
        return _Selected(self, -1 if device is None else device)

    def device_of(self, obj: Tensor) -> _Selected:
        """As `device`, with the one that a tensor is on; no change if that is of another type."""
        place = device_of(obj)
        return _Selected(self, place if devices.kind_of(place.type) == self._kind else -1)

    def synchronize(self, device: Any = None) -> None:
        target = target_of(self._place(device))
        flush()
        target.synchronize()

    def current_stream(self, device: Any = None) -> _streams.Stream:
        return _streams.Stream(self._place(device))

    default_stream = current_stream

    def set_stream(self, stream: _streams.Stream | None) -> None:
        if stream is not None:
            self.set_device(stream.device)

    def stream(self, stream: _streams.Stream | None) -> _Selected:
        return _Selected(self, -1 if stream is None else stream.device)

    # ---- what it is -------------------------------------------------------------------------------------------

    def get_device_name(self, device: Any = None) -> str:
        place = self._place(device)
        return str(target_of(place).capability().get("name", place.type))

    def get_device_capability(self, device: Any = None) -> Any:
        found = target_of(self._place(device)).capability()
        return found.get("capability", found)

    def get_amp_supported_dtype(self) -> list[Any]:
        found = supported_dtypes(target_of(self._place()))
        return [of for of in (dtypes.float16, dtypes.bfloat16) if of in found]

    def is_bf16_supported(self, including_emulation: bool = True) -> bool:
        return self.is_available() and dtypes.bfloat16 in supported_dtypes(target_of(self._place()))

    def _is_in_bad_fork(self) -> bool:
        return False

    # ---- random numbers ---------------------------------------------------------------------------------------

    @property
    def default_generators(self) -> tuple[random.Generator, ...]:
        return tuple([random.generator_of(place) for place in self._all()])

    def manual_seed(self, seed: int) -> None:
        random.generator_of(self._place()).manual_seed(int(seed))

    def manual_seed_all(self, seed: int) -> None:
        for generator in self.default_generators:
            generator.manual_seed(int(seed))

    def seed(self) -> None:
        self.manual_seed(fresh_seed())

    def seed_all(self) -> None:
        self.manual_seed_all(fresh_seed())

    def initial_seed(self) -> int:
        return default_engine(self._place()).initial_seed

    def get_rng_state(self, device: Any = None) -> Tensor:
        return random.generator_of(self._place(device)).get_state()

    def set_rng_state(self, new_state: Tensor, device: Any = None) -> None:
        random.generator_of(self._place(device)).set_state(new_state)

    def get_rng_state_all(self) -> list[Tensor]:
        return [generator.get_state() for generator in self.default_generators]

    def set_rng_state_all(self, new_states: Iterable[Tensor]) -> None:
        for generator, state in zip(self.default_generators, new_states, strict=False):
            generator.set_state(state)

    # ---- memory -----------------------------------------------------------------------------------------------

    def memory_allocated(self, device: Any = None) -> int:
        return usage_of(self._place(device)).bytes

    def max_memory_allocated(self, device: Any = None) -> int:
        return usage_of(self._place(device)).most

    memory_reserved = memory_cached = memory_allocated
    max_memory_reserved = max_memory_cached = max_memory_allocated

    def memory_stats(self, device: Any = None) -> Any:
        return OrderedDict(sorted(usage_of(self._place(device)).stats().items()))

    def reset_peak_memory_stats(self, device: Any = None) -> None:
        usage_of(self._place(device)).forget_most()

    reset_max_memory_allocated = reset_max_memory_cached = reset_peak_memory_stats

    def reset_accumulated_memory_stats(self, device: Any = None) -> None:
        usage_of(self._place(device)).forget_all()

    def mem_get_info(self, device: Any = None) -> tuple[int, int]:
        return target_of(self._place(device)).memory_info()

    def empty_cache(self) -> None:
        for place in self._all():
            target_of(place).empty_cache()


class _Selected:
    """Inside, another device of a type is meant."""

    def __init__(self, module: DeviceModule, which: Any) -> None:
        self._module, self._which = module, which
        self._before = -1

    def __enter__(self) -> None:
        if not (isinstance(self._which, int) and self._which < 0):
            self._before = self._module.current_device()
            self._module.set_device(self._which)

    def __exit__(self, *exc_info: object) -> None:
        self._module.set_device(self._before)


def module_for(kind: str) -> DeviceModule:
    """The module that a type of device has of itself."""
    found = _made.get(kind)
    if found is None:
        found = _made.setdefault(kind, DeviceModule(kind))
    return found


def find(kind: str) -> Any:
    """The module that speaks for devices of type `kind`; None if there is none."""
    found = _registered.get(kind)
    if found is None and kind in _OWN:
        import importlib
        return importlib.import_module(f"facula.{kind}")
    return module_for(kind) if found is None and devices.count(kind) and kind != "meta" else found


def _register_device_module(device_type: str, module: Any) -> None:
    """Have `module` speak for the devices of a type: it is `facula.<type>` then. RuntimeError if another does already.

    Example:
        >>> import facula
        >>> facula.get_device_module("cpu").__name__
        'facula.cpu'
    """
    name = devices.device(device_type).type
    kind = devices.kind_of(name)
    package = sys.modules["facula"]
    known = _registered.get(kind) if kind not in _OWN else find(kind)
    if known is not None and vars(package).get(name) is known:
        raise RuntimeError(f"The runtime module of '{device_type}' has already been registered with '{known}'")
    _registered[kind] = module
    if hasattr(module, "manual_seed_all"):
        devices.told_of_seeds.append(module)
    setattr(package, name, module)
    sys.modules[f"facula.{name}"] = module


def get_device_module(device: Any = None) -> Any:
    """The module of a type of device (of the accelerator, or the cpu, unless told). RuntimeError if it has none.

    Example:
        >>> import facula
        >>> facula.get_device_module().device_count()
        1
    """
    if device is None:
        name = devices.accelerator() or "cpu"
    elif isinstance(device, (str, devices.device)):
        name = devices.device(device).type
    else:
        raise RuntimeError(f"Invalid value of device '{device}', expect torch.device, str, or None")
    found = find(devices.kind_of(name))
    if found is None:
        raise RuntimeError(f"Device '{name}' does not have a corresponding module registered as 'torch.{name}'.")
    return found
