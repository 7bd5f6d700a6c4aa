"""`torch.library`: operations of a program's own, with a name, kernels and a gradient.

    schema.py      what an operation takes and gives
    operation.py   the operation itself

Facula has no dispatcher below the operations: a registered operation is a Python function that is looked up by the type
of its tensors' device, with a step of its own on the tape.

Example:
    >>> import facula
    >>> @facula.library.custom_op("docs::scaled", mutates_args=())
    ... def scaled(x: facula.Tensor, by: float = 2.0) -> facula.Tensor:
    ...     return x * by
    >>> scaled(facula.ones(2)), facula.ops.docs.scaled(facula.ones(2), by=3.0)
    (tensor([2., 2.]), tensor([3., 3.]))
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from facula import absent
from facula.library import dispatch_keys
from facula.library.checking import OpCheckError, opcheck
from facula.library.operation import CustomOpDef, Overload
from facula.library.schema import infer_schema, parsed
from facula.ops.custom_namespaces import namespace, namespaces

__all__ = ["CustomOpDef", "Library", "OpCheckError", "custom_op", "define", "impl", "impl_abstract", "infer_schema",
           "fallthrough_kernel", "get_kernel", "opcheck", "register_autocast", "register_autograd", "register_fake",
           "register_kernel", "register_torch_dispatch", "register_vmap", "triton_op", "wrap_triton"]

OpOverload = Overload


def custom_op(name: str, fn: Any = None, /, *, mutates_args: str | Iterable[str], device_types: Any = None,
              schema: str | None = None, tags: Any = None) -> Any:
    """Make a function an operation, as decorator or directly.

    Args:
        name: "namespace::name".
        mutates_args: names of arguments that it writes into; what it returns must share memory with no argument.
        device_types: for which devices the function is; others may be registered.
        schema: what it takes and gives; by default what its annotations say.

    Returns:
        A CustomOpDef, which is also `torch.ops.namespace.name`.

    Raises:
        ValueError: a name without namespace, a function without annotations, or a schema of other `mutates_args`.
    """
    def decorate(function: Any) -> CustomOpDef:
        text = infer_schema(function, mutates_args=mutates_args) if schema is None else schema
        written = parsed(text).written
        if schema is not None and (isinstance(mutates_args, str) or set(mutates_args) != written):
            raise ValueError(f"Attempted to create a custom op with `mutates_args={mutates_args}` and "
                             f"`schema={schema}`. The schema says that it mutates {sorted(written)}. Please make "
                             "these consistent.")
        operation = _made(name, text)
        operation.register_kernel(device_types, function)
        return operation
    return decorate if fn is None else decorate(fn)


def _made(name: str, schema: str, anew: bool = True) -> CustomOpDef:
    """The operation of that name, found in its namespace from now on. `anew`: may there have been one?"""
    match = re.fullmatch(r"(\w+)::(\w+)(?:\.(\w+))?", name)
    if match is None:
        raise ValueError(f"Expected the name of the operation to be namespace::name, but got {name!r}")
    operations, base, form = namespace(match[1])._operations, match[2], match[3] or ""
    operation, packet = CustomOpDef(name, parsed(schema)), operations.get(base)
    if packet is not None and not hasattr(packet, "_overloads"):
        raise RuntimeError(f"{name} is an operation of Facula's own: choose another name")
    if packet is not None and form in packet._overloads and not anew:
        raise RuntimeError(f"Tried to register an operator ({name}{schema}) with the same name and overload name "
                           "multiple times. Each overload's schema should only be registered with a single call to "
                           "def().")
    if packet is None or anew and list(packet._overloads) == [form]:
        operations[base] = operation
    else:
        operation._packet, operation._overloads = packet, packet._overloads
        packet._overloads[form] = operation
    return operation


def _found(op: Any, lib: Any = None) -> CustomOpDef:
    """The operation that a name, an overload or an operation means."""
    if isinstance(op, CustomOpDef):
        return op
    if isinstance(op, Overload):
        return op._operation
    space, _, name = str(op).removesuffix(".default").partition("::")
    base, _, form = name.partition(".")
    overloads = namespaces[space].defined().get(base, {}) if space in namespaces else {}
    if form not in overloads:
        raise RuntimeError(f"operator {op} does not exist: custom_op or define makes one")
    return overloads[form]  # type: ignore[no-any-return]


def register_fake(op: Any, func: Any = None, /, *, lib: Any = None, _stacklevel: int = 1,
                  allow_override: bool = False) -> Any:
    """What comes of tensors on the meta device; see `CustomOpDef.register_fake`."""
    return _found(op).register_fake if func is None else _found(op).register_fake(func)


def impl_abstract(qualname: str, func: Any = None, *, lib: Any = None, _stacklevel: int = 1) -> Any:
    """The old name of `register_fake`."""
    return register_fake(qualname, func)


def register_kernel(op: Any, device_types: Any, func: Any = None, /, *, lib: Any = None) -> Any:
    """An implementation for device types; see `CustomOpDef.register_kernel`."""
    return _found(op).register_kernel(device_types, func)


def register_autograd(op: Any, backward: Any, /, *, setup_context: Any = None, lib: Any = None) -> None:
    """The gradient of an operation; see `CustomOpDef.register_autograd`."""
    _found(op).register_autograd(backward, setup_context=setup_context)


def register_autocast(op: Any, device_type: str, cast_inputs: Any, /, *, lib: Any = None) -> None:
    """What an operation does within autocast; see `CustomOpDef.register_autocast`."""
    _found(op).register_autocast(device_type, cast_inputs)


register_vmap = absent.function("torch.library.register_vmap")
register_torch_dispatch = absent.function("torch.library.register_torch_dispatch")
triton_op = absent.function("torch.library.triton_op", "custom_op registers a function in Python")
wrap_triton = absent.function("torch.library.wrap_triton")


def get_kernel(op: Any, dispatch_key: Any) -> Any:
    """The implementation of an operation for one of torch's keys, "CPU" for example.

    Raises:
        RuntimeError: there is no such operation, or no such implementation.
    """
    operation, key = _found(op), str(getattr(dispatch_key, "name", dispatch_key))
    kernel = operation._fake if key == "Meta" else operation._kernels.get(_KEYS.get(key, key) or "")
    if kernel is None:
        raise RuntimeError(f"{operation._qualname} has no implementation for the key {key}")
    return kernel


def fallthrough_kernel() -> None:
    """To be registered as an implementation that leaves a call to the next one; not to be called.

    Raises:
        NotImplementedError: always.
    """
    raise NotImplementedError("fallthrough_kernel() should never be called.")


class Library:
    """Operations of one namespace, defined by schemas.

    Args:
        ns: the namespace.
        kind: "DEF", "IMPL" or "FRAGMENT".
        dispatch_key: where implementations are for: "CPU" or "" .

    Example:
        >>> import facula
        >>> library = facula.library.Library("docs2", "DEF")
        >>> library.define("tripled(Tensor x) -> Tensor")
        'tripled'
        >>> library.impl("tripled", lambda x: x * 3, "CPU")
        >>> facula.ops.docs2.tripled(facula.ones(2))
        tensor([3., 3.])
    """

    def __init__(self, ns: str, kind: str, dispatch_key: str = "") -> None:
        if kind not in ("DEF", "IMPL", "FRAGMENT"):
            raise ValueError(f"Unsupported kind: {kind}")
        if ns in ("prim", "prims", "aten") and kind == "DEF":
            raise ValueError(f"{ns} is a reserved namespace. Please try creating a library with another name.")
        self.ns, self.kind, self.dispatch_key = ns, kind, dispatch_key
        self._defined: list[CustomOpDef] = []

    def __repr__(self) -> str:
        return f"Library(kind={self.kind}, ns={self.ns}, dispatch_key={self.dispatch_key})>"

    def define(self, schema: str, alias_analysis: str = "", *, tags: Any = ()) -> str:
        """A new operation "name(Type x, ...) -> Type"; returns its name."""
        name, _, rest = schema.partition("(")
        self._defined.append(_made(f"{self.ns}::{name.strip()}", "(" + rest, anew=False))
        return name.strip().partition(".")[0]

    def _destroy(self) -> None:
        """Forget the operations that this library has defined."""
        for operation in self._defined:
            operations = namespace(self.ns)._operations
            base, _, form = operation._qualname.partition("::")[2].partition(".")
            operation._overloads.pop(form, None)
            if operation._packet is operation:
                operations.pop(base, None)
        self._defined.clear()

    def _register_fake(self, op_name: Any, fn: Any, _stacklevel: int = 1, *, allow_override: bool = True) -> None:
        """What of tensors on the meta device comes of an operation."""
        self.impl(op_name, fn, "Meta")

    def fallback(self, fn: Any, dispatch_key: str = "", *, with_keyset: bool = False) -> None:
        """NotInFacula: an implementation for the operations of every library."""
        raise absent.refusal("torch.library.Library.fallback")

    def impl(self, op_name: Any, fn: Any, dispatch_key: str = "", *, with_keyset: bool = False,
             allow_override: bool = False) -> None:
        """The implementation for a device type. NotInFacula for other keys of torch's dispatcher."""
        if not callable(fn):
            raise TypeError(f"Input function is required to be a callable but found type {type(fn)}")
        name = op_name._operation._qualname if isinstance(op_name, Overload) else str(op_name)
        operation = _found(name if "::" in name else f"{self.ns}::{name}")
        if self.kind != "FRAGMENT" and operation._qualname.partition("::")[0] != self.ns:
            raise ValueError(f"{self} is for the operations of {self.ns}, not for {operation._qualname}")
        key = str(dispatch_key or self.dispatch_key or "CompositeImplicitAutograd")
        key = key.removeprefix("DispatchKey.")
        if fn is fallthrough_kernel:
            return
        if with_keyset:
            given, keys = fn, _keyset(key)
            fn = lambda *args, **kwargs: given(keys, *args, **kwargs)  # noqa: E731
        if key == "Meta":
            operation.register_fake(fn)
        elif key in _ABOVE:
            operation._above[key] = fn
        elif key in ("AutocastCPU", "AutocastCUDA"):
            operation._autocast[key.removeprefix("Autocast").lower()] = fn
        elif key in _KEYS:
            operation.register_kernel(_KEYS[key], fn)
        elif key in dispatch_keys.DispatchKey.__members__:
            operation._elsewhere[key] = fn  # for devices and wrappers that are not here
        else:
            raise RuntimeError(f"could not parse dispatch key: {key}")


def _keyset(key: str) -> Any:
    return dispatch_keys.DispatchKeySet(dispatch_keys.DispatchKey[key])


# Implementations above the tape: what they call makes it. Within one the operation itself is its kernel.
_ABOVE = frozenset(("Autograd", "AutogradCPU", "AutogradCUDA", "CompositeImplicitAutograd"))
_KEYS = {"CPU": "cpu", "CUDA": "cuda", "XPU": "xpu", "MPS": "mps", "PrivateUse1": "privateuseone",
         "CompositeExplicitAutograd": None}


def define(qualname: Any, schema: Any, *, lib: Any = None, tags: Any = ()) -> Any:
    """A new operation `qualname` that takes and gives what `schema` says; or, as `define(library, schema)`, a decorator
    of its implementation.

    Raises:
        RuntimeError: there is an operation of that name.
    """
    if isinstance(qualname, Library):
        def decorate(function: Any) -> Any:
            name = qualname.define(schema)
            qualname.impl(name, function)
            return function
        return decorate
    made = _made(qualname, schema, anew=False)
    if isinstance(lib, Library):
        lib._defined.append(made)
    return None


def impl(qualname: Any, types: Any, func: Any = None, *, lib: Any = None) -> Any:
    """The implementation of an operation for device types, "default" for all; or, as `impl(library, name, key)`, what
    `library.impl` takes, as a decorator."""
    if isinstance(qualname, Library):
        def decorate(function: Any) -> Any:
            qualname.impl(types, function, func or lib or "")
            return function
        return decorate
    kinds = [types] if isinstance(types, str) else types
    return _found(qualname).register_kernel([None if kind == "default" else kind.lower() for kind in kinds], func)


def __getattr__(name: str) -> Any:
    raise absent.missing("library", name)
