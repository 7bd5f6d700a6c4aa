"""Arguments and operators made alike: the same call is written in one way."""

from __future__ import annotations

import operator
from typing import Any

import facula
from facula.fx import Proxy, Transformer
from facula.fx.graph_module import GraphModule
from facula.fx.node import Argument, Node, Target, map_aggregate
from facula.fx.operator_schemas import create_type_hint, normalize_function, normalize_module

__all__ = ["NormalizeArgs", "NormalizeOperators"]


class NormalizeArgs(Transformer):
    """Calls of Facula's functions and of modules of `nn` with all their arguments by name, defaults filled in.

    Args:
        normalize_to_only_use_kwargs: False leaves arguments by position that were so.

    Example:
        >>> import facula
        >>> from facula.fx.experimental.normalize import NormalizeArgs
        >>> module = facula.fx.symbolic_trace(lambda x: facula.nn.functional.relu(x))
        >>> print(NormalizeArgs(module).transform().code.strip())
        def forward(self, x):
            relu = torch.nn.functional.relu(input = x, inplace = False);  x = None
            return relu
    """

    def __init__(self, module: GraphModule, normalize_to_only_use_kwargs: bool = True) -> None:
        super().__init__(module)
        self.node_map: dict[Proxy, Node] = {}
        self.normalize_to_only_use_kwargs = normalize_to_only_use_kwargs

    def run_node(self, n: Node) -> Any:
        """The node's call, with its arguments made alike."""
        args, kwargs = self.fetch_args_kwargs_from_env(n)

        def kind(arg: Any) -> Any:
            return arg.meta.get("type") if isinstance(arg, Node) else type(arg)
        arg_types = tuple(create_type_hint(map_aggregate(arg, kind)) for arg in n.args)
        kwarg_types = {name: create_type_hint(map_aggregate(arg, kind)) for name, arg in n.kwargs.items()}
        if n.op == "call_function":
            found = self.call_function(n.target, args, kwargs, arg_types, kwarg_types)
        else:
            found = super().run_node(n)
        if n.op != "output":
            self.node_map[found] = n
            found.node.meta = n.meta
            found.node.type = n.type
        return found

    def call_function(self, target: Target, args: tuple[Argument, ...], kwargs: dict[str, Any],
                      arg_types: tuple[Any, ...] | None = None, kwarg_types: dict[str, Any] | None = None) -> Any:
        """A call of a function."""
        found = normalize_function(target, args, kwargs, arg_types, kwarg_types, self.normalize_to_only_use_kwargs)
        if found is None:
            return super().call_function(target, args, kwargs)
        return self.tracer.create_proxy("call_function", target, found.args, found.kwargs)

    def call_module(self, target: Target, args: tuple[Argument, ...], kwargs: dict[str, Any]) -> Any:
        """A call of a submodule."""
        found = normalize_module(self.module, target, args, kwargs, self.normalize_to_only_use_kwargs)
        return super().call_module(target, *(found or (args, kwargs)))


class NormalizeOperators(Transformer):
    """Calls of `torch.add` and the like as operators: `x + y`."""

    binary_magic_method_remap: dict[Any, Any] = {
        getattr(facula, name): getattr(operator, spelled) for name, spelled in (
            ("add", "add"), ("mul", "mul"), ("sub", "sub"), ("div", "truediv"), ("floor_divide", "floordiv"),
            ("remainder", "mod"), ("eq", "eq"), ("ne", "ne"), ("lt", "lt"), ("le", "le"), ("gt", "gt"),
            ("ge", "ge"))}

    def call_function(self, target: Target, args: tuple[Argument, ...], kwargs: dict[str, Any]) -> Any:
        """A call of a function, as an operator where it is one of two arguments."""
        spelled = self.binary_magic_method_remap.get(target)
        if spelled is None or len(args) != 2 or kwargs:
            return super().call_function(target, args, kwargs)
        return super().call_function(spelled, args, {})
