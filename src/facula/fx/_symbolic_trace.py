"""`symbolic_trace`: runs a function or a module's `forward` with proxies, and keeps what it does as a graph."""

from __future__ import annotations

import collections
import math
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

from facula._tensor.handle import Tensor
from facula.fx import _lazy_graph_module
from facula.fx._compatibility import compatibility
from facula.fx._concrete import (
    PH,
    PHBase,
    PHWithMeta,
    _assert_is_none,
    _patch_function,
    _transfer_attrs,
    annotation_of,
    create_args,
)
from facula.fx._patching import (
    _autowrap_check,
    _create_wrapped_func,
    _create_wrapped_method,
    _find_proxy,
    _maybe_revert_all_patches,
    _new_patcher,
    _patch_wrapped_functions,
    _Patcher,
    _proxyable_classes,
    _wrapped_fns_to_patch,
    _wrapped_methods_to_patch,
    wrap,
)
from facula.fx.graph import Graph
from facula.fx.graph_module import GraphModule, _Default
from facula.fx.node import Argument
from facula.fx.proxy import ParameterProxy, Proxy, Scope, ScopeContextManager, TracerBase
from facula.nn import Module, Parameter, Sequential
from facula.ops.listening import listening
from facula.utils import _pytree as pytree

__all__ = ["PH", "ProxyableClassMeta", "Tracer", "is_fx_symbolic_tracing", "is_fx_tracing", "symbolic_trace", "wrap"]
_OFFERED = (PHBase, PHWithMeta, _Patcher, _assert_is_none, _create_wrapped_func, _create_wrapped_method, _find_proxy,
            _maybe_revert_all_patches, _patch_function, _transfer_attrs, _wrapped_fns_to_patch,
            _wrapped_methods_to_patch)

# The originals, which a tracer calls while it has others in their places.
_orig_module_call: Callable[..., Any] = Module.__call__
_orig_module_getattr: Callable[..., Any] = Module.__getattr__
_is_fx_tracing_flag = False


def is_fx_tracing() -> bool:
    """Is a function being traced right now?"""
    return _is_fx_tracing_flag


def is_fx_symbolic_tracing() -> bool:
    """Is a function being traced right now with proxies in place of values?"""
    return _is_fx_tracing_flag


@compatibility(is_backward_compatible=True)
class ProxyableClassMeta(type):
    """A metaclass: making an instance of one of its classes with a Proxy among the arguments is recorded as a call.

    Example:
        >>> import facula
        >>> class Pair(metaclass=facula.fx.ProxyableClassMeta):
        ...     def __init__(self, left, right):
        ...         self.left, self.right = left, right
        >>> graph = facula.fx.symbolic_trace(lambda x: Pair(x, 1).left).graph
        >>> [node.name for node in graph.nodes]
        ['x', 'output']
    """

    def __init__(cls, name: str, bases: Any, attrs: Any) -> None:
        _proxyable_classes.setdefault(cls)
        super().__init__(name, bases, attrs)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        instance = cls.__new__(cls)  # type: ignore[call-overload]
        if not is_fx_tracing():
            cls.__init__(instance, *args, **kwargs)  # type: ignore[misc]
            return instance
        found: list[Any] = []

        def look(value: Any) -> Any:
            if isinstance(value, Proxy):
                found.append(value)
            return value
        pytree.tree_map(look, (args, kwargs))
        cls.__init__(instance, *args, **kwargs)  # type: ignore[misc]
        if found:
            instance.__dict__["__fx_create_arg__"] = lambda tracer: tracer.create_node(
                "call_function", cls, tracer.create_arg(args), tracer.create_arg(kwargs))
        return instance


@compatibility(is_backward_compatible=True)
class Tracer(TracerBase):
    """Traces modules and functions. Subclasses say what is not to be traced into (`is_leaf_module`), and what becomes
    of arguments and attributes.

    Args:
        autowrap_modules: modules whose functions are recorded as calls, not traced into.
        autowrap_functions: such functions.
        param_shapes_constant: shapes of parameters are numbers, not recorded.

    Example:
        >>> import facula
        >>> class Whole(facula.fx.Tracer):
        ...     def is_leaf_module(self, m, module_qualified_name):
        ...         return False
        >>> graph = Whole().trace(facula.nn.Sequential(facula.nn.Linear(2, 2)))
        >>> [node.name for node in graph.nodes]
        ['input_1', '_0_weight', '_0_bias', 'linear', 'output']
    """

    def __init__(self, autowrap_modules: tuple[ModuleType, ...] = (math,),
                 autowrap_functions: tuple[Callable[..., Any], ...] = (), param_shapes_constant: bool = False) -> None:
        super().__init__()
        self._autowrap_function_ids: set[int] = {
            id(value) for name, value in
            ((name, value) for module in autowrap_modules for name, value in vars(module).items())
            if not name.startswith("_") and callable(value)}
        self._autowrap_function_ids.update(id(function) for function in autowrap_functions)
        self._autowrap_search: list[ModuleType] = list(autowrap_modules)
        self.param_shapes_constant = param_shapes_constant
        self.submodule_paths: dict[Module, str] | None = None
        self.root_module_name: str = ""
        self.scope = Scope("", None)
        self.module_stack = collections.OrderedDict()
        self.num_calls: dict[str, int] = {}
        self.node_name_to_scope = {}
        self._qualname_counter: dict[str, int] = collections.defaultdict(int)
        self.tensor_attrs: dict[Any, str] = {}

    # -- what subclasses may change -------------------------------------------------------------
    def is_leaf_module(self, m: Module, module_qualified_name: str) -> bool:
        """Is the call of that submodule to be one node? Those of `torch.nn` are, but for Sequential."""
        return (m.__module__.startswith(("facula.nn", "facula.ao.nn", "torch.nn", "torch.ao.nn"))
                and not isinstance(m, Sequential))

    def path_of_module(self, mod: Module) -> str:
        """The path of a submodule of the root. NameError if it is none."""
        if self.submodule_paths:
            path = self.submodule_paths.get(mod)
            if path is None:
                raise NameError(f"module is not installed as a submodule: {mod}")
            return path
        for name, module in self.root.named_modules():
            if module is mod:
                return str(name)
        raise NameError(f"module is not installed as a submodule: {mod}")

    def call_module(self, m: Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a call of a submodule becomes: a node if it is a leaf, else `forward(*args, **kwargs)`, traced."""
        path = self.path_of_module(m)
        with ScopeContextManager(self.scope, Scope(path, type(m))) as scope:
            count = self.num_calls.get(path, 0)
            key = f"{scope.module_path}@{count}" if count > 0 else scope.module_path
            self.module_stack[key] = (scope.module_path, scope.module_type)
            self.num_calls[path] = count + 1
            if not self.is_leaf_module(m, path):
                found = forward(*args, **kwargs)
            else:
                found = self.create_proxy("call_module", path, args, kwargs)
            gone, _ = self.module_stack.popitem(last=True)
            if gone != key:
                raise AssertionError(f"Unexpected key {gone}")
        return found

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """What reading an attribute of a module gives: a Proxy for parameters (once each), else the attribute."""
        def stood_in(named: Any) -> Any:
            for name, value in named:
                if value is attr_val:
                    if name not in parameter_proxy_cache:
                        factory = None if not self.param_shapes_constant or not isinstance(value, Parameter) else (
                            lambda node, name=name: ParameterProxy(self, node, name, attr_val))
                        parameter_proxy_cache[name] = self.create_proxy("get_attr", name, (), {},
                                                                        proxy_factory_fn=factory)
                    return parameter_proxy_cache[name]
            return None
        if isinstance(attr_val, Parameter):
            found = stood_in(self.root.named_parameters())
            if found is not None:
                return found
        if self.proxy_buffer_attributes and isinstance(attr_val, Tensor):
            found = stood_in(self.root.named_buffers())
            if found is not None:
                return found
        return attr_val

    def create_arg(self, a: Any) -> Argument:
        """What stands in a node for an argument. Parameters, buffers and other tensors of the root are read by
        `get_attr`; a tensor of nobody's becomes an attribute `_tensor_constant0`."""
        if isinstance(a, Parameter):
            for name, value in self.root.named_parameters():
                if a is value:
                    return self.create_node("get_attr", name, (), {})
            raise NameError("parameter is not a member of this module")
        if isinstance(a, Tensor):
            for name, value in self.root.named_buffers():
                if a is value:
                    return self.create_node("get_attr", name, (), {})
            return self._constant(a, "_tensor_constant")
        if isinstance(a, Module):
            for name, value in self.root.named_modules():
                if a is value:
                    return self.create_node("get_attr", name, (), {})
        if isinstance(a, tuple) and hasattr(a, "_fields"):
            args = tuple(self.create_arg(part) for part in a)
            return self.create_node("call_function", type(a), args, {})
        if type(a) in _proxyable_classes and not hasattr(a, "__fx_create_arg__"):
            return self._constant(a, f"_{type(a).__name__}_constant_")
        return super().create_arg(a)

    def get_fresh_qualname(self, prefix: str) -> str:
        """A name for an attribute of the root that it does not have yet."""
        number = self._qualname_counter[prefix]
        while hasattr(self.root, f"{prefix}{number}"):
            number += 1
        self._qualname_counter[prefix] = number + 1
        return f"{prefix}{number}"

    def _constant(self, value: Any, prefix: str) -> Argument:
        name = self.tensor_attrs.get(value) if isinstance(value, Tensor) else None
        if name is None:
            name = self.get_fresh_qualname(prefix)
            if isinstance(value, Tensor):
                self.tensor_attrs[value] = name
            setattr(self.root, name, value)
        return self.create_node("get_attr", name, (), {})

    def create_args_for_root(self, root_fn: Any, is_module: bool,
                             concrete_args: dict[str, Any] | tuple[Any, ...] | None = None) -> Any:
        """The function to call, and the arguments: a Proxy for each, but for what `concrete_args` tell."""
        return create_args(self, root_fn, is_module, concrete_args)

    # -- tracing --------------------------------------------------------------------------------
    def trace(self, root: Module | Callable[..., Any],
              concrete_args: dict[str, Any] | tuple[Any, ...] | None = None) -> Graph:
        """The graph of what `root` does: a module's `forward`, or a function.

        Args:
            concrete_args: arguments that are known: values, or trees with `fx.PH` for what is not.

        Raises:
            TraceError: it decides by values, or iterates over them.
        """
        global _is_fx_tracing_flag
        before, _is_fx_tracing_flag = _is_fx_tracing_flag, True
        try:
            with listening():
                return self._traced(root, concrete_args)
        finally:
            _is_fx_tracing_flag = before
            self.stop_listening()

    def _traced(self, root: Any, concrete_args: Any) -> Graph:
        if isinstance(root, Module):
            self.root: Module = root
            if not hasattr(type(root), self.traced_func_name):
                raise AssertionError(f"traced_func_name={self.traced_func_name} doesn't exist in "
                                     f"{type(root).__name__}")
            fn = getattr(type(root), self.traced_func_name)
            self.root_module_name = root._get_name()
            self.submodule_paths = {module: name for name, module in root.named_modules()}
        else:
            self.root = Module()
            fn = root
        self.graph = Graph(tracer_cls=getattr(self, "__class__", None))
        if hasattr(fn, "__code__"):
            self.graph._co_fields = {  # type: ignore[attr-defined]
                "co_name": fn.__code__.co_name, "co_filename": fn.__code__.co_filename,
                "co_firstlineno": fn.__code__.co_firstlineno}
        self.tensor_attrs = {}
        self._collect(self.root, [])
        if not isinstance(fn, FunctionType):
            raise AssertionError(f"Expected FunctionType, got {type(fn)}")
        fn_globals = fn.__globals__
        fn, args = self.create_args_for_root(fn, isinstance(root, Module), concrete_args)
        proxies: dict[str, Any] = {}

        def module_getattr(mod: Any, attr: str) -> Any:
            return self.getattr(attr, _orig_module_getattr(mod, attr), proxies)

        def module_call(mod: Any, *args: Any, **kwargs: Any) -> Any:
            def forward(*args: Any, **kwargs: Any) -> Any:
                return _orig_module_call(mod, *args, **kwargs)
            _autowrap_check(patcher, getattr(getattr(mod, "forward", mod), "__globals__", {}),
                            self._autowrap_function_ids)
            return self.call_module(mod, forward, args, kwargs)

        with _new_patcher() as patcher:
            patcher.patch_method(Module, "__getattr__", module_getattr, deduplicate=False)
            patcher.patch_method(Module, "__call__", module_call, deduplicate=False)
            _patch_wrapped_functions(patcher)
            _autowrap_check(patcher, fn_globals, self._autowrap_function_ids)
            for module in self._autowrap_search:
                _autowrap_check(patcher, vars(module), self._autowrap_function_ids)
            result = self.create_arg(fn(*args))
            self.create_node("output", "output", (result,), {}, type_expr=annotation_of(fn, "return"))
        self.submodule_paths = None
        return self.graph

    def _collect(self, module: Module, path: list[str]) -> None:
        """Where tensors are that modules have as plain attributes."""
        for name, value in vars(module).items():
            if isinstance(value, Tensor):
                self.tensor_attrs[value] = ".".join([*path, name])
        for name, child in module.named_children():
            self._collect(child, [*path, name])

    def __deepcopy__(self, memo: Any) -> Tracer:
        found = type(self).__new__(type(self))
        found.__dict__.update({key: value for key, value in vars(self).items() if key not in ("root", "graph")})
        return found


_Default.tracer_cls = Tracer


@compatibility(is_backward_compatible=True)
def symbolic_trace(root: Module | Callable[..., Any],
                   concrete_args: dict[str, Any] | tuple[Any, ...] | None = None) -> GraphModule:
    """A GraphModule that does what `root` does, a module or a function.

    Args:
        concrete_args: arguments that are known beforehand, by name: values, or trees with `fx.PH` for what is not.

    Raises:
        TraceError: it decides by values, or iterates over them.

    Example:
        >>> import facula
        >>> def scaled(x, more=False):
        ...     return x * 2 if more else x
        >>> print(facula.fx.symbolic_trace(lambda x: facula.relu(x) * 2).code.strip())
        def forward(self, x):
            relu = torch.relu(x);  x = None
            mul = relu * 2;  relu = None
            return mul
        >>> facula.fx.symbolic_trace(scaled, {"more": True})(facula.ones(2), True)
        tensor([2., 2.])
    """
    tracer = Tracer()
    graph = tracer.trace(root, concrete_args)
    name = type(root).__name__ if isinstance(root, Module) else root.__name__
    return _lazy_graph_module._make_graph_module(tracer.root, graph, name)


