"""The tape: grad modes, gradient rules, and the `GradNode` that hangs on a differentiable result.

A GradNode keeps the *nodes* (immutable values) its rule needs, so an in-place write afterwards cannot
corrupt a gradient. An edge leads to where an input came from: a GradNode, (GradNode, output number), or, for
a leaf, the leaf tensor itself.
"""

from __future__ import annotations

import importlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

from facula.engine.threads import looking

next_seq = count().__next__
# Set by transforms/, asked while `session.traced` is set.
give_tangents: Any = None  # of an operation's results, by its rule: (outs, rule, inputs, saved)
function_tangents: Any = None  # of a custom Function's results, by its `jvp`: (class, ctx, arguments, results)
at_boundary: Any = None  # (edges, gradients): those that leave a transformed function are brought out
packed: Any = None  # (step, tensors, results): saving.py, whose hooks get what the step has saved
a_walk_begins: Any = None
a_walk_ends: Any = None
restored: Any = None  # a saved value as a tensor: _tensor/reading.py, which stands above, puts its functions here
restored_in: Any = None  # of one that is not row-major


class _Mode(threading.local):
    grad = True
    inference = False
    products: tuple[str, ...] | None = None  # what products are recorded as: node.ROWS inside `rows_alike`
    task: Any = None  # the backward pass under way, of those that call hooks: walk.Task
    hooks: tuple[Any, ...] = ()  # `saved_tensors_hooks`: (pack, unpack), the innermost last
    no_hooks: str | None = None  # why there may be none

    def __init__(self) -> None:  # called in each thread that asks
        looking()


mode = _Mode()


class Rule:
    """How one operation differentiates: `backward(ctx, *grads)` gives one gradient (or None) per input.

    `ctx` is the GradNode: `ctx.needs` (a bool per input), `ctx.saved` (whatever the op passed to `attach`,
    tensors restored with their history), `ctx.shapes` (input shapes), `ctx.dtypes`.
    """

    __slots__ = ("name", "backward")

    def __init__(self, name: str, backward: Callable[..., Any]) -> None:
        self.name = name
        self.backward = backward


# Rules that go another way than the primitives at a kink (equal elements, a norm of 0): forward mode goes theirs.
by_rule: set[Rule] = set()


class GradNode:
    """One step of the tape. Public face as torch's: `name()`, `next_functions`, `register_hook`, `metadata`."""

    __slots__ = ("rule", "edges", "_saved", "shapes", "dtypes", "seq", "outputs", "_cold", "__weakref__",
                 "__dict__")

    rule: Any  # a Rule, or what has its `name` and `backward`
    edges: tuple[Any, ...]
    _saved: Any
    shapes: Any
    dtypes: Any
    seq: int
    outputs: int
    _cold: Any

    def name(self) -> str:
        return str(self.rule.name)

    @property
    def needs(self) -> tuple[bool, ...]:
        return tuple([e is not None for e in self.edges])

    @property
    def saved(self) -> tuple[Any, ...]:
        if self._saved is None:
            raise RuntimeError(
                "Trying to backward through the graph a second time (or directly access saved tensors after they "
                "have already been freed). Saved intermediate values of the graph are freed when you call "
                ".backward() or autograd.grad(). Specify retain_graph=True if you need to backward through the "
                "graph a second time or if you need to access saved tensors after calling backward.")
        return tuple([s.restore(self) if isinstance(s, Saved) else s for s in self._saved])

    @property
    def next_functions(self) -> tuple[Any, ...]:
        out: list[Any] = []
        for e in self.edges:
            if e is None:
                out.append((None, 0))
            elif type(e) is tuple:
                out.append(e)
            elif isinstance(e, GradNode):
                out.append((e, 0))
            else:
                out.append((accumulator(e), 0))
        return tuple(out)

    @property
    def metadata(self) -> dict[str, Any]:
        return self.__dict__.setdefault("_metadata", {})  # type: ignore[no-any-return]

    def register_hook(self, hook: Callable[..., Any]) -> Any:
        """`hook(grad_inputs, grad_outputs)` runs after this node's rule; it may return new grad_inputs."""
        return _register(self, "post", hook)

    def register_prehook(self, hook: Callable[..., Any]) -> Any:
        """`hook(grad_outputs)` runs before this node's rule; it may return new grad_outputs."""
        return _register(self, "pre", hook)

    def _sequence_nr(self) -> int:
        """A number that is higher for every later step."""
        return self.seq

    def __getattr__(self, name: str) -> Any:
        """What a Function's `forward` has put on its ctx is found on the node as well."""
        ctx = None if name.startswith("__") else self.__dict__.get("_ctx")
        if ctx is None:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        return self.saved if name == "saved_tensors" else getattr(ctx, name)

    def __repr__(self) -> str:
        return f"<{self.name()} object at {id(self):#x}>"


class AccumulateGrad:
    """The end of the tape at a leaf, as a step: `next_functions` leads there. One for each leaf, see `accumulator`."""

    def __init__(self, variable: Any) -> None:
        self.variable = variable
        self.before: Any = OrderedDict()
        self.after: Any = OrderedDict()

    def name(self) -> str:
        return "torch::autograd::AccumulateGrad"

    @property
    def next_functions(self) -> tuple[Any, ...]:
        return ()

    @property
    def metadata(self) -> dict[str, Any]:
        return self.__dict__.setdefault("_metadata", {})  # type: ignore[no-any-return]

    def register_hook(self, hook: Callable[..., Any]) -> Any:
        """`hook((), (gradient,))` runs after the gradient has been added to the leaf's."""
        return self._keep(self.after, hook)

    def register_prehook(self, hook: Callable[..., Any]) -> Any:
        """`hook((gradient,))` runs before, and may return another: a tuple of one."""
        return self._keep(self.before, hook)

    def _keep(self, hooks: Any, hook: Callable[..., Any]) -> Any:
        own = self.variable.__dict__
        own.setdefault("_post_accumulate_grad_hooks", OrderedDict())  # where `accumulate` looks first
        own["_accumulate_grad"] = self
        return _hang(hooks, hook)

    def __repr__(self) -> str:
        return f"<AccumulateGrad object at {id(self):#x}>"


_ends: Any = WeakValueDictionary()  # by the leaf's id, which each of them keeps alive


def accumulator(leaf: Any) -> AccumulateGrad:
    """The step that a leaf is, the same as long as somebody holds it or it has hooks."""
    end = _ends.get(id(leaf))
    if end is None:
        end = _ends[id(leaf)] = AccumulateGrad(leaf)
    return end  # type: ignore[no-any-return]


class Saved:
    """A tensor's value at the time it was saved, with its place on the tape (None: the node's own output).

    `order`: of the dimensions in `node`, as they lie in memory; None for row-major. (A permuted copy would be computed
    beside the memory for as long as it is held.)
    """

    __slots__ = ("node", "edge", "own", "rg", "order")

    def __init__(self, node: Any, edge: Any, own: int | None, rg: bool, order: tuple[int, ...] | None = None) -> None:
        self.node = node
        self.edge = edge
        self.own = own
        self.rg = rg
        self.order = order

    def restore(self, owner: GradNode) -> Any:
        edge = self.edge
        if self.own is not None:
            edge = owner if not self.own else (owner, self.own)
        if self.order is not None:
            shape = tuple([n for _, n in sorted(zip(self.order, self.node.shape, strict=True))])
            return restored_in(self.node, self.order, shape, edge, self.rg)
        return restored(self.node, edge, self.rg)


def _register(node: GradNode, key: str, hook: Callable[..., Any]) -> Any:
    if node._cold is None:
        node._cold = {}
    return _hang(node._cold.setdefault(key, OrderedDict()), hook)


def _hang(hooks: Any, hook: Callable[..., Any]) -> Any:
    from facula.utils.hooks import RemovableHandle  # here, or it would be loaded with the package
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    return handle


def grad_node(rule: Any, edges: tuple[Any, ...], saved: tuple[Any, ...], shapes: tuple[Any, ...],
              dtypes: tuple[Any, ...]) -> GradNode:
    node = GradNode()
    node.rule = rule
    node.edges = edges
    node._saved = saved
    node.shapes = shapes
    node.dtypes = dtypes
    node.seq = next_seq()
    node.outputs = 1
    node._cold = None
    return node


Node = GradNode  # torch's name


_EDGES = ("GradientEdge", "allow_mutation_on_saved_tensors", "get_gradient_edge", "increment_version",
          "register_multi_grad_hook")
_SAVING = "disable_saved_tensors_hooks", "save_on_cpu", "saved_tensors_hooks"


def __getattr__(name: str) -> Any:
    """What stands on tensors is in edges.py and saving.py, above this file."""
    if name not in _EDGES and name not in _SAVING:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("facula.autograd." + ("edges" if name in _EDGES else "saving")), name)
