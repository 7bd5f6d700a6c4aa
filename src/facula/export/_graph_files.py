"""Graphs as JSON, and back: nodes in their order, and the graphs of functions that control flow calls."""

from __future__ import annotations

from typing import Any

from facula.export import _encoding
from facula.export._traced import Closed
from facula.fx.graph import Graph
from facula.fx.graph_module import GraphModule

_OPS = ("placeholder", "call_function", "get_attr", "output")
_DEPTH = 16


def told(graph: Graph, module: Any) -> dict[str, Any]:
    """A graph as JSON. `module` has the graphs of functions. TypeError of what a file cannot have."""
    names = [str(node.target) for node in graph.nodes if node.op == "get_attr"]
    functions: dict[str, Any] = {name: getattr(module, name, None) for name in names}
    if any(node.op not in _OPS for node in graph.nodes) or not all(
            isinstance(one, GraphModule) for one in functions.values()):
        raise TypeError("torch.export.save: the graph calls modules")
    nodes = [{"op": node.op, "name": node.name, "args": _encoding.written(tuple(node.args)),
              "kwargs": _encoding.written(dict(node.kwargs)), "trace": node.meta.get("stack_trace"),
              "target": _encoding.function_name(node.target) if node.op == "call_function" else str(node.target),
              "val": _encoding.told(node.meta["val"]) if "val" in node.meta else None} for node in graph.nodes]
    return {"nodes": nodes, "functions": [[name, told(one.graph, one)]  # type: ignore[union-attr]  # looked at above
                                         for name, one in functions.items()]}


def read(found: Any, depth: int = 0) -> tuple[Graph, dict[str, Any], dict[str, GraphModule]]:
    """A graph, its nodes by name, and the graphs of functions. ValueError and its like for what is none."""
    if depth > _DEPTH:
        raise ValueError("functions within functions, too deep")
    functions = {}
    for name, inner in found.get("functions", ()):
        if not _encoding.is_name(name) or name in functions:
            raise ValueError("no name of a function")
        functions[name] = _function(name, inner, depth)
    graph, closed = Graph(), Closed()
    nodes: dict[str, Any] = {}
    for one in found["nodes"]:
        op, name, target = one["op"], one["name"], one["target"]
        if op not in _OPS or not _encoding.is_name(name) or name in nodes:
            raise ValueError(f"no node: {str(name)[:80]!r}")
        if op == "placeholder" and not _encoding.is_name(target) or op == "get_attr" and target not in functions:
            raise ValueError("no name of an input")
        args, kwargs = _encoding.read(one["args"], nodes), _encoding.read(one["kwargs"], nodes)
        if op in ("placeholder", "get_attr") and (args or kwargs) or not isinstance(args, tuple) \
                or not isinstance(kwargs, dict) \
                or not all(_encoding.is_name(key) or key in ("device",) for key in kwargs):
            raise ValueError("no arguments of a node")
        function = _encoding.function_of(target) if op == "call_function" else op if op == "output" else target
        node = graph.create_node(op, function, args, kwargs, name=name)
        node.name = name
        nodes[name] = node
        if one["val"] is not None:
            node.meta["val"] = _encoding.known(one["val"], closed, node)
        where = _encoding.trace(one["trace"])
        if where is not None:
            node.meta["stack_trace"] = where
    return graph, nodes, functions


def _function(name: str, found: Any, depth: int) -> GraphModule:
    graph, _, functions = read(found, depth + 1)
    inputs, outputs = graph.find_nodes(op="placeholder"), graph.find_nodes(op="output")
    first = [node for node, _ in zip(graph.nodes, inputs, strict=False)]
    if first != inputs or len(outputs) != 1 or list(graph.nodes)[-1] is not outputs[0]:
        raise ValueError("no graph of a function")
    return GraphModule(functions, graph, name)  # type: ignore[arg-type]
