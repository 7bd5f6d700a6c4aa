"""`Proxy`: stands for a value while a function is traced. Whatever is done with one is recorded as a node.

Calls of Facula's functions come by `__torch_function__`, the one way in (`ops/listening.py`): while a tracer lives that
has made proxies, calls are listened to.

Example:
    >>> import facula
    >>> graph = facula.fx.Graph()
    >>> x = facula.fx.Proxy(graph.placeholder("x"))
    >>> graph.output((facula.relu(x) + x.shape[0]).node) and [node.name for node in graph.nodes]
    ['x', 'relu', 'getattr_1', 'getitem', 'add', 'output']
"""

from __future__ import annotations

import collections
import dis
import enum
import operator
import sys
import traceback
import weakref
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import facula
from facula.fx import _names, operator_schemas
from facula.fx import traceback as fx_traceback
from facula.fx._compatibility import compatibility
from facula.fx._writing import magic_methods, reflectable_magic_methods
from facula.fx.graph import Graph
from facula.fx.node import Argument, Node, Target, base_types, map_aggregate
from facula.ops import listening
from facula.utils._pytree import tree_map

__all__ = ["Attribute", "GraphAppendingTracer", "MetaProxy", "ParameterProxy", "Proxy", "Scope", "ScopeContextManager",
           "TraceError", "TracerBase"]

_HERE = str(Path(facula.__file__).parent)
_ITERATED = ("Proxy object cannot be iterated. This can be attempted when the Proxy is used in a loop or as a *args or "
             "**kwargs function argument. See the torch.fx docs on pytorch.org for a more detailed explanation of what "
             "types of control flow can be traced, and check out the Proxy docstring for help troubleshooting Proxy "
             "iteration errors")


class TraceError(ValueError):
    """A function does what cannot be recorded: it decides by a value, or iterates over one."""


class Scope:
    """Of which submodule the calls are that are being recorded."""

    def __init__(self, module_path: str, module_type: Any) -> None:
        self.module_path, self.module_type = module_path, module_type


class ScopeContextManager:
    """Has a scope be another one while it lasts."""

    def __init__(self, scope: Scope, current_scope: Scope) -> None:
        self._prev = Scope(scope.module_path, scope.module_type)
        scope.module_path, scope.module_type = current_scope.module_path, current_scope.module_type
        self._scope = scope

    def __enter__(self) -> Scope:
        return self._scope

    def __exit__(self, *exc: object) -> None:
        self._scope.module_path, self._scope.module_type = self._prev.module_path, self._prev.module_type


class _Ears:
    """How long a tracer listens: as long as it lives, or until it says that it has done."""

    def __init__(self, tracer: Any) -> None:
        listening.begin()
        self.end = weakref.finalize(tracer, listening.end)


def assert_fn(x: Any) -> None:
    """AssertionError unless `x`."""
    if not x:
        raise AssertionError


@compatibility(is_backward_compatible=True)
class TracerBase:
    """What makes nodes of calls. `Tracer` traces modules and functions; `GraphAppendingTracer` only adds to a graph."""

    graph: Graph
    record_stack_traces: bool = False
    _record_forward_stack_traces_only: bool = False
    check_mutable_operations: bool = False  # raise where something is done in place
    trace_asserts: bool = False  # record `assert x` of a Proxy
    proxy_buffer_attributes: bool = False  # buffers that are read become nodes as parameters do
    traced_func_name: str = "forward"
    scope: Scope
    module_stack: collections.OrderedDict[str, Any]
    node_name_to_scope: dict[str, Any]
    _ears: _Ears | None = None

    def stop_listening(self) -> None:
        """Whatever was to be traced has been. (Else a tracer listens as long as it lives.)"""
        if self._ears is not None:
            self._ears.end()
            self._ears = None

    def create_node(self, kind: str, target: Target, args: tuple[Argument, ...], kwargs: dict[str, Argument],
                    name: str | None = None, type_expr: Any = None) -> Node:
        """A node in the graph, with what is known of where it comes from."""
        if kind == "call_function" and self.check_mutable_operations:
            operator_schemas.check_for_mutable_operation(target, args, kwargs)
        node = self.graph.create_node(kind, target, args, kwargs, name, type_expr)
        if hasattr(self, "node_name_to_scope"):
            self.node_name_to_scope[node.name] = (self.scope.module_path, self.scope.module_type)
        if fx_traceback.has_preserved_node_meta():
            for key, value in fx_traceback.get_current_meta().items():
                node.meta.setdefault(key, value)
        elif getattr(self, "module_stack", None):
            node.meta["nn_module_stack"] = self.module_stack.copy()
        if self.record_stack_traces and not node.stack_trace:
            node.stack_trace = _users_stack()
        return node

    def proxy(self, node: Node) -> Proxy:
        """What stands for the value of `node`."""
        return Proxy(node, self)

    def create_proxy(self, kind: str, target: Target, args: tuple[Any, ...], kwargs: dict[str, Any],
                     name: str | None = None, type_expr: Any = None,
                     proxy_factory_fn: Callable[[Node], Proxy] | None = None) -> Proxy:
        """A node for a call whose arguments may be proxies, and a Proxy for its result."""
        args_, kwargs_ = self.create_arg(args), self.create_arg(kwargs)
        if not isinstance(args_, tuple) or not isinstance(kwargs_, dict):
            raise AssertionError(f"args and kwargs must be a tuple and a dict, got {type(args_)}, {type(kwargs_)}")
        node = self.create_node(kind, target, args_, dict(kwargs_), name, type_expr)
        return proxy_factory_fn(node) if proxy_factory_fn else self.proxy(node)

    def create_arg(self, a: Any) -> Argument:
        """What stands in a node for an argument: nodes for proxies, everything else as it is.

        Raises:
            NotImplementedError: of a type that no node can have.
            RuntimeError: a dictionary with a Proxy among its keys.
        """
        if isinstance(a, Proxy):
            return a.node
        if isinstance(a, tuple):
            parts = [self.create_arg(part) for part in a]
            if hasattr(a, "_fields"):
                return self._named_tuple(type(a), parts)
            return tuple(parts)
        if isinstance(a, list):
            return [self.create_arg(part) for part in a]
        if isinstance(a, dict):
            return _create_arg_dict(self, a)
        if isinstance(a, slice):
            return slice(self.create_arg(a.start), self.create_arg(a.stop), self.create_arg(a.step))
        if isinstance(a, range):
            return range(self.create_arg(a.start), self.create_arg(a.stop), self.create_arg(a.step))
        if isinstance(a, base_types) or a is None or a is ... or isinstance(a, enum.Enum):
            return a
        if isinstance(a, Node) or hasattr(a, "__fx_create_arg__"):
            return a if isinstance(a, Node) else a.__fx_create_arg__(self)
        if is_dataclass(a) and not isinstance(a, type):
            parts_ = {f.name: self.create_arg(getattr(a, f.name)) for f in fields(a)}
            return self.create_node("call_function", type(a), (), parts_)
        raise NotImplementedError(f"argument of type: {type(a)}")

    def _named_tuple(self, kind: Any, parts: list[Any]) -> Any:
        return kind(*parts)

    def to_bool(self, obj: Proxy) -> bool:
        """What `bool(proxy)` does: raises TraceError, but for a tracer that knows better."""
        raise TraceError("symbolically traced variables cannot be used as inputs to control flow")

    def iter(self, obj: Proxy) -> Iterator[Any]:
        """What `iter(proxy)` does: raises TraceError."""
        raise TraceError(_ITERATED)

    def keys(self, obj: Proxy) -> Any:
        """What `proxy.keys()` gives, which `**proxy` asks for: a Proxy."""
        return Attribute(obj, "keys")()


def _create_arg_dict(self: TracerBase, a: dict[Any, Any]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key, value in a.items():
        if not isinstance(key, str):
            key = self.create_arg(key)

            def refuse(node: Any, key: Any = key) -> Any:
                if isinstance(node, Node):
                    raise RuntimeError("Keys for dictionaries used as an argument cannot contain a Node. Got key: "
                                       f"{key}")
                return node
            map_aggregate(key, refuse)
        found[key] = self.create_arg(value)
    return found


def _users_stack() -> str:
    """The program's lines that lead here, without those of Facula's own tracing."""
    frames = [frame for frame in traceback.extract_stack() if not frame.filename.startswith((_HERE, "<frozen"))]
    return "".join(traceback.StackSummary.from_list(frames).format()).strip()


@compatibility(is_backward_compatible=True)
class GraphAppendingTracer(TracerBase):
    """Makes nodes at the end of a graph: what proxies have that were made without a tracer."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.scope = Scope("", None)
        self.module_stack = collections.OrderedDict()
        self.node_name_to_scope = {}


@compatibility(is_backward_compatible=True)
class Proxy:
    """Stands for the value of a node; `node` is that.

    Operators, methods, attributes and functions of Facula's called with one give another Proxy. Its truth and its
    elements are not known: `if proxy:`, `for x in proxy`, `len(proxy)` raise. Unpacking into names (`a, b = proxy`)
    works, for their number is written in the program.
    """

    def __init__(self, node: Node, tracer: TracerBase | None = None) -> None:
        if tracer is None:
            tracer = GraphAppendingTracer(node.graph)
        if tracer._ears is None:
            tracer._ears = _Ears(tracer)
        self.tracer, self.node = tracer, node

    def __repr__(self) -> str:
        return f"Proxy({self.node.name})"

    def __getattr__(self, k: str) -> Attribute:
        if k in ("node", "tracer"):  # not made yet: of a copy
            raise AttributeError(k)
        return Attribute(self, k)

    def __deepcopy__(self, memo: Any) -> Any:
        found = object.__new__(type(self))
        found.__dict__.update(self.__dict__)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state

    def __call__(self, *args: Any, **kwargs: Any) -> Proxy:
        return self.tracer.create_proxy("call_method", "__call__", (self, *args), kwargs)

    def __iter__(self) -> Iterator[Any]:
        frame = sys._getframe(1)
        count = _unpacked(frame)
        if count is not None:
            take: Any = self
            return iter([take[k] for k in range(count)])
        return self.tracer.iter(self)

    def __abs__(self) -> Proxy:
        return self.tracer.create_proxy("call_function", operator.abs, (self,), {})

    def __bool__(self) -> bool:
        if self.tracer.trace_asserts and _is_assert(sys._getframe(1)):
            self.tracer.create_proxy("call_function", assert_fn, (self,), {})
            return True
        return self.tracer.to_bool(self)

    def keys(self) -> Any:
        """The keys, recorded."""
        return self.tracer.keys(self)

    def __len__(self) -> int:
        raise RuntimeError("'len' is not supported in symbolic tracing by default. If you want this call to be "
                           "recorded, please call torch.fx.wrap('len') at module scope")

    @classmethod
    def __torch_function__(cls, orig_method: Any, types: Any, args: Any = None, kwargs: Any = None) -> Any:
        args, kwargs = args or (), kwargs or {}
        tracers: dict[Any, None] = {}

        def look(value: Any) -> None:
            if isinstance(value, cls):
                tracers[value.tracer] = None
        tree_map(look, (args, kwargs))
        if len(tracers) > 1:
            raise RuntimeError(f"Found multiple different tracers {list(tracers)} while trying to trace operations "
                               f"{orig_method}")
        if not tracers:  # deep in an argument, or of another subclass
            tree_map(lambda value: tracers.setdefault(value.tracer) if isinstance(value, Proxy) else None,
                     (args, kwargs))
        tracer = next(iter(tracers))
        method = _names.method_name(orig_method, args)
        if method is not None:
            return tracer.create_proxy("call_method", method, args, kwargs)
        args, kwargs = _names.as_reported(orig_method, args, kwargs)
        return tracer.create_proxy("call_function", orig_method, args, kwargs)


def _instructions(frame: Any) -> tuple[Any, Any]:
    """The instruction that a frame is at, and the next one."""
    found = None
    for instruction in dis.get_instructions(frame.f_code):
        if found is not None:
            if instruction.opname in ("CACHE", "NOT_TAKEN"):
                continue
            return found, instruction
        if instruction.offset == frame.f_lasti:
            found = instruction
    return found, None


def _unpacked(frame: Any) -> int | None:
    """Into how many names the frame unpacks something right now."""
    now = _instructions(frame)[0]
    return now.argval if now is not None and now.opname == "UNPACK_SEQUENCE" else None


def _is_assert(frame: Any) -> bool:
    """Does the frame ask for a truth in an `assert`?"""
    rest = [i.opname for i in dis.get_instructions(frame.f_code) if i.offset >= frame.f_lasti]
    after = [name for name in rest if name not in ("CACHE", "NOT_TAKEN", "TO_BOOL")][:2]
    return len(after) == 2 and "JUMP" in after[0] and "TRUE" in after[0] and after[1] in (
        "LOAD_ASSERTION_ERROR", "LOAD_COMMON_CONSTANT")


class MetaProxy(Proxy):
    """A Proxy with a tensor on "meta" in `node.meta["val"]`, of which operations compute their shapes."""

    def __init__(self, node: Node, tracer: TracerBase | None = None, fake_mode: Any = None) -> None:
        super().__init__(node, tracer)
        self.fake_mode = fake_mode

    @classmethod
    def __torch_function__(cls, orig_method: Any, types: Any, args: Any = None, kwargs: Any = None) -> Any:
        args, kwargs = args or (), kwargs or {}
        found = Proxy.__torch_function__.__func__(cls, orig_method, types, args, kwargs)  # type: ignore[attr-defined]
        values = tree_map(lambda v: v.node.meta.get("val") if isinstance(v, Proxy) else v, (args, kwargs))
        result = MetaProxy(found.node, found.tracer)
        result.node.meta["val"] = orig_method(*values[0], **values[1])
        return result


@compatibility(is_backward_compatible=True)
class Attribute(Proxy):
    """An attribute of a Proxy: called it is a method, used otherwise a node that reads it."""

    def __init__(self, root: Proxy, attr: str) -> None:
        self.root, self.attr, self.tracer = root, attr, root.tracer
        self._node: Node | None = None

    def __getattr__(self, k: str) -> Attribute:
        if k in ("root", "attr", "tracer", "_node"):
            raise AttributeError(k)
        return Attribute(self, k)

    @property
    def node(self) -> Node:  # type: ignore[override]
        """Made when it is first asked for: most attributes are methods."""
        if self._node is None:
            self._node = self.tracer.create_proxy("call_function", getattr, (self.root, self.attr), {}).node
        return self._node

    def __call__(self, *args: Any, **kwargs: Any) -> Proxy:
        return self.tracer.create_proxy("call_method", self.attr, (self.root, *args), kwargs)


@compatibility(is_backward_compatible=False)
class ParameterProxy(Proxy):
    """A Proxy of a parameter whose shape is known: `Tracer(param_shapes_constant=True)`."""

    def __init__(self, tracer: TracerBase, node: Node, name: str, param: Any) -> None:
        super().__init__(node, tracer)
        if not isinstance(param, facula.nn.Parameter):
            raise AssertionError(f"expected Parameter, got {type(param)}")
        self.param, self.name = param, name

    def __repr__(self) -> str:
        return f"ParameterProxy({self.name})"

    @property
    def shape(self) -> Any:
        """The parameter's."""
        return self.param.shape

    def size(self, *args: Any) -> Any:
        """The parameter's."""
        return self.param.size(*args)

    def dim(self) -> int:
        """The parameter's."""
        return self.param.dim()  # type: ignore[no-any-return]

    @property
    def ndim(self) -> int:
        """The parameter's."""
        return self.param.ndim  # type: ignore[no-any-return]

    def numel(self) -> int:
        """The parameter's."""
        return self.param.numel()  # type: ignore[no-any-return]

    def nelement(self) -> int:
        """The parameter's."""
        return self.param.nelement()  # type: ignore[no-any-return]


def _operators() -> None:
    """The operators, also from the right."""
    for name in magic_methods:
        target = getattr(operator, name, None)
        if target is None:
            continue

        def left(*args: Any, target: Any = target) -> Any:
            return args[0].tracer.create_proxy("call_function", target, args, {})
        spelled = f"__{name.strip('_')}__"
        left.__name__ = left.__qualname__ = spelled
        setattr(Proxy, spelled, left)
    for name in reflectable_magic_methods:
        target = getattr(operator, name, None)
        if target is None or name == "getitem":
            continue

        def right(self: Proxy, other: Any, target: Any = target) -> Any:
            return self.tracer.create_proxy("call_function", target, (other, self), {})
        spelled = f"__r{name.strip('_')}__"
        right.__name__ = right.__qualname__ = spelled
        setattr(Proxy, spelled, right)


_operators()
Proxy.__hash__ = object.__hash__  # type: ignore[method-assign]
