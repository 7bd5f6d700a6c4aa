"""An operation that a program has defined: its kernels, its gradient, its shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import facula
from facula import absent
from facula._tensor.handle import is_meta
from facula.autograd.function import Function
from facula.library.schema import Schema


class Overload:
    """`torch.ops.namespace.name.default`: the operation, under torch's name for its only form."""

    def __init__(self, operation: CustomOpDef) -> None:
        self._operation = operation
        self._schema = f"{operation._qualname}{operation._schema.text}"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._operation(*args, **kwargs)

    def __repr__(self) -> str:
        return self._operation._qualname.replace("::", ".") + ".default"


class CustomOpDef:
    """What `custom_op` makes: call it like the function. Its `register_*` methods are decorators."""

    def __init__(self, qualname: str, schema: Schema) -> None:
        self._qualname = qualname
        self._schema = schema
        self._kernels: dict[str, Callable[..., Any]] = {}  # by type of device; "" is for all others
        self._fake: Callable[..., Any] | None = None
        self._backward: Callable[..., Any] | None = None
        self._setup: Callable[..., Any] | None = None
        self._function = _function(self)
        self.default = Overload(self)

    def __repr__(self) -> str:
        return f"<CustomOpDef({self._qualname})>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        values = self._schema.bound(self._qualname, args, kwargs)
        tensors = [value for value in values.values() if isinstance(value, facula.Tensor)]
        if facula.is_grad_enabled() and any(t.requires_grad for t in tensors + _listed(values)):
            if any(t.requires_grad for t in _listed(values)):
                raise NotImplementedError(f"{self._qualname}: gradients of tensors in a list are not in Facula yet; "
                                          "give them as arguments of their own, or call it under no_grad")
            if "!" in self._schema.text:
                raise NotImplementedError(f"{self._qualname}: gradients of an operation that writes into its arguments "
                                          "are not in Facula yet; return a result instead, or call it under no_grad")
            return self._function.apply(*values.values())
        return self._run(values)

    def _run(self, values: dict[str, Any]) -> Any:
        by_name = self._schema.by_name
        args = [value for name, value in values.items() if name not in by_name]
        kwargs = {name: value for name, value in values.items() if name in by_name}
        tensors = [value for value in values.values() if isinstance(value, facula.Tensor)]
        if any(map(is_meta, tensors)):
            if self._fake is None:
                raise NotImplementedError(f"{self._qualname}: there is no fake implementation, which tensors on the "
                                          "meta device need; register_fake registers one")
            return self._fake(*args, **kwargs)
        kind = tensors[0].device.type if tensors else "cpu"
        kernel = self._kernels.get(kind) or self._kernels.get("")
        if kernel is None:
            raise NotImplementedError(f"{self._qualname}: no kernel is registered for the device type {kind!r}, only "
                                      f"for {sorted(self._kernels)}")
        with facula.no_grad():
            result = kernel(*args, **kwargs)
        for k, out in enumerate(result if isinstance(result, (tuple, list)) else (result,)):
            if isinstance(out, facula.Tensor) and any(_shares(out, t) for t in tensors):
                raise RuntimeError(f"{self._qualname}: The output of this custom operator ({k + 1}) must not also be "
                                   "an input to this custom operator and may not alias any inputs to this custom "
                                   "operator. The most common way to trigger this error is if we have "
                                   "y = custom_op(x) and y and x are the same Tensor: return a clone instead")
        return result

    def register_kernel(self, device_types: Any, func: Any = None, /) -> Any:
        """The implementation for one or several device types (None: for all)."""
        def decorate(function: Any) -> Any:
            for kind in [device_types] if device_types is None or isinstance(device_types, str) else device_types:
                self._kernels[kind or ""] = function
            return function
        return decorate if func is None else decorate(func)

    def register_fake(self, func: Any, /) -> Any:
        """What of the meta device's tensors (shapes and dtypes without elements) comes of the operation."""
        self._fake = func
        return func

    def register_autograd(self, backward: Any, /, *, setup_context: Any = None) -> None:
        """The gradient: `setup_context(ctx, inputs, output)` keeps what `backward(ctx, *grads)` needs, which returns
        a gradient (or None) for each input."""
        self._backward, self._setup = backward, setup_context

    def register_vmap(self, func: Any = None, /) -> Any:
        """Not in Facula yet."""
        raise absent.refusal("torch.library.register_vmap")


def _listed(values: dict[str, Any]) -> list[Any]:
    """The tensors in lists among the arguments."""
    return [t for value in values.values() if isinstance(value, (list, tuple))
            for t in value if isinstance(t, facula.Tensor)]


def _shares(out: Any, t: Any) -> bool:
    return out is t or out._storage is not None and out._storage is t._storage


def _function(operation: CustomOpDef) -> Any:
    """The operation as a step on the tape."""
    def forward(ctx: Any, *inputs: Any) -> Any:
        values = dict(zip(operation._schema.names, inputs, strict=True))
        output = operation._run(values)
        if operation._setup is not None:
            by_name = operation._schema.by_name
            plain = tuple([value for name, value in values.items() if name not in by_name])
            if by_name:
                named = {name: value for name, value in values.items() if name in by_name}
                operation._setup(ctx=ctx, inputs=plain, keyword_only_inputs=named, output=output)
            else:
                operation._setup(ctx=ctx, inputs=plain, output=output)
        return tuple(output) if isinstance(output, list) else output

    def backward(ctx: Any, *grads: Any) -> Any:
        if operation._backward is None:
            raise RuntimeError(f"Trying to backward through {operation.default!r} but no autograd formula was "
                               "registered. Please use register_autograd to add one.")
        found = operation._backward(ctx, *grads)
        found = found if isinstance(found, tuple) else (found,)
        return found + (None,) * (len(operation._schema.names) - len(found))

    name = f"GeneratedBackwardFor_{operation._qualname.replace('::', '_')}_default"
    return type(name, (Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)})
