"""`ExportedProgram`: a program's graph, with the tensors that it was captured with."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import facula
from facula.export._unlifted import unlifted
from facula.export.graph_signature import (
    ArgumentSpec,
    ConstantArgument,
    ExportGraphSignature,
    InputKind,
)
from facula.fx.graph import Graph
from facula.fx.graph_module import GraphModule
from facula.symbolic_expressions import Symbol, ValueRanges
from facula.utils import _pytree as pytree

__all__ = ["ExportedProgram", "ModuleCallEntry", "ModuleCallSignature", "default_decompositions"]


@dataclasses.dataclass
class ModuleCallSignature:
    """How a module is called: its arguments, and the trees that they come in."""

    inputs: list[ArgumentSpec]
    outputs: list[ArgumentSpec]
    in_spec: pytree.TreeSpec
    out_spec: pytree.TreeSpec
    forward_arg_names: list[str] | None = None


@dataclasses.dataclass
class ModuleCallEntry:
    """A module within the program, by its path; the program itself is ''. `signature` is kept of that alone."""

    fqn: str
    signature: ModuleCallSignature | None = None


@dataclasses.dataclass
class Guard:
    """What has to hold of the inputs' sizes: of two formulas over symbols, with its text for messages."""

    relation: Any
    text: str


class ExportedProgram:
    """A program as a graph of named operations: what `torch.export.export` gives.

    `graph` has a placeholder for every parameter, buffer, constant and input; `graph_signature` says which is which,
    `state_dict` and `constants` have their tensors. `range_constraints`: of each size that is open from where to
    where it goes. `module()` gives a module that does what the program does.

    Example:
        >>> import facula
        >>> class Net(facula.nn.Module):
        ...     def forward(self, x, scale):
        ...         return (x * scale).relu()
        >>> program = facula.export.export(Net(), (facula.ones(2), 3.0))
        >>> print(program.graph)
        graph():
            %x : [num_users=1] = placeholder[target=x]
            %scale : [num_users=0] = placeholder[target=scale]
            %mul : [num_users=1] = call_function[target=torch.ops.aten.mul.Tensor](args = (%x, 3.0), kwargs = {})
            %relu : [num_users=1] = call_function[target=torch.ops.aten.relu.default](args = (%mul,), kwargs = {})
            return (relu,)
        >>> program.module()(facula.tensor([-1.0, 2.0]), 3.0)
        tensor([0., 6.])
    """

    def __init__(self, root: Any, graph: Graph, graph_signature: ExportGraphSignature, state_dict: dict[str, Any],
                 range_constraints: dict[Symbol, ValueRanges], module_call_graph: list[ModuleCallEntry],
                 example_inputs: tuple[tuple[Any, ...], dict[str, Any]] | None = None,
                 constants: dict[str, Any] | None = None, *, verifiers: Any = None,
                 guards: list[Guard] | None = None) -> None:
        graph._codegen = facula.fx.CodeGen()
        self._graph_module = GraphModule(root, graph, "GraphModule")
        self._graph_signature = graph_signature
        self._state_dict = state_dict
        self._range_constraints = range_constraints
        self._module_call_graph = module_call_graph
        self._example_inputs = example_inputs
        self._constants = constants or {}
        self._guards = guards or []

    # -- what it is made of ---------------------------------------------------------------------
    @property
    def graph_module(self) -> GraphModule:
        """The graph as a module: it takes parameters, buffers, constants and inputs, flat."""
        return self._graph_module

    @property
    def graph(self) -> Graph:
        """The graph."""
        return self._graph_module.graph

    @property
    def graph_signature(self) -> ExportGraphSignature:
        """What its inputs and outputs are."""
        return self._graph_signature

    @property
    def state_dict(self) -> dict[str, Any]:
        """Parameters and persistent buffers by their names in the module."""
        return self._state_dict

    @property
    def constants(self) -> dict[str, Any]:
        """Other tensors of the program: buffers that are not persistent, and what it makes of numbers."""
        return self._constants

    @property
    def tensor_constants(self) -> dict[str, Any]:
        """The same: all constants are tensors."""
        return self._constants

    @property
    def range_constraints(self) -> dict[Symbol, ValueRanges]:
        """From where to where the open sizes go, by their symbols."""
        return self._range_constraints

    @property
    def module_call_graph(self) -> list[ModuleCallEntry]:
        """The program ('') and its modules."""
        return self._module_call_graph

    @property
    def example_inputs(self) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """The arguments with which it was captured; None of a program that was loaded without."""
        return self._example_inputs

    @property
    def call_spec(self) -> Any:
        """The trees of arguments and results: `in_spec`, `out_spec`."""
        signature = self._signature()
        return _CallSpec(signature.in_spec, signature.out_spec)

    @property
    def dialect(self) -> str:
        """As PyTorch calls this form of graphs."""
        return "TRAINING"

    @property
    def verifier(self) -> Any:
        """None: `validate` looks at the graph."""
        return None

    def _signature(self) -> ModuleCallSignature:
        signature = self._module_call_graph[0].signature
        assert signature is not None
        return signature

    def named_parameters(self) -> Iterator[tuple[str, Any]]:
        """Parameters with their names."""
        for name in self._graph_signature.parameters:
            yield name, self._state_dict[name]

    def parameters(self) -> Iterator[Any]:
        """Parameters."""
        for _, value in self.named_parameters():
            yield value

    def named_buffers(self) -> Iterator[tuple[str, Any]]:
        """Buffers with their names."""
        for name in self._graph_signature.buffers:
            yield name, self._state_dict[name] if name in self._state_dict else self._constants[name]

    def buffers(self) -> Iterator[Any]:
        """Buffers."""
        for _, value in self.named_buffers():
            yield value

    def validate(self) -> None:
        """Look whether the graph is sound: names, order, inputs.

        Raises:
            RuntimeError: it is not.
        """
        self.graph.lint()
        inputs = [node.name for node in self.graph.find_nodes(op="placeholder")]
        if inputs != [spec.arg.name for spec in self._graph_signature.input_specs]:
            raise RuntimeError("the graph's placeholders are not those of its signature")

    # -- what is done with it -------------------------------------------------------------------
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("Unable to call ExportedProgram directly. You should use `exported_program.module()` "
                           "instead.")

    def module(self, check_guards: bool = True) -> GraphModule:
        """A module that does what the program did: it has the parameters and buffers under their names, takes the
        same arguments, and checks their sizes. The tensors are the program's own.

        Raises (when it is called):
            ValueError: other arguments, by number or structure.
            AssertionError: sizes for which the graph does not hold, or another value of what is no tensor.
        """
        return unlifted(self, check_guards)

    def run_decompositions(self, decomp_table: Mapping[Any, Callable[..., Any]] | None = None,
                           decompose_custom_triton_ops: bool = False) -> ExportedProgram:
        """The program without writes, with operations replaced by what functions in `decomp_table` make of them, by
        overload (`torch.ops.aten.silu.default`). Without a table: by `default_decompositions()`; with an empty one
        none is.

        Operations in place become those that give a new value. What the program writes into buffers, parameters and
        inputs are its first outputs (`graph_signature.buffers_to_mutate` and so on), which `module()` writes.

        Raises:
            UserError: a function that does not hold for all sizes that are open.
            NotImplementedError: a write into what is no buffer, or into a view that cannot be told from its base.

        Example:
            >>> import facula
            >>> program = facula.export.export(facula.nn.SiLU(), (facula.ones(2),))
            >>> table = {facula.ops.aten.silu.default: lambda x: x * x.sigmoid()}
            >>> [node.name for node in program.run_decompositions(table).graph.nodes]
            ['input', 'sigmoid', 'mul', 'output']
        """
        return above.decomposed(self, default_decompositions() if decomp_table is None else dict(decomp_table))

    def print_readable(self, print_output: bool = True, **options: Any) -> str:
        """The graph's code with shapes and lines of the program. Printed, and given."""
        return self._graph_module.print_readable(print_output, **options)

    def __str__(self) -> str:
        code = self._graph_module.print_readable(print_output=False).replace("\n", "\n    ")
        signature = str(self._graph_signature).replace("\n", "\n    ")
        return (f"ExportedProgram:\n    {code}\nGraph signature: {signature}\n"
                f"Range constraints: {self._range_constraints}\n")

    def __deepcopy__(self, memo: dict[int, Any]) -> ExportedProgram:
        found = ExportedProgram(
            self._graph_module, copy.deepcopy(self.graph), copy.deepcopy(self._graph_signature, memo),
            copy.deepcopy(self._state_dict, memo), dict(self._range_constraints),
            copy.deepcopy(self._module_call_graph, memo), self._example_inputs, copy.deepcopy(self._constants, memo),
            guards=list(self._guards))
        memo[id(self)] = found
        return found

    def __reduce__(self) -> Any:
        raise TypeError("an ExportedProgram is not pickled: torch.export.save writes it as data")

    def tensor_of(self, name: str, kind: InputKind) -> Any:
        """The tensor of a parameter, buffer or constant."""
        if kind is InputKind.CONSTANT_TENSOR:
            return self._constants[name]
        return self._state_dict[name] if name in self._state_dict else self._constants[name]


class _Above:
    """What captures a program anew (`_decomposing.py`), and stands on this page."""

    decomposed: Callable[[ExportedProgram, dict[Any, Any]], ExportedProgram]
    table: Mapping[Any, Callable[..., Any]]


above = _Above()


@dataclasses.dataclass
class _CallSpec:
    in_spec: pytree.TreeSpec
    out_spec: pytree.TreeSpec


def default_decompositions() -> dict[Any, Any]:
    """What `run_decompositions()` replaces, by overload: a new dict, from which entries may be taken.

    Example:
        >>> import facula
        >>> table = facula.export.default_decompositions()
        >>> facula.ops.aten.linear.default in table, facula.ops.aten.relu.default in table
        (True, False)
    """
    return dict(above.table)


def is_constant(spec: Any) -> bool:
    """Is an input's value always the same?"""
    return isinstance(spec.arg, ConstantArgument)
