"""`device`: where a tensor lives, and the checks that refuse a place which this machine lacks.

Elements are kept in the computer's own memory (`cpu`) or in that of a device which a target has announced
(engine/targets); a `meta` tensor has a shape and no elements. The other names are understood, because programs ask
about them, and refused when used.
"""

from __future__ import annotations

import re
import threading
from typing import Any

from facula.undisturbed import undisturbed

TYPES = ("cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve", "fpga", "maia",
         "xla", "lazy", "vulkan", "mps", "meta", "hpu", "mtia", "privateuseone")
_STRING = re.compile(r"([a-z_]+)(?::(0|[1-9][0-9]*))?\Z", re.ASCII)
_interned: dict[tuple[str, int | None], device] = {}
_SIGNATURES = "but expected one of:\n * (torch.device device)\n * (str type, int index = -1)\n"


class device:
    """A place for tensors: a type (`cpu`, `cuda`, ...) and, where there are several, an index.

    There is one object for each place, so `is` compares as well as `==`. As a context manager it is the
    place where factory functions put new tensors. RuntimeError for a string that names no device.

    Example:
        >>> from facula.devices import device
        >>> device("cuda:1")
        device(type='cuda', index=1)
        >>> str(device("cpu"))
        'cpu'
    """

    __slots__ = ("type", "index")

    type: str
    index: int | None

    def __new__(cls, *args: Any, **kwargs: Any) -> device:
        if len(args) == 1 and not kwargs:
            found = _interned.get((args[0], None)) if type(args[0]) is str else None
            return found or _parse(args[0])
        return _from_arguments(args, kwargs)

    def __setattr__(self, name: str, value: object) -> None:
        if name in ("type", "index"):
            raise AttributeError(f"attribute '{name}' of 'torch.device' objects is not writable")
        raise AttributeError(f"'torch.device' object has no attribute '{name}'")

    def __repr__(self) -> str:
        return f"device(type='{self.type}'" + ("" if self.index is None else f", index={self.index}") + ")"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __reduce__(self) -> tuple[Any, ...]:
        return device, (self.type,) if self.index is None else (self.type, self.index)

    def __copy__(self) -> device:
        return self

    def __deepcopy__(self, memo: object) -> device:
        return self

    @undisturbed
    def __enter__(self) -> device:
        stack = _defaults()
        stack += [self]  # not append(): after a call an exception could come
        return self

    @undisturbed
    def __exit__(self, *exc_info: object) -> None:
        stack: list[device] = _local.stack  # there is one in the thread that has entered
        del stack[-1:]

    def __call__(self, function: Any) -> Any:
        """As a decorator: `function` runs with this as the default device."""
        from functools import wraps

        @wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)
        return inside


CUSTOM = "privateuseone"  # the type that may be given a name of its own
_given: dict[str, str] = {}  # the one that it has been given


def kind_of(name: str) -> str:
    """The type that a name of devices means: the name itself, but for what CUSTOM has been given."""
    return CUSTOM if name == _given.get(CUSTOM) else name


def name_of(kind: str) -> str:
    """The name of devices of a type."""
    return _given.get(kind, kind)


def is_custom(name: str) -> bool:
    """Is this what announced devices of type CUSTOM, or of another that PyTorch has no module for, are called?"""
    return kind_of(name) in _counts and name not in ("cuda", "xpu", "mps", "mtia")


def rename(name: str) -> None:
    """Devices of type CUSTOM are called `name` from now on, those too that are there. RuntimeError if the name is
    another device's, or if they have been given another."""
    if name in TYPES:
        raise RuntimeError(f"Cannot register privateuse1 backend with in-tree device name: {name}")
    if not re.fullmatch(r"[a-z_]+", name, re.ASCII):
        raise RuntimeError(f"Invalid name of a backend: {name!r}")
    if _given.get(CUSTOM, name) != name:
        raise RuntimeError("torch.register_privateuse1_backend() has already been set! Current backend: "
                           f"{_given[CUSTOM]}")
    _given[CUSTOM] = name
    for (kind, index), found in list(_interned.items()):
        if kind == CUSTOM:
            object.__setattr__(found, "type", name)
            _interned[name, index] = found


def _intern(kind: str, index: int | None) -> device:
    kind = name_of(kind)
    found = _interned.get((kind, index))
    if found is None:
        found = object.__new__(device)
        object.__setattr__(found, "type", kind)
        object.__setattr__(found, "index", index)
        found = _interned.setdefault((kind, index), found)
        if kind != kind_of(kind):
            _interned[kind_of(kind), index] = found
    return found


def _parse(what: Any) -> device:
    if isinstance(what, device):
        return what
    if isinstance(what, str):
        return _parse_string(what)
    if isinstance(what, int) and not isinstance(what, bool):
        return _accelerator(what)
    kind = type(what).__name__
    raise TypeError(f"device() received an invalid combination of arguments - got ({kind}), {_SIGNATURES}")


def _parse_string(text: str) -> device:
    if not text:
        raise RuntimeError("Device string must not be empty")
    match = _STRING.match(text)
    if match is None and not re.match(r"[A-Za-z_]*\Z", text):
        raise RuntimeError(f"Invalid device string: '{text}'")
    if match is None or match[1] not in TYPES and match[1] != _given.get(CUSTOM):
        raise RuntimeError(
            f"Expected one of {', '.join(TYPES)} device type at start of device string: {text}")
    return _intern(match[1], None if match[2] is None else int(match[2]))


def _from_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> device:
    names = ("type", "index")
    given = dict(zip(names, args, strict=False)) | kwargs
    if len(args) + len(kwargs) == 1 and "device" in given:
        return _parse(given["device"])
    if len(args) > 2 or not given or set(given) - set(names) or "type" not in given:
        kinds = [type(a).__name__ for a in args] + [f"{k}={type(v).__name__}" for k, v in kwargs.items()]
        raise TypeError("device() received an invalid combination of arguments - "
                        f"got ({', '.join(kinds)}), {_SIGNATURES}")
    kind, index = given["type"], given.get("index")
    if not isinstance(kind, str):
        raise TypeError(f"device(): argument 'type' (position 1) must be str, not torch.{type(kind).__name__}"
                        if isinstance(kind, device) else
                        f"device(): argument 'type' (position 1) must be str, not {type(kind).__name__}")
    if index is not None and (not isinstance(index, int) or isinstance(index, bool)):
        raise TypeError(f"device(): argument 'index' (position 2) must be int, not {type(index).__name__}")
    found = _parse_string(kind)
    if index is None:
        return found
    if found.index is not None:
        raise RuntimeError(
            f"type (string) must not include an index because index was passed explicitly: {kind}")
    if index < 0:
        raise RuntimeError("Device index must not be negative")
    return _intern(kind, index)


def _accelerator(index: int) -> device:
    """The device that a bare number means: the accelerator of that index, if there is one at all."""
    kind = accelerator()
    if kind is None:
        raise RuntimeError(NO_ACCELERATOR)
    return _intern(kind, index)


# How many devices this machine has of each type, beside cpu and meta.
_counts: dict[str, int] = {}
NO_ACCELERATOR = "Cannot access accelerator device when none is available."


def accelerator() -> str | None:
    """The type of accelerator that this machine has; the first announced, if there are several."""
    return next(map(name_of, _counts), None)


def current_accelerator() -> device:
    """The accelerator that is meant if nothing else is said. RuntimeError if there is none."""
    return _accelerator(current_index(accelerator() or ""))


def announce(kind: str, count: int) -> None:
    """This machine has `count` devices of type `kind`. ValueError if there is no such type."""
    if kind not in TYPES or kind in ("cpu", "meta") or count < 1:
        raise ValueError(f"{count} devices of type {kind!r}")
    _counts[kind] = count
    _current.pop(kind, None)


def withdraw(kind: str) -> None:
    """It has none any more."""
    del _counts[kind]


def count(kind: str) -> int:
    """How many devices of a type this machine has."""
    return 1 if kind == "cpu" else _counts.get(kind_of(kind), 0)


told_of_seeds: list[Any] = []  # modules of devices whose `manual_seed_all` is called with every seed
_current: dict[str, int] = {}  # the index that a type without one means, where it is not 0


def current_index(kind: str) -> int:
    """The index of the device that the bare name of a type means."""
    return _current.get(kind_of(kind), 0)


def set_current_index(kind: str, index: int) -> None:
    _current[kind_of(kind)] = index


CPU = _intern("cpu", None)
META = _intern("meta", None)
for _kind in TYPES:
    _intern(_kind, None)


# Where factory functions put tensors when not told: `with device(...)` and `set_default_device`.
_local = threading.local()


@undisturbed
def _defaults() -> list[device]:
    stack: list[device] | None = getattr(_local, "stack", None)
    if stack is None:
        stack = _local.stack = [CPU]
    return stack


def get_default_device() -> device:
    """The device of tensors that are made without naming one.

    Example:
        >>> from facula.devices import get_default_device
        >>> get_default_device()
        device(type='cpu')
    """
    return _defaults()[-1]


def set_default_device(device: Any) -> None:
    """From now on make tensors on `device` (None: on the cpu) where no other is named.

    Example:
        >>> from facula.devices import set_default_device
        >>> set_default_device("cpu")
    """
    _defaults()[-1] = CPU if device is None else _parse(device)


def parse_device(what: Any = None, function: str = "empty") -> device:
    """The device that a `device=` argument means, checked to be usable here.

    `what` may be None (the default device), a string, an accelerator's number or a device. Tensors on the cpu
    carry no index, so `cpu:0` gives `cpu`. Raises as `check_available` does; TypeError for anything else.

    Example:
        >>> from facula.devices import parse_device
        >>> parse_device("cpu:0")
        device(type='cpu')
    """
    if what is None:
        found = _defaults()[-1]
    elif isinstance(what, device):
        found = what
    elif isinstance(what, str):
        found = _parse_string(what)
    elif isinstance(what, int) and not isinstance(what, bool):
        found = _accelerator(what)
    else:
        raise TypeError(f"{function}(): argument 'device' must be torch.device, not {type(what).__name__}")
    if found is CPU:
        return found
    return check_available(found)


def check_available(place: device) -> device:
    """`place` as tensors carry it (cpu and meta without an index, others with one), or the error that PyTorch raises
    where it is missing.

    Example:
        >>> from facula.devices import check_available, device
        >>> check_available(device("cuda"))
        Traceback (most recent call last):
            ...
        AssertionError: Torch not compiled with CUDA enabled
    """
    if place.type == "cpu":
        return CPU
    if place.type == "meta":
        return META
    there = count(place.type)
    if there:
        index = current_index(place.type) if place.index is None else place.index
        if index >= there:
            raise RuntimeError(f"invalid device ordinal: {place}, but there are {there} devices of type {place.type}")
        return _intern(place.type, index)
    if place.type in ("cuda", "xpu"):
        raise AssertionError(f"Torch not compiled with {place.type.upper()} enabled")
    if place.type == "mps":  # a RuntimeError too: torch raises one or the other, by the call
        raise NotImplementedError("PyTorch is not linked with support for mps devices")
    raise NotImplementedError(
        f"Could not run 'aten::empty.memory_format' with arguments from the '{place.type.upper()}' backend: "
        "tensors can be made on 'cpu' and 'meta' only.")
