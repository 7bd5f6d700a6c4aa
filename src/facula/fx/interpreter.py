"""`Interpreter` runs a graph node by node, `Transformer` makes another graph of one: both are to be subclassed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from facula.errors import warn
from facula.fx import traceback as fx_traceback
from facula.fx._compatibility import compatibility
from facula.fx._lazy_graph_module import _make_graph_module
from facula.fx._symbolic_trace import Tracer
from facula.fx.graph import Graph
from facula.fx.graph_module import GraphModule
from facula.fx.node import Argument, Node, Target, map_aggregate, map_arg
from facula.fx.proxy import Proxy
from facula.nn import Module

__all__ = ["Interpreter", "Transformer"]


def _format_fx_node(n: Node) -> str:
    """A node for messages."""
    return str(n.format_node(include_tensor_metadata=True))


@compatibility(is_backward_compatible=True)
class Interpreter:
    """Runs a module's graph node by node. A subclass changes `run_node` or the method of a kind of node.

    Args:
        module: whose graph it is, and where submodules and attributes are found.
        garbage_collect_values: let values go after their last use.
        graph: another graph to run.

    Example:
        >>> import facula
        >>> class Negated(facula.fx.Interpreter):
        ...     def call_function(self, target, args, kwargs):
        ...         return facula.neg(*args) if target is facula.abs else super().call_function(target, args, kwargs)
        >>> Negated(facula.fx.symbolic_trace(lambda x: facula.abs(x))).run(facula.tensor(-2.0)).item()
        2.0
    """

    def __init__(self, module: Module, garbage_collect_values: bool = True, graph: Graph | None = None) -> None:
        self.module = module
        self.submodules = dict(self.module.named_modules())
        self.graph: Any = graph if graph is not None else module.graph
        self.env: dict[Node, Any] = {}
        self.name = "Interpreter"
        self.garbage_collect_values = garbage_collect_values
        self.extra_traceback = True
        self.args_iter: Iterator[Any] = iter(())
        self.user_to_last_uses: dict[Node, list[Node]] = {}
        if garbage_collect_values:
            seen: set[Node] = set()
            for node in reversed(self.graph.nodes):
                for used in node.all_input_nodes:
                    if used not in seen:
                        seen.add(used)
                        self.user_to_last_uses.setdefault(node, []).append(used)

    def run(self, *args: Any, initial_env: dict[Node, Any] | None = None, enable_io_processing: bool = True) -> Any:
        """The output for these arguments.

        Args:
            initial_env: values of nodes that are known, and not computed.
            enable_io_processing: take and give what the module takes and gives, where that is not placeholders' values.

        Raises:
            RuntimeError: an argument without a default is missing.
        """
        self.env = dict(initial_env) if initial_env is not None else {}
        if enable_io_processing:
            args = self.graph.process_inputs(*args)
        self.args_iter = iter(args)
        for node in self.graph.nodes:
            if node in self.env:
                continue
            try:
                self.env[node] = self.run_node(node)
            except Exception as error:
                if self.extra_traceback:
                    _tell_node(error, node)
                raise
            for done in self.user_to_last_uses.get(node, ()) if self.garbage_collect_values else ():
                del self.env[done]
            if node.op == "output":
                value = self.env[node]
                return self.graph.process_outputs(value) if enable_io_processing else value
        return None

    def boxed_run(self, args_list: list[Any]) -> Any:
        """The output for arguments in a list, which is emptied: nothing else holds them then."""
        values = list(args_list)
        args_list.clear()
        placeholders = self.graph.find_nodes(op="placeholder")
        if len(values) != len(placeholders):
            raise AssertionError(f"Interpreter.boxed_run expects {len(placeholders)} arguments, got {len(values)}")
        env = dict(zip(placeholders, values, strict=True))
        del values
        return self.run(initial_env=env, enable_io_processing=False)

    @contextmanager
    def _set_current_node(self, node: Node) -> Iterator[None]:
        with fx_traceback.set_current_meta(node, f"Interpreter_{type(self).__name__}"):
            yield

    def run_node(self, n: Node) -> Any:
        """The value of a node."""
        with self._set_current_node(n):
            args, kwargs = self.fetch_args_kwargs_from_env(n)
            return getattr(self, n.op)(n.target, args, kwargs)

    # -- the kinds of nodes ---------------------------------------------------------------------
    def placeholder(self, target: Target, args: tuple[Argument, ...], kwargs: dict[str, Any]) -> Any:
        """The next argument, all the rest for `*args`, or the default."""
        if target.startswith("*"):
            return list(self.args_iter)
        try:
            return next(self.args_iter)
        except StopIteration as error:
            if args:
                return args[0]
            raise RuntimeError(f"Expected positional argument for parameter {target}, but one was not passed in!") \
                from error

    def get_attr(self, target: Target, args: tuple[Argument, ...], kwargs: dict[str, Any]) -> Any:
        """An attribute of the module."""
        return self.fetch_attr(target)

    def call_function(self, target: Target, args: tuple[Argument, ...], kwargs: dict[str, Any]) -> Any:
        """What a function gives."""
        return target(*args, **kwargs)

    def call_method(self, target: Target, args: tuple[Argument, ...], kwargs: dict[str, Any]) -> Any:
        """What a method of the first argument gives."""
        obj, *rest = args
        return getattr(obj, target)(*rest, **kwargs)

    def call_module(self, target: Target, args: tuple[Argument, ...], kwargs: dict[str, Any]) -> Any:
        """What a submodule gives."""
        return self.fetch_attr(target)(*args, **kwargs)

    def output(self, target: Target, args: tuple[Argument, ...], kwargs: dict[str, Any]) -> Any:
        """The output."""
        return args[0]

    # -- values ---------------------------------------------------------------------------------
    def fetch_attr(self, target: str) -> Any:
        """What is at that path in the module. RuntimeError if nothing is."""
        found: Any = self.module
        parts = target.split(".")
        for k, part in enumerate(parts):
            if not hasattr(found, part):
                raise RuntimeError(f"Node referenced nonexistent target {'.'.join(parts[:k + 1])}")
            found = getattr(found, part)
        return found

    def fetch_args_kwargs_from_env(self, n: Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The values of a node's arguments."""
        args = self.map_nodes_to_values(n.args, n)
        kwargs = self.map_nodes_to_values(n.kwargs, n)
        if not isinstance(args, tuple) or not isinstance(kwargs, dict):
            raise AssertionError(f"args and kwargs must be a tuple and a dict, got {type(args)}, {type(kwargs)}")
        return args, dict(kwargs)

    def map_nodes_to_values(self, args: Argument, n: Node) -> Any:
        """`args` with values for nodes."""
        def value(node: Node) -> Any:
            if node not in self.env:
                raise RuntimeError(f"Node {n} referenced nonexistent value {node}! Run Graph.lint() to diagnose such "
                                   "issues")
            return self.env[node]
        return _plain(map_arg(args, value))


def _plain(value: Any) -> Any:
    """Lists and dictionaries as Python's own: a program may change what it is given."""
    kind = type(value)
    if kind is tuple:
        return tuple(map(_plain, value))
    if kind.__name__ == "immutable_list":
        return [_plain(part) for part in value]
    if kind.__name__ == "immutable_dict":
        return {key: _plain(part) for key, part in value.items()}
    return value


def _tell_node(error: Exception, node: Node) -> None:
    """Add to an error's text at which node it came; once."""
    if getattr(error, "_fx_node_told", False):
        return
    text = f"While executing {node.format_node()}\nOriginal traceback:\n{node.stack_trace}"
    first = str(error.args[0]) if error.args else str(error)
    message = f"{first}\n\n{text}" if first else text
    try:
        error.args = (message, *error.args[1:])
        error._fx_node_told = True  # type: ignore[attr-defined]
    except (AttributeError, TypeError):  # an exception that is not to be changed
        warn(text)


@compatibility(is_backward_compatible=True)
class Transformer(Interpreter):
    """Makes another GraphModule by running a graph with proxies. A subclass changes what a kind of node becomes.

    Example:
        >>> import facula
        >>> class Sigmoids(facula.fx.Transformer):
        ...     def call_function(self, target, args, kwargs):
        ...         return super().call_function(facula.sigmoid if target is facula.relu else target, args, kwargs)
        >>> print(Sigmoids(facula.fx.symbolic_trace(lambda x: facula.relu(x))).transform().code.strip())
        def forward(self, x):
            sigmoid = torch.sigmoid(x);  x = None
            return sigmoid
    """

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self.new_graph = Graph()
        self.new_graph.set_codegen(module.graph._codegen)

        class TransformerTracer(Tracer):
            def __init__(self, graph: Graph) -> None:
                super().__init__()
                self.graph = graph
                self.tensor_attrs = {}

            def is_leaf_module(self, _: Any, __: str) -> bool:
                return True

        self.tracer = TransformerTracer(self.new_graph)
        self.tracer.root = module

    def placeholder(self, target: Target, args: tuple[Argument, ...], kwargs: dict[str, Any]) -> Any:
        """A placeholder of the new graph."""
        default = args[0] if args else ...
        return Proxy(self.new_graph.placeholder(target, default_value=default), self.tracer)

    def get_attr(self, target: Target, args: tuple[Argument, ...], kwargs: dict[str, Any]) -> Any:
        """An attribute, read in the new graph."""
        return self.tracer.create_proxy("get_attr", target, args, kwargs)

    def call_module(self, target: Target, args: tuple[Argument, ...], kwargs: dict[str, Any]) -> Any:
        """A call of a submodule in the new graph, or what a tracer that is no leaf traces of it."""
        module = self.fetch_attr(target)
        return self.tracer.call_module(module, module.forward, args, kwargs)

    def call_function(self, target: Target, args: tuple[Argument, ...], kwargs: dict[str, Any]) -> Any:
        """A call of a function in the new graph."""
        return self.tracer.create_proxy("call_function", target, args, kwargs)

    def transform(self) -> GraphModule:
        """The new GraphModule, with the submodules and attributes of the old one."""
        try:
            result = super().run(enable_io_processing=False)
        finally:
            self.tracer.stop_listening()
        if result is not None:
            old = self.graph.output_node()
            output = self.new_graph.output(
                map_aggregate(result, lambda part: part.node if isinstance(part, Proxy) else part), type_expr=old.type)
            output.meta.update({key: value for key, value in old.meta.items() if key not in ("from_node",)})
        return _make_graph_module(self.module, self.new_graph)


