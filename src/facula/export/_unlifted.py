"""`ExportedProgram.module()`: the graph with its parameters, buffers and constants inside, called like the program."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import facula
from facula._tensor.handle import Tensor
from facula.autograd.graph import mode
from facula.export._regions import set_grad
from facula.export.graph_signature import WRITTEN, ConstantArgument, InputKind, OutputKind
from facula.fx._codegen import CodeGen
from facula.fx.graph import Graph
from facula.fx.graph_module import GraphModule
from facula.nn import Module, Parameter
from facula.ops.aten_names import aten
from facula.symbolic_expressions import Expression
from facula.utils import _pytree as pytree


class _Called(CodeGen):
    """The head and the end of `forward`: trees of arguments, trees of results."""

    def __init__(self, names: list[str], positional: int, in_spec: Any, out_spec: Any) -> None:
        super().__init__()
        self.names, self.positional, self.in_spec, self.out_spec = names, positional, in_spec, out_spec

    def process_inputs(self, *inputs: Any) -> Any:
        return pytree.tree_leaves(inputs)

    def process_outputs(self, out: Any) -> Any:
        return pytree.tree_unflatten(out, self.out_spec)

    def gen_fn_def(self, free_vars: list[str], maybe_return_annotation: str, *, expanded_def: bool = False) -> str:
        leaves = [name.partition(":")[0].strip() for name in free_vars]
        head = super().gen_fn_def(list(self.names), maybe_return_annotation, expanded_def=expanded_def)
        if leaves:
            args = ", ".join(self.names[:self.positional])
            kwargs = ", ".join(f"'{name}':{name}" for name in self.names[self.positional:])
            head += f"\n    {', '.join(leaves)}, = fx_pytree.tree_flatten_spec(([{args}], {{{kwargs}}}), self._in_spec)"
        return head

    def generate_output(self, output_args: Any, *, descs: Any = None, repr_fn: Callable[[Any], str] = repr) -> str:
        return f"return pytree.tree_unflatten({repr_fn(output_args)}, self._out_spec)"


class _Checked:
    """Looks at the arguments of each call."""

    def __init__(self, program: Any, check_guards: bool) -> None:
        signature = program._signature()
        self.in_spec, self.check_guards = signature.in_spec, check_guards
        self.specs = [spec for spec in program.graph_signature.input_specs if spec.kind is InputKind.USER_INPUT]
        values = {node.name: node.meta.get("val") for node in program.graph.find_nodes(op="placeholder")}
        self.described: list[Any] = [values.get(spec.arg.name) for spec in self.specs]
        self.ranges = {symbol.name: found for symbol, found in program.range_constraints.items()}
        self.guards = program._guards

    def __deepcopy__(self, memo: Any) -> _Checked:
        return self

    def __call__(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        names = list(self.in_spec.children()[1].context)
        if set(names) != set(kwargs):
            positional = self.in_spec.children()[0].num_children
            extra = module.graph._codegen.names[:positional]
            given = [*args, *[kwargs[name] for name in extra[len(args):] if name in kwargs]]
            kwargs = {name: value for name, value in kwargs.items() if name not in extra[len(args):]}
            if len(given) > positional:  # what was given by name in the example
                kwargs |= dict(zip(names, given[positional:], strict=False))
                given = given[:positional]
            args = tuple(given)
            if set(names) != set(kwargs):
                raise ValueError("Ran into a kwarg keyword mismatch: Got the following keywords "
                                 f"{list(kwargs)} but expected {names}")
        kwargs = {name: kwargs[name] for name in names}
        leaves, tree = pytree.tree_flatten((args, kwargs))
        if tree != self.in_spec:
            raise ValueError("Trying to flatten user inputs with exported input tree spec: \n"
                             f"{self.in_spec}\nbut actually got inputs with tree spec of: \n{tree}.\nPlease check that "
                             "the inputs have the same number and type of args and kwargs as the ones you used when "
                             "tracing.")
        self.check(leaves)
        return args, kwargs

    def check(self, leaves: list[Any]) -> None:
        """Raise AssertionError for what the graph does not hold for."""
        values: dict[str, int] = {}
        later: list[tuple[Expression, int, str]] = []
        for spec, described, leaf in zip(self.specs, self.described, leaves, strict=True):
            if isinstance(spec.arg, ConstantArgument):
                if not _equal(leaf, spec.arg.value):
                    raise AssertionError(f"Guard failed: {spec.arg.name} == {spec.arg.value!r}")
                continue
            if not isinstance(leaf, Tensor):
                raise AttributeError(f"{type(leaf).__name__!r} object has no attribute 'size'")
            if leaf.dtype is not described.dtype:
                raise AssertionError(f"Guard failed: {spec.arg.name}.dtype == {described.dtype}")
            if self.check_guards:
                self._sizes(spec.arg.name, leaf.shape, described.shape, values, later)
        if not self.check_guards:
            return
        for formula, length, text in later:
            self._formula(formula, length, text, values)
        for guard in self.guards:
            if not _holds(guard.relation, values):
                raise AssertionError(f"Guard failed: {guard.text}")

    def _sizes(self, name: str, shape: Any, wanted: Any, values: dict[str, int], later: list[Any]) -> None:
        if len(shape) != len(wanted):
            raise AssertionError(f"Guard failed: len({name}.size()) == {len(wanted)}")
        for d, (length, open_) in enumerate(zip(shape, wanted, strict=True)):
            text = f"{name}.size()[{d}]"
            if isinstance(open_, int):
                if length != open_:
                    raise AssertionError(f"Guard failed: {text} == {open_}")
                continue
            symbol = open_.formula.only
            if symbol is None:
                later.append((open_.formula, length, text))
                continue
            if values.setdefault(symbol, length) != length:
                raise AssertionError(f"Guard failed: {text} == {values[symbol]}: sizes that were equal when the "
                                     f"program was captured ({symbol}) have to be")
            self._range(symbol, length, text)

    def _range(self, symbol: str, length: int, text: str) -> None:
        found = self.ranges.get(symbol)
        if found is not None and length not in found:
            raise AssertionError(f"Guard failed: {text} >= {found.lower}" if length < found.lower else
                                 f"Guard failed: {text} <= {found.upper}")

    def _formula(self, formula: Expression, length: int, text: str, values: dict[str, int]) -> None:
        """A size that was said to be `2*b + 1`: it tells `b`, or has to fit."""
        names = sorted(formula.symbols - values.keys())
        if len(names) == 1:
            shift, scale = formula.terms.get((), 0), formula.terms.get((names[0],), 0)
            if scale and len(formula.terms) <= 2:
                value, rest = divmod(length - shift, scale)
                if rest:
                    raise AssertionError(f"Guard failed: {text} == {formula}")
                values[names[0]] = value
                self._range(names[0], value, names[0])
                return
        if not names and formula.at(values) != length:
            raise AssertionError(f"Guard failed: {text} == {formula}, which is {formula.at(values)} here")


class _Modes(threading.local):
    """Has gradients as they were when a call ends, by an exception too."""

    def __init__(self) -> None:
        self.kept: list[bool] = []

    def __deepcopy__(self, memo: Any) -> _Modes:
        return _Modes()

    def keep(self, module: Any, args: Any) -> None:
        self.kept.append(mode.grad)

    def put_back(self, module: Any, args: Any, result: Any) -> None:
        mode.grad = self.kept.pop()


def _holds(relation: Any, values: dict[str, int]) -> bool:
    try:
        return bool(relation.at(values))
    except (KeyError, ZeroDivisionError):
        return False


def _equal(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    return bool(a == b) or isinstance(a, float) and math.isnan(a) and math.isnan(b)


def unlifted(program: Any, check_guards: bool) -> GraphModule:
    """See `ExportedProgram.module`."""
    signature = program._signature()
    graph, found = Graph(), Module()
    nodes: dict[Any, Any] = {}
    by_name = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    placeholders = program.graph.find_nodes(op="placeholder")
    for node in placeholders:  # what the caller gives comes first
        spec = by_name[node.name]
        if spec.kind is InputKind.USER_INPUT:
            nodes[node] = graph.placeholder(node.name)
            nodes[node].meta = dict(node.meta)
    for node in placeholders:
        spec = by_name[node.name]
        if spec.kind is not InputKind.USER_INPUT:
            _place(found, spec.target, program.tensor_of(spec.target, spec.kind), spec)
            nodes[node] = graph.get_attr(spec.target)
            nodes[node].meta = dict(node.meta)
    for node in program.graph.nodes:
        if node.op == "output":
            results = facula.fx.map_arg(node.args[0], nodes.__getitem__)
            output = graph.output(results[_write(graph, program.graph_signature, nodes, results):])
            output.meta = dict(node.meta)
        elif node.op != "placeholder":
            if node.op == "get_attr":  # the graph of a function
                found.add_module(node.target, getattr(program.graph_module, node.target))
            nodes[node] = graph.node_copy(node, nodes.__getitem__)
    names = signature.forward_arg_names or []
    module = GraphModule(found, graph, "GraphModule")
    _tie(module, program)
    module._in_spec, module._out_spec = signature.in_spec, signature.out_spec  # type: ignore[assignment]
    graph.set_codegen(_Called(names, signature.in_spec.children()[0].num_children, signature.in_spec,
                              signature.out_spec))
    module.recompile()
    module.register_forward_pre_hook(_Checked(program, check_guards), with_kwargs=True)
    if any(node.target is set_grad for node in graph.nodes):
        modes = _Modes()
        module.register_forward_pre_hook(modes.keep, prepend=True)
        module.register_forward_hook(modes.put_back, always_call=True)
    return module


def _write(graph: Graph, signature: Any, nodes: dict[Any, Any], results: Any) -> int:
    """Write the first results of a graph without writes into what they are of. How many are they?"""
    specs = [spec for spec in signature.output_specs if spec.kind in WRITTEN]
    inputs = {spec.target or spec.arg.name: spec.arg.name for spec in signature.input_specs}
    by_name = {node.name: made for node, made in nodes.items()}
    before = graph.call_function(set_grad, (False,)) if any(
        spec.kind is OutputKind.PARAMETER_MUTATION for spec in specs) else None
    for spec, value in zip(specs, results, strict=False):
        graph.call_function(aten.copy_.default, (by_name[inputs[spec.target]], value))
    if before is not None:
        graph.call_function(set_grad, (before,))
    return len(specs)


def rooted(subgraphs: dict[str, Any]) -> Module:
    """A module that has the graphs of functions as submodules."""
    found = Module()
    for name, graph in subgraphs.items():
        found.add_module(name, graph)
    return found


def _place(root: Module, path: str, t: Any, spec: Any) -> None:
    """Have a tensor at its path, with empty modules on the way."""
    *parts, name = path.split(".")
    for part in parts:
        if part not in root._modules:
            root.add_module(part, Module())
        root = root._modules[part]  # type: ignore[assignment]
    if isinstance(t, Parameter):
        root.register_parameter(name, t)
    elif spec.kind is InputKind.BUFFER:
        root.register_buffer(name, t, persistent=bool(spec.persistent))
    else:
        root.register_buffer(name, t, persistent=False)


def _tie(root: Module, program: Any) -> None:
    """What has several names in the module has them here."""
    there = dict(root.named_parameters(remove_duplicate=False)) | dict(root.named_buffers(remove_duplicate=False))
    for name, t in program.state_dict.items():
        if name not in there and isinstance(t, Parameter):
            _place(root, name, t, None)
