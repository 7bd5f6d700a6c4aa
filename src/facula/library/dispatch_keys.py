"""The keys of PyTorch's dispatcher, as names: Facula has no dispatcher, but libraries name its keys.

`DispatchKey` and `DispatchKeySet` are values like torch's. The guards, which exclude keys, mean what can be meant here:
excluding autograd's keys is `no_grad`, excluding autocast's is `autocast(enabled=False)`.
"""

from __future__ import annotations

import contextlib
import threading
from enum import IntEnum
from typing import Any

import facula

_BACKENDS = ("CPU", "CUDA", "HIP", "XLA", "MPS", "IPU", "XPU", "HPU", "VE", "Lazy", "MTIA", "MAIA", "PrivateUse1",
             "PrivateUse2", "PrivateUse3", "Meta")
# what there is of each backend: prefix of the keys -> (the functionality, its number, the number before the first key)
_FAMILIES = {"": ("Dense", 1, 48), "Quantized": ("Quantized", 5, 65), "Sparse": ("Sparse", 8, 82),
             "SparseCsr": ("SparseCsr", 9, 99), "NestedTensor": ("NestedTensor", 10, 116),
             "Autograd": ("AutogradFunctionality", 21, 133)}
_SINGLE = {"Undefined": 0, "BackendSelect": 11, "Python": 13, "FuncTorchDynamicLayerBackMode": 14, "Functionalize": 15,
           "Conjugate": 16, "Negative": 17, "ZeroTensor": 18, "ADInplaceOrView": 19, "AutogradOther": 20,
           "AutogradNestedTensor": 22, "AutocastCPU": 24, "AutocastXPU": 27, "AutocastIPU": 28, "AutocastHPU": 29,
           "AutocastMPS": 31, "AutocastCUDA": 32, "AutocastPrivateUse1": 33, "FuncTorchBatched": 34,
           "FuncTorchVmapMode": 36, "FuncTorchGradWrapper": 39, "PythonTLSSnapshot": 41,
           "FuncTorchDynamicLayerFrontMode": 42, "PreDispatch": 45, "PythonDispatcher": 46}
_ALIASES = {"Autograd": 150, "CompositeImplicitAutograd": 151, "FuncTorchBatchedDecomposition": 152,
            "CompositeImplicitAutogradNestedTensor": 153, "CompositeExplicitAutograd": 154,
            "CompositeExplicitAutogradNonFunctional": 155}


def _numbers() -> dict[str, int]:
    found = dict(_SINGLE)
    for prefix, (functionality, number, first) in _FAMILIES.items():
        found[functionality] = number
        found.update({prefix + backend: first + k + 1 for k, backend in enumerate(_BACKENDS)})
        kind = functionality.removesuffix("Functionality") + ("Functionality" if prefix == "Autograd" else "")
        found[f"StartOf{kind}Backends"] = first
        found[f"EndOf{kind}Backends"] = first + len(_BACKENDS)
    return found | _ALIASES


class _Key(IntEnum):
    """Where of PyTorch's dispatcher an implementation is registered."""

    def __repr__(self) -> str:
        return f"<DispatchKey.{self.name}: {self.value}>"

    def __str__(self) -> str:
        return f"DispatchKey.{self.name}"


DispatchKey: Any = _Key("DispatchKey", _numbers(), module="torch")  # type: ignore[call-arg,arg-type]


class DispatchKeySet:
    """A set of keys: `DispatchKeySet(key)`, joined by `|`, without others by `-`.

    Its bits are those of functionalities and those of backends; a key of both (CPU: dense, on the CPU) has one of each.

    Example:
        >>> from facula._C import DispatchKey, DispatchKeySet
        >>> both = DispatchKeySet(DispatchKey.CPU) | DispatchKeySet(DispatchKey.AutocastCPU)
        >>> both, both.has(DispatchKey.AutocastCPU)
        (DispatchKeySet(CPU, AutocastCPU), True)
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, key: Any) -> None:
        if not isinstance(key, DispatchKey):
            raise TypeError("DispatchKeySet: expected a torch._C.DispatchKey")
        self._bits = 0
        for number, first in [family[1:] for family in _FAMILIES.values()]:
            if first <= key <= first + len(_BACKENDS):
                self._bits = 1 << 15 + number | (1 << key - first) >> 1
        if 0 < key < 48:
            self._bits = 1 << 15 + int(key)

    @classmethod
    def from_raw_repr(cls, bits: int) -> DispatchKeySet:
        """The set of these bits."""
        made = cls.__new__(cls)
        made._bits = bits
        return made

    def raw_repr(self) -> int:
        """The bits."""
        return self._bits

    def __or__(self, other: DispatchKeySet) -> DispatchKeySet:
        return self.from_raw_repr(self._bits | other._bits)

    def __and__(self, other: DispatchKeySet) -> DispatchKeySet:
        return self.from_raw_repr(self._bits & other._bits)

    def __sub__(self, other: DispatchKeySet) -> DispatchKeySet:
        return self.from_raw_repr(self._bits & ~(other._bits & ~0xFFFF))  # backends stay, as in torch

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DispatchKeySet) and self._bits == other._bits

    def add(self, key: Any) -> DispatchKeySet:
        """The set with a key."""
        return self | DispatchKeySet(key)

    def remove(self, key: Any) -> DispatchKeySet:
        """The set without a key."""
        return self - DispatchKeySet(key)

    def has(self, key: Any) -> bool:
        """Is the key in the set?"""
        wanted = DispatchKeySet(key)._bits
        return self._bits & wanted == wanted

    def _keys(self) -> list[Any]:
        """In the order of functionalities, those of a backend in that of backends."""
        found = [key for key in DispatchKey if 0 < key < 48 and self._bits >> 15 + key & 1]
        keys: list[Any] = []
        for key in sorted(found):
            family = [first for _, number, first in _FAMILIES.values() if number == key]
            keys += [key] if not family else [DispatchKey(family[0] + k + 1) for k in range(len(_BACKENDS))
                                              if self._bits >> k & 1]
        return keys

    def highestPriorityTypeId(self) -> Any:
        """The key that would be served first."""
        keys = self._keys()
        return keys[-1] if keys else DispatchKey.Undefined

    def __repr__(self) -> str:
        return f"DispatchKeySet({', '.join(key.name for key in self._keys())})"


def autocast_is_on(device_type: str) -> bool:
    """Is autocast enabled for that type of device?"""
    return bool(facula.is_autocast_enabled(device_type))


class _Excluded(threading.local):
    bits = 0


_excluded = _Excluded()


class _ExcludeDispatchKeyGuard:
    """A context in which keys are not served: autograd's (as under `no_grad`) and autocast's (as in `autocast(...,
    enabled=False)`). Others have no meaning here."""

    def __init__(self, keys: DispatchKeySet) -> None:
        self._keys = keys

    def __enter__(self) -> None:
        self._before, self._stack = _excluded.bits, contextlib.ExitStack()
        names = [key.name for key in self._keys._keys()]
        if any(name.startswith("Autograd") for name in names):
            self._stack.enter_context(facula.no_grad())
        for kind in ("cpu", "cuda"):
            if f"Autocast{kind.upper()}" in names:
                self._stack.enter_context(facula.autocast(kind, enabled=False))
        _excluded.bits |= self._keys._bits

    def __exit__(self, *args: Any) -> None:
        _excluded.bits = self._before
        self._stack.close()


def _every_autograd_key() -> DispatchKeySet:
    found = DispatchKeySet(DispatchKey.AutogradOther)
    for backend in _BACKENDS:
        found |= DispatchKeySet(DispatchKey[f"Autograd{backend}"])
    return found


class _AutoDispatchBelowAutograd(_ExcludeDispatchKeyGuard):
    """A context below the tape: as `no_grad`."""

    def __init__(self) -> None:
        super().__init__(_every_autograd_key())


def _dispatch_tls_local_exclude_set() -> DispatchKeySet:
    """The keys that guards exclude now."""
    return DispatchKeySet.from_raw_repr(_excluded.bits)


def _dispatch_tls_is_dispatch_key_excluded(key: Any) -> bool:
    """Does a guard exclude that key now, or is that autocast off?"""
    kind = key.name.removeprefix("Autocast").lower()
    if key.name in ("AutocastCPU", "AutocastCUDA"):
        return not autocast_is_on(kind)
    return _dispatch_tls_local_exclude_set().has(key)


def _dispatch_tls_is_dispatch_key_included(key: Any) -> bool:
    """Is that key served by every call in this thread? No."""
    return False


def _dispatch_key_name(key: Any) -> str:
    """The name of a key."""
    return str(key.name)


def _dispatch_key_parse(name: str) -> Any:
    """The key of that name. RuntimeError if there is none."""
    if name not in DispatchKey.__members__:
        raise RuntimeError(f"could not parse dispatch key: {name}")
    return DispatchKey[name]


_parse_dispatch_key = _dispatch_key_parse


def _dispatch_key_for_device(device_type: str) -> str:
    """The name of the key of a type of devices."""
    if ":" in device_type:
        raise RuntimeError(f"Expected device_type string to not have a device index; got {device_type}")
    names = {name.lower(): name for name in _BACKENDS}
    kind = facula.device(device_type).type
    return names.get(kind, "PrivateUse1")


def _dispatch_keyset_to_string(keys: DispatchKeySet) -> str:
    """A set as text."""
    return repr(keys)


def _dispatch_is_alias_key(key: Any) -> bool:
    """Does that key stand for several?"""
    return key.name in _ALIASES


def _dispatch_keys(t: Any) -> DispatchKeySet:
    """The keys that serve a tensor."""
    backend = _dispatch_key_for_device(t.device.type)
    names = [backend, "ADInplaceOrView", f"Autograd{backend}"]
    if f"Autocast{backend}" in DispatchKey.__members__:
        names.append(f"Autocast{backend}")
    found = DispatchKeySet.from_raw_repr(0)
    for name in names:
        found |= DispatchKeySet(DispatchKey[name])
    return found
