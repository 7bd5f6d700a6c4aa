"""Checks of a graph: what has to hold whatever a pass has done to it."""

from __future__ import annotations

from typing import Any

from facula.fx.node import Node, map_arg
from facula.nn import Module


def lint(graph: Any) -> None:
    """RuntimeError for the first thing about `graph` that does not hold."""
    seen_names: set[str] = set()
    seen: set[Node] = set()

    def check(arg: Node, node: Node) -> None:
        if arg.graph is not graph:
            raise RuntimeError(f"Argument '{arg}' of Node '{node}' does not belong to this Graph, but was used as an "
                               "argument! If you are copying nodes from another graph, make sure to use "
                               f"``arg_transform`` on node_copy() to remap values\n{graph}")
        if arg not in seen:
            raise RuntimeError(f"Argument '{arg}' of Node '{node}' was used before it has been defined! Please check "
                               f"that Nodes in the graph are topologically ordered\n{graph}")

    for node in graph.nodes:
        if node.graph is not graph:
            raise RuntimeError(f"Node '{node}' does not belong to this Graph!")
        map_arg(node.args, lambda arg, node=node: check(arg, node))  # type: ignore[misc]
        map_arg(node.kwargs, lambda arg, node=node: check(arg, node))  # type: ignore[misc]
        seen.add(node)
        if node.name in seen_names:
            raise RuntimeError(f"Node redefined name {node.name}!")
        seen_names.add(node.name)
    owner = graph.owning_module
    if owner is not None:
        for node in graph.nodes:
            if node.op in ("get_attr", "call_module"):
                _lint_target(owner, node)


def _lint_target(owner: Any, node: Node) -> None:
    """Does the owning module have what the node reads or calls?"""
    found: Any = owner
    parts = node.target.split(".")
    for k, part in enumerate(parts):
        if not hasattr(found, part):
            where = f"Node {node} target {node.target} references nonexistent attribute {part}"
            raise RuntimeError(where + (f" of {'.'.join(parts[:k])}" if k else ""))
        found = getattr(found, part)
    if node.op == "call_module" and not isinstance(found, Module):
        raise RuntimeError(f"Node {node} target {node.target} {'.'.join(parts)} does not reference an nn.Module")
