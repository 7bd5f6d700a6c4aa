"""An operation that a program has defined: its kernels, its gradient, its shapes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import facula
from facula import absent
from facula._tensor.handle import is_meta
from facula.autograd.function import Function
from facula.library.dispatch_keys import autocast_is_on
from facula.library.schema import Schema


class Overload:
    """`torch.ops.namespace.name.default`: one form of an operation, that without a name or another."""

    def __init__(self, operation: CustomOpDef) -> None:
        self._operation = operation
        self._schema = f"{operation._qualname}{operation._schema.text}"
        self.namespace, _, rest = operation._qualname.partition("::")
        self._opname, _, overload = rest.partition(".")
        self._overloadname = overload or "default"

    @property
    def overloadpacket(self) -> CustomOpDef:
        """The operation with all its forms."""
        return self._operation._packet

    def name(self) -> str:
        """namespace::name, or namespace::name.form"""
        return self._operation._qualname

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._operation._called(args, kwargs)

    def __repr__(self) -> str:
        return f"{self.namespace}.{self._opname}.{self._overloadname}"


class CustomOpDef:
    """What `custom_op` makes: call it like the function. Its `register_*` methods are decorators."""

    def __init__(self, qualname: str, schema: Schema) -> None:
        self._qualname = qualname
        self._schema = schema
        self._kernels: dict[str, Callable[..., Any]] = {}  # by type of device; "" is for all others
        self._fake: Callable[..., Any] | None = None
        self._backward: Callable[..., Any] | None = None
        self._setup: Callable[..., Any] | None = None
        self._kept: Callable[..., Any] | None = None  # the halves of a gradient in the older form (_custom_ops.py)
        self._by_names: Callable[..., Any] | None = None
        self._differentiable: Any = None
        self._above: dict[str, Callable[..., Any]] = {}  # what makes the tape itself, by torch's keys
        self._autocast: dict[str, Callable[..., Any]] = {}  # what is called within autocast for a type of device
        self._elsewhere: dict[str, Callable[..., Any]] = {}  # what nothing here comes to, by torch's keys
        self._function = _function(self)
        self._packet = self  # the first form that was defined, which finds the others
        self._overloads: dict[str, CustomOpDef] = {qualname.partition("::")[2].partition(".")[2]: self}
        self._opoverload = Overload(self)

    def __repr__(self) -> str:
        return f"<CustomOpDef({self._qualname})>"

    def __getattr__(self, name: str) -> Any:
        """A form of the operation: `default` is the one without a name."""
        overloads = self.__dict__.get("_overloads", {})
        key = "" if name == "default" else name
        if key not in overloads:
            raise AttributeError(f"The operation '{self.__dict__.get('_qualname', '')}' has no overload or attribute "
                                 f"{name!r}")
        return overloads[key]._opoverload

    def overloads(self) -> list[str]:
        """The names of its forms."""
        return [name or "default" for name in self._overloads]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(self._overloads) > 1:
            for form in self._overloads.values():
                if form._schema.takes(form._qualname, args, kwargs):
                    return form._called(args, kwargs)
        return self._called(args, kwargs)

    def _called(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        values = self._schema.bound(self._qualname, args, kwargs)
        tensors, listed = [value for value in values.values() if isinstance(value, facula.Tensor)], _listed(values)
        kind = _kind(tensors + listed)
        if self._autocast and (tensors or listed) and (form := self._autocast.get(kind)) is not None \
                and autocast_is_on(kind):
            with facula.autocast(kind, enabled=False):
                return form(*args, **kwargs)
        if self._above and (key := self._key_above(kind)):
            return self._called_above(key, values)
        if facula.is_grad_enabled() and any(t.requires_grad for t in tensors + listed):
            if any(t.requires_grad for t in listed):
                raise NotImplementedError(f"{self._qualname}: gradients of tensors in a list are not in Facula yet; "
                                          "give them as arguments of their own, or call it under no_grad")
            if "!" in self._schema.text:
                raise NotImplementedError(f"{self._qualname}: gradients of an operation that writes into its arguments "
                                          "are not in Facula yet; return a result instead, or call it under no_grad")
            return self._function.apply(*values.values())
        return self._run(values)

    def _key_above(self, kind: str) -> str:
        """Under which of torch's keys the implementation above the tape is that serves devices of a type; "" of none.

        In torch's order: that for the device type; the composite one, if there is no kernel that it would replace;
        that for all. Within one of autograd's the operation is its kernel."""
        outside = self not in _inside.operations
        exact = {"cpu": "AutogradCPU", "cuda": "AutogradCUDA"}.get(kind, "")
        if outside and exact in self._above:
            return exact
        served = "" in self._kernels or kind in self._kernels or kind == "meta" and self._fake is not None
        if _COMPOSITE in self._above and not served:
            return _COMPOSITE
        return "Autograd" if outside and "Autograd" in self._above else ""

    def _called_above(self, key: str, values: dict[str, Any]) -> Any:
        by_name, before = self._schema.by_name, _inside.operations
        if key != _COMPOSITE:
            _inside.operations = (*before, self)
        try:
            return self._above[key](*[value for name, value in values.items() if name not in by_name],
                                    **{name: value for name, value in values.items() if name in by_name})
        finally:
            _inside.operations = before

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
        kind = _kind(tensors + _listed(values))
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

    def register_autocast(self, device_type: str, cast_inputs: Any) -> None:
        """Within autocast for that type of device, floating tensors are cast to `cast_inputs` before the call."""
        if device_type not in ("cpu", "cuda"):
            raise ValueError(f"Unknown device type: {device_type}")

        def cast(*args: Any, **kwargs: Any) -> Any:
            return self._called(tuple(_cast(a, cast_inputs) for a in args),
                                {name: _cast(a, cast_inputs) for name, a in kwargs.items()})
        self._autocast[device_type] = cast

    def register_autograd(self, backward: Any, /, *, setup_context: Any = None) -> None:
        """The gradient: `setup_context(ctx, inputs, output)` keeps what `backward(ctx, *grads)` needs, which returns
        a gradient (or None) for each input."""
        self._backward, self._setup = backward, setup_context

    def register_vmap(self, func: Any = None, /) -> Any:
        """Not in Facula yet."""
        raise absent.refusal("torch.library.register_vmap")


_COMPOSITE = "CompositeImplicitAutograd"


class _Inside(threading.local):
    operations: tuple[Any, ...] = ()  # whose implementation above the tape is running: they are their kernels within


_inside = _Inside()


def _cast(value: Any, dtype: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_cast(part, dtype) for part in value)
    return value.to(dtype) if isinstance(value, facula.Tensor) and value.is_floating_point() \
        and value.dtype is not facula.float64 else value


def _kind(tensors: list[Any]) -> str:
    """The type of device that a call with these tensors is for."""
    return str(tensors[0].device.type) if tensors else "cpu"


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
            raise RuntimeError(f"Trying to backward through {operation._opoverload!r} but no autograd formula was "
                               "registered. Please use register_autograd to add one.")
        found = operation._backward(ctx, *grads)
        found = found if isinstance(found, tuple) else (found,)
        return found + (None,) * (len(operation._schema.names) - len(found))

    name = f"GeneratedBackwardFor_{operation._qualname.replace('::', '_')}_default"
    return type(name, (Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)})
