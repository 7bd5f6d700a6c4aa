"""`backward` and `grad`, and the hooks of tensors. walk.py has the walk, replay.py what saves it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any
from weakref import ref

from facula._tensor.handle import Tensor, device_of, new
from facula._tensor.reading import read
from facula._tensor.tape import edge_of
from facula.autograd import replay
from facula.autograd.edges import GradientEdge, edge_within
from facula.autograd.graph import GradNode, mode
from facula.autograd.modes import anomaly
from facula.autograd.walk import Targets, accumulate, beside, edge_key, node_of, settle, walk
from facula.dtypes import FLOAT
from facula.engine.checks import waiting
from facula.engine.graph.node import CONST, Node, elsewhere
from facula.engine.moving import moved
from facula.engine.realize import flush
from facula.engine.recorder import pending
from facula.errors import warn
from facula.ops.casting import constant, to_dtype
from facula.ops.listening import engine_call

# Who wants to know of backward passes, while there is somebody (facula.monitor): each has `begun()` and `ended()`, and
# neither raises. At its end the gradients have been computed. A pass that raises has no end.
passes: list[Any] = []

# ---- roots --------------------------------------------------------------------------------------------


def _sequence(x: Any) -> tuple[Any, ...]:

    return (
        (x,)
        if x is None or isinstance(x, (Tensor, GradientEdge))
        or not isinstance(x, (tuple, list)) and not hasattr(x, "__iter__")
        else tuple(x)
    )


def _scalar_root(t: Any) -> list[tuple[Any, Any]] | None:
    """The root of `loss.backward()`; None where there is anything to think about."""
    edge = getattr(t, "_grad_fn", None)
    if elsewhere or edge is None or t.shape or t._base is not None or t._output_nr or t.dtype.category != FLOAT:
        return None
    return [(edge, new(Node(CONST, (), None, (1.0,), t.shape, t.dtype)))]


def _roots(outputs: tuple[Any, ...], grads: Any) -> list[tuple[Any, Any]]:
    grads = (None,) * len(outputs) if grads is None else _sequence(grads)
    if len(grads) != len(outputs):
        raise RuntimeError(f"got {len(outputs)} tensors and {len(grads)} gradients")
    roots = []
    for i, (t, g) in enumerate(zip(outputs, grads, strict=False)):
        if isinstance(t, GradientEdge):
            if g is None:
                raise RuntimeError("grad can be implicitly created only for scalar outputs")
            roots.append((edge_within(t), g))
            continue
        edge = edge_of(t)
        if g is None:
            if edge is not None:
                if t.numel() != 1:
                    raise RuntimeError("grad can be implicitly created only for scalar outputs")
                if not t.dtype.is_floating_point:
                    raise RuntimeError("grad can be implicitly created only for real scalar outputs but got "
                                       f"{t.dtype}")
                g = new(moved(constant(1.0, t.shape, t.dtype), device_of(t)))
        elif not isinstance(g, Tensor):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(g).__name__}")
        elif g.shape != t.shape:
            raise RuntimeError(f"Mismatch in shape: grad_output[{i}] has a shape of {g.shape} and output[{i}] has a "
                               f"shape of {t.shape}.")
        elif g.dtype.is_complex != t.dtype.is_complex:
            raise RuntimeError("For complex Tensors, both grad_output and output are required to have the same dtype. "
                               f"Mismatch in dtype: grad_output[{i}] has a dtype of {g.dtype} and output[{i}] has a "
                               f"dtype of {t.dtype}.")
        if elsewhere and g is not None and device_of(g) is not device_of(t):
            raise RuntimeError(f"invalid gradient at index {i} - expected device {t.device} but got {g.device}")
        if edge is None:
            raise RuntimeError(f"element {i} of tensors does not require grad and does not have a grad_fn")
        if g.dtype is not t.dtype:
            g = to_dtype(g, t.dtype)
        roots.append((edge, g))
    return roots


@engine_call("")
def backward(tensors: Any, grad_tensors: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
             grad_variables: Any = None, inputs: Any = None) -> None:
    """Add to the `.grad` of every leaf the gradient of the sum of `tensors` (weighted by `grad_tensors`).

    Example:
        >>> import facula
        >>> x = facula.tensor([1.0, 2.0], requires_grad=True)
        >>> facula.autograd.backward((x * x).sum())
        >>> x.grad
        tensor([2., 4.])
    """
    if grad_variables is not None:
        if grad_tensors is not None:
            raise RuntimeError(
                "`grad_tensors` and `grad_variables` (deprecated) arguments both passed to `backward()`. "
                "Please only use `grad_tensors`."
            )
        warn("`grad_variables` is deprecated. Use `grad_tensors` instead.", FutureWarning)
        grad_tensors = grad_variables
    roots = _scalar_root(tensors) if grad_tensors is None else None
    if roots is None:
        roots = _roots(_sequence(tensors), grad_tensors)
    keep = create_graph if retain_graph is None else retain_graph
    if passes:
        for listener in passes[:]:
            listener.begun()
    if inputs is not None:
        _backward_to(roots, keep, create_graph, inputs)
    elif create_graph or anomaly.enabled:
        settle(walk(roots, keep, create_graph, None), create_graph, None)
    else:
        replay.backward(roots, keep)
    if pending or waiting:  # a pass that has been replayed leaves neither
        flush()
    if passes:
        for listener in passes[:]:
            listener.ended()


def _backward_to(roots: list[tuple[Any, Any]], keep: bool, create_graph: bool, inputs: Any) -> None:
    inputs = _sequence(inputs)
    if not inputs:
        raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    for t in inputs:
        if isinstance(t, Tensor):
            retain_grad(t)  # nothing for a leaf
    edges = _input_edges(inputs)
    targets = Targets([e for e, _ in roots], edges)
    settle(walk(roots, keep, create_graph, targets), create_graph, targets)
    before = mode.grad
    mode.grad = create_graph
    try:
        for t, edge in zip(inputs, edges, strict=False):
            g = targets.found.get(edge_key(edge))
            if g is not None and edge is t:  # what others retain is there already
                accumulate(t, g)
    finally:
        mode.grad = before


def _input_edges(inputs: tuple[Any, ...]) -> list[Any]:
    edges = [edge_within(t) if isinstance(t, GradientEdge) else edge_of(t) for t in inputs]
    if None in [e if e is None else 0 for e in edges]:
        raise RuntimeError("One of the differentiated Tensors does not require grad")
    return edges


@engine_call("autograd.grad")
def grad(outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: bool | None = None,
         create_graph: bool = False, only_inputs: bool = True, allow_unused: bool | None = None,
         is_grads_batched: bool = False, materialize_grads: bool = False) -> tuple[Any, ...]:
    """The gradients of the sum of `outputs` with respect to `inputs`; `.grad` stays as it is.

    Example:
        >>> import facula
        >>> x = facula.tensor(3.0, requires_grad=True)
        >>> facula.autograd.grad(x * x, x)
        (tensor(6.),)
    """
    if materialize_grads and allow_unused is False:
        raise ValueError("Expected allow_unused to be True or not passed when materialize_grads=True, but got: "
                         "allow_unused=False.")
    allow_unused = materialize_grads if allow_unused is None else allow_unused
    outputs = _sequence(outputs)
    inputs = _sequence(inputs)
    if not inputs:
        raise RuntimeError("`inputs` argument to `grad()` cannot be empty.")
    keep = create_graph if retain_graph is None else retain_graph
    if is_grads_batched:
        return _batched(outputs, inputs, _sequence(grad_outputs), keep, create_graph, allow_unused, materialize_grads)
    edges = _input_edges(inputs)
    roots = _roots(outputs, grad_outputs)
    targets = Targets([e for e, _ in roots], edges)
    settle(walk(roots, keep, create_graph, targets), create_graph, targets)
    found = [targets.found.get(edge_key(e)) for e in edges]
    if not allow_unused:
        for i, g in enumerate(found):
            if g is None:
                raise RuntimeError(
                    f"The differentiated Tensor at index {i} appears to not have been used in the graph. "
                    "Set allow_unused=True if this is the desired behavior."
                )
    if materialize_grads:
        found = [beside(t, new(constant(0, t.shape, t.dtype))) if g is None else g
                 for g, t in zip(found, inputs, strict=False)]
    return tuple([g if g is None or create_graph else _detached(g) for g in found])


def _detached(g: Any) -> Any:
    """`grad` may hand back what the user passed as `grad_outputs`: then without its history."""
    return new(read(g)) if g._rg else g


def _batched(outputs: tuple[Any, ...], inputs: tuple[Any, ...], grad_outputs: tuple[Any, ...], keep: bool,
             create_graph: bool, allow_unused: bool, materialize_grads: bool) -> tuple[Any, ...]:
    from facula.ops.arrange.joining import stack
    for i, (t, g) in enumerate(zip(outputs, grad_outputs, strict=False)):
        if g is None:
            raise RuntimeError("grad can be implicitly created only for scalar outputs")
        if g.shape[1:] != t.shape or not g.shape:
            raise RuntimeError(
                "If `is_grads_batched=True`, we interpret the first dimension of each grad_output as the batch "
                "dimension. The sizes of the remaining dimensions are expected to match the shape of corresponding "
                f"output, but a mismatch was detected: grad_output[{i}] has a shape of {g.shape[1:]} and output[{i}] "
                f"has a shape of {t.shape}. If you only want some tensors in `grad_output` to be considered batched, "
                "consider using vmap.")
    count = next(len(g) for g in grad_outputs if g is not None)
    rows = [grad(outputs, inputs, tuple(None if g is None else g[k] for g in grad_outputs),
                 True if k < count - 1 else keep, create_graph, True, allow_unused, False, materialize_grads)
            for k in range(count)]
    return tuple(None if column[0] is None else stack(column) for column in zip(*rows, strict=False))


# ---- hooks of tensors ---------------------------------------------------------------------------------


def register_hook(t: Any, hook: Callable[[Any], Any]) -> Any:
    """`Tensor.register_hook`: `hook(grad)` runs when `t`'s gradient is complete, and may return another."""
    from facula.utils.hooks import RemovableHandle  # here, or it would be loaded with the package
    edge = edge_of(t)
    if edge is None:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    node = node_of(edge)
    if node is None:
        if t._hooks is None:
            t._hooks = OrderedDict()
        hooks = t._hooks
    else:
        hooks = _cold(node, "tensor").setdefault(t._output_nr, OrderedDict())
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    return handle


def _cold(node: GradNode, key: str) -> Any:
    if node._cold is None:
        node._cold = {}
    return node._cold.setdefault(key, {})


def retain_grad(t: Any) -> None:
    """`Tensor.retain_grad`: a backward pass stores `.grad` of this non-leaf too."""
    edge = edge_of(t)
    if edge is None:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    node = node_of(edge)
    if node is not None:
        t._retains = True
        _cold(node, "retain")[t._output_nr, id(t)] = ref(t)


def register_post_accumulate_grad_hook(t: Any, hook: Callable[[Any], Any]) -> Any:
    """`hook(t)` runs after a backward pass has added to `t.grad`."""
    from facula.utils.hooks import RemovableHandle
    if not t._rg:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if t._grad_fn is not None:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    hooks = t.__dict__.setdefault("_post_accumulate_grad_hooks", OrderedDict())
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    return handle
