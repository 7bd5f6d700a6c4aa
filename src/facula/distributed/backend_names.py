"""`Backend`: the names of backends, as text."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

_created: dict[str, Callable[..., Any]] = {}


class Backend(str):
    """The name of a backend: "gloo", "mpi", "fake", or one that was registered.

    Example:
        >>> from facula.distributed import Backend
        >>> Backend("GLOO") == Backend.GLOO
        True
    """

    UNDEFINED = "undefined"
    GLOO, NCCL, UCC, MPI, XCCL, FAKE = "gloo", "nccl", "ucc", "mpi", "xccl", "fake"
    backend_list = [UNDEFINED, GLOO, NCCL, XCCL, UCC, MPI, FAKE]
    default_device_backend_map = {"cpu": GLOO}

    def __new__(cls, name: str) -> Any:
        if not isinstance(name, str):
            raise ValueError("Backend constructor parameter must be string-ish")
        return str.__new__(cls, name.lower())

    @classmethod
    def register_backend(cls, name: str, func: Callable[..., Any], extended_api: bool = False,
                         devices: Any = None) -> None:
        """A backend of one's own: `func(rank, size)` gives a `facula.distributed.backends.base.Backend`.

        AssertionError where the name is taken.
        """
        if hasattr(cls, name.upper()) or name.lower() in _created:
            raise AssertionError(f"{name.upper()} c10d backend already exist")
        setattr(cls, name.upper(), name.lower())
        cls.backend_list.append(name.lower())
        _created[name.lower()] = func


def of_cpu(backend: str | None) -> str:
    """The backend that tensors on the cpu go by, of a text such as "gloo" or "cpu:gloo,cuda:nccl".

    ValueError of a text that is neither.
    """
    if backend is None or backend == Backend.UNDEFINED:
        return Backend.GLOO
    if ":" not in backend:
        return str(backend).lower()
    found = {}
    for pair in backend.lower().split(","):
        parts = pair.split(":")
        if len(parts) != 2:
            raise ValueError(f"The custom backend string argument is invalid: {backend}.\nCustom backend string is an "
                             "experimental feature where the backend string must be in the format:\n"
                             "\"<device_type1>:<backend1>,<device_type2>:<backend2>...\". e.g. 'cpu:gloo,cuda:nccl'")
        found[parts[0]] = parts[1]
    return found.get("cpu", Backend.GLOO)


def is_available() -> bool:
    """True: there are process groups."""
    return True


def is_mpi_available() -> bool:
    """Is mpi4py installed? `pip install 'facula[distributed]'` brings it, and an MPI."""
    return importlib.util.find_spec("mpi4py") is not None


def is_gloo_available() -> bool:
    """True: sockets are everywhere."""
    return True


def is_nccl_available() -> bool:
    """False."""
    return False


def is_ucc_available() -> bool:
    """False."""
    return False


def is_xccl_available() -> bool:
    """False."""
    return False


def is_backend_available(backend: str) -> bool:
    """Can a group of that backend be made?

    Example:
        >>> import facula.distributed as dist
        >>> dist.is_backend_available("gloo"), dist.is_backend_available("nccl")
        (True, False)
    """
    name = backend.lower()
    return name in ("gloo", "fake") or name in _created or (name == "mpi" and is_mpi_available())
