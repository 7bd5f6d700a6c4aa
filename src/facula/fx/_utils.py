"""Texts about graphs, for logs."""

from __future__ import annotations

from typing import Any

from facula.fx.graph import Graph
from facula.fx.node import Node


def _format_graph_code(name: str, filename: str, graph_str: str) -> str:
    return f"TRACED GRAPH\n {name} {filename} {graph_str}\n"


def first_call_function_nn_module_stack(graph: Graph) -> dict[str, Any] | None:
    """The modules within which the first call of a function is that knows of them."""
    for node in graph.nodes:
        if node.op == "call_function" and "nn_module_stack" in node.meta:
            return node.meta["nn_module_stack"]  # type: ignore[no-any-return]
    return None


def get_node_context(node: Node, num_nodes: int = 2) -> str:
    """A node and those before it, as lines."""
    found: list[str] = []
    at = node
    while len(found) <= num_nodes and at.op != "root":
        found.append(str(at.format_node()))
        at = at.prev
    return "\n".join(reversed(found))


def lazy_format_graph_code(name: str, gm: Any, maybe_id: int | None = None, **kwargs: Any) -> str:
    """A GraphModule's code under a heading."""
    shown = name if maybe_id is None else f"{name} {maybe_id}"
    return f"TRACED GRAPH\n ===== {shown} =====\n {gm.print_readable(print_output=False, **kwargs)}\n"
