"""Attributes of modules by their paths: `"a.b.weight"`."""

from __future__ import annotations

from typing import Any

from facula._tensor.handle import Tensor
from facula.nn import Module, Parameter


def _copy_attr(from_module: Module, to_module: Module, target: str) -> None:
    """Have in one module what another has at a path, with empty modules on the way."""
    *prefix, field = target.split(".")
    for item in prefix:
        found, there = getattr(from_module, item, None), getattr(to_module, item, None)
        if found is there:  # the same module already
            return
        if there is None:
            there = Module()
            setattr(to_module, item, there)
        from_module, to_module = found, there  # type: ignore[assignment]
    original = getattr(from_module, field)
    if isinstance(original, Tensor) and not isinstance(original, Parameter):
        to_module.register_buffer(field, original)
    else:
        setattr(to_module, field, original)


def _assign_attr(from_obj: Any, to_module: Module, target: str) -> None:
    """Have an object at a path, with empty modules on the way."""
    *prefix, field = target.split(".")
    for item in prefix:
        there = getattr(to_module, item, None)
        if there is None:
            there = Module()
            setattr(to_module, item, there)
        to_module = there
    if isinstance(from_obj, Tensor) and not isinstance(from_obj, Parameter):
        to_module.register_buffer(field, from_obj)
    else:
        setattr(to_module, field, from_obj)


def _get_attr_via_attr_list(model: Module, attr_list: list[str]) -> Any:
    found: Any = model
    for item in attr_list:
        found = getattr(found, item)
    return found


def _get_attr(model: Module, attr_name: str) -> Any:
    """What is at a path. AttributeError if nothing is."""
    return _get_attr_via_attr_list(model, attr_name.split("."))


def _has_attr(model: Module, attr_name: str) -> bool:
    """Is anything at a path?"""
    found: Any = model
    for item in attr_name.split("."):
        if not hasattr(found, item):
            return False
        found = getattr(found, item)
    return True


def _del_attr(model: Module, attr_name: str) -> None:
    """Delete what is at a path."""
    *prefix, field = attr_name.split(".")
    delattr(_get_attr_via_attr_list(model, prefix), field)


def add_submodule(root: Module, target: str, m: Module) -> bool:
    """Have `m` at a path, with empty modules on the way. False where something else is on it."""
    *prefix, field = target.split(".")
    module: Any = root
    for item in prefix:
        child = getattr(module, item, None)
        if child is None:
            child = Module()
            setattr(module, item, child)
        if not isinstance(child, Module):
            return False
        module = child
    module.add_module(field, m)
    return True


def delete_submodule(root: Module, target: str) -> bool:
    """Delete the submodule at a path. False if there is none."""
    *prefix, field = target.split(".")
    module: Any = root
    for item in prefix:
        if not hasattr(module, item):
            return False
        module = getattr(module, item)
        if not isinstance(module, Module):
            return False
    if not hasattr(module, field) or not isinstance(getattr(module, field), Module):
        return False
    delattr(module, field)
    return True


def delete_unused_submodules(root: Any) -> None:
    """Delete the submodules that the root's graph neither calls nor reads from."""
    used: set[str] = set()
    for node in root.graph.nodes:
        if node.op in ("call_module", "get_attr"):
            parts = node.target.split(".")
            used.update(".".join(parts[:k + 1]) for k in range(len(parts)))
            if node.op == "call_module" and _has_attr(root, node.target):
                module = _get_attr(root, node.target)
                used.update(f"{node.target}.{name}" for name, _ in module.named_modules() if name)
    for name in [name for name, _ in root.named_modules() if name and name not in used]:
        delete_submodule(root, name)
