"""`make_fx`: runs a function on tensors, and keeps the operations that it calls as a graph.

Unlike `symbolic_trace` it computes values meanwhile, so sizes are numbers and whatever Python decides by them is
decided. The graph has the operations as they are called (PyTorch's has those of `torch.ops.aten`, after decomposition).
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from typing import Any

from facula import absent
from facula._tensor.handle import Tensor
from facula.engine.session import session
from facula.fx import _names
from facula.fx._codegen import _PyTreeCodeGen, _PyTreeInfo
from facula.fx._symbolic_trace import Tracer
from facula.fx.graph import Graph
from facula.fx.graph_module import GraphModule
from facula.fx.node import Argument, Node, map_aggregate
from facula.nn import Module, Parameter
from facula.overrides import TorchFunctionMode, resolve_name
from facula.utils import _pytree as pytree

__all__ = ["PythonKeyTracer", "get_proxy_mode", "make_fx"]

# What asks for elements: a graph cannot have an answer that depends on them.
_LOOKS = frozenset(("item", "tolist", "numpy", "__bool__", "__float__", "__int__", "__index__", "__complex__",
                    "__array__", "__contains__", "is_nonzero", "equal", "allclose", "__len__"))
_NOT_ELEMENTS = frozenset(("__len__",))
_TOLD = frozenset((
    "size", "dim", "numel", "stride", "storage_offset", "is_contiguous", "nelement", "ndimension", "data_ptr",
    "element_size", "is_floating_point", "is_complex", "get_device", "requires_grad_", "__repr__",
    "__str__", "__format__", "__hash__", "__iter__", "untyped_storage", "is_same_size", "__dir__", "is_signed",
    "is_conj", "is_neg", "is_inference", "storage", "dim_order", "__len__", "register_hook", "retain_grad",
    "type_as_"))


class PythonKeyTracer(Tracer):
    """Makes the nodes of `make_fx`. Parameters become attributes `_param_constant0`, other tensors that are no
    arguments `_tensor_constant0`."""

    def __init__(self) -> None:
        super().__init__(autowrap_modules=())
        self.graph = Graph(tracer_cls=Tracer)
        self.root = Module()
        self.nodes: dict[int, Node] = {}
        self.kept: list[Any] = []  # so that no other tensor has the id of one that is known

    def know(self, value: Any, node: Node) -> None:
        """Have a tensor be what `node` gives."""
        self.nodes[id(value)] = node
        self.kept.append(value)

    def create_arg(self, a: Any) -> Argument:
        """What stands in a node for an argument."""
        if isinstance(a, Tensor):
            if id(a) in self.nodes:
                return self.nodes[id(a)]
            self.kept.append(a)
            return self._constant(a, "_param_constant" if isinstance(a, Parameter) else "_tensor_constant")
        return super().create_arg(a)


class _Recording(TorchFunctionMode):
    """Calls each operation, and makes a node of the call."""

    def __init__(self, tracer: PythonKeyTracer, answers: bool = False) -> None:
        self.tracer, self.answers = tracer, answers

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        method = _names.method_name(func, args)
        name = str(method or getattr(func, "__name__", ""))
        if name in _TOLD:
            return func(*args, **kwargs)
        if name in ("__get__", "__set__"):
            return self._attribute(func, name, args)
        self._refuse(name, args, kwargs)
        given, named = (args, kwargs) if method else _names.as_reported(func, args, kwargs)
        # Before the call: in-place operations have other elements afterwards, but the same tensor.
        given, named = self.tracer.create_arg(tuple(given)), self.tracer.create_arg(dict(named))
        result = func(*args, **kwargs)
        if result is not None and not any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(result)):
            return result
        spelled = getattr(operator, method, None) if method and method.startswith("__") else None
        if spelled is not None:
            node = self.tracer.create_node("call_function", spelled, given, {})
        elif method:
            node = self.tracer.create_node("call_method", method, given, dict(named))
        else:
            node = self.tracer.create_node("call_function", func, given, dict(named))
        self._told(result, node)
        return result

    def _attribute(self, func: Any, name: str, args: Any) -> Any:
        """Reading `x.T`, `x.data`: recorded where it gives a tensor."""
        attribute = str(resolve_name(func)).split(".")[-2]
        if name == "__set__" and attribute != "requires_grad":
            raise absent.refusal(f"make_fx of a function that assigns to .{attribute}")
        result = func(*args)
        if isinstance(result, Tensor):
            self._told(result, self.tracer.create_node(
                "call_function", getattr, (self.tracer.create_arg(args[0]), attribute), {}))
        return result

    def _told(self, result: Any, node: Node) -> None:
        """Know the tensors in a result as what the node gives."""
        node.meta["val"] = result
        if isinstance(result, Tensor):
            self.tracer.know(result, node)
        elif isinstance(result, (tuple, list)):
            for k, part in enumerate(result):
                if isinstance(part, (Tensor, tuple, list)):
                    self._told(part, self.tracer.create_node("call_function", operator.getitem, (node, k), {}))

    def _refuse(self, name: str, args: Any, kwargs: Any) -> None:
        if session.traced is not None:
            raise absent.refusal("make_fx of a function that calls vmap, jvp or another transform")
        if name in ("backward", "grad"):
            raise absent.refusal("make_fx of a function that calls backward or autograd.grad")
        leaves = pytree.tree_leaves((args, kwargs))
        looks = name in _LOOKS - _NOT_ELEMENTS and not self.answers
        if looks and any(id(leaf) in self.tracer.nodes for leaf in leaves):
            raise RuntimeError(f"It appears that you're trying to get value out of a tracing tensor with {name} - "
                               "erroring out! It's likely that this is caused by data-dependent control flow or "
                               "similar.")


_modes: list[_Recording] = []


def get_proxy_mode() -> Any:
    """What records for `make_fx` right now, or None."""
    return _modes[-1] if _modes else None


@contextmanager
def _recording(tracer: PythonKeyTracer, answers: bool) -> Any:
    mode = _Recording(tracer, answers)
    _modes.append(mode)
    try:
        with mode:
            yield
    finally:
        _modes.pop()


def make_fx(f: Callable[..., Any], decomposition_table: Mapping[Any, Any] | None = None, tracing_mode: str = "real",
            _allow_non_fake_inputs: bool = False, *, pre_dispatch: bool = False, record_module_stack: bool = False,
            _allow_fake_constant: bool = False, _error_on_data_dependent_ops: bool = True,
            **options: Any) -> Callable[..., GraphModule]:
    """A function that gives the graph of `f` for the arguments that it is called with. It takes trees of tensors and
    other values; the graph takes the same, and has the values of those that are no tensors in it.

    Raises:
        NotImplementedError: `tracing_mode="symbolic"`, a decomposition table; while it runs: transforms and backward
            passes within `f`.
        RuntimeError: `f` asks for elements (`.item()`, `if x:`) of what depends on its arguments. Not with
            `_error_on_data_dependent_ops=False`: then the graph is for these elements.

    Example:
        >>> import facula
        >>> from facula.fx.experimental.proxy_tensor import make_fx
        >>> print(make_fx(lambda x, y: facula.relu(x) * y.size(0))(facula.ones(2), facula.ones(3)).code.strip())
        def forward(self, x_1, y_1):
            relu = torch.relu(x_1);  x_1 = None
            mul = relu.mul(3);  relu = None
            return mul
    """
    if tracing_mode not in ("real", "fake", "symbolic"):
        raise AssertionError(f"expected tracing_mode to be real, fake or symbolic, got {tracing_mode}")
    if tracing_mode == "symbolic":
        raise absent.refusal('make_fx(tracing_mode="symbolic")', "sizes are numbers: trace once for each")
    if decomposition_table:
        raise absent.refusal("make_fx(decomposition_table=)", "operations are recorded as they are called")

    def wrapped(*args: Any) -> GraphModule:
        if tracing_mode == "fake":
            args = pytree.tree_map_only(Tensor, lambda t: t.to("meta"), args)
        return _traced(f, args, not _error_on_data_dependent_ops)
    return wrapped


def _argument_names(f: Any, count: int) -> list[str]:
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][:count]
    return names + [f"arg{k}" for k in range(len(names), count)]


def _traced(f: Any, args: tuple[Any, ...], answers: bool) -> GraphModule:
    tracer = PythonKeyTracer()
    names = _argument_names(f, len(args))
    leaves, in_spec = pytree.tree_flatten(args)
    flat = all(child.is_leaf() for child in in_spec.children())
    fresh: list[Any] = []
    for k, arg in enumerate(args):
        for number, leaf in enumerate(pytree.tree_leaves(arg), 1):
            node = tracer.create_node("placeholder", f"{names[k]}_{number}", (), {})
            # Another tensor of the same elements: two arguments may be one.
            value = leaf.view_as(leaf) if isinstance(leaf, Tensor) and any(leaf is other for other in fresh) else leaf
            node.meta["val"] = value
            fresh.append(value)
            if isinstance(value, Tensor):
                tracer.know(value, node)
    with _recording(tracer, answers):
        result = f(*pytree.tree_unflatten(fresh, in_spec))
    results, out_spec = pytree.tree_flatten(result)
    given = [tracer.create_arg(leaf) for leaf in results]
    if flat and not isinstance(result, dict):
        tracer.create_node("output", "output", (map_aggregate(tracer.create_arg(result), lambda x: x),), {})
    else:
        tracer.graph._codegen = _PyTreeCodeGen(_PyTreeInfo([f"{name}_1" for name in names], in_spec, out_spec))
        tracer.create_node("output", "output", (given,), {})
    return GraphModule(tracer.root, tracer.graph, getattr(f, "__name__", type(f).__name__))


