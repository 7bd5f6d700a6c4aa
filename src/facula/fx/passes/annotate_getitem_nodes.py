"""Types of elements, of the types of what they are taken from."""

from __future__ import annotations

import operator
from typing import Any

from facula.fx.graph import Graph

__all__ = ["annotate_getitem_nodes"]


def annotate_getitem_nodes(graph: Graph) -> None:
    """Nodes that take an element of a node of a known type (`Tuple[...]`, `List[...]`, a NamedTuple, `Dict`) get the
    element's type."""
    for node in graph.nodes:
        if node.target is not operator.getitem or len(node.args) != 2 or not hasattr(node.args[0], "type"):
            continue
        found = _element(node.args[0].type, node.args[1])
        if found is not None:
            node.type = found


def _element(kind: Any, index: Any) -> Any:
    if kind is None:
        return None
    if hasattr(kind, "__origin__"):
        args = kind.__args__
        if kind.__origin__ is tuple:
            if len(args) == 2 and args[1] is ...:
                return args[0]
            return args[index] if isinstance(index, int) and -len(args) <= index < len(args) else None
        if kind.__origin__ is list:
            return args[0]
        return args[1] if kind.__origin__ is dict else None
    if hasattr(kind, "_fields") and isinstance(index, int):
        return getattr(kind, "__annotations__", {}).get(kind._fields[index])
    return None
