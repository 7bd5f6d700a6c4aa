"""`map_location`: where `load` puts the storages of a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula import devices
from facula.devices import device
from facula.serialization.limits import CallersError, shown
from facula.serialization.storages import LoadedStorage

Restore = Callable[[LoadedStorage, str], LoadedStorage]


def default_restore_location(storage: LoadedStorage, location: str) -> LoadedStorage:
    """`storage` where its file says that it was. RuntimeError where there is no such device."""
    kind = location.partition(":")[0]
    if kind == "cpu":
        return storage
    if kind == "meta":
        storage.device = device("meta")
        return storage
    if devices.count(kind):
        storage.device = devices.check_available(device(location))
        return storage
    if kind == "cuda":
        raise RuntimeError(
            "Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is False. If "
            "you are "
            "running on a CPU-only machine, please use torch.load with map_location=torch.device('cpu') to "
            "map your "
            "storages to the CPU.")
    raise RuntimeError(f"don't know how to restore data location of torch.storage.UntypedStorage (tagged "
                       f"with "
                       f"{shown(location)[1:-1]}); please use torch.load with map_location='cpu'")


def restorer(map_location: Any) -> Restore:
    """The function that puts a storage where `map_location` (see `load`) says."""
    if map_location is None:
        return default_restore_location
    if isinstance(map_location, dict):
        return lambda storage, location: default_restore_location(
            storage, str(map_location.get(location, location)))
    if isinstance(map_location, bytes):
        map_location = map_location.decode("ascii")
    if isinstance(map_location, (str, device)):
        place = str(device(map_location))
        return lambda storage, location: default_restore_location(storage, place)
    if not callable(map_location):
        raise TypeError("map_location must be None, a string, a device, a dict or a function, not "
                        f"{type(map_location).__name__}")

    def restore(storage: LoadedStorage, location: str) -> LoadedStorage:
        try:
            placed = map_location(storage, location)
        except Exception as error:
            raise CallersError from error
        return default_restore_location(storage, location) if placed is None else placed
    return restore
