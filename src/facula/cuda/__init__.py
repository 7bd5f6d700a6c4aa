"""`facula.cuda`: the questions programs ask about GPUs.

Without one asking is free (`is_available()` is False, memory counters are 0, seeds are accepted), and using a device
raises the exceptions of a PyTorch built without CUDA. Where a target has announced devices (engine/targets/), they are
asked (present.py).
"""

from __future__ import annotations

from typing import Any, NoReturn

from facula import devices
from facula.cuda.errors import AcceleratorError, OutOfMemoryError
from facula.cuda.memory import (
    caching_allocator_alloc,
    caching_allocator_delete,
    caching_allocator_enable,
    empty_cache,
    get_per_process_memory_fraction,
    host_memory_stats,
    ipc_collect,
    list_gpu_processes,
    max_memory_allocated,
    max_memory_cached,
    max_memory_reserved,
    mem_get_info,
    memory_allocated,
    memory_cached,
    memory_reserved,
    memory_stats,
    memory_stats_as_nested_dict,
    memory_summary,
    reset_accumulated_memory_stats,
    reset_max_memory_allocated,
    reset_max_memory_cached,
    reset_peak_memory_stats,
    set_per_process_memory_fraction,
)
from facula.cuda.present import asked_of_devices
from facula.cuda.random import (
    get_rng_state,
    get_rng_state_all,
    initial_seed,
    manual_seed,
    manual_seed_all,
    seed,
    seed_all,
    set_rng_state,
    set_rng_state_all,
)
from facula.cuda.streams import (
    CUDAGraph,
    Event,
    ExternalStream,
    Stream,
    StreamContext,
    current_stream,
    default_stream,
    graph,
    is_current_stream_capturing,
    set_stream,
    stream,
)
from facula.devices import device as device_type

__all__ = [
    "AcceleratorError", "CUDAGraph", "CudaError", "DeferredCudaCallError", "Event", "ExternalStream",
    "OutOfMemoryError", "Stream", "StreamContext", "amp", "caching_allocator_alloc",
    "caching_allocator_delete", "caching_allocator_enable", "can_device_access_peer", "clock_rate",
    "cudart", "current_blas_handle", "current_device", "current_stream", "default_generators",
    "default_stream", "device", "device_count", "device_of", "empty_cache", "get_arch_list",
    "get_device_capability", "get_device_name", "get_device_properties", "get_gencode_flags",
    "get_per_process_memory_fraction", "get_rng_state", "get_rng_state_all", "get_sync_debug_mode",
    "graph", "has_half", "has_magma", "host_memory_stats", "init", "initial_seed", "ipc_collect",
    "is_available", "is_bf16_supported", "is_current_stream_capturing", "is_initialized",
    "is_tf32_supported", "list_gpu_processes", "manual_seed", "manual_seed_all", "max_memory_allocated",
    "max_memory_cached", "max_memory_reserved", "mem_get_info", "memory", "memory_allocated",
    "memory_cached", "memory_reserved", "memory_stats", "memory_stats_as_nested_dict", "memory_summary",
    "nvtx", "power_draw", "random", "reset_accumulated_memory_stats", "reset_max_memory_allocated",
    "reset_max_memory_cached", "reset_peak_memory_stats", "seed", "seed_all", "set_device",
    "set_per_process_memory_fraction", "set_rng_state", "set_rng_state_all", "set_stream",
    "set_sync_debug_mode", "stream", "streams", "synchronize", "temperature", "utilization",
]

has_half = True
has_magma = False


class CudaError(RuntimeError):
    """An error code from the CUDA runtime."""


class DeferredCudaCallError(Exception):
    """A call that was queued before CUDA was initialised, and failed then."""


def is_available() -> bool:
    """Can tensors be put on a CUDA device?

    Example:
        >>> import facula.cuda
        >>> facula.cuda.is_available()
        False
    """
    return devices.count("cuda") > 0


def device_count() -> int:
    """How many CUDA devices there are."""
    return devices.count("cuda")


@asked_of_devices
def is_initialized() -> bool:
    """Has CUDA been used in this process?"""
    return False


@asked_of_devices
def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Do the CUDA devices compute with bfloat16?"""
    return False


def is_tf32_supported() -> bool:
    """Do the CUDA devices compute with TensorFloat-32?"""
    return False


def get_arch_list() -> list[str]:
    """The CUDA architectures this library was compiled for."""
    return []


def get_gencode_flags() -> str:
    """The compiler flags this library was compiled with, for CUDA."""
    return ""


def can_device_access_peer(device: Any, peer_device: Any) -> bool:
    """Can one CUDA device read the memory of another?"""
    _refuse()


def _refuse(*args: Any, **kwargs: Any) -> NoReturn:
    """Raises what PyTorch raises where it was built without CUDA."""
    raise AssertionError("Torch not compiled with CUDA enabled")


_lazy_init = _refuse


@asked_of_devices
def init() -> None:
    """Start CUDA: always an AssertionError here."""
    _refuse()


@asked_of_devices
def current_device() -> int:
    """The index of the selected device: always an AssertionError here."""
    _refuse()


@asked_of_devices
def synchronize(device: Any = None) -> None:
    """Wait for all work on a device: always an AssertionError here."""
    _refuse()


@asked_of_devices
def get_device_name(device: Any = None) -> str:
    """The product name of a device: always an AssertionError here."""
    _refuse()


@asked_of_devices
def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The compute capability of a device: always an AssertionError here."""
    _refuse()


@asked_of_devices
def get_device_properties(device: Any = None) -> Any:
    """Name, memory, number of processors of a device: always an AssertionError here."""
    _refuse()


cudart = current_blas_handle = get_sync_debug_mode = set_sync_debug_mode = _refuse
utilization = temperature = power_draw = clock_rate = _refuse


def set_device(device: Any) -> None:
    """Select a device. A negative index (none) is accepted; any other is an AssertionError where there is none."""
    if _index(device) >= 0:
        if not devices.count("cuda"):
            _refuse()
        devices.check_available(device_type("cuda", _index(device)))
        devices.set_current_index("cuda", _index(device))


def _index(which: Any) -> int:
    """The number of a CUDA device; -1 for None, and for a place that is no CUDA device."""
    if which is None:
        return -1
    if isinstance(which, int):
        return which
    place = device_type(which) if isinstance(which, str) else which
    if place.type != "cuda":
        return -1
    return devices.current_index("cuda") if place.index is None else place.index


class device:
    """Context manager that selects a CUDA device. Negative indices and None select nothing.

    Example:
        >>> import facula.cuda
        >>> with facula.cuda.device(-1):
        ...     pass
    """

    def __init__(self, device: Any) -> None:
        self.idx = _index(device)
        self.prev_idx = -1

    def __enter__(self) -> None:
        if self.idx >= 0:
            if not devices.count("cuda"):
                raise RuntimeError("PyTorch was compiled without CUDA support")
            self.prev_idx = devices.current_index("cuda")
            set_device(self.idx)

    def __exit__(self, *exc_info: object) -> None:
        set_device(self.prev_idx)


class device_of(device):
    """Context manager that selects the device of a tensor, if that is a CUDA device."""

    def __init__(self, obj: Any) -> None:
        super().__init__(obj.get_device() if getattr(obj, "is_cuda", False) else -1)


_SUBMODULES = ("amp", "memory", "nvtx", "random", "streams")
_TENSOR_TYPES = {f"{kind}Tensor" for kind in (
    "Float", "Double", "Half", "BFloat16", "Byte", "Char", "Short", "Int", "Long", "Bool")}


def _unavailable_tensor_type(name: str) -> type:
    def refuse(cls: type, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(f"type torch.cuda.{name} not available. Torch not compiled with CUDA enabled.")
    return type(name, (), {"__new__": refuse, "__module__": "torch.cuda"})


def __getattr__(name: str) -> Any:
    if name == "default_generators":
        from facula._device_module import module_for
        return module_for("cuda").default_generators
    if name in _SUBMODULES:
        import importlib
        return importlib.import_module(f"facula.cuda.{name}")
    if name in _TENSOR_TYPES:
        globals()[name] = _unavailable_tensor_type(name)
        return globals()[name]
    raise AttributeError(f"module 'torch.cuda' has no attribute '{name}'")
