"""What torch's pickles call our objects: both ways."""

from __future__ import annotations

import importlib
from functools import lru_cache
from pickle import UnpicklingError
from typing import Any

from facula import dtypes
from facula.devices import device
from facula.serialization import allowlist, rebuild, tensors
from facula.serialization.storages import STORAGE_TYPES
from facula.size import Size


@lru_cache(maxsize=1)
def known_globals() -> dict[str, Any]:
    """Full name, as torch's pickles write it, of each object that any file may name."""
    known: dict[str, Any] = {f"torch.{name}": kind for name, kind in STORAGE_TYPES.items()}
    known["torch.storage.UntypedStorage"] = known.pop("torch.UntypedStorage")
    known.update({repr(of): of for of in dtypes.ALL})
    known.update(rebuild.REBUILDERS)
    known.update({"torch.Size": Size, "torch.device": device, "torch.Tensor": tensors.tensor_class(),
                  "torch.nn.parameter.Parameter": rebuild._parameter_class()})
    return known


@lru_cache(maxsize=1)
def written_names() -> dict[int, tuple[str, str]]:
    """id -> (module, name) that is written into files for an object."""
    names = {}
    for path, item in known_globals().items():
        module, _, name = path.rpartition(".")
        names[id(item)] = (module, name)
    return names


@lru_cache(maxsize=1)
def _callable_ids() -> frozenset[int]:
    """By identity: `==` of what a pickle built may mean anything."""
    items = [*allowlist.HARMLESS.values(), *rebuild.REBUILDERS.values(), Size, device, rebuild._parameter_class()]
    return frozenset(map(id, items))


def may_call(item: Any) -> bool:
    """May a pickle call this object, with `weights_only=True`?"""
    return id(item) in _callable_ids() or allowlist.is_added(item)


def find_safe(module: str, name: str) -> Any:
    """The object that a pickle names; UnpicklingError if it is not on the list."""
    return allowlist.find_safe_global(module, name, known_globals())


def set_state(target: Any, state: Any) -> None:
    """Set the state of an object that a pickle made, with `weights_only=True`."""
    if isinstance(target, tensors.tensor_class()):
        rebuild.set_attributes(target, state)
    elif not allowlist.is_added(type(target)):
        raise UnpicklingError("Can only build Tensor, Parameter, OrderedDict or types allowlisted "
                              f"via `add_safe_globals`, but got {type(target).__name__}")
    elif hasattr(target, "__setstate__"):
        target.__setstate__(state)
    else:
        plain, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
        if plain:
            target.__dict__.update(plain)
        for name, value in (slots or {}).items():
            setattr(target, name, value)


def find_any(module: str, name: str) -> Any:
    """The object that a pickle names, wherever it is: torch's names are looked up in our modules first."""
    path = allowlist.full_name(module, name)
    if path in known_globals():
        return known_globals()[path]
    if module.startswith("torch.") or module == "torch":
        try:
            found: Any = importlib.import_module("facula" + module[len("torch"):])
            for part in name.split("."):
                found = getattr(found, part)
            return found
        except (ImportError, AttributeError):
            raise UnpicklingError(f"the file needs {path}, which Facula does not have") from None
    return None
