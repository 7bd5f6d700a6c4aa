"""What splitters and other passes have in common."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

from facula._tensor.handle import Tensor
from facula.fx._compatibility import compatibility
from facula.fx._names import qualified_name
from facula.fx.graph_module import GraphModule
from facula.fx.node import Node
from facula.nn import Module

__all__ = ["get_acc_ops_name", "get_node_target", "is_node_output_tensor", "legalize_graph",
           "stable_topological_sort"]

Tensors = tuple[Tensor, ...] | list[Tensor]
TensorOrTensors = Tensor | Tensors
NodeList = list[Node]
NodeSet = set[Node]
Names = list[str]
CALLABLE_NODE_OPS = {"call_module", "call_function", "call_method"}


@compatibility(is_backward_compatible=False)
def get_acc_ops_name(k: Any) -> str:
    """The name of a function for tables: with its module, where that is not `acc_ops`."""
    if isinstance(k, str):
        return k
    if k.__module__ and "acc_ops" in k.__module__:
        return f"acc_ops.{k.__name__}"
    module = k.__module__.replace("torch._ops", "torch.ops").replace("facula", "torch", 1)
    return f"{module if module else ''}.{k.__name__}"


@compatibility(is_backward_compatible=False)
def get_node_target(submodules: Mapping[str, Module], node: Node) -> str:
    """What a node calls, as a name: of modules their class."""
    if node.op not in CALLABLE_NODE_OPS:
        raise AssertionError("Expect op types of " + ", ".join(CALLABLE_NODE_OPS) + f", but found {node.op}")
    if node.op == "call_module":
        module: Any = submodules[node.target]
        module = getattr(module, "_base_class_origin", type(module))
        return get_acc_ops_name(module)
    if node.op == "call_function":
        return qualified_name(node.target) if "acc_ops" not in getattr(node.target, "__module__", "") else \
            get_acc_ops_name(node.target)
    return str(node.target)


@compatibility(is_backward_compatible=False)
def is_node_output_tensor(node: Node) -> bool:
    """Has a pass noted that the node gives a tensor (`meta["type"]`)?"""
    kind = node.meta.get("type", None)
    return kind is not None and issubclass(kind, Tensor)


def _in_order(gm: GraphModule, first: Any) -> GraphModule:
    """The nodes in an order in which each comes after its arguments; of those that may come next `first(node)` is
    the least."""
    waiting = {node: len(node.all_input_nodes) for node in gm.graph.nodes}
    number = {node: k for k, node in enumerate(gm.graph.nodes)}
    ready = [(first(node, number), number[node], node) for node, count in waiting.items() if not count]
    heapq.heapify(ready)
    arrived = 0
    found: list[Node] = []
    while ready:
        node = heapq.heappop(ready)[2]
        found.append(node)
        for user in node.users:
            waiting[user] -= 1
            if not waiting[user]:
                arrived += 1
                heapq.heappush(ready, (first(user, number, arrived), number[user], user))
    if len(found) < len(waiting):
        raise RuntimeError("Input graph has cycles, unable to add "
                           f"{[node for node, count in waiting.items() if count]}")
    for node in found:
        gm.graph._root.prepend(node)
    return gm


@compatibility(is_backward_compatible=False)
def legalize_graph(gm: GraphModule) -> GraphModule:
    """Put the nodes into an order in which each comes after its arguments: placeholders first, then what is read, then
    calls as they become possible. RuntimeError if there is none."""
    rank = {"placeholder": 0, "get_attr": 1}

    def first(node: Node, number: Any, arrived: int = 0) -> tuple[int, int]:
        return (rank.get(node.op, 3 if node.op == "output" else 2), arrived)
    return _in_order(gm, first)


@compatibility(is_backward_compatible=False)
def stable_topological_sort(gm: GraphModule) -> GraphModule:
    """The same, with as few nodes moved as can be."""
    return _in_order(gm, lambda node, number, arrived=0: (3 if node.op == "output" else 0, 0))


