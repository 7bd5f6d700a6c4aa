"""A module and its arguments, captured: from the first run to the ExportedProgram."""

from __future__ import annotations

from typing import Any

from facula._dynamo.exc import UserError
from facula._tensor.handle import Tensor
from facula.export._capture import Capture
from facula.export._cases import Plan
from facula.export._hearing import Listener
from facula.export._particulars import _attributes, _forward_names, _guards, _name, _put_back, _ranges, _rooted
from facula.export._solve import solved
from facula.export._traced import MISSED, Traced
from facula.export._unlifted import rooted
from facula.export.dynamic_shapes import Sizes
from facula.export.exported_program import ExportedProgram, ModuleCallEntry, ModuleCallSignature
from facula.export.graph_signature import (
    ConstantArgument,
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    SymBoolArgument,
    SymFloatArgument,
    SymIntArgument,
    TensorArgument,
)
from facula.nn import Module
from facula.nn.utils.stateless import reparametrized
from facula.ops.aten_names import aten
from facula.symbolic_numbers import SymBool, SymFloat, SymInt
from facula.utils import _pytree as pytree

_WRITTEN = {InputKind.BUFFER: OutputKind.BUFFER_MUTATION, InputKind.PARAMETER: OutputKind.PARAMETER_MUTATION,
            InputKind.USER_INPUT: OutputKind.USER_INPUT_MUTATION}
_PLAIN = (int, float, bool, str, type(None), complex)


class Run:
    """A module and the arguments it is captured with."""

    def __init__(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any], arguments: dict[str, Any],
                 sizes: Sizes, functional: bool = False, constants: frozenset[str] = frozenset()) -> None:
        self.functional = functional
        self.constant_names = constants  # of buffers that stand for constants
        self.module, self.args, self.kwargs, self.sizes = module, args, kwargs, sizes
        self.leaves, self.in_spec = pytree.tree_flatten((args, kwargs))
        named, _ = pytree.tree_flatten_with_path(arguments)
        self.names = [_name(path) for path, _ in named]
        self.forward_names = _forward_names(module, args, kwargs)
        self.result: Any = None
        self.specs: list[InputSpec] = []

    def program(self) -> ExportedProgram:
        """The whole."""
        capture, plan = solved(self.captured, Plan(self.sizes.sizes))
        capture.close()
        state, constants = self._tensors(capture)
        outputs, out_spec = self._outputs(capture)
        entries = [ModuleCallEntry("", ModuleCallSignature([], [], self.in_spec, out_spec, self.forward_names))]
        entries += [ModuleCallEntry(name) for name, _ in self.module.named_modules() if name]
        return ExportedProgram(
            rooted(capture.subgraphs), capture.graph, ExportGraphSignature(self._inputs(capture), outputs), state,
            _ranges(plan), entries, (self.args, self.kwargs), constants, guards=_guards(capture, plan, self.sizes))

    # -- one capture ----------------------------------------------------------------------------
    def captured(self, plan: Plan) -> Capture:
        """The program run under a plan. `_cases.Again` where a case disagrees."""
        capture = Capture(plan, functional=self.functional)
        self.specs = []
        values = self._parameters(capture)
        for module in self.module.modules():
            prefix = next((name + "." for name, other in self.module.named_modules() if other is module and name), "")
            for key, value in vars(module).items():
                if isinstance(value, Tensor):
                    capture.paths.setdefault(id(value), prefix + key)
        leaves = self._user_inputs(capture, plan)
        args, kwargs = pytree.tree_unflatten(leaves, self.in_spec)
        put = reparametrized(self.module, values, True, False)
        before = _attributes(self.module)
        with put:
            try:
                with Listener(capture):
                    result = self.module(*args, **kwargs)
                self._written_buffers(capture, put)
                self._end(capture, result)
            finally:
                _put_back(self.module, before)
        return capture

    def _parameters(self, capture: Capture) -> dict[str, Traced]:
        """What stands for parameters and buffers."""
        values: dict[str, Traced] = {}
        kinds = [(InputKind.PARAMETER, "p_", list(self.module.named_parameters(remove_duplicate=False))),
                 (InputKind.BUFFER, "b_", list(self.module.named_buffers(remove_duplicate=False)))]
        persistent = set(self.module.state_dict(keep_vars=True))
        for usual, prefix, named in kinds:
            for name, t in named:
                kind = usual
                node_name = prefix + name.replace(".", "_")
                known = capture.known.get(id(t))
                if known is not None:  # tied: under all its names one
                    values[name] = known
                    continue
                if name in self.constant_names:
                    kind, node_name = InputKind.CONSTANT_TENSOR, "c_" + name.replace(".", "_")
                found = capture.stand_in(t, node_name)
                found._is_param = kind is InputKind.PARAMETER  # type: ignore[attr-defined]
                values[name] = capture.known[id(t)] = found
                capture.last_constant = found.fx
                self.specs.append(InputSpec(kind, TensorArgument(found.fx.name), name,
                                            name in persistent if kind is InputKind.BUFFER else None))
        return values

    def _user_inputs(self, capture: Capture, plan: Plan) -> list[Any]:
        found: list[Any] = []
        for at, (leaf, name) in enumerate(zip(self.leaves, self.names, strict=True)):
            if isinstance(leaf, Tensor):
                sizes = self.sizes.of_leaves.get(at)
                rooted = None if sizes is None else [None if f is None else _rooted(f, plan) for f in sizes]
                described = capture.stand_in(leaf, name, rooted)
                found.append(described)
                self.specs.append(InputSpec(InputKind.USER_INPUT, TensorArgument(described.fx.name), None))
            elif isinstance(leaf, _PLAIN):
                node = capture.placeholder(name)
                node.meta["val"] = leaf
                found.append(leaf)
                self.specs.append(InputSpec(InputKind.USER_INPUT, ConstantArgument(node.name, leaf), None))  # type: ignore[arg-type]
            else:
                raise UserError(f"Unsupported input type {type(leaf)}. Export only supports pytree containers of "
                                "basic types (Tensor, int, float, ...) as input. To register a custom dataclass, use "
                                "torch.export.register_dataclass. To register a custom container type, use "
                                "torch.utils._pytree.register_pytree_node.")
        return found

    def _written_buffers(self, capture: Capture, put: Any) -> None:
        """What the module has put in a buffer's place is written into it."""
        for table, key, described in put.places:
            now = table.get(key)
            if now is described:
                continue
            if not isinstance(now, Tensor) or getattr(described, "_is_param", False):
                raise ValueError(f"torch.export: the program replaces {key!r} by {type(now).__name__}; of what it "
                                 "assigns buffers alone may be tensors, and stay ones")
            capture.call(aten.copy_.default, (described, now), {})

    def _end(self, capture: Capture, result: Any) -> None:
        leaves, spec = pytree.tree_flatten(result)
        for leaf in leaves:
            if not isinstance(leaf, (Tensor, SymInt, SymFloat, SymBool, *_PLAIN)):
                raise UserError(f"It looks like one of the outputs with type `{type(leaf)}` is not supported or "
                                "pytree-flattenable.")
        given = [capture.argument(leaf) for leaf in leaves]
        written = self._written(capture)
        capture.graph.output((*[one for _, one, _ in written], *given))
        for leaf in leaves:
            if isinstance(leaf, Traced) and leaf.capture is not capture:
                raise RuntimeError(f"torch.export: {MISSED}")
        self.result = given, [capture.known.get(id(leaf), leaf) for leaf in leaves], spec, [
            OutputSpec(kind, TensorArgument(node.name), target) for kind, node, target in written]

    def _written(self, capture: Capture) -> list[tuple[OutputKind, Any, str | None]]:
        """What a graph without writes gives of the tensors that the program writes into: kind, node, of which."""
        found: list[tuple[OutputKind, Any, str | None]] = []
        if not self.functional:
            return found
        by_name = {spec.arg.name: spec for spec in self.specs}
        for placeholder in capture.graph.find_nodes(op="placeholder"):
            t = placeholder.meta["val"]
            if isinstance(t, Tensor) and capture.values.count(t):
                spec = by_name.get(placeholder.name)
                if spec is None or spec.kind is InputKind.CONSTANT_TENSOR:
                    raise NotImplementedError("run_decompositions of a program that writes into a tensor which is no "
                                              "buffer is not in Facula yet: register_buffer makes it one")
                of = spec.target if spec.kind is not InputKind.USER_INPUT else spec.arg.name
                found.append((_WRITTEN[spec.kind], t.fx, of))
        order = [OutputKind.BUFFER_MUTATION, OutputKind.PARAMETER_MUTATION, OutputKind.USER_INPUT_MUTATION]
        return sorted(found, key=lambda one: order.index(one[0]))

    # -- what is told of it ---------------------------------------------------------------------
    def _inputs(self, capture: Capture) -> list[InputSpec]:
        by_name = {spec.arg.name: spec for spec in self.specs}
        found = []
        constants = {"c_" + path.replace(".", "_"): path for path in capture.constants}
        paths = {capture.known[id(t)].fx.name: path for path, t in capture.constants.items()}
        for node in capture.graph.find_nodes(op="placeholder"):
            spec = by_name.get(node.name)
            if spec is None:
                spec = InputSpec(InputKind.CONSTANT_TENSOR, TensorArgument(node.name),
                                 paths.get(node.name) or constants[node.name])
            found.append(spec)
        return found

    def _outputs(self, capture: Capture) -> tuple[list[OutputSpec], pytree.TreeSpec]:
        nodes, leaves, spec, written = self.result
        found: list[OutputSpec] = list(written)
        for given, leaf in zip(nodes, leaves, strict=True):
            arg: Any
            if isinstance(leaf, Tensor):
                arg = TensorArgument(given.name)
            elif isinstance(leaf, SymInt):
                arg = SymIntArgument(given.name)
            elif isinstance(leaf, SymFloat):
                arg = SymFloatArgument(given.name)
            elif isinstance(leaf, SymBool):
                arg = SymBoolArgument(given.name)
            else:
                arg = ConstantArgument("", leaf)
            found.append(OutputSpec(OutputKind.USER_OUTPUT, arg, None))
        return found, spec

    def _tensors(self, capture: Capture) -> tuple[dict[str, Any], dict[str, Any]]:
        """The tensors of the state_dict, and the others."""
        state = dict(self.module.state_dict(keep_vars=True))
        constants: dict[str, Any] = dict(capture.constants)
        buffers = dict(self.module.named_buffers(remove_duplicate=False))
        for spec in self.specs:
            if spec.kind is InputKind.BUFFER and not spec.persistent:
                constants[spec.target or ""] = buffers[spec.target or ""]
            elif spec.kind is InputKind.CONSTANT_TENSOR:
                constants[spec.target or ""] = buffers[spec.target or ""]
        return state, constants
