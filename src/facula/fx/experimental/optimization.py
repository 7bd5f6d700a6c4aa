"""Modules made faster for inference: convolutions with their batch norms, dropout left out."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from facula import nn
from facula.fx._symbolic_trace import Tracer, symbolic_trace
from facula.fx.graph import Graph
from facula.fx.graph_module import GraphModule
from facula.fx.interpreter import Transformer
from facula.fx.node import Argument, Node, Target
from facula.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["UnionFind", "extract_subgraph", "fuse", "matches_module_pattern", "optimize_for_inference",
           "remove_dropout", "replace_node_module"]


def _parent_name(target: str) -> tuple[str, str]:
    """Where a submodule is, and what it is called there."""
    parent, _, name = target.rpartition(".")
    return parent, name


def matches_module_pattern(pattern: Iterable[type], node: Node, modules: dict[str, Any]) -> bool:
    """Does `node` call a module of the last class with the result of one of the class before, and so on?"""
    if len(node.args) == 0:
        return False
    nodes: tuple[Any, Any] = (node.args[0], node)
    for expected, current in zip(pattern, nodes, strict=False):
        if not isinstance(current, Node) or current.op != "call_module" or not isinstance(current.target, str):
            return False
        if current.target not in modules or type(modules[current.target]) is not expected:
            return False
    return True


def replace_node_module(node: Node, modules: dict[str, Any], new_module: nn.Module) -> None:
    """Have the module that `node` calls be another one, in `modules` and in its parent."""
    if not isinstance(node.target, str):
        raise AssertionError(f"Expected str target, got {type(node.target)}")
    parent, name = _parent_name(node.target)
    modules[node.target] = new_module
    setattr(modules[parent], name, new_module)


def fuse(model: nn.Module, inplace: bool = False, no_trace: bool = False) -> nn.Module:
    """A GraphModule in which each convolution and the batch norm after it are one convolution.

    Args:
        inplace: change `model` itself.
        no_trace: `model` is a GraphModule already.

    Raises:
        AssertionError: the model is in training mode.

    Example:
        >>> import facula
        >>> from facula.fx.experimental.optimization import fuse
        >>> net = facula.nn.Sequential(facula.nn.Conv2d(1, 2, 3), facula.nn.BatchNorm2d(2)).eval()
        >>> [name for name, _ in fuse(net).named_children()]
        ['0']
    """
    patterns = [(nn.Conv1d, nn.BatchNorm1d), (nn.Conv2d, nn.BatchNorm2d), (nn.Conv3d, nn.BatchNorm3d)]
    if not inplace:
        model = copy.deepcopy(model)
    fx_model: Any = model if no_trace and isinstance(model, GraphModule) else symbolic_trace(model)
    modules = dict(fx_model.named_modules())
    graph = copy.deepcopy(fx_model.graph)
    for pattern in patterns:
        for node in graph.nodes:
            if not matches_module_pattern(pattern, node, modules):
                continue
            if len(node.args[0].users) > 1:  # somebody else uses the convolution's result
                continue
            conv, bn = modules[node.args[0].target], modules[node.target]
            if not bn.track_running_stats:
                continue
            replace_node_module(node.args[0], modules, fuse_conv_bn_eval(conv, bn))
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    return GraphModule(fx_model, graph)


def remove_dropout(model: nn.Module) -> nn.Module:
    """A GraphModule without the calls of Dropout modules."""
    class DropoutRemover(Transformer):
        def call_module(self, target: Target, args: tuple[Argument, ...], kwargs: dict[str, Any]) -> Any:
            if isinstance(self.submodules[target], nn.Dropout):
                if len(args) != 1:
                    raise AssertionError(f"Expected one argument, got {len(args)}")
                return args[0]
            return super().call_module(target, args, kwargs)
    return DropoutRemover(symbolic_trace(model)).transform()


def extract_subgraph(orig_module: nn.Module, nodes: list[Node], inputs: list[Node], outputs: list[Node]) -> GraphModule:
    """A GraphModule of `nodes`, with `inputs` as arguments, that gives the first of `outputs`."""
    graph = Graph()
    known: dict[Node, Node] = {}
    for used in inputs:
        known[used] = graph.placeholder(used.name)
    for node in nodes:
        known[node] = graph.node_copy(node, known.__getitem__)
    graph.output([known[out] for out in outputs])
    graph.lint()
    return GraphModule(orig_module, graph)


def optimize_for_inference(model: nn.Module, pass_config: dict[str, Any] | None = None,
                           tracer: type[Tracer] = Tracer) -> nn.Module:
    """`fuse` and `remove_dropout`, in evaluation mode. (PyTorch then converts parts to MKLDNN; there is none here, and
    all work is compiled anyway.)

    Args:
        pass_config: {"conv_bn_fuse": False}, {"remove_dropout": False} leave these out.
    """
    config = {"conv_bn_fuse": True, "remove_dropout": True, **(pass_config or {})}
    found: Any = model
    if config["conv_bn_fuse"]:
        found = fuse(found)
    if config["remove_dropout"]:
        found = remove_dropout(found)
    graph = tracer().trace(copy.deepcopy(found))
    return GraphModule(found, graph)


class UnionFind:
    """Sets of numbers below `n` that grow together."""

    def __init__(self, n: int) -> None:
        self.parent: list[int | None] = [None] * n
        self.size: list[int] = [0] * n

    def make_set(self, v: int) -> None:
        """A set of `v` alone."""
        self.parent[v], self.size[v] = v, 1

    def find(self, v: int) -> int:
        """What stands for the set of `v`."""
        root = v
        while self.parent[root] != root:
            found = self.parent[root]
            if found is None:
                raise AssertionError(f"{v} is in no set")
            root = found
        while self.parent[v] != root:
            self.parent[v], v = root, self.parent[v]  # type: ignore[assignment]
        return root

    def join(self, a: int, b: int) -> int | None:
        """Have the sets of both be one. Gives what stands for it."""
        a, b = self.find(a), self.find(b)
        if a == b:
            return a
        if self.size[a] < self.size[b]:
            a, b = b, a
        self.parent[b] = a
        self.size[a] += self.size[b]
        return a


