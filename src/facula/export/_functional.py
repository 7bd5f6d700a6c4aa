"""A graph without writes: what the program writes into a tensor becomes a new value, for all that see the tensor.

The program runs as it does (its described tensors share memory as those that they stand for would), but other nodes are
written down: for `x.add_(y)` one of `aten.add`, whose value is `x` from then on. If `x` is a view, its base is computed
anew as well (`select_scatter` and the like), and each other view once it is used again. What was written into inputs of
the graph is handed out by it (`graph_signature`: BUFFER_MUTATION and the like).
"""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

from facula._tensor.handle import Tensor
from facula.export import _training_operations
from facula.export._inverses import inverse
from facula.export._traced import Traced, program_line
from facula.ops import aten_names, op
from facula.ops.aten_names import aten
from facula.utils import _pytree as pytree


class Step(NamedTuple):
    """How a view is made of `source`: an operation, its other arguments as nodes, which of its results."""

    source: Traced
    overload: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    part: int | None
    before: tuple[Traced, ...]  # the results before that one
    this: Traced


class View:
    """A tensor over the memory of `base`. `seen`: how often that had been written when its node was made; `unknown`:
    an operation whose views cannot be made anew."""

    def __init__(self, base: Traced, steps: tuple[Step, ...], seen: int, unknown: str = "") -> None:
        self.base, self.steps, self.seen, self.unknown = base, steps, seen, unknown

    def known(self) -> View:
        """This. NotImplementedError if it cannot be made anew."""
        if self.unknown:
            raise NotImplementedError("run_decompositions of a program that writes into memory of which "
                                      f"{self.unknown} has given a view is not in Facula yet{program_line()}")
        return self


class Values:
    """What the tensors of a capture are at the moment."""

    def __init__(self, capture: Any) -> None:
        self.capture = capture
        self.views: dict[int, View] = {}
        self.written: dict[int, tuple[Traced, int]] = {}  # tensors that are no views, and how often

    def count(self, base: Traced) -> int:
        """How often a tensor was written."""
        return self.written.get(id(base), (base, 0))[1]

    def node_of(self, t: Traced) -> Any:
        """The node that has its value now."""
        view = self.views.get(id(t))
        if view is not None and view.seen != self.count(view.base):
            self._become(t, self._made_of(view.known().steps, view.base.fx), t)
            view.seen = self.count(view.base)
        return t.fx

    def _become(self, t: Traced, node: Any, like: Traced) -> None:
        t.fx = node
        node.meta["val"] = like

    def _made_of(self, steps: tuple[Step, ...], node: Any) -> Any:
        for step in steps:
            node = self.capture._create(step.overload, (node, *step.args), step.kwargs)
            if step.part is not None:
                node = self.capture._create(operator.getitem, (node, step.part), {})
        return node

    def noted(self, overload: Any, given: tuple[Any, ...], nodes: Any, found: Any) -> None:
        """An operation has been called: are its results views?"""
        leaves = list(found) if isinstance(found, (tuple, list)) else [found]
        for at, leaf in enumerate(leaves):
            if not isinstance(leaf, Traced) or id(leaf) in self.views:
                continue
            memory = leaf.in_cases[0]._storage
            source = next((x for x in pytree.tree_leaves(given) if isinstance(x, Traced) and x is not leaf
                           and memory is not None and x.in_cases[0]._storage is memory), None)
            if source is None:
                continue
            if source is not given[0]:  # of one in a list, say
                self.views[id(leaf)] = View(self._base(source), (), self.count(self._base(source)), str(overload))
                continue
            part = at if isinstance(found, (tuple, list)) else None
            step = Step(source, overload, tuple(nodes[0][1:]), nodes[1], part,
                        tuple(leaves[:at]) if part is not None else (), leaf)
            over = self.views.get(id(source))
            base, steps = (source, ()) if over is None else (over.base, over.steps)
            self.views[id(leaf)] = View(base, (*steps, step), self.count(base), "" if over is None else over.unknown)

    def _base(self, t: Traced) -> Traced:
        over = self.views.get(id(t))
        return t if over is None else over.base

    # -- writes ---------------------------------------------------------------------------------
    def put(self, t: Traced, node: Any) -> None:
        """`t` has a new value."""
        view = self.views.get(id(t))
        base = t if view is None else view.base
        if view is not None:
            whole = node
            for at in reversed(range(len(view.known().steps))):
                steps = view.steps[:at]
                whole = inverse(self.capture, view.steps[at],
                                lambda steps=steps, base=base: self._made_of(steps, base.fx), whole)  # type: ignore[misc]
            self._become(base, whole, base)
        self._become(t, node, t)
        self.written[id(base)] = base, self.count(base) + 1
        if view is not None:
            view.seen = self.count(base)

    def write(self, overload: Any, args: tuple[Any, ...], kwargs: dict[str, Any], nodes: Any) -> None:
        """An operation in place: the node of what it writes."""
        capture, t = self.capture, args[0]
        if overload.overloadpacket.__name__ not in _forms:
            raise NotImplementedError(f"run_decompositions of a program with {overload} is not in Facula yet"
                                      + program_line())
        form = functional_form(overload)
        node = capture.create(form, nodes[0], nodes[1])
        found = form(*capture.of_case(args, 0), **capture.of_case(kwargs, 0))
        if found.dtype is not t.dtype:
            node = capture._create(aten.to.dtype, (node, t.dtype), {})
        self.put(t, node)

    def normalised(self, args: tuple[Any, ...], results: list[Any], place: Any) -> Any:
        """`batch_norm` in training, which writes the statistics it is given."""
        capture = self.capture
        x, weight, bias, mean, variance, training, momentum, eps, *_ = args
        node = capture.create(aten._native_batch_norm_legit_functional.default, capture.argument(
            (x, weight, bias, mean, variance, training, momentum, eps)), {})
        found = capture._create(operator.getitem, (node, 0), {})
        for at, statistic in ((3, mean), (4, variance)):
            self.put(statistic, capture._create(operator.getitem, (node, at), {}))
        return capture._wrapped(results, found, place, aten.batch_norm.default)

    def updated(self, update: Any, args: tuple[Any, ...]) -> None:
        """An optimizer's step."""
        capture = self.capture
        params, _, states, _ = args
        node = capture.create(_training_operations.functional(update), capture.argument(args), {})
        both = [capture._create(operator.getitem, (node, k), {}) for k in range(2)]
        for k, param in enumerate(params):
            self.put(param, capture._create(operator.getitem, (both[0], k), {}))
            state = capture._create(operator.getitem, (both[1], k), {}) if states[k] else None
            for name, t in states[k].items():
                self.put(t, capture._create(operator.getitem, (state, name), {}))


# Of these the public function of that name is another.
_RANDOM = frozenset(("bernoulli", "cauchy", "exponential", "geometric", "log_normal", "normal", "random", "uniform"))
# What changes more of a tensor than its elements.
_NEVER = frozenset(("apply_", "map_", "set_", "resize_", "resize_as_", "requires_grad_", "share_memory_", "detach_",
                    "as_strided_", "t_", "transpose_", "swapaxes_", "swapdims_", "squeeze_", "unsqueeze_", "rename_",
                    "init_"))
_forms: dict[str, str] = {}


def functional_form(overload: Any) -> Any:
    """The operation that gives what another one writes: `aten.add.Tensor` of `aten.add_.Tensor`."""
    return getattr(getattr(aten, _forms[overload.overloadpacket.__name__]), overload._overloadname)


def _copied(name: str) -> Any:
    def written(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        return getattr(aten, name)(x.clone(), *args, **kwargs)
    return written


def _offered(name: str) -> str:
    """The name of what gives what `name` (which ends with _) writes; made where there is none."""
    base = name[:-1]
    if base == "index_put":  # whose indices are a list, as of the one in place
        aten_names.offer(base, _copied(name))
    elif base in _RANDOM or aten_names._function(base) is None:
        base = base if aten_names._function(base) is None else base + "_functional"
        aten_names.offer(base, _copied(name))
    return base


def _batch_norm(x: Any, weight: Any, bias: Any, mean: Any, variance: Any, training: bool, momentum: Any,
                eps: float) -> tuple[Any, ...]:
    mean, variance = mean.clone(), variance.clone()
    found = op.NAMESPACES["nn.functional"]["batch_norm"](x, mean, variance, weight, bias, training, momentum, eps)
    return found, None, None, mean, variance


aten_names.offer("_native_batch_norm_legit_functional", _batch_norm)
for _name in list(op.METHODS) + list(op.FUNCTIONS) + list(op.NAMESPACES["nn.functional"]):
    if _name.endswith("_") and not _name.startswith("_") and _name not in _NEVER and (
            _name in op.METHODS or aten_names._function(_name[:-1]) is not None):
        _forms[_name] = _offered(_name)
