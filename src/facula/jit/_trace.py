"""`torch.jit.trace`: a program run once for example arguments, as a graph that is called in its place."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import facula
from facula._tensor.handle import Tensor
from facula.export._unlifted import _Checked, _place, unlifted
from facula.export.exported_program import ExportedProgram
from facula.fx.graph_module import GraphModule
from facula.jit._capture import Function, captured, method_as_forward
from facula.jit._script import RecursiveScriptModule, ScriptFunction, ScriptModule
from facula.nn import Module, Parameter
from facula.utils import _pytree as pytree

_KINDS = "Only Tensors and (possibly nested) Lists, Dicts, and Tuples of Tensors can be traced"


class _Arguments(_Checked):
    """What a trace looks at when it is called: sizes that Python has decided by. Not dtypes: the graph is for any."""

    def __call__(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return super().__call__(module, args, kwargs)
        except ValueError as error:
            raise RuntimeError(f"torch.jit.trace: other arguments than the trace was made with: {error}") from None
        except AssertionError as error:
            raise RuntimeError(f"torch.jit.trace: {error}. The trace holds for the sizes by which the program has "
                               "decided; trace it with such arguments") from None

    def check(self, leaves: list[Any]) -> None:
        super().check([facula.empty(leaf.shape, dtype=described.dtype, device="meta")
                       if isinstance(leaf, Tensor) and isinstance(described, Tensor)
                       and leaf.dtype is not described.dtype else leaf
                       for leaf, described in zip(leaves, self.described, strict=True)])


def _runnable(program: ExportedProgram) -> GraphModule:
    """The graph with its tensors, called like the program."""
    found = unlifted(program, True)
    for key, hook in found._forward_pre_hooks.items():
        if isinstance(hook, _Checked):
            found._forward_pre_hooks[key] = _Arguments(program, True)
    return found


class _Captured(ScriptModule):
    """A module made of programs, one for each method. Its tensors lie at their paths in empty modules."""

    def __init__(self, name: str, programs: Mapping[str, ExportedProgram], training: bool = True) -> None:
        super().__init__()
        self._original_name, self.training = name, training
        self.__dict__["_programs"] = dict(programs)
        self.__dict__["_graphs"] = graphs = {method: _runnable(program) for method, program in programs.items()}
        for method, graph in graphs.items():
            there = dict(graph.named_parameters(remove_duplicate=False)) \
                | dict(graph.named_buffers(remove_duplicate=False))
            state = programs[method].state_dict
            for path in (*[path for path in state if path in there], *[path for path in there if path not in state]):
                self._keep(path, there[path], path in state)
            graph._parameters, graph._buffers, graph._modules = self._parameters, self._buffers, self._modules
            if method != "forward":
                self.__dict__[method] = graph
        for part in self.modules():
            part.training = training

    def _keep(self, path: str, t: Any, persistent: bool) -> None:
        owner, _, name = path.rpartition(".")
        try:
            there = name in vars(self.get_submodule(owner))["_parameters" if isinstance(t, Parameter) else "_buffers"]
        except AttributeError:
            there = False
        if not there:
            kind = facula.export.graph_signature.InputKind.BUFFER if persistent else None
            _place(self, path, t, _Spec(kind, persistent))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the program does."""
        return self._compiled("forward")["forward"](*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        programs = self.programs()
        for program in programs.values():
            program._state_dict = copy.deepcopy(program.state_dict, memo)
            program._constants = copy.deepcopy(program.constants, memo)
        found = type(self)(self._original_name, programs, self.training)
        memo[id(self)] = found
        return found

    def __reduce__(self) -> Any:
        raise RuntimeError("a ScriptModule is not pickled: torch.jit.save writes it")

    def programs(self) -> dict[str, ExportedProgram]:
        """The programs with the tensors that the module has now."""
        now = dict(self.named_parameters(remove_duplicate=False)) | dict(self.named_buffers(remove_duplicate=False))
        return {method: ExportedProgram(
            Module(), p.graph, p.graph_signature, {k: now.get(k, t) for k, t in p.state_dict.items()},
            p.range_constraints, p.module_call_graph, p.example_inputs,
            {k: now.get(k, t) for k, t in p.constants.items()}, guards=p._guards)
            for method, p in self.__dict__["_programs"].items()}

    def extra_repr(self) -> str:
        """The name of the class that was traced."""
        return f"original_name={self._original_name}"


class _Spec:
    """What `_place` asks of a tensor."""

    def __init__(self, kind: Any, persistent: bool) -> None:
        self.kind, self.persistent = kind, persistent


class TracedModule(_Captured):
    """A module that was traced."""


class TopLevelTracedModule(TracedModule):
    """What `trace` gives for a module."""


class LoadedModule(_Captured, RecursiveScriptModule):
    """What `load` gives."""


LoadedModule.__name__ = LoadedModule.__qualname__ = "RecursiveScriptModule"


def _arguments(given: Any) -> tuple[Any, ...]:
    """Example inputs as arguments. RuntimeError for what no trace is made of."""
    args = (given,) if isinstance(given, (Tensor, dict)) else tuple(given)
    for leaf in pytree.tree_leaves(args):
        if not isinstance(leaf, Tensor):
            kinds = ", ".join("Tensor" if isinstance(arg, Tensor) else type(arg).__name__ for arg in args)
            raise RuntimeError(f"Type 'Tuple[{kinds}]' cannot be traced. {_KINDS}")
    return args


def _check_result(program: ExportedProgram, strict: bool) -> None:
    """RuntimeError for results that PyTorch's tracer refuses."""
    specs, kinds = [program._signature().out_spec], set()
    while specs:
        one = specs.pop()
        kinds.add(one.type)
        specs += one.children()
    if strict and dict in kinds:
        raise RuntimeError("Encountering a dict at the output of the tracer might cause the trace to be incorrect, "
                           "this is only valid if the container structure does not change based on the module's "
                           "inputs. Consider using a constant container instead (e.g. for `list`, use a `tuple` "
                           "instead. for `dict`, use a `NamedTuple` instead). If you absolutely need this and know the "
                           "side effects, pass strict=False to trace() to allow this behavior.")
    nodes = program.graph.output_node().args[0]
    if not nodes or not all(isinstance(node, facula.fx.Node) and isinstance(node.meta.get("val"), Tensor)
                            for node in nodes):  # type: ignore[union-attr]
        raise RuntimeError("Only tensors, lists, tuples of tensors, or dictionary of tensors can be output from traced "
                           "functions")


def trace(func: Any, example_inputs: Any = None, optimize: Any = None, check_trace: bool = True,
          check_inputs: Any = None, check_tolerance: float = 1e-5, strict: bool = True, _force_outplace: bool = False,
          _module_class: Any = None, _compilation_unit: Any = None, example_kwarg_inputs: dict[str, Any] | None = None,
          _store_inputs: bool = True) -> Any:
    """What a function or module does for example arguments, as a graph that takes its place.

    Nothing is computed meanwhile; sizes stay open where the program does not decide by them. Calls with sizes for which
    it would have decided otherwise raise, so a trace gives what the program gives. Where Python asks for elements the
    program is run, its answers and all sizes are kept, and a TracerWarning says so.

    Args:
        example_inputs: a tensor or a tuple of arguments: tensors, and tuples, lists and dicts of them.
        example_kwarg_inputs: arguments by name, in place of these.
        strict: refuse dicts as results.
        check_trace, check_inputs, check_tolerance, optimize: accepted; nothing is run a second time.

    Returns: a TopLevelTracedModule with the module's own parameters under their names, or a ScriptFunction.

    Raises:
        RuntimeError: arguments or results that are no tensors; called later: other arguments, other sizes.

    Example:
        >>> import facula
        >>> traced = facula.jit.trace(facula.nn.Linear(3, 2), facula.ones(1, 3))
        >>> traced(facula.ones(1, 3)).shape, list(traced.state_dict())
        (torch.Size([1, 2]), ['weight', 'bias'])
    """
    if isinstance(func, ScriptModule) and "_graphs" in func.__dict__:
        return func
    if example_inputs is None and example_kwarg_inputs is None:
        raise TypeError("torch.jit.trace: example_inputs is missing")
    owner = getattr(func, "__self__", None)
    if isinstance(owner, Module) and getattr(func, "__name__", "") == "forward":
        func = owner
    given: Any = example_kwarg_inputs if example_inputs is None else example_inputs
    if isinstance(func, Module):
        return trace_module(func, {"forward": given}, strict=strict, example_inputs_is_kwarg=example_inputs is None)
    program = _program(Function(func), given, example_inputs is None, strict)
    return function_of(TracedModule(getattr(func, "__name__", type(func).__name__), {"forward": program}), func)


def trace_module(mod: Any, inputs: Any, optimize: Any = None, check_trace: bool = True, check_inputs: Any = None,
                 check_tolerance: float = 1e-5, strict: bool = True, _force_outplace: bool = False,
                 _module_class: Any = None, _compilation_unit: Any = None, example_inputs_is_kwarg: bool = False,
                 _store_inputs: bool = True) -> Any:
    """Several methods of a module as graphs: `inputs` has the example arguments by the names of methods.

    Raises:
        AttributeError: no module. RuntimeError: as `trace`.

    Example:
        >>> import facula
        >>> class Net(facula.nn.Module):
        ...     def forward(self, x): return x + 1
        ...     def double(self, x): return 2 * x
        >>> traced = facula.jit.trace_module(Net(), {"forward": facula.ones(2), "double": facula.ones(2)})
        >>> traced.double(facula.ones(3))
        tensor([2., 2., 2.])
    """
    if not isinstance(mod, Module):
        raise AttributeError("expected torch.nn.Module as the first argument")
    if not isinstance(inputs, dict):
        raise AttributeError("expected a dictionary of (method_name, input) pairs")
    programs = {}
    for method, given in inputs.items():
        with method_as_forward(mod, method):
            programs[method] = _program(mod, given, example_inputs_is_kwarg, strict)
    return TopLevelTracedModule(type(mod).__name__, programs, mod.training)


def _program(module: Module, given: Any, named: bool, strict: bool) -> ExportedProgram:
    args: tuple[Any, ...] = () if named else _arguments(given)
    kwargs: dict[str, Any] = {}
    if named:
        _arguments(tuple(given.values()))
        kwargs = dict(given)
    program = captured(module, args, kwargs)
    _check_result(program, strict)
    return program


def function_of(traced: _Captured, func: Callable[..., Any]) -> ScriptFunction:
    """A traced function; `func` has its name."""
    found = ScriptFunction(func, traced)
    found._function = traced
    return found
