"""`FxGraphDrawer`: graphs as pictures, by pydot and Graphviz where they are installed."""

from __future__ import annotations

import importlib
import zlib
from typing import Any

from facula.fx._compatibility import compatibility
from facula.fx._writing import _parse_stack_trace
from facula.fx.node import Node, _format_arg, map_arg

__all__ = ["FxGraphDrawer"]

_COLORS = ("AliceBlue", "AntiqueWhite1", "LemonChiffon1", "PowderBlue", "LightGoldenrod1", "PaleGreen1", "MistyRose1",
           "Lavender", "Honeydew2", "Wheat1", "Thistle1", "LightCyan2")
_FIXED = {"placeholder": "AliceBlue", "get_attr": "LightYellow", "output": "PowderBlue"}


def _pydot() -> Any:
    try:
        return importlib.import_module("pydot")
    except ModuleNotFoundError as error:
        raise RuntimeError("FXGraphDrawer requires the pydot package to be installed. Please install pydot through "
                           "your favorite Python package manager (pip install pydot).") from error


@compatibility(is_backward_compatible=False)
class FxGraphDrawer:
    """Draws the graph of a GraphModule, and of those within it.

    Args:
        name: of the picture.
        ignore_getattr: leave out attributes that are read.
        ignore_parameters_and_buffers: leave out parameters and buffers of submodules.
        skip_node_names_in_args: do not write nodes' names among the arguments.
        parse_stack_trace: write the place in the program, where nodes know it.
        dot_graph_shape: the boxes' shape.

    Raises:
        RuntimeError: pydot is not installed.
    """

    def __init__(self, graph_module: Any, name: str, ignore_getattr: bool = False,
                 ignore_parameters_and_buffers: bool = False, skip_node_names_in_args: bool = True,
                 parse_stack_trace: bool = False, dot_graph_shape: str | None = None,
                 normalize_args: bool = False) -> None:
        self._name = name
        self.pydot = _pydot()
        self.dot_graph_shape = dot_graph_shape or "record"
        self.normalize_args = normalize_args
        self._options = (ignore_getattr, ignore_parameters_and_buffers, skip_node_names_in_args, parse_stack_trace)
        self._dot_graphs = {name: self._to_dot(graph_module, name)}
        for node in graph_module.graph.nodes:
            if node.op == "call_module":
                leaf = graph_module.get_submodule(node.target)
                if hasattr(leaf, "graph"):
                    self._dot_graphs[f"{name}_{node.target}"] = self._to_dot(leaf, f"{name}_{node.target}")

    def get_dot_graph(self, submod_name: str | None = None) -> Any:
        """The picture as an object of pydot's: `get_dot_graph().write_svg(path)`. Of a submodule by its path."""
        return self.get_main_dot_graph() if submod_name is None else self.get_submod_dot_graph(submod_name)

    def get_main_dot_graph(self) -> Any:
        """That of the module."""
        return self._dot_graphs[self._name]

    def get_submod_dot_graph(self, submod_name: str) -> Any:
        """That of a submodule."""
        return self._dot_graphs[f"{self._name}_{submod_name}"]

    def get_all_dot_graphs(self) -> dict[str, Any]:
        """All, by name."""
        return self._dot_graphs

    def _style(self, node: Node) -> dict[str, str]:
        color = _FIXED.get(node.op) or _COLORS[zlib.crc32(node._pretty_print_target(node.target).encode())
                                               % len(_COLORS)]
        return {"shape": self.dot_graph_shape, "fillcolor": color, "style": '"filled,rounded"', "fontcolor": "#000000"}

    def _label(self, module: Any, node: Node) -> str:
        _, _, skip_names, places = self._options
        parts = [f"name=%{node.name}", f"op_code={node.op}"]
        if node.op == "call_module":
            leaf = module.get_submodule(node.target)
            constants = getattr(type(leaf), "__constants__", [])
            parts.append(f"target={type(leaf).__module__}.{type(leaf).__name__}".replace("facula", "torch", 1))
            parts += [f"{name}: {getattr(leaf, name)}" for name in constants if hasattr(leaf, name)]
        else:
            parts.append(f"target={node._pretty_print_target(node.target)}")
            shown = [arg for arg in (node.args, node.kwargs) if len(arg)]
            if not (skip_names and all(isinstance(arg, Node) for arg in node.args) and not node.kwargs):
                parts += [_format_arg(arg, 10) for arg in shown]
        meta: Any = node.meta.get("tensor_meta")
        if hasattr(meta, "dtype"):
            parts.append(f"dtype={meta.dtype}, shape={tuple(meta.shape)}, stride={meta.stride}")
        parts.append(f"num_users={len(node.users)}")
        if places and node.stack_trace:
            place = _parse_stack_trace(node.stack_trace)
            if place is not None:
                parts.append(place.get_summary_str())
        escaped = (part.replace("{", r"\{").replace("}", r"\}").replace("<", r"\<").replace(">", r"\>")
                   .replace("|", r"\|").replace('"', r"\"") for part in parts)
        return '"{' + "|".join(escaped) + r'\n}"'

    def _to_dot(self, module: Any, name: str) -> Any:
        ignore_getattr, ignore_state, _, _ = self._options
        picture = self.pydot.Dot(name, rankdir="TB")
        for node in module.graph.nodes:
            if ignore_getattr and node.op == "get_attr":
                continue
            picture.add_node(self.pydot.Node(node.name, label=self._label(module, node), **self._style(node)))
            leaf = module.get_submodule(node.target) if node.op == "call_module" else None
            if leaf is None or ignore_state or hasattr(leaf, "graph"):
                continue
            for state_name, value in [*leaf.named_parameters(), *leaf.named_buffers()]:
                label = rf'"{{name=%{state_name}|op_code=get_{"parameter" if value.requires_grad else "buffer"}' \
                        rf'|shape={tuple(value.shape)}\l}}"'
                path = f"{node.name}.{state_name}"
                picture.add_node(self.pydot.Node(path, label=label, shape="record", style='"filled,rounded"',
                                                 fillcolor="LightYellow"))
                picture.add_edge(self.pydot.Edge(path, node.name))
        for node in module.graph.nodes:
            if ignore_getattr and node.op == "get_attr":
                continue
            map_arg((node.args, node.kwargs), lambda used, user=node: picture.add_edge(  # type: ignore[misc]
                self.pydot.Edge(used.name, user.name)) if not (ignore_getattr and used.op == "get_attr") else None)
        return picture
