"""`GraphModule`: a module whose `forward` is generated from a graph.

Example:
    >>> import facula
    >>> module = facula.fx.symbolic_trace(facula.nn.Sequential(facula.nn.Linear(2, 2), facula.nn.ReLU()))
    >>> relu = module.graph.find_nodes(op="call_module", target="1")[0]
    >>> relu.replace_all_uses_with(relu.args[0]) and module.graph.erase_node(relu)
    >>> module.recompile().src == module.code
    True
    >>> print(module.code.strip())
    def forward(self, input):
        input_1 = input
        _0 = getattr(self, "0")(input_1);  input_1 = None
        return _0
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import facula
from facula.fx import _folders
from facula.fx._codegen import CodeGen, PythonCode, _PyTreeCodeGen
from facula.fx._compatibility import compatibility
from facula.fx._imports import _format_import_block, _format_import_statement, run_imports
from facula.fx._submodules import (
    _assign_attr,
    _copy_attr,
    _del_attr,
    _get_attr,
    _get_attr_via_attr_list,
    _has_attr,
    add_submodule,
    delete_submodule,
    delete_unused_submodules,
)
from facula.fx.graph import Graph
from facula.nn import Module, Parameter

__all__ = ["GraphModule", "reduce_graph_module", "reduce_package_graph_module"]
_OFFERED = (_format_import_statement, _assign_attr, _del_attr, _get_attr, _get_attr_via_attr_list, _has_attr, Parameter)

_numbers = itertools.count()
# Where an operation raises: in a line of generated code, as PyTorch's compiled functions do.
_PACKAGE = re.escape(str(Path(facula.__file__).parent))
_OPERATIONS = re.compile(_PACKAGE + r"/(ops|_tensor|engine|autograd|nn/functional)/")
_HOOKS = ("_replace_hooks", "_create_node_hooks", "_erase_node_hooks", "_deepcopy_hooks")


class _Source:
    """Tells Python's tracebacks the text of generated code; kept by the function's globals."""

    def __init__(self, source: str) -> None:
        self.source = source

    def get_source(self, name: str) -> str:
        """The text."""
        return self.source


def _exec_with_source(src: str, globals: dict[str, Any], co_fields: dict[str, Any] | None = None) -> None:
    key = f"<eval_with_key>.{next(_numbers)}"
    if co_fields:
        key += f" from {co_fields['co_filename']}:{co_fields['co_firstlineno']} in {co_fields['co_name']}"
    globals["__name__"], globals["__loader__"] = key, _Source(src)
    globals.setdefault("__builtins__", __builtins__)
    exec(compile(src, key, "exec", dont_inherit=True), globals)


def _method_from_src(method_name: str, src: str, globals: dict[str, Any],
                     co_fields: dict[str, Any] | None = None) -> Callable[..., Any]:
    space = dict(globals)
    _exec_with_source(src, space, co_fields)
    found: Callable[..., Any] = space.pop(method_name)
    return found


def _forward_from_src(src: str, globals: dict[str, Any], co_fields: dict[str, Any] | None = None) -> Callable[..., Any]:
    """The function that a text defines."""
    return _method_from_src("forward", src, globals, co_fields)


class _Default:
    """What traces pickled code whose tracer is not known: `_symbolic_trace.py` puts `Tracer` here."""

    tracer_cls: Any = None


_USER_PRESERVED_ATTRIBUTES_KEY = "_user_preserved_attributes"  # of `meta`: what becomes attributes of a deep copy


class _CodeOnlyModule(Module):
    """What was pickled of a GraphModule: everything but its graph, which is traced from its code."""

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__()
        self.__dict__.update(body)


def reduce_graph_module(body: dict[Any, Any], import_block: str) -> Module:
    """A pickled GraphModule: its code runs, and its graph is traced from that."""
    source = body.get("_code") or body["code"]
    return _deserialize_graph_module(_forward_from_src(source, run_imports(import_block)), body)


def reduce_package_graph_module(importer: Any, body: dict[Any, Any], generated_module_name: str) -> Module:
    """A GraphModule out of a package of `torch.package`."""
    forward = importer.import_module(generated_module_name).forward
    return _deserialize_graph_module(forward, body)


def _deserialize_graph_module(forward: Callable[..., Any], body: dict[Any, Any],
                              graph_module_cls: Any = None) -> Module:
    tracer_cls: Any = body.get("_tracer_cls") or _Default.tracer_cls

    class KeepModules(tracer_cls):  # type: ignore[misc]
        def is_leaf_module(self, m: Any, module_qualified_name: str) -> bool:
            return True

    tracer = KeepModules()
    graph = tracer.trace(type("_Traced", (_CodeOnlyModule,), {"forward": forward})(body))
    graph._tracer_cls = tracer_cls
    codegen = body.get("_graph_codegen")
    if codegen is not None:
        graph._codegen = codegen
    found = (graph_module_cls or GraphModule)(tracer.root, graph)
    for key, value in body.items():
        if key != "_graphmodule_cls_name" and not hasattr(found, key):  # PyTorch's, and of earlier versions
            setattr(found, key, value)
    found.meta = dict(body.get("meta", {}))
    return found  # type: ignore[no-any-return]


class _WrappedCall:
    """The call of a GraphModule: where its code fails, it shows the line."""

    def __init__(self, cls: type, cls_call: Callable[..., Any] | None) -> None:
        self.cls, self.cls_call = cls, cls_call

    @staticmethod
    def _generate_error_message(at: int, source: str) -> str:
        lines = source.split("\n")
        before = "\n".join(lines[max(at - 4, 0):at - 1])
        marked = lines[at - 1] if at <= len(lines) else ""
        after = "\n".join(lines[at:at + 2])
        return "\n".join([
            f"Call using an FX-traced Module, line {at} of the traced Module's generated forward function:", before,
            marked, f"{'~' * len(marked)}  <--- HERE", after])

    def __call__(self, obj: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            if self.cls_call is not None:
                return self.cls_call(obj, *args, **kwargs)
            return super(self.cls, obj).__call__(*args, **kwargs)  # type: ignore[misc,arg-type]
        except Exception as error:
            _show_line(error)
            raise


def _show_line(error: BaseException) -> None:
    """Print the line of generated code in which an error arose, if it arose right there."""
    last = None
    deeper: list[str] = []
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if "eval_with_key" in name:
            last = trace
            deeper = []
        else:
            deeper.append(name)
        trace = trace.tb_next
    if last is None or getattr(error, "_shown_by_fx", False) or not all(map(_OPERATIONS.match, deeper)):
        return
    loader = last.tb_frame.f_globals.get("__loader__")
    with contextlib.suppress(AttributeError):  # an exception that takes no attributes
        error._shown_by_fx = True  # type: ignore[attr-defined]
    source = loader.get_source("") if isinstance(loader, _Source) else ""
    print(_WrappedCall._generate_error_message(last.tb_lineno, source), file=sys.stderr)


@compatibility(is_backward_compatible=True)
class GraphModule(Module):
    """A module whose `forward` is the code of a graph. After changes of `graph`, call `recompile()`.

    Args:
        root: the module that submodules, parameters and buffers are taken from that the graph mentions, or a dict of
            them by their paths. Nothing else is taken from it but, from a module, whether it trains.
        graph: what it does.
        class_name: what its class is called (a copy's is "GraphModule" again).

    Raises:
        RuntimeError: a root of another type, a path that a dict lacks.

    See the module for an example.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> GraphModule:
        for kind in cls.__mro__:  # each instance has a class of its own: that is where its forward is
            if not kind.__qualname__.endswith("GraphModuleImpl"):
                base: Any = kind
                break

        class GraphModuleImpl(base):  # type: ignore[misc]
            pass
        return super().__new__(GraphModuleImpl)

    def __init__(self, root: Module | dict[str, Any], graph: Graph, class_name: str = "GraphModule") -> None:
        super().__init__()
        type(self).__name__ = class_name
        self.meta: dict[str, Any] = {}
        if isinstance(root, Module):
            self.training = getattr(root, "training", True)
            for node in graph.nodes:
                if node.op in ("get_attr", "call_module"):
                    _copy_attr(root, self, node.target)
        elif isinstance(root, dict):
            wanted = []
            for node in graph.nodes:
                if node.op in ("get_attr", "call_module"):
                    if node.target not in root:
                        raise RuntimeError(f"Node {node} referenced target {node.target} but that target was not "
                                           "provided in ``root``!")
                    wanted.append(node.target)
            for target in sorted(wanted, key=lambda path: path.count(".")):
                _assign_attr(root[target], self, target)
        else:
            raise RuntimeError(f"Unsupported type {root} passed for root!")
        self._tracer_cls = None
        if graph._tracer_cls and "<locals>" not in graph._tracer_cls.__qualname__:
            self._tracer_cls = graph._tracer_cls
        self._tracer_extras: dict[str, Any] = dict(graph._tracer_extras or {})
        for table in _HOOKS:
            self.__dict__[table] = []
        self.shape_env = None
        self.graph = graph

    # -- graph and code -------------------------------------------------------------------------
    @property
    def graph(self) -> Graph:
        """What `forward` does. Assigning another one recompiles."""
        return self._graph

    @graph.setter
    def graph(self, g: Graph) -> None:
        if not isinstance(g, Graph):
            raise AssertionError(f"Expected a Graph instance, but got {type(g)}")
        self._graph = g
        g.owning_module = self
        self.recompile()

    @property
    def code(self) -> str:
        """The text of `forward`."""
        if not hasattr(self, "_code"):
            raise RuntimeError("Code has not been generated! Please report a bug to PyTorch")
        return self._code

    def recompile(self) -> PythonCode:
        """Generate `forward` anew from the graph, as it is after changes. Gives the code."""
        codegen = self._graph._codegen
        if isinstance(codegen, _PyTreeCodeGen):
            self._in_spec = codegen.pytree_info.in_spec
            self._out_spec = codegen.pytree_info.out_spec
        found = self._graph.python_code(root_module="self")
        self._code = found.src
        self._lineno_map, self._prologue_start = found._lineno_map, found._prologue_start
        cls: Any = type(self)
        cls.forward = _forward_from_src(self._code, found.globals, getattr(self._graph, "_co_fields", None))
        if "_wrapped_call" not in vars(cls):
            cls._wrapped_call = _WrappedCall(cls, vars(cls).get("__call__"))

            def call(self: Any, *args: Any, **kwargs: Any) -> Any:
                return self._wrapped_call(self, *args, **kwargs)
            cls.__call__ = call
        return found

    def _recompile_submodules(self) -> list[PythonCode]:
        return [module.recompile() for module in self.children() if isinstance(module, GraphModule)]

    # -- submodules -----------------------------------------------------------------------------
    def add_submodule(self, target: str, m: Module) -> bool:
        """Have `m` at that path, with empty modules on the way. False if something else is there."""
        return add_submodule(self, target, m)

    def delete_submodule(self, target: str) -> bool:
        """Delete the submodule at that path. False if there is none."""
        return delete_submodule(self, target)

    def delete_all_unused_submodules(self) -> None:
        """Delete the submodules that the graph neither calls nor reads from."""
        delete_unused_submodules(self)

    # -- copies, files --------------------------------------------------------------------------
    def __reduce__(self) -> Any:
        body = dict(self.__dict__)
        body.pop("_graph")
        codegen = self._graph._codegen
        if type(codegen) is not CodeGen:  # what it does to arguments and results cannot be traced
            body["_graph_codegen"], self._graph._codegen = codegen, CodeGen()
        try:
            found = self._graph.python_code(root_module="self")
        finally:
            self._graph._codegen = codegen
        body["_code"] = found.src
        return reduce_graph_module, (body, _format_import_block(found.globals))

    def __reduce_package__(self, exporter: Any) -> Any:
        raise facula.absent.refusal("torch.package of a GraphModule", "use pickle or to_folder")

    def _deepcopy_init(self) -> Callable[..., Any]:
        return GraphModule.__init__

    def __deepcopy__(self, memo: Any) -> Any:
        found = type(self).__new__(type(self))
        memo[id(self)] = found
        body = copy.deepcopy({key: value for key, value in self.__dict__.items() if key not in _HOOKS}, memo)
        root = _CodeOnlyModule(body)
        self._deepcopy_init()(found, root, body["_graph"])
        for key in ("_state_dict_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
                    "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks",
                    *(key for key in body if key.startswith(("_forward_", "_state_dict")))):
            if key in body:
                found.__dict__[key] = body[key]
        found.meta = body.get("meta", {})
        for key, value in found.meta.get(_USER_PRESERVED_ATTRIBUTES_KEY, {}).items():
            setattr(found, key, value)
        for key in _HOOKS:
            found.__dict__[key] = list(self.__dict__[key])
        for tell in found._deepcopy_hooks:
            tell(found)
        found.training = self.training
        return found

    def __copy__(self) -> GraphModule:
        found = GraphModule(self, self.graph)
        found.meta = self.meta
        return found

    def to_folder(self, folder: Any, module_name: str = "FxModule") -> None:
        """Write the module to a folder as Python code (`module.py`, with a class of that name) and its state."""
        _folders.write(self, folder, module_name)

    def print_readable(self, print_output: bool = True, include_stride: bool = False, include_device: bool = False,
                       colored: bool = False, *, fast_sympy_print: bool = False, expanded_def: bool = False,
                       additional_meta: Sequence[str] | None = None) -> str:
        """The code with dtypes, shapes and places in the program as far as they are known, and with that of
        GraphModules within it. Printed, and given.

        Example:
            >>> import facula
            >>> text = facula.fx.symbolic_trace(lambda x: x + 1).print_readable()
            class <lambda>(torch.nn.Module):
                def forward(self, x):
                    # No stacktrace found for following nodes
                    add = x + 1;  x = None
                    return add
            <BLANKLINE>
        """
        found = _readable(self, type(self).__name__, {
            "include_stride": include_stride, "include_device": include_device, "colored": colored,
            "expanded_def": expanded_def, "additional_meta": additional_meta})
        if print_output:
            print(found)
        return found

    def __str__(self) -> str:
        shown = super().__repr__()
        return "\n".join([shown, self._code, "# To see more debug info, please use `graph_module.print_readable()`"])

    def _replicate_for_data_parallel(self) -> Any:
        found = self.__copy__()
        found.__dict__["_is_replica"] = True
        return found

    # -- hooks ----------------------------------------------------------------------------------
    @contextlib.contextmanager
    def _set_replace_hook(self, f: Callable[..., Any]) -> Iterator[None]:
        self._register_replace_node_hook(f)
        try:
            yield
        finally:
            self._unregister_replace_node_hook(f)


def _hooks_of(table: str, name: str) -> None:
    def register(self: GraphModule, f: Callable[..., Any]) -> None:
        self.__dict__[table].append(f)

    def unregister(self: GraphModule, f: Callable[..., Any]) -> None:
        self.__dict__[table].remove(f)
    setattr(GraphModule, f"_register_{name}", register)
    setattr(GraphModule, f"_unregister_{name}", unregister)


for _table, _name in zip(_HOOKS, ("replace_node_hook", "create_node_hook", "erase_node_hook", "deepcopy_hook"),
                         strict=True):
    _hooks_of(_table, _name)


def _readable(module: Any, name: str, options: dict[str, Any]) -> str:
    graph = module.graph
    code = graph.python_code("self", verbose=True, **options).src
    lines = ["    " + line if line else "" for line in code.strip("\n").rstrip().split("\n")]
    text = f"class {name}(torch.nn.Module):\n" + "\n".join(lines) + "\n"
    for child_name, child in module.named_children():
        if hasattr(child, "graph"):
            inner = _readable(child, child_name, options)
            text += "\n" + "\n".join("    " + line if line else "" for line in inner.rstrip("\n").split("\n")) + "\n"
    return text


