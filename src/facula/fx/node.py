"""`Node`: one line of a graph.

The fields say what is to be called: `op` is "placeholder", "get_attr", "call_function", "call_method", "call_module" or
"output", `target` what it is called on, `args` and `kwargs` its arguments, in which nodes stand for their results.
`users` are the nodes that have this one among their arguments.

Example:
    >>> import facula
    >>> graph = facula.fx.symbolic_trace(lambda x: facula.relu(x) + 1).graph
    >>> [(node.op, node.name) for node in graph.nodes]
    [('placeholder', 'x'), ('call_function', 'relu'), ('call_function', 'add'), ('output', 'output')]
"""

from __future__ import annotations

import logging
import operator
import types
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import facula
from facula._tensor.handle import Tensor
from facula.fx import operator_schemas
from facula.fx._compatibility import compatibility
from facula.fx._names import qualified_name
from facula.fx.immutable_collections import immutable_dict, immutable_list

if TYPE_CHECKING:
    from facula.fx.graph import Graph

__all__ = ["Node", "has_side_effect", "map_aggregate", "map_arg"]

_F = TypeVar("_F", bound=Callable[..., Any])
log = logging.getLogger(__name__)

Target = Any
Argument = Any
BaseArgumentTypes = Any
base_types = (str, int, float, bool, complex, facula.dtype, Tensor, facula.device, facula.memory_format, facula.layout)

_legal_ops = {"placeholder", "get_attr", "call_function", "call_method", "call_module", "output", "root"}
# What is done for its effect, whether its result has users or not.
_side_effectful_functions: set[Callable[..., Any]] = {operator.setitem, facula._assert, facula.set_grad_enabled}


@compatibility(is_backward_compatible=False)
def has_side_effect(fn: _F) -> _F:
    """Say that calls of `fn` are to stay in a graph though nobody uses their results. Gives `fn`."""
    _side_effectful_functions.add(fn)
    return fn


def _find_module_of_method(orig_method: Callable[..., Any]) -> str:
    """The module of a function that has no `__module__`."""
    return qualified_name(orig_method).rpartition(".")[0]


def _get_qualified_name(func: Callable[..., Any]) -> str:
    """The name by which generated code calls `func`."""
    return qualified_name(func)


def _type_repr(obj: Any) -> str:
    """A type as an annotation is written."""
    if isinstance(obj, type) and not isinstance(obj, types.GenericAlias):
        if obj.__module__ == "builtins":
            return obj.__qualname__
        if obj.__module__.partition(".")[0] == "facula":
            return qualified_name(obj)
        return f"{obj.__module__}.{obj.__qualname__}"
    if obj is ...:
        return "..."
    if isinstance(obj, types.FunctionType):
        return obj.__name__
    return repr(obj).replace("facula._tensor.handle.", "torch.").replace("facula.", "torch.")


def _format_arg(arg: Any, max_list_len: float = float("inf")) -> str:
    """An argument as graphs print it: nodes as %name."""
    if hasattr(arg, "_custom_fx_repr_fn"):
        return str(arg._custom_fx_repr_fn())
    if isinstance(arg, (list, tuple)):
        shown = [_format_arg(part) for k, part in enumerate(arg) if k < max_list_len]
        if len(arg) > max_list_len:
            shown.append(f"...[total_len={len(arg)}]")
        text = ", ".join(shown)
        if isinstance(arg, list):
            return f"[{text}]"
        return f"({text},)" if len(arg) == 1 else f"({text})"
    if isinstance(arg, dict):
        return "{" + ", ".join(f"{key}: {_format_arg(value)}" for key, value in arg.items()) + "}"
    return f"%{arg}" if isinstance(arg, Node) else str(arg)


@compatibility(is_backward_compatible=True)
def map_arg(a: Argument, fn: Callable[[Node], Argument]) -> Argument:
    """`a` with `fn(node)` for each node in it. Lists and dictionaries become immutable ones."""
    if not callable(fn):
        raise AssertionError("torch.fx.map_arg(a, fn): fn must be a callable")
    return map_aggregate(a, lambda x: fn(x) if isinstance(x, Node) else x)


@compatibility(is_backward_compatible=True)
def map_aggregate(a: Argument, fn: Callable[[Argument], Argument]) -> Argument:
    """`a` with `fn(x)` for everything in it that is no list, tuple, dict or slice."""
    if isinstance(a, tuple):
        parts = [map_aggregate(part, fn) for part in a]
        if hasattr(a, "_fields"):
            return type(a)(*parts)
        return tuple(parts) if type(a) is tuple or not isinstance(a, facula.Size) else _sized(parts)
    if isinstance(a, list):
        return immutable_list([map_aggregate(part, fn) for part in a])
    if isinstance(a, dict):
        return immutable_dict([(key, map_aggregate(value, fn)) for key, value in a.items()])
    if isinstance(a, slice):
        return slice(map_aggregate(a.start, fn), map_aggregate(a.stop, fn), map_aggregate(a.step, fn))
    return fn(a)


def _sized(parts: list[Any]) -> Any:
    return facula.Size(parts) if all(isinstance(part, int) for part in parts) else tuple(parts)


def _nodes_in(*arguments: Any) -> dict[Node, None]:
    found: dict[Node, None] = {}
    for argument in arguments:
        map_arg(argument, lambda node: found.setdefault(node))
    return found


@compatibility(is_backward_compatible=True)
class Node:
    """One operation of a `Graph`: see the module. Made by `Graph.create_node` and its kin.

    Fields: graph, name (unique in it), op, target, args, kwargs, type (an annotation or None), users, meta (a dict of
    anything that is to be known of the node).

    Raises:
        ValueError: a target that is no callable for "call_function", or no string for the others.
    """

    _prev: Node
    _next: Node
    attrs_for_lowering: dict[str, Any]  # of passes.param_fetch
    size_bytes: Any  # of passes.graph_manipulation

    def __init__(self, graph: Graph, name: str, op: str, target: Target, args: tuple[Argument, ...],
                 kwargs: dict[str, Argument], return_type: Any = None) -> None:
        if op not in _legal_ops:
            raise AssertionError(f"op {op!r} is not in _legal_ops")
        if op == "call_function":
            if not callable(target):
                raise ValueError(f"Node [graph = {graph}, name = '{name}'] target {target} has type "
                                 f"{facula.typename(target)} but a Callable is expected")
        elif not isinstance(target, str):
            raise ValueError(f"Node [graph = {graph}, name = '{name}'] target {target} has type "
                             f"{facula.typename(target)} but a str is expected")
        self.graph = graph
        self.name = name
        self.op = op
        self.target = target
        self.type = return_type
        self.users: dict[Node, None] = {}
        self.meta: dict[str, Any] = {}
        self._input_nodes: dict[Node, None] = {}
        self._erased = False
        self._prev = self._next = self
        self._repr_fn: Callable[[Node], str] | None = None
        self._args: tuple[Argument, ...] = ()
        self._kwargs: dict[str, Argument] = {}
        self._take(args, kwargs)

    def _take(self, args: Any, kwargs: Any) -> None:
        """Have other arguments, and let the nodes in them know."""
        args, kwargs = map_aggregate(args, _as_it_is), map_aggregate(kwargs, _as_it_is)
        inputs = _nodes_in(args, kwargs)
        for node in self._input_nodes:
            if node not in inputs:
                node.users.pop(self, None)
        self._args, self._kwargs, self._input_nodes = args, kwargs, inputs
        for node in inputs:
            node.users.setdefault(self)

    # -- where it stands ------------------------------------------------------------------------
    @property
    def next(self) -> Node:
        """The node after this one."""
        return self._next

    @property
    def prev(self) -> Node:
        """The node before this one."""
        return self._prev

    def prepend(self, x: Node) -> None:
        """Put `x` before this node, from wherever it was."""
        if self.graph is not x.graph:
            raise AssertionError("Attempting to move a Node into a different Graph")
        if self is x:
            log.debug("Trying to prepend a node to itself. This behavior has no effect on the graph.")
            return
        x._remove_from_list()
        before = self._prev
        before._next, x._prev = x, before
        x._next, self._prev = self, x
        self.graph._order = None

    def append(self, x: Node) -> None:
        """Put `x` after this node, from wherever it was."""
        if self is not x:
            if self._next is x:
                return
            self._next.prepend(x)

    def _remove_from_list(self) -> None:
        self._prev._next, self._next._prev = self._next, self._prev
        self.graph._order = None

    def _place(self) -> int:
        order = self.graph._order
        if order is None:
            order = self.graph._order = {node: k for k, node in enumerate(self.graph.nodes)}
        return order.get(self, -1)

    _sort_key = property(lambda self: (self._place(),))

    def __lt__(self, other: Node) -> bool:
        return self._place() < other._place()

    def __gt__(self, other: Node) -> bool:
        return self._place() > other._place()

    def __le__(self, other: Node) -> bool:
        return self is other or self < other

    def __ge__(self, other: Node) -> bool:
        return self is other or self > other

    # -- its arguments --------------------------------------------------------------------------
    @property
    def args(self) -> tuple[Argument, ...]:
        """The positional arguments. Assign others as a whole, or use `update_arg`."""
        return self._args

    @args.setter
    def args(self, a: tuple[Argument, ...]) -> None:
        self._take(a, self._kwargs)

    @property
    def kwargs(self) -> dict[str, Argument]:
        """The arguments by name. Assign others as a whole, or use `update_kwarg`."""
        return self._kwargs

    @kwargs.setter
    def kwargs(self, k: dict[str, Argument]) -> None:
        self._take(self._args, k)

    @property
    def all_input_nodes(self) -> list[Node]:
        """The nodes among the arguments, each once."""
        return list(self._input_nodes)

    def update_arg(self, idx: int, arg: Argument) -> None:
        """Have `arg` as the positional argument at `idx`."""
        args = list(self.args)
        args[idx] = arg
        self.args = tuple(args)

    def insert_arg(self, idx: int, arg: Argument) -> None:
        """Have `arg` before the positional argument that is at `idx` now."""
        if not 0 <= idx <= len(self.args):
            raise AssertionError(f"insert_args index must be between 0 and len(self.args), got {idx}")
        self.args = (*self.args[:idx], arg, *self.args[idx:])

    def update_kwarg(self, key: str, arg: Argument) -> None:
        """Have `arg` as the argument of that name."""
        self.kwargs = {**self.kwargs, key: arg}

    def replace_input_with(self, old_input: Node, new_input: Node) -> None:
        """Have `new_input` wherever `old_input` is among the arguments."""
        def other(node: Node) -> Node:
            return new_input if node is old_input else node
        for tell in self._hooks("_replace_hooks"):
            tell(old=old_input, new=new_input.name, user=self)
        self._take(map_arg(self.args, other), map_arg(self.kwargs, other))

    def replace_all_uses_with(self, replace_with: Node, delete_user_cb: Callable[[Node], bool] | None = None, *,
                              propagate_meta: bool = False) -> list[Node]:
        """Have `replace_with` in this node's place in the arguments of all its users, or of those for which
        `delete_user_cb(user)` is true. Gives the users that were changed.

        Raises:
            AssertionError: `propagate_meta` where the other node has a `meta` already.
        """
        if propagate_meta:
            if replace_with.meta:
                raise AssertionError("Called node.replace_all_uses_with(replace_with, propagate_meta=True), but "
                                     "replace_with already has .meta keys")
            replace_with.meta.update(self.meta)
        changed = [user for user in list(self.users) if delete_user_cb is None or delete_user_cb(user)]
        for user in changed:
            user.replace_input_with(self, replace_with)
        return changed

    def _hooks(self, table: str) -> list[Callable[..., Any]]:
        return list(getattr(self.graph.owning_module, table, None) or ())

    # -- what is known of it --------------------------------------------------------------------
    @property
    def stack_trace(self) -> str | None:
        """Where in the program the node was recorded, if that was kept (`Tracer.record_stack_traces`)."""
        return self.meta.get("stack_trace")

    @stack_trace.setter
    def stack_trace(self, trace: str | None) -> None:
        self.meta["stack_trace"] = trace

    def is_impure(self, impure_random: bool = True) -> bool:
        """Has it to stay though nobody uses it? Placeholders, the output, and calls with a known side effect."""
        if self.op in ("placeholder", "output"):
            return True
        if self.op == "call_function":
            if self.target in _side_effectful_functions:
                return True
            schema = getattr(self.target, "_schema", None)
            return bool(getattr(schema, "is_mutable", False))
        if self.op == "call_module":
            owner = self.graph.owning_module
            if owner is None:
                raise AssertionError("self.graph.owning_module not set for purity check")
            module = owner.get_submodule(self.target)
            return bool(getattr(module, "_is_impure", False))
        return False

    def normalized_arguments(self, root: Any, arg_types: tuple[Any, ...] | None = None,
                             kwarg_types: dict[str, Any] | None = None,
                             normalize_to_only_use_kwargs: bool = False) -> Any:
        """`ArgsKwargsPair` of the arguments as the target's signature has them, defaults filled in; None where that
        is not known (methods, functions without a signature)."""
        if self.op == "call_function":
            return operator_schemas.normalize_function(self.target, self.args, self.kwargs, arg_types, kwarg_types,
                                                       normalize_to_only_use_kwargs)
        if self.op == "call_module":
            return operator_schemas.normalize_module(root, self.target, self.args, self.kwargs,
                                                     normalize_to_only_use_kwargs)
        return None

    # -- printing -------------------------------------------------------------------------------
    def __repr__(self) -> str:
        return self._repr_fn(self) if self._repr_fn else self.name

    def _pretty_print_target(self, target: Any) -> str:
        if isinstance(target, str):
            return target
        module = getattr(target, "__module__", None)
        if module is not None:
            name = getattr(target, "__name__", None)
            if name is None:
                return repr(target)
            if module in ("builtins", "_operator"):
                return f"{module.lstrip('_')}.{name}"
        return _get_qualified_name(target)

    def format_node(self, placeholder_names: list[str] | None = None, maybe_return_typename: list[str] | None = None, *,
                    include_tensor_metadata: bool = False) -> str | None:
        """The node as a line of `print(graph)`: `%relu : [num_users=1] = call_function[target=torch.relu](...)`."""
        users = f"[num_users={len(self.users)}]"
        kind = f"{_type_repr(self.type)} " if self.type else ""
        if self.op == "placeholder":
            if not isinstance(self.target, str):
                raise AssertionError(f"expected str target for placeholder, got {type(self.target)}")
            shown = self.target + (f": {_type_repr(self.type)}" if self.type else "")
            if placeholder_names:
                placeholder_names.append(shown)
                return None
            default = f"(default={self.args[0]})" if self.args else ""
            return f"%{self.name} : {kind}{users} = {self.op}[target={self.target}]{default}"
        if self.op == "get_attr":
            return f"%{self.name} : {kind}{users} = {self.op}[target={self._pretty_print_target(self.target)}]"
        if self.op == "output":
            if self.type and maybe_return_typename:
                maybe_return_typename[0] = f" -> {_type_repr(self.type)}"
            return f"return {self.args[0]}"
        meta = ""
        if include_tensor_metadata and "tensor_meta" in self.meta:
            meta = f"{self.meta['tensor_meta']} "
        return (f"%{self.name} : {kind}{meta}{users} = {self.op}[target={self._pretty_print_target(self.target)}]"
                f"(args = {_format_arg(self.args)}, kwargs = {_format_arg(self.kwargs)})")

    def _rename(self, candidate: str) -> None:
        """Have another name, or one like it that is free."""
        if candidate != self.name:
            self.name = self.graph._graph_namespace.create_name(candidate, None)
            self.graph._graph_namespace._rename_object(self, self.name)

    def __reduce__(self) -> Any:
        raise TypeError("a torch.fx.Node is pickled with its Graph")

    def __deepcopy__(self, memo: Any) -> Any:
        return memo.get(self, self)


def _as_it_is(x: Any) -> Any:
    return x


def nodes_by_place(nodes: Iterable[Node]) -> list[Node]:
    """The nodes in the order of their graph."""
    return sorted(nodes, key=Node._place)
