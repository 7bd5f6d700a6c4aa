"""Names for the type of device that PyTorch leaves to others, `privateuseone`."""

from __future__ import annotations

from typing import Any

from facula import _C, devices
from facula._tensor.handle import Tensor, device_of
from facula.nn import Module
from facula.nn.utils.rnn import PackedSequence

__all__ = ["generate_methods_for_privateuse1_backend", "rename_privateuse1_backend"]


def rename_privateuse1_backend(backend_name: str) -> None:
    """Call devices of type `privateuseone` `backend_name` from now on. RuntimeError if that is the name of another
    type, or if they have been given another name."""
    devices.rename(backend_name)


def generate_methods_for_privateuse1_backend(for_tensor: bool = True, for_module: bool = True,
                                             for_packed_sequence: bool = True, for_storage: bool = False,
                                             unsupported_dtype: Any = None) -> None:
    """Give tensors, modules and packed sequences the methods `.NAME()` and `.is_NAME` of these devices. RuntimeError if
    they have them."""
    name = _C._get_privateuse1_backend_name()
    if for_storage:
        raise NotImplementedError("generate_methods_for_privateuse1_backend(for_storage=True): storages are moved by "
                                  "moving their tensors")

    def place_of(device: Any) -> devices.device:
        if isinstance(device, int) and not isinstance(device, bool):
            return devices.device(name, device)
        place = devices.device(name if device is None else device)
        if place.type != name:
            raise RuntimeError(f"Invalid device, must be {name} device")
        return place

    def to(self: Any, device: Any = None, non_blocking: bool = False, **options: Any) -> Any:
        return self.to(place_of(device), non_blocking=non_blocking, **options)

    def move(self: Any, device: Any = None) -> Any:
        return self.to(place_of(device))

    def is_there(self: Any) -> bool:
        return device_of(getattr(self, "data", self)).type == name

    if for_tensor:
        _give(Tensor, f"is_{name}", property(is_there))
        _give(Tensor, name, to)
    if for_module:
        _give(Module, name, move)
    if for_packed_sequence:
        _give(PackedSequence, f"is_{name}", property(is_there))
        _give(PackedSequence, name, to)


def _give(cls: type, name: str, value: Any) -> None:
    if name in vars(cls) and name != f"is_{devices.CUSTOM}":
        raise RuntimeError(f"The custom device module of {cls} has already been registered with {name}")
    setattr(cls, name, value)
