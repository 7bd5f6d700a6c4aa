"""What programs take from `torch._C` by name: switches of `__torch_function__`, a name of devices, keys of torch's
dispatcher (`library/dispatch_keys.py`, `library/inquiries.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from facula import devices
from facula.ops.listening import disabled as _disabled_torch_function_impl
from facula.ops.listening import quiet as DisableTorchFunction
from facula.ops.listening import subclasses_quiet as DisableTorchFunctionSubclass

__all__ = ["_fft", "_linalg", "_nn", "_special",
           "DisableTorchFunction",
           "DisableTorchFunctionSubclass", "_disabled_torch_function_impl",
           "_get_privateuse1_backend_name", "_get_tracing_state", "_log_api_usage_once"]


def _log_api_usage_once(event: str) -> None:
    """Nothing: PyTorch may count here which of its parts are used, where a program has asked for that."""


def _get_tracing_state() -> Any:
    """True while `torch.jit.trace` runs the program, else None."""
    return import_module("facula.jit").is_tracing() or None


def _get_privateuse1_backend_name() -> str:
    """What devices of type `privateuseone` are called."""
    return devices.name_of(devices.CUSTOM)


class _Space(ModuleType):
    """A namespace of PyTorch's compiled functions, by which generated code calls operations: `_C._linalg.linalg_det`.

    prefix: what their names have before those of the public ones.
    """

    def __init__(self, name: str, where: str, prefix: str = "", others: Mapping[str, str] | None = None) -> None:
        super().__init__(f"torch._C.{name}")
        self._where, self._prefix, self._others = where, prefix, others or {}

    def __getattr__(self, name: str) -> Any:
        public = self._others.get(name, name)
        if name.startswith("__") or not public.startswith(self._prefix):
            raise AttributeError(f"module 'torch._C.{self.__name__}' has no attribute {name!r}")
        return getattr(import_module(self._where), public[len(self._prefix):])


_nn = _Space("_nn", "facula.nn.functional", others={"log_sigmoid": "logsigmoid"})
_linalg = _Space("_linalg", "facula.linalg", "linalg_")
_special = _Space("_special", "facula.special", "special_")
_fft = _Space("_fft", "facula.fft", "fft_")


def __getattr__(name: str) -> Any:
    """What libraries that register operations ask for, loaded when it is asked for."""
    if "ispatch" in name:
        for module in ("facula.library.dispatch_keys", "facula.library.inquiries"):
            found = getattr(import_module(module), name, None)
            if found is not None:
                return found
    raise AttributeError(f"module 'torch._C' has no attribute {name!r}")
