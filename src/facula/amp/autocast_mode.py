"""`autocast`: products in 16 bits, what needs more in 32, in a region of the program."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from facula import devices
from facula._tensor.handle import Tensor
from facula.amp import switches
from facula.amp.switches import is_autocast_available
from facula.dtypes import bfloat16, float16, float64
from facula.errors import warn
from facula.ops import autocasting
from facula.ops.autocasting import Region, Settings

__all__ = ["autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]


class autocast(Region):
    """A region (`with autocast("cpu"):`), or a decorator of functions, in which operations choose their dtypes.

    On the cpu products (`mm`, `linear`, convolutions, attention) are computed in `dtype`; losses, decompositions and
    Fourier transforms in float32; `cat` and `stack` in the widest type among their operands. Other operations take what
    they are given. float64, integers and complex numbers stay. In-place forms, and those with `out=`, convert nothing.
    Gradients arrive in the dtype of the parameter. Only the thread that has entered the region is concerned.

    Args:
        device_type: "cpu", or an accelerator's type. For "cuda" where there is none it warns and does nothing.
        dtype: bfloat16 or float16; None for what is set (`get_autocast_dtype`: bfloat16 on the cpu).
        enabled: False switches autocast off in a part of a region.
        cache_enabled: whether parameters are converted once in the region, or at each use; None for what is set.

    Raises:
        ValueError: `device_type` is no string.
        RuntimeError: it names no device, or one that autocast does not know.

    Source: Micikevicius et al., "Mixed precision training", 2017.

    Example:
        >>> import facula
        >>> layer = facula.nn.Linear(2, 2)
        >>> with facula.autocast("cpu"):
        ...     y = layer(facula.ones(1, 2))
        ...     loss = facula.nn.functional.mse_loss(y, facula.zeros(1, 2))
        >>> loss.backward()
        >>> y.dtype, loss.dtype, layer.weight.grad.dtype
        (torch.bfloat16, torch.float32, torch.float32)
    """

    def __init__(self, device_type: str, dtype: Any = None, enabled: bool = True,
                 cache_enabled: bool | None = None) -> None:
        if not isinstance(device_type, str):
            raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
        kind = switches.kind_of(device_type)
        self.fast_dtype = switches.get_autocast_dtype(device_type) if dtype is None else dtype
        self.device = device_type
        self.custom_backend_name = devices.name_of(devices.CUSTOM)
        self._cache_enabled = switches.is_autocast_cache_enabled() if cache_enabled is None else cache_enabled
        if enabled and kind == "cuda" and not devices.count("cuda"):
            warn("CUDA is not available or torch_xla is imported. Disabling autocast.")
            enabled = False
        if enabled and self.fast_dtype not in (supported := _supported(kind)):
            name = devices.name_of(kind)
            name = name if kind == devices.CUSTOM else name.upper()
            listed = ", ".join(str(of).replace("facula.", "torch.") for of in supported)
            warn(f"In {name} autocast, but the target dtype is not supported. Disabling autocast.\n"
                 f"{name} Autocast only supports dtypes of {listed} currently.")
            enabled = False
        self._enabled = enabled

    def settings(self) -> Settings:
        return autocasting.thread.now.changed(
            switches.kind_of(self.device), self._enabled, self.fast_dtype, self._cache_enabled)

    def __call__(self, func: Any) -> Any:
        """`func` in such a region, at each call."""
        @functools.wraps(func)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self:
                return func(*args, **kwargs)
        inside.__dict__["__script_unsupported"] = "@autocast() decorator is not supported in script mode"
        return inside


def _supported(kind: str) -> tuple[Any, ...]:
    if kind == devices.CUSTOM:
        import facula
        module = getattr(facula, devices.name_of(kind), None)
        asked = getattr(module, "get_amp_supported_dtype", None)
        if asked is not None:
            return tuple(asked())
    return bfloat16, float16


def _cast(value: Any, device_type: str, dtype: Any) -> Any:
    """The floating-point tensors of a device in `value`, its lists, tuples and mappings converted."""
    if isinstance(value, Tensor):
        fits = value.is_floating_point() and value.device.type == device_type and value.dtype is not float64
        return value.to(dtype) if fits else value
    if isinstance(value, (str, bytes)):
        return value
    if isinstance(value, Mapping):
        return {_cast(k, device_type, dtype): _cast(v, device_type, dtype) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        parts = [_cast(part, device_type, dtype) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def custom_fwd(fwd: Any = None, *, device_type: str, cast_inputs: Any = None) -> Any:
    """A decorator for the `forward` of an `autograd.Function`, which has `custom_bwd` around its `backward`.

    Args:
        device_type: whose autocast is meant.
        cast_inputs: in a region, convert the floating-point arguments to this dtype (float64 stays) and run `forward`
            with autocast off. None: run it with autocast as it is.

    Raises:
        ValueError: `device_type` is no string.

    Example:
        >>> import facula
        >>> class Square(facula.autograd.Function):
        ...     @staticmethod
        ...     @facula.amp.custom_fwd(device_type="cpu", cast_inputs=facula.float32)
        ...     def forward(ctx, x):
        ...         ctx.save_for_backward(x)
        ...         return x @ x
        ...     @staticmethod
        ...     @facula.amp.custom_bwd(device_type="cpu")
        ...     def backward(ctx, g):
        ...         x, = ctx.saved_tensors
        ...         return g @ x.T + x.T @ g
        >>> with facula.autocast("cpu"):
        ...     Square.apply(facula.ones(2, 2, dtype=facula.bfloat16)).dtype
        torch.float32
    """
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def forward(*args: Any, **kwargs: Any) -> Any:
        ctx = args[0]
        ctx._dtype = switches.get_autocast_dtype(device_type)
        enabled = switches.is_autocast_enabled(device_type)
        if cast_inputs is None or not enabled:
            ctx._fwd_used_autocast = enabled
            return fwd(*args, **kwargs)
        ctx._fwd_used_autocast = False
        with autocast(device_type, enabled=False):
            return fwd(*_cast(args, device_type, cast_inputs), **_cast(kwargs, device_type, cast_inputs))
    return forward


def custom_bwd(bwd: Any = None, *, device_type: str) -> Any:
    """A decorator for the `backward` beside `custom_fwd`: autocast is as it was in `forward`, wherever the backward
    pass is called.

    Raises:
        ValueError: `device_type` is no string.
    """
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def backward(*args: Any, **kwargs: Any) -> Any:
        ctx = args[0]
        with autocast(device_type, enabled=ctx._fwd_used_autocast, dtype=ctx._dtype):
            return bwd(*args, **kwargs)
    return backward
