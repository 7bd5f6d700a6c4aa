"""Small public functions: questions about objects, thread counts, and stubs for what Facula always does."""

from __future__ import annotations

from typing import Any

from facula._tensor.handle import Tensor
from facula.dtypes import dtype
from facula.engine.targets import host
from facula.ops.registry import explained

__all__ = [
    "are_deterministic_algorithms_enabled",
    "compile",
    "get_num_interop_threads",
    "get_num_threads",
    "is_complex",
    "is_floating_point",
    "is_storage",
    "is_tensor",
    "is_warn_always_enabled",
    "numel",
    "result_type",
    "set_float32_matmul_precision",
    "get_float32_matmul_precision",
    "set_num_interop_threads",
    "set_num_threads",
    "set_warn_always",
    "typename",
    "use_deterministic_algorithms",
    "get_device",
    "is_conj",
    "is_inference",
    "is_neg",
    "is_nonzero",
    "is_same_size",
    "is_signed",
    "resize_as_",
    "resolve_conj",
    "resolve_neg",
    "set_flush_denormal",
    "set_deterministic_debug_mode",
    "get_deterministic_debug_mode",
    "is_deterministic_algorithms_warn_only_enabled",
]


def is_tensor(obj: Any) -> bool:
    """Is `obj` a Tensor?"""
    return isinstance(obj, Tensor)


def is_storage(obj: Any) -> bool:
    """Is `obj` a tensor's storage?"""
    return type(obj).__name__ in ("UntypedStorage", "TypedStorage")


@explained
def is_floating_point(input: Tensor) -> bool:
    """Are the elements floating-point numbers?"""
    return input.dtype.is_floating_point


@explained
def is_complex(input: Tensor) -> bool:
    """Are the elements complex numbers?"""
    return input.dtype.is_complex


@explained
def numel(input: Tensor) -> int:
    """The number of elements."""
    return input.numel()


def result_type(tensor1: Any, tensor2: Any) -> dtype:
    """The dtype that arithmetic between the two gives."""
    from facula.ops.promotion import result_dtype
    return result_dtype((tensor1, tensor2))


def typename(obj: Any) -> str:
    """The type's name: `torch.FloatTensor` for a tensor, module and class for the rest."""
    if isinstance(obj, Tensor):
        return obj.type()  # type: ignore[no-any-return]
    kind = obj if isinstance(obj, type) else type(obj)
    module = getattr(kind, "__module__", "") or ""
    return kind.__qualname__ if module in ("", "builtins") else f"{module}.{kind.__qualname__}"


def compile(model: Any = None, **options: Any) -> Any:
    """`model` itself: Facula compiles whatever it runs. As a decorator with options too."""
    return model if model is not None else lambda fn: fn


def set_num_threads(n: int) -> None:
    """Use `n` threads from now on."""
    if not isinstance(n, int) or isinstance(n, bool):
        raise TypeError(f"set_num_threads expects an int, but got {type(n).__name__}")
    if n <= 0:
        raise RuntimeError("set_num_threads expects a positive integer")
    host.set_num_threads(n)


def get_num_threads() -> int:
    """The number of threads that kernels run on."""
    return host.get_num_threads()


def set_num_interop_threads(n: int) -> None:
    """Accepted: there is one queue of work."""


def get_num_interop_threads() -> int:
    """1: there is one queue of work."""
    return 1


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Accepted: results never depend on timing here."""
    global _deterministic
    _deterministic = bool(mode)


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` was last told."""
    return _deterministic


_deterministic = False
_precision = "highest"


def set_float32_matmul_precision(precision: str) -> None:
    """Remembered; products of float32 are always computed in float32."""
    global _precision
    _precision = precision


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` was last told."""
    return _precision


def set_warn_always(b: bool) -> None:
    """Accepted."""


def is_warn_always_enabled() -> bool:
    """False."""
    return False


def _forward(name: str) -> Any:
    def function(input: Tensor, *args: Any, **options: Any) -> Any:
        return getattr(input, name)(*args, **options)
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"As the method `Tensor.{name}`."
    return explained(function)


get_device = _forward("get_device")
is_conj = _forward("is_conj")
is_inference = _forward("is_inference")
is_neg = _forward("is_neg")
is_nonzero = _forward("is_nonzero")
is_same_size = _forward("is_same_size")
is_signed = _forward("is_signed")
resize_as_ = _forward("resize_as_")
resolve_conj = _forward("resolve_conj")
resolve_neg = _forward("resolve_neg")


def set_flush_denormal(mode: bool) -> bool:
    """False: denormal numbers are always computed with."""
    return False


def set_deterministic_debug_mode(debug_mode: Any) -> None:
    """Accepted: results never depend on timing here."""
    use_deterministic_algorithms(debug_mode not in (0, "default"))


def get_deterministic_debug_mode() -> int:
    """2 if deterministic algorithms have been asked for, else 0."""
    return 2 if _deterministic else 0


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """False."""
    return False
