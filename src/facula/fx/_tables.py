"""Graphs as plain tables: what is pickled of one, and what `print_tabular` shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from facula.fx import _names
from facula.fx.node import Node, map_arg
from facula.ops.op import operation_of


def has_path(module: Any, path: str) -> bool:
    """Is there `module.a.b.c`?"""
    found = module
    for part in path.split("."):
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return True


class _Place:
    """Stands for a node in a pickled graph: its number."""

    def __init__(self, number: int) -> None:
        self.number = number


class _Operation:
    """Stands for a function of Facula's in a pickled graph: its public name."""

    def __init__(self, path: str) -> None:
        self.path = path


def table_of(graph: Any) -> list[tuple[Any, ...]]:
    """A row a node: op, target, args, kwargs, name, type, meta. Nodes are numbers in it."""
    numbers = {node: k for k, node in enumerate(graph.nodes)}

    def numbered(value: Any) -> Any:
        return map_arg(value, lambda node: _Place(numbers[node]))
    return [(node.op, _Operation(_names.qualified_name(node.target)) if operation_of(node.target) else node.target,
             numbered(node.args), numbered(node.kwargs), node.name, node.type,
             {key: value for key, value in node.meta.items() if not _has_nodes(value)}) for node in graph.nodes]


def _has_nodes(value: Any) -> bool:
    found: list[Node] = []
    map_arg(value, lambda node: found.append(node))
    return bool(found)


def rebuilt(kind: Any, table: Sequence[tuple[Any, ...]], tracer_cls: Any, tracer_extras: Any, codegen: Any) -> Any:
    """The graph of a table."""
    graph = kind(tracer_cls=tracer_cls, tracer_extras=tracer_extras)
    graph._codegen = codegen
    nodes: list[Node] = []

    def place(value: Any) -> Any:
        if isinstance(value, _Place):
            return nodes[value.number]
        if isinstance(value, tuple):
            parts = [place(part) for part in value]
            return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
        if isinstance(value, list):
            return [place(part) for part in value]
        if isinstance(value, dict):
            return {key: place(part) for key, part in value.items()}
        return slice(*map(place, (value.start, value.stop, value.step))) if isinstance(value, slice) else value
    for op, target, args, kwargs, name, type_expr, meta in table:
        found = _names.resolved(target.path) if isinstance(target, _Operation) else target
        node = graph.create_node(op, found, place(args), place(kwargs), name, type_expr)
        node.meta = dict(meta)
        nodes.append(node)
    return graph


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Rows under a head, in columns."""
    lines = [[str(cell) for cell in row] for row in rows]
    widths = [max([len(title), *(len(line[k]) for line in lines)])
              for k, title in enumerate(head)]
    widths = [max(width, len(title) + 2) for width, title in zip(widths, head, strict=True)]
    shown = [head, ["-" * width for width in widths], *lines]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
                     for line in shown)


