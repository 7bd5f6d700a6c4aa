"""Walking the tape backwards: `backward`, `grad`, and the hooks of tensors.

A step's consumers always have a higher `seq` than the step, so a heap on -seq visits each step once, after
all its gradients have been summed. Leaves come last.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Any
from weakref import ref

from facula.autograd import replay
from facula.autograd.graph import GradNode, grad_node, mode
from facula.autograd.modes import anomaly
from facula.dtypes import FLOAT
from facula.engine.graph.node import CONST, Node
from facula.engine.meta import meta_node, switch
from facula.engine.realize import flush

_PLAIN = frozenset((type(None), bool, int, float, complex, str, tuple))


class _Identity:
    """A result with the history of another tensor, as an object of its own."""

    name = "AliasBackward0"

    def backward(self, ctx: Any, g: Any) -> tuple[Any, ...]:
        return (g,)


_IDENTITY = _Identity()


# ---- the walk -----------------------------------------------------------------------------------------


class _Targets:
    """What `grad` and `backward(inputs=)` ask for, and the steps that lead there."""

    def __init__(self, roots: Sequence[Any], edges: Sequence[Any]) -> None:
        self.found: dict[Any, Any] = {}  # a leaf or (GradNode, output number) -> its gradient
        self.wanted = {_key(e) for e in edges}
        self.captured = {k[0] for k in self.wanted if type(k) is tuple}
        self.useful = self._leading(roots)

    def _leading(self, roots: Sequence[Any]) -> set[GradNode]:
        seen: set[GradNode] = set()
        stack = [_node_of(e) for e in roots]
        while stack:
            node = stack.pop()
            if node is not None and node not in seen:
                seen.add(node)
                stack.extend([_node_of(e) for e in node.edges])
        useful: set[GradNode] = set()
        wanted = self.wanted
        for node in sorted(seen, key=_seq):
            if node in self.captured:
                useful.add(node)
                continue
            for e in node.edges:
                if e is not None and (e in useful if type(e) is GradNode else e[0] in useful
                                      if type(e) is tuple else e in wanted):
                    useful.add(node)
                    break
        return useful


def _seq(node: GradNode) -> int:
    return node.seq


def _key(edge: Any) -> Any:
    return (edge, 0) if type(edge) is GradNode else edge


def _node_of(edge: Any) -> Any:
    if type(edge) is GradNode:
        return edge
    return edge[0] if type(edge) is tuple else None


def _walk(roots: Sequence[tuple[Any, Any]], keep: bool, create_graph: bool, targets: _Targets | None) -> dict[Any, Any]:
    """Push the gradients of `roots` down the tape. Returns the gradients of the leaves it came to."""
    heap: list[tuple[int, GradNode]] = []
    grads: dict[GradNode, Any] = {}  # a tensor, or a list of them for a step of several outputs
    leaves: dict[Any, Any] = {}
    useful = None if targets is None else targets.useful
    watch = anomaly.enabled
    before = mode.grad
    mode.grad = create_graph
    try:
        edges: Any = [e for e, _ in roots]
        results: Any = [g for _, g in roots]
        while True:
            for e, g in zip(edges, results, strict=False):
                if g is None or e is None:
                    continue
                number = 0
                if type(e) is tuple:
                    e, number = e
                elif type(e) is not GradNode:
                    old = leaves.get(e)
                    leaves[e] = g if old is None else old + g
                    continue
                if useful is not None and e not in useful:
                    continue
                if e.outputs == 1:
                    old = grads.get(e)
                    if old is None:
                        grads[e] = g
                        heappush(heap, (-e.seq, e))
                    else:
                        grads[e] = old + g
                else:
                    several = grads.get(e)
                    if several is None:
                        several = grads[e] = [None] * e.outputs
                        heappush(heap, (-e.seq, e))
                    old = several[number]
                    several[number] = g if old is None else old + g
            if not heap:
                return leaves
            node = heappop(heap)[1]
            g = grads.pop(node)
            edges = node.edges
            cold = node._cold
            if cold is not None:
                g = _before_rule(cold, node, g)
            if targets is not None and node in targets.captured:
                _capture(targets, node, g)
            if node.outputs == 1:
                if g is None:
                    results = ()
                    continue
                results = node.rule.backward(node, g)
            else:
                results = node.rule.backward(node, *g)
            if type(results) is not tuple:
                results = tuple(results) if isinstance(results, list) else (results,)
            if cold is not None and "post" in cold:
                results = _after_rule(cold, node, results, g)
            if watch:
                _check(node, results)
            if not keep and node._saved:
                for s in node._saved:
                    if type(s) not in _PLAIN:
                        node._saved = None
                        break
    finally:
        mode.grad = before


def _before_rule(cold: dict[str, Any], node: GradNode, g: Any) -> Any:
    """Hooks on the results of a step, `retain_grad`, and the step's own pre-hooks."""
    several = g if node.outputs != 1 else [g]
    for number, hooks in cold.get("tensor", {}).items():
        if several[number] is not None:
            several[number] = _run_hooks(hooks, several[number])
    for number, reference in cold.get("retain", {}).items():
        t = reference()
        if t is not None and several[number] is not None:
            _store(t, several[number])
    for hook in list(cold.get("pre", {}).values()):
        changed = hook(tuple(several))
        if changed is not None:
            several = list(changed) if isinstance(changed, (tuple, list)) else [changed]
    return several if node.outputs != 1 else several[0]


def _after_rule(cold: dict[str, Any], node: GradNode, results: tuple[Any, ...], g: Any) -> tuple[Any, ...]:
    given = (g,) if node.outputs == 1 else tuple(g)
    results = tuple(r if e is not None else None for r, e in zip(results, node.edges, strict=False))
    for hook in list(cold["post"].values()):
        changed = hook(results, given)
        if changed is not None:
            results = tuple(changed) if isinstance(changed, (tuple, list)) else (changed,)
    return results


def _run_hooks(hooks: Any, g: Any) -> Any:
    for hook in list(hooks.values()):
        changed = hook(g)
        if changed is not None:
            if changed.shape != g.shape:
                raise RuntimeError("hook '" + getattr(hook, "__name__", type(hook).__name__)
                                   + "' has changed the size of value")
            g = changed
    return g


def _capture(targets: _Targets, node: GradNode, g: Any) -> None:
    for number, value in enumerate(g if node.outputs != 1 else [g]):
        if value is not None and (node, number) in targets.wanted:
            targets.found[node, number] = value


def _check(node: GradNode, results: tuple[Any, ...]) -> None:
    if not anomaly.check_nan:
        return
    for k, g in enumerate(results):
        if g is not None and bool((g != g).any()):
            raise RuntimeError(f"Function '{node.name()}' returned nan values in its {k}th output.")


# ---- leaves -------------------------------------------------------------------------------------------


def _fitted(t: Any, g: Any) -> Any:
    """`g` with the shape and dtype of `t`."""
    if g.dtype is not t.dtype:
        from facula.ops.pointwise import to_dtype
        if g.dtype.is_complex and not t.dtype.is_complex:
            g = g.real
        g = to_dtype(g, t.dtype)
    if g.shape != t.shape:
        if not _expands(t.shape, g.shape):
            raise RuntimeError(f"The size of the gradient {list(g.shape)} does not match the size of the tensor "
                               f"{list(t.shape)}: invalid gradient, expected shape compatible with {list(t.shape)}")
        from facula.ops.pointwise import sum_to
        g = sum_to(g, t.shape)
    return g


def _expands(shape: Sequence[int], to: Sequence[int]) -> bool:
    return len(shape) <= len(to) and all(a == b or a == 1 for a, b in zip(reversed(shape), reversed(to), strict=False))


def _own(g: Any) -> Any:
    """`g` as a tensor that nobody else holds, with `g`'s history if that is being recorded."""
    from facula.tensor import edge_of, new, read
    t = new(read(g))
    if mode.grad:
        edge = edge_of(g)
        if edge is not None:
            t._grad_fn = grad_node(_IDENTITY, (edge,), (), (g.shape,), (g.dtype,))
            t._rg = True
    return t


def _store(t: Any, g: Any) -> None:
    """`retain_grad`: the gradient of a tensor inside the graph."""
    old = t._grad
    t._grad = _own(g) if old is None else _own(old + g)


def _is_zero(t: Any) -> bool:
    """Has it been filled with zeros, and nothing done to it since?"""
    from facula.tensor import read
    node = read(t)
    return node.op is CONST and node.scalars is not None and not node.scalars[0]


def _accumulate(t: Any, g: Any) -> None:
    """Add `g` to `t.grad`: in place, unless the sum itself is to be differentiated."""
    from facula.tensor import assign, read
    if not t._rg:  # it has stopped since
        return
    if g.dtype is not t.dtype or g.shape != t.shape:
        g = _fitted(t, g)
    old = t._grad
    if old is None:
        t._grad = _own(g)
    elif mode.grad:
        t._grad = old + g
    elif _is_zero(old) and g.dtype is old.dtype:  # after zero_(): no sum (a -0.0 in `g` stays what it is)
        assign(old, read(g))
    else:
        total = old + g
        if getattr(old, "is_sparse", False) or getattr(total, "is_sparse", False) or total.dtype is not old.dtype:
            t._grad = total
        else:
            assign(old, read(total))
    hooks = t.__dict__.get("_post_accumulate_grad_hooks")
    if hooks:
        for hook in list(hooks.values()):
            hook(t)


_meta_about = False
switch(globals(), "_meta_about", True)


def _beside(t: Any, g: Any) -> Any:
    """`g`, on the device of its tensor: a rule may have made it from shapes alone."""
    from facula.tensor import is_meta, new
    if is_meta(t) is is_meta(g):
        return g
    return new(meta_node(g.shape, g.dtype)) if is_meta(t) else g.cpu()  # the latter is an error


def _settle(leaves: dict[Any, Any], create_graph: bool, targets: _Targets | None) -> None:
    """Leaf hooks, then the leaf's gradient goes to `.grad`, or to what was asked for."""
    before = mode.grad
    mode.grad = create_graph
    try:
        for t, g in leaves.items():
            if targets is not None and t not in targets.wanted:
                continue
            if _meta_about:
                g = _beside(t, g)
            if t._hooks:
                g = _run_hooks(t._hooks, g)
            if targets is None:
                _accumulate(t, g)
            else:
                targets.found[t] = _fitted(t, g)
    finally:
        mode.grad = before


# ---- roots --------------------------------------------------------------------------------------------


def _sequence(x: Any) -> tuple[Any, ...]:
    from facula.tensor import Tensor

    return (
        (x,)
        if x is None or isinstance(x, Tensor) or not isinstance(x, (tuple, list)) and not hasattr(x, "__iter__")
        else tuple(x)
    )


def _scalar_root(t: Any) -> list[tuple[Any, Any]] | None:
    """The root of `loss.backward()`; None where there is anything to think about."""
    from facula.tensor import new
    edge = getattr(t, "_grad_fn", None)
    if _meta_about or edge is None or t.shape or t._base is not None or t._output_nr or t.dtype.category != FLOAT:
        return None
    return [(edge, new(Node(CONST, (), None, (1.0,), t.shape, t.dtype)))]


def _roots(outputs: tuple[Any, ...], grads: Any) -> list[tuple[Any, Any]]:
    from facula.ops.pointwise import constant
    from facula.tensor import Tensor, edge_of, is_meta, new
    grads = (None,) * len(outputs) if grads is None else _sequence(grads)
    if len(grads) != len(outputs):
        raise RuntimeError(f"got {len(outputs)} tensors and {len(grads)} gradients")
    roots = []
    for i, (t, g) in enumerate(zip(outputs, grads, strict=False)):
        edge = edge_of(t)
        if g is None:
            if edge is not None:
                if t.numel() != 1:
                    raise RuntimeError("grad can be implicitly created only for scalar outputs")
                if not t.dtype.is_floating_point:
                    raise RuntimeError("grad can be implicitly created only for real scalar outputs but got "
                                       f"{t.dtype}")
                g = new(meta_node(t.shape, t.dtype) if is_meta(t) else constant(1.0, t.shape, t.dtype))
        elif not isinstance(g, Tensor):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(g).__name__}")
        elif g.shape != t.shape:
            raise RuntimeError(f"Mismatch in shape: grad_output[{i}] has a shape of {g.shape} and output[{i}] has a "
                               f"shape of {t.shape}.")
        elif g.dtype.is_complex != t.dtype.is_complex:
            raise RuntimeError("For complex Tensors, both grad_output and output are required to have the same dtype. "
                               f"Mismatch in dtype: grad_output[{i}] has a dtype of {g.dtype} and output[{i}] has a "
                               f"dtype of {t.dtype}.")
        if _meta_about and g is not None and is_meta(g) is not is_meta(t):
            raise RuntimeError(f"invalid gradient at index {i} - expected device {t.device} but got {g.device}")
        if edge is None:
            raise RuntimeError(f"element {i} of tensors does not require grad and does not have a grad_fn")
        roots.append((edge, g))
    return roots


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
        grad_tensors = grad_variables
    roots = _scalar_root(tensors) if grad_tensors is None else None
    if roots is None:
        roots = _roots(_sequence(tensors), grad_tensors)
    keep = create_graph if retain_graph is None else retain_graph
    if inputs is not None:
        _backward_to(roots, keep, create_graph, inputs)
        flush()
    elif create_graph or anomaly.enabled:
        _settle(_walk(roots, keep, create_graph, None), create_graph, None)
        flush()
    else:
        replay.backward(roots, keep, lambda: _settle(_walk(roots, keep, False, None), False, None))


def _backward_to(roots: list[tuple[Any, Any]], keep: bool, create_graph: bool, inputs: Any) -> None:
    inputs = _sequence(inputs)
    if not inputs:
        raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    edges = _input_edges(inputs)
    targets = _Targets([e for e, _ in roots], edges)
    _settle(_walk(roots, keep, create_graph, targets), create_graph, targets)
    before = mode.grad
    mode.grad = create_graph
    try:
        for t, edge in zip(inputs, edges, strict=False):
            g = targets.found.get(_key(edge))
            if g is not None:
                _accumulate(t, g)
    finally:
        mode.grad = before


def _input_edges(inputs: tuple[Any, ...]) -> list[Any]:
    from facula.tensor import edge_of
    edges = [edge_of(t) for t in inputs]
    if None in [e if e is None else 0 for e in edges]:
        raise RuntimeError("One of the differentiated Tensors does not require grad")
    return edges


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
    keep = create_graph if retain_graph is None else retain_graph
    if is_grads_batched:
        return _batched(outputs, inputs, _sequence(grad_outputs), keep, create_graph, allow_unused, materialize_grads)
    edges = _input_edges(inputs)
    roots = _roots(outputs, grad_outputs)
    targets = _Targets([e for e, _ in roots], edges)
    _settle(_walk(roots, keep, create_graph, targets), create_graph, targets)
    found = [targets.found.get(_key(e)) for e in edges]
    if not allow_unused:
        for i, g in enumerate(found):
            if g is None:
                raise RuntimeError(
                    f"The differentiated Tensor at index {i} appears to not have been used in the graph. "
                    "Set allow_unused=True if this is the desired behavior."
                )
    if materialize_grads:
        from facula.ops.pointwise import constant
        from facula.tensor import new
        found = [_beside(t, new(constant(0, t.shape, t.dtype))) if g is None else g
                 for g, t in zip(found, inputs, strict=False)]
    return tuple([g if g is None or create_graph else _detached(g) for g in found])


def _detached(g: Any) -> Any:
    """`grad` may hand back what the user passed as `grad_outputs`: then without its history."""
    from facula.tensor import new, read
    return new(read(g)) if g._rg else g


def _batched(outputs: tuple[Any, ...], inputs: tuple[Any, ...], grad_outputs: tuple[Any, ...], keep: bool,
             create_graph: bool, allow_unused: bool, materialize_grads: bool) -> tuple[Any, ...]:
    from facula.ops.shape import stack
    count = next(len(g) for g in grad_outputs if g is not None)
    rows = [grad(outputs, inputs, tuple(None if g is None else g[k] for g in grad_outputs),
                 True if k < count - 1 else keep, create_graph, True, allow_unused, False, materialize_grads)
            for k in range(count)]
    return tuple(None if column[0] is None else stack(column) for column in zip(*rows, strict=False))


# ---- hooks of tensors ---------------------------------------------------------------------------------


def register_hook(t: Any, hook: Callable[[Any], Any]) -> Any:
    """`Tensor.register_hook`: `hook(grad)` runs when `t`'s gradient is complete, and may return another."""
    from facula.tensor import edge_of
    from facula.utils.hooks import RemovableHandle
    edge = edge_of(t)
    if edge is None:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    node = _node_of(edge)
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
    from facula.tensor import edge_of
    edge = edge_of(t)
    if edge is None:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    node = _node_of(edge)
    if node is not None:
        t._retains = True
        _cold(node, "retain")[t._output_nr] = ref(t)


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
