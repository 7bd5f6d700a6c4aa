"""Sizes of what nodes compute, and exchanged targets."""

from __future__ import annotations

from typing import Any, NamedTuple

from facula.fx._compatibility import compatibility
from facula.fx.graph_module import GraphModule
from facula.fx.node import Node, map_arg
from facula.fx.passes.shape_prop import ShapeProp

__all__ = ["get_size_of_all_nodes", "get_size_of_node", "get_tensor_meta", "replace_target_nodes_with", "size_bytes"]


@compatibility(is_backward_compatible=False)
def replace_target_nodes_with(fx_module: GraphModule, old_op: str, old_target: Any, new_op: str,
                              new_target: Any) -> None:
    """Have all nodes that call `old_target` call `new_target`."""
    for node in fx_module.graph.nodes:
        if node.op == old_op and node.target == old_target:
            with fx_module.graph.inserting_before(node):
                new = fx_module.graph.create_node(new_op, new_target, node.args, node.kwargs, node.name, node.type)
            node.replace_all_uses_with(new)
            fx_module.graph.erase_node(node)
    fx_module.recompile()


@compatibility(is_backward_compatible=False)
class size_bytes(NamedTuple):
    """Bytes of a node's result, and of that with the parameters of the module that it calls."""

    output_size: int
    total_size: int


@compatibility(is_backward_compatible=False)
def get_size_of_all_nodes(fx_module: GraphModule, args: list[Any] | None = None) -> None:
    """Each node gets `size_bytes`. With `args` the module runs with them first, so that shapes are known."""
    if args is not None:
        ShapeProp(fx_module).propagate(*args)
    for node in fx_module.graph.nodes:
        if node.op == "output":
            break
        node.size_bytes = get_size_of_node(fx_module, node)


@compatibility(is_backward_compatible=False)
def get_tensor_meta(node: Node) -> Any:
    """What ShapeProp has noted. RuntimeError if it has not run."""
    if not node.meta.get("tensor_meta"):
        raise RuntimeError(f"Node {node} has no tensor metadata associated with it! Check that shape propagation has "
                           "run.")
    return node.meta["tensor_meta"]


@compatibility(is_backward_compatible=False)
def get_size_of_node(fx_module: GraphModule, node: Node) -> size_bytes:
    """Bytes of the result of one node, whose shape is known."""
    total = 0
    if node.op == "call_module":
        module = dict(fx_module.named_modules())[node.target]
        total += sum(p.numel() * p.element_size() for _, p in module.named_parameters())
    meta = get_tensor_meta(node)
    output = meta.dtype.itemsize * meta.shape.numel()
    inputs: list[Node] = []
    map_arg(node.args, lambda used: inputs.append(used))
    return size_bytes(output, total + output)
