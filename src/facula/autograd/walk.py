"""Walking the tape backwards.

A step's consumers always have a higher `seq` than the step, so a heap on -seq visits each step once, after
all its gradients have been summed. Leaves come last.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Any

from facula._tensor.assigning import assign, take_elements
from facula._tensor.handle import Tensor, device_of, new, strides_of
from facula._tensor.layout import dense_order, lies_in
from facula._tensor.reading import copied, layout_of, read
from facula._tensor.tape import edge_of
from facula.autograd import graph
from facula.autograd.graph import GradNode, grad_node, mode
from facula.autograd.modes import anomaly
from facula.engine.graph.node import CONST, contiguous_strides, elsewhere
from facula.engine.moving import moved
from facula.engine.placing import running
from facula.engine.session import session
from facula.engine.threads import turn
from facula.ops.casting import to_dtype
from facula.ops.elementwise.pointwise import sum_to
from facula.ops.listening import call_user

_PLAIN = frozenset((type(None), bool, int, float, complex, str, tuple))


class _Identity:
    """A result with the history of another tensor, as an object of its own."""

    name = "AliasBackward0"

    def backward(self, ctx: Any, g: Any) -> tuple[Any, ...]:
        return (g,)


_IDENTITY = _Identity()


# ---- the walk -----------------------------------------------------------------------------------------


class Targets:
    """What `grad` and `backward(inputs=)` ask for, and the steps that lead there."""

    def __init__(self, roots: Sequence[Any], edges: Sequence[Any]) -> None:
        self.found: dict[Any, Any] = {}  # a leaf or (GradNode, output number) -> its gradient
        self.wanted = {edge_key(e) for e in edges}
        self.captured = {k[0] for k in self.wanted if type(k) is tuple}
        self.ends: set[GradNode] = set()  # captured, and leading no further: their rules and hooks are not run
        self.useful = self._leading(roots)

    def _leading(self, roots: Sequence[Any]) -> set[GradNode]:
        seen: set[GradNode] = set()
        stack = [node_of(e) for e in roots]
        while stack:
            node = stack.pop()
            if node is not None and node not in seen:
                seen.add(node)
                stack.extend([node_of(e) for e in node.edges])
        useful: set[GradNode] = set()
        wanted = self.wanted
        for node in sorted(seen, key=_seq):
            for e in node.edges:
                if e is not None and (e in useful if type(e) is GradNode else e[0] in useful
                                      if type(e) is tuple else e in wanted):
                    useful.add(node)
                    break
            else:
                if node in self.captured:
                    useful.add(node)
                    self.ends.add(node)
        return useful


class Task:
    """A backward pass that is under way: which gradients it will compute."""

    def __init__(self, roots: Sequence[Any], targets: Any, outer: Task | None) -> None:
        self.roots = roots
        self.targets = targets
        self.outer = outer
        self._reached: set[Any] | None = None

    def comes_to(self, edge: Any) -> bool:
        """Is there a way from the roots to this place, among those that the pass goes?"""
        if self._reached is None:
            self._reached = set()
            useful = None if self.targets is None else self.targets.useful
            stack = list(self.roots)
            while stack:
                e = stack.pop()
                node = e[0] if type(e) is tuple else e
                if node is None or id(node) in self._reached or isinstance(node, GradNode) and \
                        useful is not None and node not in useful:
                    continue
                if not isinstance(node, GradNode):
                    if self.targets is None or node in self.targets.wanted:
                        self._reached.add(id(node))
                    continue
                self._reached.add(id(node))
                if self.targets is None or node not in self.targets.ends:
                    stack.extend(node.edges)
        return id(edge[0] if type(edge) is tuple else edge) in self._reached


def _seq(node: GradNode) -> int:
    return node.seq


def edge_key(edge: Any) -> Any:
    return (edge, 0) if type(edge) is GradNode else edge


def node_of(edge: Any) -> Any:
    if type(edge) is GradNode:
        return edge
    return edge[0] if type(edge) is tuple else None


class _Leaves(dict[Any, Any]):
    """The leaves that a pass has come to, with their gradients: hooks of leaves belong to the pass as well."""

    __slots__ = ("task",)
    task: Task


users: tuple[type, ...] = ()  # types of rules that are the program's own code: function.py puts its own here


class Walk:
    """The gradients that are on their way down a tape."""

    __slots__ = ("heap", "grads", "leaves", "keep", "targets")

    def __init__(self, keep: bool, targets: Targets | None = None) -> None:
        self.heap: list[tuple[int, GradNode]] = []
        self.grads: dict[GradNode, Any] = {}  # a tensor, or a list of them for a step of several outputs
        self.leaves: dict[Any, Any] = {}  # the gradients of the leaves it came to
        self.keep = keep  # what the steps have saved
        self.targets = targets

    def run(self, edges: Any, results: Any, stop: type | None = None) -> tuple[GradNode, Any] | None:
        """Push the gradients `results` along `edges`, and on to the leaves. With `stop`, the first step of a rule of
        that type is handed back with its gradient instead, not done."""
        heap, grads, leaves, keep, targets = self.heap, self.grads, self.leaves, self.keep, self.targets
        useful = None if targets is None else targets.useful
        watch = anomaly.enabled
        while True:
            for e, g in zip(edges, results, strict=False):
                if g is None:
                    if e is not None and stop is None:  # where it halts, nothing on the tape has hooks
                        self._nothing(e)
                    continue
                if e is None:
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
                        if e not in grads:
                            heappush(heap, (-e.seq, e))
                        grads[e] = g
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
                return None
            node = heappop(heap)[1]
            g = grads.pop(node)
            if stop is not None and type(node.rule) is stop:
                return node, g
            edges = node.edges
            cold = node._cold
            if cold is not None:
                g = _tensor_hooks(cold, node, g)
            if targets is not None and node in targets.captured:
                _capture(targets, node, g)
                if node in targets.ends:
                    results = ()
                    continue
            if cold is not None and "pre" in cold:
                g = _before_rule(cold, node, g)
            if node.outputs == 1:
                if g is None:
                    results = (None,) * len(edges)
                elif elsewhere and not isinstance(node.rule, users):
                    results = running.rule(node.rule.backward, node, g)
                else:
                    results = node.rule.backward(node, g)
            elif g.count(None) == len(g) and not isinstance(node.rule, users):
                results = (None,) * len(edges)
            elif elsewhere and not isinstance(node.rule, users):
                results = running.rule(node.rule.backward, node, *g)
            else:
                results = node.rule.backward(node, *g)
            if type(results) is not tuple:
                results = tuple(results) if isinstance(results, list) else (results,)
            if cold is not None and "post" in cold:
                results = _after_rule(cold, node, results, g)
            if session.traced is not None:
                results = graph.at_boundary(edges, results)
            if watch:
                _check(node, results)
            if not keep:
                release(node)

    def _nothing(self, edge: Any) -> None:
        """A rule gives no gradient where one is asked for: what lies there runs its hooks all the same."""
        step = edge[0] if type(edge) is tuple else edge
        if type(step) is not GradNode:
            self.leaves.setdefault(step, None)
        elif step not in self.grads and (self.targets is None or step in self.targets.useful):
            self.grads[step] = None if step.outputs == 1 else [None] * step.outputs
            heappush(self.heap, (-step.seq, step))


def release(node: GradNode) -> None:
    """Forget the values that a step has saved."""
    if node._saved:
        for s in node._saved:
            if type(s) not in _PLAIN:
                node._saved = None
                break


def walk(roots: Sequence[tuple[Any, Any]], keep: bool, create_graph: bool, targets: Targets | None) -> dict[Any, Any]:
    """Push the gradients of `roots` down the tape. Returns the gradients of the leaves it came to, for `settle`."""
    before, outer = mode.grad, None
    edges = [e for e, _ in roots]
    task = Task(edges, targets, mode.task)
    try:  # from the first thing on that is put back: an interrupt may come after any call
        mode.grad, mode.task = create_graph, task
        if session.traced is not None:
            outer = graph.a_walk_begins()
        found = Walk(keep, targets)
        found.leaves = leaves = _Leaves()
        leaves.task = task
        found.run(edges, [g for _, g in roots])
        return leaves
    finally:
        mode.grad, mode.task = before, task.outer
        if outer is not None:
            graph.a_walk_ends(outer)


def _tensor_hooks(cold: dict[str, Any], node: GradNode, g: Any) -> Any:
    """Hooks on the results of a step, and `retain_grad`."""
    several = g if node.outputs != 1 else [g]
    for number, hooks in cold.get("tensor", {}).items():
        several[number] = run_hooks(hooks, several[number])
    for (number, _), reference in cold.get("retain", {}).items():
        t = reference()
        if t is not None and several[number] is not None:
            _store(t, several[number])
    return several if node.outputs != 1 else several[0]


def _before_rule(cold: dict[str, Any], node: GradNode, g: Any) -> Any:
    """The step's own pre-hooks."""
    several = run_prehooks(cold["pre"], tuple(g) if node.outputs != 1 else (g,))
    return list(several) if node.outputs != 1 else several[0]


def _after_rule(cold: dict[str, Any], node: GradNode, results: tuple[Any, ...], g: Any) -> tuple[Any, ...]:
    given = (g,) if node.outputs == 1 else tuple(g)
    results = tuple(r if e is not None else None for r, e in zip(results, node.edges, strict=False))
    for hook in list(cold["post"].values()):
        changed = call_user(hook, results, given)
        if changed is not None:
            results = _as_many(hook, changed, results)
    return results


def run_prehooks(hooks: Any, grads: tuple[Any, ...]) -> tuple[Any, ...]:
    """Hooks that are given all the gradients a step is given, and may return others."""
    for hook in list(hooks.values()):
        changed = call_user(hook, grads)
        if changed is not None:
            grads = _as_many(hook, changed, grads)
    return grads


def _as_many(hook: Any, changed: Any, before: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a hook has returned in the place of `before`. There may be a None more for each number among a step's
    operands, which PyTorch counts, too."""
    if not isinstance(changed, tuple):
        raise TypeError(f"expected tuple, but hook returned '{type(changed).__name__}'")
    if len(changed) < len(before) or any(extra is not None for extra in changed[len(before):]):
        raise RuntimeError(f"hook '{_called(hook)}' has returned an incorrect number of values (got {len(changed)}, "
                           f"but expected {len(before)})")
    return changed[:len(before)]


def _called(hook: Any) -> str:
    return str(getattr(hook, "__name__", type(hook).__name__))


def _gradient_from(answer: Any) -> None:
    if not isinstance(answer, Tensor):
        raise TypeError(f"expected Variable, but hook returned '{type(answer).__name__}'")


def run_hooks(hooks: Any, g: Any) -> Any:
    for hook in list(hooks.values()):
        changed = call_user(hook, g)
        if changed is not None:
            _gradient_from(changed)
            if g is None:
                g = changed
                continue
            if changed.dtype is not g.dtype:
                raise RuntimeError(f"hook '{_called(hook)}' has changed the type of value (was {g.type()} got "
                                   f"{changed.type()})")
            if changed.shape != g.shape:
                raise RuntimeError(f"hook '{_called(hook)}' has changed the size of value")
            g = changed
    return g


def _capture(targets: Targets, node: GradNode, g: Any) -> None:
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
        if g.dtype.is_complex and not t.dtype.is_complex:
            g = g.real
        g = to_dtype(g, t.dtype)
    if g.shape != t.shape:
        if not expands(t.shape, g.shape):
            raise RuntimeError(f"The size of the gradient {list(g.shape)} does not match the size of the tensor "
                               f"{list(t.shape)}: invalid gradient, expected shape compatible with {list(t.shape)}")
        g = sum_to(g, t.shape)
    return g


def expands(shape: Sequence[int], to: Sequence[int]) -> bool:
    return len(shape) <= len(to) and all(a == b or a == 1 for a, b in zip(reversed(shape), reversed(to), strict=False))


def own(g: Any, layout: Any) -> Any:
    """`g` as a tensor that nobody else holds, of that layout, with `g`'s history if that is being recorded."""
    t = copied(g, layout)
    if mode.grad:
        edge = edge_of(g)
        if edge is not None:
            t._grad_fn = grad_node(_IDENTITY, (edge,), (), (g.shape,), (g.dtype,))
            t._rg = True
    return t


def layout_of_gradient(t: Any, g: Any) -> Any:
    """A leaf's gradient lies as the leaf does, if that is without gaps, else row-major. Strides along dimensions of
    length 1 stay those of `g`."""
    if t._storage is None and g._storage is None:
        return None
    shape, own, given = tuple(t.shape), strides_of(t), strides_of(g)
    if 0 in shape:
        alike = all(n == 1 or a == b for n, a, b in zip(shape, own, given, strict=True))
        return (tuple(range(len(shape))), given) if alike and given != contiguous_strides(shape) else layout_of(t)
    order = dense_order(shape, own) or tuple(range(len(shape)))
    if lies_in(shape, given, order):
        return None if given == contiguous_strides(shape) else (order, given)
    return layout_of(t) if lies_in(shape, own, order) else None


def _store(t: Any, g: Any) -> None:
    """`retain_grad`: the gradient of a tensor inside the graph."""
    with turn():
        old = t._grad
        g = g if old is None else old + g
        t._grad = own(g, layout_of(g))


def _is_zero(t: Any) -> bool:
    """Has it been filled with zeros, and nothing done to it since?"""
    node = read(t)
    return node.op is CONST and node.scalars is not None and not node.scalars[0]


def accumulate(t: Any, g: Any) -> None:
    """Add `g` to `t.grad`: in place, unless the sum itself is to be differentiated."""
    if not t._rg:  # it has stopped since
        return
    if g is not None and (g.dtype is not t.dtype or g.shape != t.shape):
        g = _fitted(t, g)
    hooks = t.__dict__.get("_post_accumulate_grad_hooks")
    if hooks is None:
        if g is not None:
            with turn():
                _add(t, g)
        return
    end = t.__dict__.get("_accumulate_grad")  # the step that the leaf is, if it has hooks
    if end is not None:
        g, = run_prehooks(end.before, (g,))
    if g is not None:
        with turn():
            _add(t, g)
    for hook in list(hooks.values()):
        answer = call_user(hook, t)
        if answer is not None and answer is not t:
            _gradient_from(answer)
            raise RuntimeError("Tensor post accumulate grad hooks should return None.")
    if end is not None:
        for hook in list(end.after.values()):
            call_user(hook, (), (g,))


def _add(t: Any, g: Any) -> None:
    """`accumulate`, once there is something to add."""
    old = t._grad
    if old is None:
        t._grad = own(g, layout_of_gradient(t, g))
    elif mode.grad:
        t._grad = old + g
    elif _is_zero(old) and g.dtype is old.dtype:  # after zero_(): no sum (a -0.0 in `g` stays what it is)
        assign(old, read(g))
    else:
        total = old + g
        if getattr(old, "is_sparse", False) or getattr(total, "is_sparse", False) or total.dtype is not old.dtype:
            t._grad = total
        else:
            take_elements(old, total)


def beside(t: Any, g: Any) -> Any:
    """`g`, on the device of its tensor: a rule may have made it from shapes alone."""
    place = device_of(t)
    return g if device_of(g) is place else new(moved(read(g), place))


def settle(leaves: dict[Any, Any], create_graph: bool, targets: Targets | None) -> None:
    """Leaf hooks, then the leaf's gradient goes to `.grad`, or to what was asked for."""
    before, outer = mode.grad, mode.task
    try:
        mode.grad = create_graph
        if type(leaves) is _Leaves:  # a pass that was replayed has none of its own
            mode.task = leaves.task
        for t, g in leaves.items():
            if targets is not None and t not in targets.wanted:
                continue
            if elsewhere and g is not None:
                g = beside(t, g)
            if t._hooks:
                g = run_hooks(t._hooks, g)
            if targets is None:
                accumulate(t, g)
            elif g is not None:
                targets.found[t] = _fitted(t, g)
    finally:
        mode.grad, mode.task = before, outer
