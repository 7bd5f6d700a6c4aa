"""`ExportedProgram.run_decompositions`: a program captured anew, from its own graph with other functions in it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import facula
from facula._tensor.handle import Tensor
from facula.export import exported_program
from facula.export._cases import Size
from facula.export._decompositions import TABLE
from facula.export._run import Run
from facula.export.dynamic_shapes import Sizes
from facula.export.exported_program import ExportedProgram
from facula.fx.graph_module import GraphModule
from facula.nn import Module
from facula.nn.recurrent import whole
from facula.utils import _pytree as pytree


def decomposed(program: ExportedProgram, table: Mapping[Any, Callable[..., Any]]) -> ExportedProgram:
    """The program without writes, some operations replaced: captured anew, from its own graph."""
    module = program.module(check_guards=False)
    _replaced(module, table)
    runner = _Runner(module)
    if program.example_inputs is None:
        raise RuntimeError("run_decompositions of a program that was loaded without its example inputs")
    args, kwargs = program.example_inputs
    arguments = dict(zip(program._signature().forward_arg_names or [], (*args, *kwargs.values()), strict=True))
    sizes = Sizes()
    described = [node.meta.get("val") for node in program.graph.find_nodes(op="placeholder")]
    described = described[-len(pytree.tree_leaves((args, kwargs))):] if pytree.tree_leaves((args, kwargs)) else []
    hints: dict[str, int] = {}
    for at, (leaf, like) in enumerate(zip(pytree.tree_leaves((args, kwargs)), described, strict=True)):
        if isinstance(leaf, Tensor) and isinstance(like, Tensor):
            sizes.of_leaves[at] = [None if isinstance(length, int) else length.formula for length in like.shape]
            for actual, length in zip(leaf.shape, like.shape, strict=True):
                if not isinstance(length, int) and length.formula.only:
                    hints[length.formula.only] = actual
    for symbol, found in program.range_constraints.items():
        if symbol.name not in hints:
            raise NotImplementedError("run_decompositions of a program whose open sizes are only derived ones")
        sizes.sizes[symbol.name] = Size(symbol.name, "named", hints[symbol.name], found.lower, found.upper,
                                        symbol.name, symbol.name, (found.lower, found.upper))
    run = Run(runner, args, kwargs, arguments, sizes, True, frozenset(program.graph_signature.lifted_tensor_constants))
    run.forward_names = list(program._signature().forward_arg_names or [])
    result = run.program()
    result._module_call_graph[1:] = program._module_call_graph[1:]
    return result


def _replaced(module: Any, table: Mapping[Any, Callable[..., Any]]) -> None:
    """Have a graph, and the graphs of functions in it, call others."""
    for node in module.graph.nodes:
        if node.op == "call_function" and node.target in table:
            node.target = table[node.target]
    for name, child in list(module._modules.items()):
        if isinstance(child, GraphModule):
            module._modules[name] = copied = copy.copy(child)
            copied.graph = copy.deepcopy(child.graph)
            _replaced(copied, table)
            module._modules[name] = _Runner(copied)


class _Runner(Module):
    """Runs a graph node by node, under the names that its tensors had."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self._modules.update(module._modules)
        self._parameters.update(module._parameters)
        self._buffers.update(module._buffers)
        self._non_persistent_buffers_set |= module._non_persistent_buffers_set
        self.__dict__["graph"] = module.graph
        self.__dict__["spec"] = getattr(module, "_out_spec", None)  # (the graph of a function has none)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the graph."""
        leaves = iter(pytree.tree_leaves((args, kwargs)))
        values: dict[Any, Any] = {}
        for node in self.graph.nodes:
            if node.op == "placeholder":
                values[node] = next(leaves)
            elif node.op == "get_attr":
                found: Any = self
                for part in node.target.split("."):
                    found = getattr(found, part)
                values[node] = found
            elif node.op == "output":
                found = facula.fx.map_arg(node.args[0], values.__getitem__)
                return found if self.spec is None else pytree.tree_unflatten(found, self.spec)
            else:
                args, kwargs = facula.fx.map_arg((node.args, node.kwargs), values.__getitem__)
                network = getattr(getattr(node.target, "overloadpacket", None), "__name__", "").upper()
                if network in whole.NETWORKS:  # as its module calls it: so it is heard
                    values[node] = whole.called(network, *args)
                else:
                    values[node] = node.target(*args, **kwargs)
        raise AssertionError("a graph without an output")


exported_program.above.decomposed = decomposed
exported_program.above.table = TABLE
