"""Modules of parts of graphs; graphs compared."""

from __future__ import annotations

from typing import Any

from facula.fx._compatibility import compatibility
from facula.fx.graph import Graph
from facula.fx.graph_module import GraphModule
from facula.fx.passes.utils.matcher_utils import SubgraphMatcher
from facula.nn import Module

__all__ = ["HolderModule", "compare_graphs", "lift_subgraph_as_module"]


@compatibility(is_backward_compatible=False)
class HolderModule(Module):
    """A module that has others, by name."""

    def __init__(self, d: dict[str, Any]) -> None:
        super().__init__()
        for name, module in d.items():
            self.add_module(name, module)


@compatibility(is_backward_compatible=False)
def lift_subgraph_as_module(gm: GraphModule, subgraph: Graph, comp_name: str = "",
                            class_name: str = "GraphModule") -> tuple[GraphModule, dict[str, str]]:
    """A GraphModule of a graph whose submodules and attributes are those of `gm`, and where in `gm` each of them is.

    Paths with dots become nested modules as they are in `gm`.
    """
    root = HolderModule({})
    came_from: dict[str, str] = {}
    for node in subgraph.nodes:
        if node.op not in ("call_module", "get_attr"):
            continue
        here: Any = root
        found: Any = gm
        parts = node.target.split(".")
        for part in parts[:-1]:
            if not hasattr(found, part):
                raise RuntimeError(f"Node {node} target {node.target} is not found in the module")
            found = getattr(found, part)
            if not hasattr(here, part):
                setattr(here, part, HolderModule({}))
            here = getattr(here, part)
        value = getattr(found, parts[-1])
        if isinstance(value, Module) or node.op == "get_attr":
            setattr(here, parts[-1], value)
        came_from[f"{comp_name}.{node.target}"] = node.target
    return GraphModule(root, subgraph, class_name), came_from


@compatibility(is_backward_compatible=False)
def compare_graphs(left: Graph, right: Graph) -> bool:
    """Are two graphs the same but for the names of their nodes?"""
    matcher = SubgraphMatcher(left, match_output=True, match_placeholder=True)
    return len(matcher.match(right)) > 0
