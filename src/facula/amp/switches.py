"""What autocast is like in this thread: asked and set one by one. `autocast` does it for a region."""

from __future__ import annotations

from typing import Any

from facula import devices
from facula.dtypes import dtype
from facula.errors import warn
from facula.ops import autocasting

__all__ = ["autocast_decrement_nesting", "autocast_increment_nesting", "clear_autocast_cache", "get_autocast_cpu_dtype",
           "get_autocast_dtype", "get_autocast_gpu_dtype", "get_autocast_ipu_dtype", "get_autocast_xla_dtype",
           "is_autocast_available", "is_autocast_cache_enabled", "is_autocast_cpu_enabled", "is_autocast_enabled",
           "is_autocast_ipu_enabled", "is_autocast_xla_enabled", "set_autocast_cache_enabled",
           "set_autocast_cpu_dtype", "set_autocast_cpu_enabled", "set_autocast_dtype", "set_autocast_enabled",
           "set_autocast_gpu_dtype", "set_autocast_ipu_dtype", "set_autocast_ipu_enabled", "set_autocast_xla_dtype",
           "set_autocast_xla_enabled"]


def _need(what: str, name: str, position: int, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        wanted = "torch.dtype" if kind is dtype else kind.__name__
        given = type(value).__name__
        given = f"torch.{given}" if type(value) in (dtype, devices.device) else given
        raise TypeError(f"{what}(): argument '{name}' (position {position}) must be {wanted}, not {given}")


def kind_of(device_type: Any, what: str = "autocast") -> str:
    """The type of devices that is meant, which autocast must know."""
    _need(what, "device_type", 1, device_type, str)
    kind = devices.kind_of(devices.device(device_type).type)
    if kind not in autocasting.DTYPES:
        raise RuntimeError(f"User specified an unsupported autocast device_type '{device_type}'")
    return kind


def is_autocast_available(device_type: str) -> bool:
    """Does autocast know devices of this type (whether or not there is one)?

    Raises:
        RuntimeError: the string names no device.

    Example:
        >>> import facula
        >>> facula.amp.is_autocast_available("cpu"), facula.amp.is_autocast_available("meta")
        (True, False)
    """
    _need("_is_autocast_available", "device_type", 1, device_type, str)
    return devices.kind_of(devices.device(device_type).type) in autocasting.DTYPES


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Is autocast on in this thread, for devices of this type?

    Example:
        >>> import facula
        >>> with facula.autocast("cpu"):
        ...     print(facula.is_autocast_enabled("cpu"), facula.is_autocast_enabled("cuda"))
        True False
    """
    return kind_of(device_type, "is_autocast_enabled") in autocasting.thread.now.enabled


def set_autocast_enabled(device_type: Any, enabled: Any = None) -> None:
    """Switch autocast on or off in this thread. With one argument: for CUDA."""
    if enabled is None:
        _need("set_autocast_enabled", "enabled", 1, device_type, bool)
        device_type, enabled = "cuda", device_type
    kind = kind_of(device_type, "set_autocast_enabled")
    _need("set_autocast_enabled", "enabled", 2, enabled, bool)
    autocasting.hold(autocasting.thread.now.changed(kind, enabled=enabled))


def get_autocast_dtype(device_type: str) -> dtype:
    """The dtype in which autocast has products computed on devices of this type.

    Example:
        >>> import facula
        >>> facula.get_autocast_dtype("cpu")
        torch.bfloat16
    """
    return autocasting.thread.now.dtypes[kind_of(device_type, "get_autocast_dtype")]


def set_autocast_dtype(device_type: str, dtype: Any) -> None:
    """Set the dtype in which autocast has products computed."""
    kind = kind_of(device_type, "set_autocast_dtype")
    _need("set_autocast_dtype", "dtype", 2, dtype, _DTYPE)
    autocasting.hold(autocasting.thread.now.changed(kind, of=dtype))


_DTYPE = dtype


def is_autocast_cache_enabled() -> bool:
    """Are parameters converted once in a region, or at each use?"""
    return autocasting.thread.now.keeps


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Whether parameters are converted once in a region."""
    _need("set_autocast_cache_enabled", "enabled", 1, enabled, bool)
    autocasting.hold(autocasting.thread.now.changed(keeps=enabled))


def clear_autocast_cache() -> None:
    """Forget the parameters that have been converted in this thread."""
    autocasting.thread.kept = None


def autocast_increment_nesting() -> int:
    """One region more, for code that sets what autocast is like by itself. Returns how many there are."""
    autocasting.thread.depth += 1
    return autocasting.thread.depth


def autocast_decrement_nesting() -> int:
    """One region less. Returns how many there are; who has come to 0 calls `clear_autocast_cache`."""
    autocasting.thread.depth -= 1
    return autocasting.thread.depth


def _older(kind: str, device: str) -> tuple[Any, Any, Any, Any]:
    """Functions of the times when each type of device had its own."""
    def deprecated(name: str, instead: str) -> None:
        warn(f"torch.{name} is deprecated. Please use torch.{instead} instead.", DeprecationWarning)

    def is_enabled() -> bool:
        deprecated(f"is_autocast_{kind}_enabled()", f"is_autocast_enabled('{device}')")
        return is_autocast_enabled(device)

    def set_enabled(enabled: bool) -> None:
        deprecated(f"set_autocast_{kind}_enabled(enabled)", f"set_autocast_enabled('{device}', enabled)")
        set_autocast_enabled(device, enabled)

    def get_dtype() -> _DTYPE:
        deprecated(f"get_autocast_{kind}_dtype()", f"get_autocast_dtype('{device}')")
        return get_autocast_dtype(device)

    def set_dtype(dtype: _DTYPE) -> None:
        deprecated(f"set_autocast_{kind}_dtype(dtype)", f"set_autocast_dtype('{device}', dtype)")
        set_autocast_dtype(device, dtype)

    found = is_enabled, set_enabled, get_dtype, set_dtype
    for form, (verb, noun) in zip(found, (("is", "enabled"), ("set", "enabled"), ("get", "dtype"), ("set", "dtype")),
                                  strict=True):
        form.__name__ = form.__qualname__ = f"{verb}_autocast_{kind}_{noun}"
        form.__doc__ = f"`{verb}_autocast_{noun}` for \"{device}\", under its older name."
    return found


is_autocast_cpu_enabled, set_autocast_cpu_enabled, get_autocast_cpu_dtype, set_autocast_cpu_dtype = _older(
    "cpu", "cpu")
is_autocast_ipu_enabled, set_autocast_ipu_enabled, get_autocast_ipu_dtype, set_autocast_ipu_dtype = _older(
    "ipu", "ipu")
is_autocast_xla_enabled, set_autocast_xla_enabled, get_autocast_xla_dtype, set_autocast_xla_dtype = _older(
    "xla", "xla")
_, _, get_autocast_gpu_dtype, set_autocast_gpu_dtype = _older("gpu", "cuda")
