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
from facula.library.operation import CustomOpDef, Overload
from facula.library.schema import infer_schema, parsed
from facula.ops.custom_namespaces import namespace, namespaces

__all__ = ["CustomOpDef", "Library", "custom_op", "define", "impl", "infer_schema", "opcheck", "register_autograd",
           "register_fake", "register_kernel", "register_vmap"]

OpOverload = Overload
opcheck = absent.function("torch.library.opcheck", "compare the operation with a plain function")


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
        ValueError: a name without namespace, or a function without annotations.
    """
    def decorate(function: Any) -> CustomOpDef:
        text = infer_schema(function, mutates_args=mutates_args) if schema is None else schema
        operation = _made(name, text)
        operation.register_kernel(device_types, function)
        return operation
    return decorate if fn is None else decorate(fn)


def _made(name: str, schema: str) -> CustomOpDef:
    match = re.fullmatch(r"(\w+)::(\w+)", name)
    if match is None:
        raise ValueError(f"Expected the name of the operation to be namespace::name, but got {name!r}")
    operation = CustomOpDef(name, parsed(schema))
    namespace(match[1])._operations[match[2]] = operation
    return operation


def _found(op: Any, lib: Any = None) -> CustomOpDef:
    """The operation that a name, an overload or an operation means."""
    if isinstance(op, CustomOpDef):
        return op
    if isinstance(op, Overload):
        return op._operation
    space, _, name = str(op).removesuffix(".default").partition("::")
    operation = namespaces[space]._operations.get(name) if space in namespaces else None
    if operation is None:
        raise RuntimeError(f"Could not find the operation {op!r}: custom_op or define makes one")
    return operation  # type: ignore[no-any-return]


def register_fake(op: Any, func: Any = None, /, *, lib: Any = None, _stacklevel: int = 1,
                  allow_override: bool = False) -> Any:
    """What comes of tensors on the meta device; see `CustomOpDef.register_fake`."""
    return _found(op).register_fake if func is None else _found(op).register_fake(func)


def register_kernel(op: Any, device_types: Any, func: Any = None, /, *, lib: Any = None) -> Any:
    """An implementation for device types; see `CustomOpDef.register_kernel`."""
    return _found(op).register_kernel(device_types, func)


def register_autograd(op: Any, backward: Any, /, *, setup_context: Any = None, lib: Any = None) -> None:
    """The gradient of an operation; see `CustomOpDef.register_autograd`."""
    _found(op).register_autograd(backward, setup_context=setup_context)


register_vmap = absent.function("torch.library.register_vmap")


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
        self.ns, self.kind, self.dispatch_key = ns, kind, dispatch_key

    def define(self, schema: str, alias_analysis: str = "", *, tags: Any = ()) -> str:
        """A new operation "name(Type x, ...) -> Type"; returns its name."""
        name, _, rest = schema.partition("(")
        _made(f"{self.ns}::{name.strip()}", "(" + rest)
        return name.strip()

    def impl(self, op_name: Any, fn: Any, dispatch_key: str = "", *, with_keyset: bool = False,
             allow_override: bool = False) -> None:
        """The implementation for a device type. NotInFacula for other keys of torch's dispatcher."""
        operation = _found(op_name if "::" in str(op_name) else f"{self.ns}::{op_name}")
        key = dispatch_key or self.dispatch_key or "CompositeExplicitAutograd"
        if key == "Meta":
            operation.register_fake(fn)
        elif key in _KEYS:
            operation.register_kernel(_KEYS[key], fn)
        else:
            raise absent.refusal(f"torch.library.Library.impl(..., {key!r})",
                                 f"the keys are {sorted([*_KEYS, 'Meta'])}")


_KEYS = {"CPU": "cpu", "CUDA": "cuda", "XPU": "xpu", "MPS": "mps", "CompositeExplicitAutograd": None}


def define(qualname: str, schema: str, *, lib: Any = None, tags: Any = ()) -> None:
    """A new operation `qualname` that takes and gives what `schema` says."""
    _made(qualname, schema)


def impl(qualname: str, types: Any, func: Any = None, *, lib: Any = None) -> Any:
    """The implementation of an operation for device types, "default" for all."""
    kinds = [types] if isinstance(types, str) else types
    return _found(qualname).register_kernel([None if kind == "default" else kind.lower() for kind in kinds], func)


def __getattr__(name: str) -> Any:
    raise absent.missing("library", name)
