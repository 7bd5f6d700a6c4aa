"""Places on the tape as values, and hooks on several of them: what `autograd.graph` offers beside its nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from facula._tensor.handle import Tensor, share
from facula._tensor.tape import edge_of
from facula.autograd import graph
from facula.autograd.graph import AccumulateGrad, accumulator
from facula.undisturbed import reentrant_lock


class GradientEdge(NamedTuple):
    """A result of a step of the tape: what `backward` and `grad` take in the place of a tensor."""

    node: Any
    output_nr: int
    ownership_token: Any = None


def edge_within(edge: GradientEdge) -> Any:
    """The edge as the walk knows it: a leaf, a step, or a step and the number of its output."""
    if isinstance(edge.node, AccumulateGrad):
        return edge.node.variable
    return edge.node if edge.node.outputs == 1 else (edge.node, edge.output_nr)


def get_gradient_edge(tensor: Any) -> GradientEdge:
    """Where the gradient of a tensor arrives, for as long as the edge is held: also when the tensor is gone.

    Example:
        >>> import facula
        >>> x = facula.ones(2, requires_grad=True)
        >>> facula.autograd.graph.get_gradient_edge(x * 2).node.name()
        'MulBackward0'
    """
    edge = edge_of(tensor)
    if edge is None:
        raise RuntimeError("It is not possible to get the gradient edge for a Tensor that does not require gradients")
    if isinstance(edge, Tensor):
        return GradientEdge(accumulator(edge), 0)
    return GradientEdge(*edge) if type(edge) is tuple else GradientEdge(edge, 0)


def increment_version(tensor: Any) -> None:
    """Say that something beside Facula has written into a tensor, or into each of several."""
    for t in [tensor] if isinstance(tensor, Tensor) else tensor:
        share(t).version += 1


class allow_mutation_on_saved_tensors:
    """A context in which what a backward pass needs may be written: in Facula it may be anywhere."""

    def __enter__(self) -> allow_mutation_on_saved_tensors:
        return self

    def clear(self) -> None:
        """Nothing: no copies are kept."""

    def __exit__(self, *what: object) -> None:
        pass


class _Handles:
    """One handle for several hooks."""

    def __init__(self, handles: tuple[Any, ...]) -> None:
        self.handles = handles

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()

    def __enter__(self) -> _Handles:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def register_multi_grad_hook(tensors: Sequence[Any], fn: Callable[..., Any], *, mode: str = "all") -> Any:
    """A hook on several tensors, once for each backward pass.

    Args:
        fn: with `mode="all"` called when all the gradients that the pass computes are there, with a list of a gradient
            for each tensor, None for those it does not come to; with "any" called with the first of them.

    Example:
        >>> import facula
        >>> x, y = (facula.ones(2, requires_grad=True) for _ in range(2))
        >>> seen = []
        >>> handle = facula.autograd.graph.register_multi_grad_hook((x, y), lambda gs: seen.append(len(gs)))
        >>> (x * y).sum().backward()
        >>> seen
        [2]
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    lock = reentrant_lock()
    places = [edge_of(t) for t in tensors]
    passes: dict[int, _Pass] = {}  # of those that are under way, by the id of what `walk` made for them

    def hook(k: int, g: Any) -> None:
        task = graph.mode.task
        with lock:
            state = passes.get(id(task))
            if state is None or state.task is not task:
                passes.clear()
                expected = 1 if mode == "any" else sum(task.comes_to(place) for place in places)
                state = passes[id(task)] = _Pass(task, [None] * len(tensors), expected)
            state.gradients[k] = g
            state.missing -= 1
            due = state.missing == 0
            if due and mode == "all":
                passes.clear()
        if due:
            fn(g if mode == "any" else state.gradients)

    return _Handles(tuple([t.register_hook(lambda g, k=k: hook(k, g)) for k, t in enumerate(tensors)]))


class _Pass:
    def __init__(self, task: Any, gradients: list[Any], missing: int) -> None:
        self.task = task
        self.gradients = gradients
        self.missing = missing
