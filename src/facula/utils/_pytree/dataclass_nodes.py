"""Dataclasses as nodes, and classes whose instances are constants: nodes without children."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from facula.utils._pytree.registry import GetAttrKey, register_pytree_node

_constant_classes: set[type] = set()


def register_dataclass(cls: type, *, field_names: list[str] | None = None, drop_field_names: list[str] | None = None,
                       serialized_type_name: str | None = None) -> None:
    """Make a dataclass a node of trees: its fields are the children; those that are None are left out.

    Args:
        field_names: which; all that `__init__` takes unless told.
        drop_field_names: of these the defaults come back.

    Raises:
        TypeError, ValueError: no dataclass, and no field_names; a field that there is not.

    Example:
        >>> import dataclasses
        >>> from facula.utils import _pytree as pytree
        >>> @dataclasses.dataclass
        ... class Point:
        ...     x: int
        ...     y: int = 0
        >>> pytree.register_dataclass(Point)
        >>> pytree.tree_map(lambda v: v + 1, Point(1, 2))
        Point(x=2, y=3)
    """
    dropped = drop_field_names or []
    if not dataclasses.is_dataclass(cls):
        if field_names is None:
            raise ValueError(f"field_names must be specified with a list of all fields used to initialize {cls}, as it "
                             "is not a dataclass.")
    else:
        all_names = [f.name for f in dataclasses.fields(cls) if f.init]
        if field_names is None:
            field_names = [n for n in all_names if n not in dropped]
        elif set(field_names) | set(dropped) != set(all_names):
            missing = set(all_names) - set(field_names) - set(dropped)
            extra = (set(field_names) | set(dropped)) - set(all_names)
            raise ValueError(f"register_dataclass({cls.__name__}): the fields do not fit"
                             + (f"; missing: {sorted(missing)}" if missing else "")
                             + (f"; not fields of __init__: {sorted(extra)}" if extra else ""))
    names = list(field_names)

    def parts(node: Any) -> tuple[list[tuple[Any, Any]], Any]:
        held = [(name, getattr(node, name)) for name in names]
        there = [(GetAttrKey(name), value) for name, value in held if value is not None]
        return there, [[key.name for key, _ in there], [name for name, value in held if value is None]]

    def apart(node: Any) -> tuple[list[Any], Any]:
        there, context = parts(node)
        return [value for _, value in there], context

    def built(children: Any, context: Any) -> Any:
        there, absent = context
        return cls(**dict(zip(there, children, strict=True)), **dict.fromkeys(absent))

    register_pytree_node(cls, apart, built, serialized_type_name=serialized_type_name, flatten_with_keys_fn=parts)


class ConstantNode(NamedTuple):
    """The context of a constant: the object itself."""

    value: Any


def register_constant(cls: Any) -> None:
    """Make instances of `cls` nodes without children: part of the structure, compared by `==`.

    Raises:
        TypeError: the class has no `__eq__` or no `__hash__` of its own.

    Example:
        >>> import dataclasses
        >>> from facula.utils import _pytree as pytree
        >>> @dataclasses.dataclass(frozen=True)
        ... class Options:
        ...     size: int
        >>> pytree.register_constant(Options)
        >>> pytree.tree_leaves([Options(3), 1])
        [1]
    """
    if cls.__eq__ is object.__eq__:
        raise TypeError("register_constant(cls) expects `cls` to have a non-default `__eq__` implementation.")
    if cls.__hash__ is None:
        raise TypeError("register_constant(cls) expects `cls` to have a non-default `__hash__` implementation.")
    register_pytree_node(cls, lambda node: ([], ConstantNode(node)), lambda _, context: context.value,
                         flatten_with_keys_fn=lambda node: ([], ConstantNode(node)))
    _constant_classes.add(cls)


def is_constant_class(cls: type) -> bool:
    """Was it made a constant by `register_constant`?"""
    return isinstance(cls, type) and cls in _constant_classes
