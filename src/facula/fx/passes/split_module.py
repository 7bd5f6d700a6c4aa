"""`split_module`: a graph as several modules, by a function that says to which one a node belongs."""

from __future__ import annotations

from collections.abc import Callable
from operator import getitem as _getitem
from typing import Any

from facula.fx._compatibility import compatibility
from facula.fx.graph import Graph
from facula.fx.graph_module import GraphModule
from facula.fx.node import Node, map_arg
from facula.nn import Module

__all__ = ["Partition", "split_module", "split_module_simple"]


@compatibility(is_backward_compatible=True)
class Partition:
    """One of the parts: its graph, and the names of the nodes that go in and come out."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.submod_name = f"submod_{name}"
        self.node_names: list[str] = []
        self.inputs: dict[str, None] = {}
        self.outputs: dict[str, None] = {}
        self.dependencies: dict[str, None] = {}
        self.dependents: dict[str, None] = {}
        self.graph = Graph()
        self.environment: dict[Node, Node] = {}
        self.targets: dict[str, Any] = {}

    def __repr__(self) -> str:
        return (f"name: {self.name},\n nodes: {self.node_names},\n inputs: {self.inputs},\n outputs: {self.outputs},\n "
                f"partitions depended on: {self.dependencies},\n partition dependents: {self.dependents}")


class _Splitting:
    """One splitting: which node is in which part, and what each part needs."""

    def __init__(self, m: GraphModule, callback: Callable[[Node], Any], affix: str | None) -> None:
        self.module = m
        self.of: dict[Node, str | None] = {}
        self.parts: dict[str, Partition] = {}
        self.originals = {node.name: node for node in m.graph.nodes}
        for node in m.graph.nodes:
            if node.op in ("placeholder", "get_attr"):
                continue
            if node.op == "output":
                map_arg(node.args[0], lambda used: self.crosses(used, None))
                continue
            number = callback(node)
            name = f"{affix}_{number}" if affix else str(number)
            part = self.parts.setdefault(name, Partition(name))
            part.node_names.append(node.name)
            self.of[node] = name
            for used in node.all_input_nodes:
                self.crosses(used, node)

    def crosses(self, made: Node, user: Node | None) -> Node:
        """Note where a value goes from one part to another."""
        source, target = self.of.get(made), None if user is None else self.of.get(user)
        if source != target:
            if source is not None:
                self.parts[source].outputs.setdefault(made.name)
                if target is not None:
                    self.parts[source].dependents.setdefault(target)
            if target is not None:
                self.parts[target].inputs.setdefault(made.name)
                if source is not None:
                    self.parts[target].dependencies.setdefault(source)
        return made

    def ordered(self, keep_original_order: bool) -> list[str]:
        """The parts so that each comes after those that it depends on. RuntimeError if that cannot be."""
        waiting = {name: set(part.dependencies) for name, part in self.parts.items()}
        if keep_original_order:
            done: set[str] = set()
            for name, before in waiting.items():
                if before - done:
                    break
                done.add(name)
            else:
                return list(waiting)
        ready = [name for name, before in waiting.items() if not before]
        found: list[str] = []
        while ready:
            name = ready.pop(0)
            found.append(name)
            for dependent in self.parts[name].dependents:
                waiting[dependent].discard(name)
                if not waiting[dependent]:
                    ready.append(dependent)
        if len(found) != len(self.parts):
            raise RuntimeError("cycle exists between partitions!")
        return found


@compatibility(is_backward_compatible=True)
def split_module(m: GraphModule, root_m: Module, split_callback: Callable[[Node], Any],
                 qualname_map: dict[str, str] | None = None, keep_original_order: bool | None = False,
                 keep_original_node_name: bool | None = False, keep_original_input_name: bool = True, *,
                 partition_affix: str | None = None, tuple_return: bool = False) -> GraphModule:
    """A GraphModule that calls a submodule `submod_0`, ... for each part of the graph of `m`.

    Args:
        root_m: where submodules and attributes are found.
        split_callback: gives the part of a node: a number, or another name.
        qualname_map: gets where in `m` each submodule of a part is.
        keep_original_order: parts as they come first in the graph, if that can be.
        keep_original_node_name: nodes in the parts are called as they were.
        keep_original_input_name: arguments of the parts are called as the nodes that they are.
        partition_affix: goes into the names of the parts.
        tuple_return: parts give tuples though they give one value.

    Raises:
        RuntimeError: parts that need values of each other.

    Example:
        >>> import facula
        >>> from facula.fx.passes.split_module import split_module
        >>> module = facula.fx.symbolic_trace(lambda x: (x + 1).relu().sum())
        >>> split = split_module(module, module, lambda node: 0 if node.name == "add" else 1)
        >>> print(split.code.strip())
        def forward(self, x):
            submod_0 = self.submod_0(x);  x = None
            submod_1 = self.submod_1(submod_0);  submod_0 = None
            return submod_1
    """
    work = _Splitting(m, split_callback, partition_affix)
    order = work.ordered(bool(keep_original_order))
    base = Graph()
    known: dict[Node, Any] = {}
    attributes: dict[str, Any] = {}
    for node in m.graph.nodes:
        if node.op == "placeholder":
            default = node.args[0] if node.args else ...
            known[node] = base.placeholder(node.target, type_expr=node.type, default_value=default)
            known[node].meta = node.meta.copy()
        elif node.op == "get_attr":
            known[node] = base.get_attr(node.target)
            known[node].meta = node.meta.copy()
            attributes[node.target] = _found(root_m, node.target)
    for part in work.parts.values():
        _fill(work, part, root_m, qualname_map, bool(keep_original_node_name), keep_original_input_name)
    for name in order:
        part = work.parts[name]
        outputs = tuple(part.environment[work.originals[out]] for out in part.outputs)
        single = len(outputs) == 1 and not tuple_return
        part.graph.output(outputs[0] if single else outputs)
        attributes[part.submod_name] = GraphModule(part.targets, part.graph)
        call = base.call_module(part.submod_name, tuple(known[work.originals[used]] for used in part.inputs))
        if single:
            known[work.originals[next(iter(part.outputs))]] = call
        else:
            for k, out in enumerate(part.outputs):
                known[work.originals[out]] = base.call_function(_getitem, (call, k))
    output = m.graph.output_node()
    result = base.output(map_arg(output.args[0], known.__getitem__))
    result.meta = output.meta.copy()
    return GraphModule(attributes, base)


def _fill(work: _Splitting, part: Partition, root: Module, qualnames: dict[str, str] | None, keep_names: bool,
          keep_input_names: bool) -> None:
    """Copy a part's nodes into its graph."""
    for k, used in enumerate(part.inputs):
        original = work.originals[used]
        placeholder = part.graph.placeholder(used if keep_input_names else f"arg_{k}", type_expr=original.type)
        placeholder.meta = original.meta.copy()
        part.environment[original] = placeholder
    for name in part.node_names:
        node = work.originals[name]
        target = node.target
        if node.op in ("call_module", "get_attr"):
            target = "_".join(node.target.split("."))
            part.targets[target] = _found(root, node.target)
            if qualnames is not None:
                qualnames[f"{part.submod_name}.{target}"] = node.target
        copied = part.graph.create_node(
            node.op, target, map_arg(node.args, part.environment.__getitem__),
            map_arg(node.kwargs, part.environment.__getitem__), node.name if keep_names else None, node.type)
        copied.meta = node.meta.copy()
        part.environment[node] = copied


def _found(root: Any, target: str) -> Any:
    for part in target.split("."):
        if not hasattr(root, part):
            raise RuntimeError(f"Operator target {target} not found!")
        root = getattr(root, part)
    return root


@compatibility(is_backward_compatible=False)
def split_module_simple(m: GraphModule, node_to_partition: dict[Node, int], *,
                        partition_affix: str | None = None) -> GraphModule:
    """`split_module` by a dict that has the part of each node."""
    return split_module(m, m, node_to_partition.__getitem__, partition_affix=partition_affix)
