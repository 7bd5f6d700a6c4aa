"""Functions that control flow calls, captured: each is a graph of its own, with what it has from around as inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula._dynamo.exc import UncapturedHigherOrderOpError
from facula._tensor.handle import Tensor
from facula.export._capture import Capture
from facula.export._cases import Again
from facula.export._traced import Traced, place_of, program_frame, program_line
from facula.fx.graph_module import GraphModule
from facula.fx.node import Node
from facula.ops.aten_names import aten
from facula.symbolic_numbers import _Symbolic

_WHAT = ("This higher order operator doesn't work unless it is captured completely. ", "\n  Higher Order Operator: ")

_NUMBERED = ("while_loop_cond_graph", "while_loop_body_graph", "scan_combine_graph", "associative_scan_combine_graph")


class Subgraph:
    """A function's graph. `inputs`: what it was called with; `leaves`: its results, described; `name`: of what."""

    def __init__(self, listener: Any, name: str, function: Callable[..., Any], inputs: list[Any],
                 may_alias: bool = False) -> None:
        parent: Capture = listener.capture
        self.parent, self.name = parent, name
        self.capture = Capture(parent.plan, parent)
        parent.children.append(self.capture)
        self.inputs = [self.capture.from_around(x) if isinstance(x, Traced) else x for x in inputs]
        self.count = len(self.capture.outside)
        listener.capture = self.capture
        try:
            with listener:
                found = function(*self.inputs)
        finally:
            listener.capture = parent
            parent.steps = self.capture.steps
        self.single = not isinstance(found, (tuple, list))
        self.leaves = [found] if self.single else list(found)
        self._check(may_alias)

    def _check(self, may_alias: bool) -> None:
        """Are results new tensors, and is what was given as it was?"""
        given = [x for x in self.capture.known.values() if x.capture is self.capture]
        for x in given:
            if x.in_cases[0]._version:
                raise self.wrong("Encountered input mutation during higher order op tracing",
                                 f"Higher order ops do not support input mutation: {x.fx.name} is written. Write into "
                                 "a .clone() of it, and return that")
        seen = {_memory(x): x for x in given}
        for leaf in self.leaves:
            if isinstance(leaf, Tensor):
                if not isinstance(leaf, Traced) or leaf.capture is not self.capture or \
                        not may_alias and _memory(leaf) in seen:
                    raise self.wrong("Encountered aliasing during higher order op tracing",
                                     "Higher order ops do not support aliasing: a result is (a view of) what the "
                                     "function was given, or of another result. Replace `return input` with `return "
                                     "input.clone()` to avoid aliasing")
                seen[_memory(leaf)] = leaf
            elif not isinstance(leaf, (int, _Symbolic)):
                raise self.wrong("HOP body output unsupported", "HigherOrderOperator body's output must consist of "
                                 f"tensors or ints/bools only but got {type(leaf)}.")

    def wrong(self, what: str, why: str) -> UncapturedHigherOrderOpError:
        """The error of a function that control flow cannot have."""
        return UncapturedHigherOrderOpError(f"{_WHAT[0]}Got graph break/error:\n\n{what}{_WHAT[1]}{self.name}\n"
                                            f"  Explanation: {why}.{program_line()}")

    def written(self, kind: str, outside: list[Any]) -> Node:
        """The node that gives the graph, whose inputs are `outside` in this order."""
        capture, parent = self.capture, self.parent
        capture.leave()
        nodes = [capture.argument(value) for value in outside]
        if kind in _NUMBERED:
            for k, node in enumerate(nodes):
                node.name = node.target = f"arg{k}_1"
        for node in reversed(nodes):
            first = next(iter(capture.graph.nodes))
            if first is not node:
                first.prepend(node)
        given = [capture.argument(leaf) for leaf in self.leaves]
        capture.graph.output(given[0] if self.single else tuple(given))
        number = next(n for n in range(len(parent.subgraphs) + 1) if f"{kind}_{n}" not in parent.subgraphs)
        name = f"{kind}_{number}"
        parent.subgraphs[name] = GraphModule(capture.subgraphs, capture.graph, name)
        node = parent.graph.create_node("get_attr", name, (), {}, name=name)
        where = place_of(program_frame())
        if where:
            node.meta["stack_trace"] = where
        return node


def together(graphs: list[Subgraph]) -> list[Any]:
    """What several functions have from around them: tensors and sizes, each once, in the order they were met."""
    found: dict[int, Any] = {}
    for graph in graphs:
        for value in graph.capture.outside:
            found.setdefault(id(value), value)
    return list(found.values())


def results(graph: Subgraph, node: Node, per_case: list[tuple[Any, ...]], outside: list[Any]) -> tuple[Any, ...]:
    """What the program gets: a description of each result, given by a node of its own. Gradients of it go to all that
    the functions are given, `outside`."""
    for k, found in enumerate(per_case):
        given = [x.in_cases[k] for x in outside if isinstance(x, Traced) and x.in_cases[k].requires_grad]
        if given:
            way: Any = sum([x.detach().sum().zero_() * x.sum() for x in given])
            per_case[k] = tuple([x.detach() + way.to(x.dtype) if isinstance(x, Tensor) and x.requires_grad else x
                                 for x in found])
    return graph.parent._wrapped(per_case, node, _place(graph), node.target)  # type: ignore[no-any-return]


def _place(graph: Subgraph) -> Any:
    return next((leaf.place for leaf in graph.leaves if isinstance(leaf, Traced)), None)


def same_layout(graphs: list[Subgraph]) -> None:
    """Have the results of two branches lie in memory alike, row after row where they do not."""
    one, other = graphs
    for at, (a, b) in enumerate(zip(one.leaves, other.leaves, strict=True)):
        if isinstance(a, Traced) and any(x.stride() != y.stride() for x, y in zip(a.in_cases, b.in_cases, strict=True)):
            for graph in graphs:
                graph.leaves[at] = graph.capture.call(aten.contiguous.default, (graph.leaves[at],), {})


def agree_in_size(graph: Subgraph, a: Traced, b: Traced, refusal: Exception) -> None:
    """Raise if two tensors differ in length somewhere: `refusal` if they do for the example."""
    for k, (x, y) in enumerate(zip(a.in_cases, b.in_cases, strict=True)):
        if x.shape != y.shape:
            if k == 0:
                raise refusal
            raise Again(k, None, None, graph.parent.steps, program_line(), f"the sizes of results of {graph.name}")


def _memory(t: Traced) -> int:
    inner = t.in_cases[0]
    return id(inner) if inner._storage is None else id(inner._storage)


def either(a: Any, b: Any, k: int) -> Any:
    """A result in a case: with gradients if one of the branches gives any."""
    if not isinstance(a, Traced):
        return a
    return b.in_cases[k] if b.in_cases[k].requires_grad and not a.in_cases[k].requires_grad else a.in_cases[k]
