"""Changing a module in place: dtype, device, training mode, gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import facula
from facula import __future__
from facula.errors import warn

from ..parameter import Parameter, is_lazy


def _put(tensor: Any, changed: Any) -> None:
    """Have a parameter or buffer hold `changed`; of one without a shape only dtype and device count."""
    if not is_lazy(tensor) or (changed.dtype, changed.device) != (tensor.dtype, tensor.device):
        tensor.data = changed


class Conversion:
    """The part of `Module` that changes all of its tensors, or all of its modules, at once."""

    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    training: bool

    def _apply(self, fn: Callable[[Any], Any], recurse: bool = True) -> Any:
        """Replace every parameter's and buffer's value (and gradient) by what `fn` makes of it."""
        if recurse:
            for module in self.children():  # type: ignore[attr-defined]
                module._apply(fn)
        for key, parameter in self._parameters.items():
            if parameter is None:
                continue
            # The Parameter object stays, so that optimizers and tied weights keep referring to it; but not on its way
            # to or from the meta device, as in torch.
            with facula.no_grad():
                changed = fn(parameter.data if is_lazy(parameter) else parameter)  # the data's shape says nothing yet
                gradient = parameter.grad
                if changed.is_meta is parameter.is_meta and not (
                    __future__.get_overwrite_module_params_on_conversion() and not is_lazy(parameter)
                ):
                    _put(parameter, changed)
                elif is_lazy(parameter):
                    parameter = self._parameters[key] = type(parameter)(
                        parameter.requires_grad, changed.device, changed.dtype)
                else:
                    parameter = self._parameters[key] = Parameter(changed, parameter.requires_grad)
                if gradient is not None:
                    parameter.grad = fn(gradient).requires_grad_(gradient.requires_grad)
        for key, buffer in self._buffers.items():
            if buffer is None:
                continue
            if is_lazy(buffer):
                with facula.no_grad():
                    changed = fn(buffer.data)
                    if changed.is_meta is buffer.is_meta:
                        _put(buffer, changed)
                    else:
                        self._buffers[key] = type(buffer)(buffer.requires_grad, changed.device, changed.dtype)
            else:
                self._buffers[key] = fn(buffer)
        return self

    def apply(self, fn: Callable[[Any], Any]) -> Any:
        """Call `fn(module)` on every module below and then on this one; returns self.

        Example:
            >>> import facula.nn as nn
            >>> _ = nn.Sequential(nn.ReLU()).apply(lambda m: print(type(m).__name__))
            ReLU
            Sequential
        """
        for module in self.children():  # type: ignore[attr-defined]
            module.apply(fn)
        fn(self)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Move and/or convert all parameters and buffers in place.

        Called as `to(device)`, `to(dtype)`, `to(device, dtype)`, `to(tensor)` or with keywords. Integer
        parameters and buffers keep their type.

        Raises:
            TypeError: the dtype is neither floating point nor complex.

        Example:
            >>> import facula
            >>> facula.nn.Linear(1, 1).to(facula.float64).weight.dtype
            torch.float64
        """
        device, dtype, non_blocking, memory_format = _parse_to(*args, **kwargs)
        if dtype is not None:
            if not (dtype.is_floating_point or dtype.is_complex):
                raise TypeError("nn.Module.to only accepts floating point or complex dtypes, but got desired "
                                f"dtype={dtype}")
            if dtype.is_complex:
                warn("Complex modules are a new feature under active development whose design may "
                     "change, and some modules might not work as expected when using complex "
                     "tensors as parameters or buffers.")
        options: dict[str, Any] = {}
        if device is not None:
            options["device"] = device
        if non_blocking:
            options["non_blocking"] = True

        def convert(tensor: Any) -> Any:
            chosen = dict(options)
            if dtype is not None and (tensor.is_floating_point() or tensor.is_complex()):
                chosen["dtype"] = dtype
            if memory_format is not None and tensor.dim() in (4, 5):
                chosen["memory_format"] = memory_format
            if tensor.is_meta and device is not None and device.type != "meta":
                raise NotImplementedError("Cannot copy out of meta tensor; no data! Please use "
                                          "torch.nn.Module.to_empty() instead of torch.nn.Module.to() when moving "
                                          "module from meta to a different device.")
            return tensor.to(**chosen) if chosen else tensor

        return self._apply(convert)

    def to_empty(self, *, device: Any, recurse: bool = True) -> Any:
        """Move to `device` without copying values (what they are afterwards is not defined)."""
        return self._apply(lambda t: facula.empty_like(t, device=device), recurse=recurse)

    def type(self, dst_type: Any) -> Any:
        """Convert all parameters and buffers to `dst_type`."""
        return self._apply(lambda t: t.type(dst_type))

    def _to_float_type(self, name: str) -> Any:
        dtype = getattr(facula, name)
        return self._apply(lambda t: t.to(dtype) if t.is_floating_point() else t)

    def float(self) -> Any:
        """Convert floating point parameters and buffers to float32."""
        return self._to_float_type("float32")

    def double(self) -> Any:
        """Convert floating point parameters and buffers to float64."""
        return self._to_float_type("float64")

    def half(self) -> Any:
        """Convert floating point parameters and buffers to float16."""
        return self._to_float_type("float16")

    def bfloat16(self) -> Any:
        """Convert floating point parameters and buffers to bfloat16."""
        return self._to_float_type("bfloat16")

    def cpu(self) -> Any:
        """Move all parameters and buffers to the CPU."""
        return self._apply(lambda t: t.cpu())

    def cuda(self, device: Any = None) -> Any:
        """Move all parameters and buffers to a GPU."""
        return self._apply(lambda t: t.cuda(device))

    def xpu(self, device: Any = None) -> Any:
        """Move all parameters and buffers to an XPU."""
        return self._apply(lambda t: t.xpu(device))

    def share_memory(self) -> Any:
        """Move parameters and buffers into memory that other processes can map."""
        for tensor in (*self.parameters(), *self.buffers()):  # type: ignore[attr-defined]
            if is_lazy(tensor):
                tensor.share_memory_()  # raises
        return self._apply(lambda t: t.share_memory_())

    def train(self, mode: bool = True) -> Any:
        """Set training mode here and in all modules below (dropout and batch norm behave by it); returns
        self.

        Raises:
            ValueError: `mode` is not a bool.
        """
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():  # type: ignore[attr-defined]
            module.train(mode)
        return self

    def eval(self) -> Any:
        """Set evaluation mode; the same as `train(False)`."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Say of all parameters whether gradients are collected for them; returns self."""
        for parameter in self.parameters():  # type: ignore[attr-defined]
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all parameters' gradients, or fill them with zeros where `set_to_none` is False."""
        for parameter in self.parameters():  # type: ignore[attr-defined]
            gradient = parameter.grad
            if gradient is None:
                continue
            if set_to_none:
                parameter.grad = None
                continue
            if gradient.grad_fn is not None:
                gradient.detach_()
            else:
                gradient.requires_grad_(False)
            gradient.zero_()


def _parse_to(*args: Any, **kwargs: Any) -> tuple[Any, Any, bool, Any]:
    """The arguments of `.to(...)` as `(device, dtype, non_blocking, memory_format)`."""
    device, dtype = kwargs.pop("device", None), kwargs.pop("dtype", None)
    other = kwargs.pop("tensor", kwargs.pop("other", None))
    non_blocking = bool(kwargs.pop("non_blocking", False))
    kwargs.pop("copy", None)
    memory_format = kwargs.pop("memory_format", None)
    if kwargs:
        raise TypeError("to() received an invalid combination of arguments - got unexpected "
                        f"{sorted(kwargs)}")
    flags = []
    for arg in args:
        if isinstance(arg, facula.Tensor):
            other = arg
        elif isinstance(arg, facula.dtype):
            dtype = arg
        elif isinstance(arg, bool):
            flags.append(arg)
        elif isinstance(arg, (str, int, facula.device)):
            device = arg
        elif arg is not None:
            raise TypeError("to() received an invalid combination of arguments - got "
                            f"({type(arg).__name__}), but expected a device, a dtype or a tensor")
    if other is not None:
        device, dtype = other.device, other.dtype
    if device is not None and not isinstance(device, facula.device):
        device = facula.device(device)
    return device, dtype, non_blocking or bool(flags and flags[0]), memory_format
