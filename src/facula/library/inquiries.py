"""What may be asked of operations that have been registered, by torch's names: `torch._C._dispatch_has_kernel(...)`."""

from __future__ import annotations

from typing import Any

import facula
from facula.library.dispatch_keys import DispatchKey
from facula.ops.custom_namespaces import namespaces

_DEVICES = {"CPU": "cpu", "CUDA": "cuda", "XPU": "xpu", "MPS": "mps", "PrivateUse1": "privateuseone"}


def _operation(name: str) -> Any:
    """The operation "namespace::name" or "namespace::name.overload", None if there is none."""
    space, _, rest = name.partition("::")
    base, _, overload = rest.partition(".")
    if space == "aten":
        packet = getattr(facula.ops.aten, base, None)
        return packet if packet is None or not overload else getattr(packet, overload, None)
    return namespaces[space].defined().get(base, {}).get(overload) if space in namespaces else None


def _dispatch_has_kernel(name: str) -> bool:
    """Is there an operation of that name?"""
    return _operation(name) is not None


def _dispatch_has_kernel_for_dispatch_key(name: str, key: Any) -> bool:
    """Has that operation an implementation for that key? RuntimeError if there is no such operation.

    Of PyTorch's own operations: whether it is the key of a device's or of autograd's, which all of them have.
    """
    operation, key = _operation(name), str(getattr(key, "name", key))
    if operation is None:
        raise RuntimeError(f"operator {name} does not exist")
    if key not in DispatchKey.__members__:
        raise RuntimeError(f"could not parse dispatch key: {key}")
    if name.startswith("aten::"):
        return key in _DEVICES or key == "Meta" or key.startswith("Autograd")
    if key == "Meta":
        return operation._fake is not None
    if key in _DEVICES:
        return _DEVICES[key] in operation._kernels
    if key == "CompositeExplicitAutograd":
        return "" in operation._kernels
    return key in operation._above or operation._backward is not None \
        and key.startswith("Autograd")


_dispatch_has_computed_kernel_for_dispatch_key = _dispatch_has_kernel_for_dispatch_key


def _dispatch_has_kernel_for_any_dispatch_key(name: str, keys: Any) -> bool:
    """Has that operation an implementation for one of these keys?"""
    return any(_dispatch_has_kernel_for_dispatch_key(name, key) for key in keys._keys())


def _dispatch_has_backend_fallback(key: Any) -> bool:
    """Is there an implementation of all operations for that key? No."""
    return False


def _dispatch_find_schema_or_throw(name: str, overload: str) -> Any:
    """What stands for the schema of an operation. RuntimeError if there is none."""
    operation = _operation(f"{name}.{overload}" if overload else name)
    if operation is None:
        raise RuntimeError(f"Could not find schema for {name}{'.' + overload if overload else ''}.")
    return operation


def _dispatch_get_all_op_names() -> list[str]:
    """The names of all operations that have been registered, with those of their overloads."""
    return [operation._qualname for space in namespaces.values() for overloads in space.defined().values()
            for operation in overloads.values()]
