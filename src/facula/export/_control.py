"""Control flow in a captured program: a node with the functions as graphs, which `torch.ops.higher_order` runs.

Both branches, or the condition and the body, are captured (`_subgraphs.py`) and compared. What a function has from
around it (parameters, other tensors, sizes) follows its operands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula._dynamo.exc import UncapturedHigherOrderOpError
from facula._higher_order_ops import _operators
from facula._tensor.handle import Tensor
from facula.export import _loops
from facula.export._subgraphs import Subgraph, agree_in_size, either, results, same_layout, together
from facula.export._traced import Traced, program_line
from facula.symbolic_numbers import _Symbolic

_Given = tuple[Any, ...] | list[Any]


def cond(listener: Any, describe: bool, pred: Any, true_fn: Any, false_fn: Any, operands: _Given = ()) -> Any:
    """`torch.ops.higher_order.cond`."""
    parent = listener.capture
    given = list(parent._lifted(tuple(operands)))
    graphs = [Subgraph(listener, "torch.cond", function, given) for function in (true_fn, false_fn)]
    one, other = graphs
    if len(one.leaves) != len(other.leaves):
        raise one.wrong("torch.cond: differing branch outputs", "Expected branches to return the same number of "
                        f"outputs but got {len(one.leaves)} and {len(other.leaves)}")
    for a, b in zip(one.leaves, other.leaves, strict=True):
        _alike(one, a, b, describe)
    if describe:
        return tuple([isinstance(a, Traced) and either(a, b, 0).requires_grad
                      for a, b in zip(one.leaves, other.leaves, strict=True)])
    same_layout(graphs)
    outside = together(graphs)
    true_graph, false_graph = one.written("true_graph", outside), other.written("false_graph", outside)
    if isinstance(pred, Tensor):
        pred = parent._lifted(pred)
    node = parent.create(_operators.cond, (parent.argument(pred), true_graph, false_graph,
                                           tuple([parent.argument(value) for value in outside])), {})
    per_case = [tuple([either(a, b, k) for a, b in zip(one.leaves, other.leaves, strict=True)])
                for k in range(len(parent.cases))]
    return results(one, node, per_case, outside)


def _alike(graph: Subgraph, a: Any, b: Any, describe: bool) -> None:
    """Raise unless two branches' results are alike."""
    text = "When merging two branches' output in torch.cond,  expected same {} but got {} and {}."
    if isinstance(a, Traced) and isinstance(b, Traced):
        for what, x, y in (("dtype", a.dtype, b.dtype), ("device", a.place, b.place),
                           ("dim", len(a.in_cases[0].shape), len(b.in_cases[0].shape))):
            if x != y:
                raise UncapturedHigherOrderOpError(text.format(what, x, y) + program_line())
        if not describe:
            sizes = f"{tuple(a.in_cases[0].shape)} and {tuple(b.in_cases[0].shape)}"
            agree_in_size(graph, a, b, NotImplementedError(
                f"torch.export of a torch.cond whose branches give tensors of different sizes ({sizes}) is not in "
                f"Facula yet{program_line()}"))
    elif isinstance(a, Traced) or isinstance(b, Traced):
        raise UncapturedHigherOrderOpError(text.format("kind", type(a).__name__, type(b).__name__) + program_line())
    elif not describe and (isinstance(a, _Symbolic) or isinstance(b, _Symbolic) or a != b):
        raise NotImplementedError("torch.export of a torch.cond whose branches give numbers is not in Facula yet: give "
                                  f"tensors of one element{program_line()}")


HANDLERS: dict[Any, Callable[..., Any]] = {
    _operators.cond: cond, _operators.while_loop: _loops.while_loop, _operators.map_impl: _loops.map_impl,
    _operators.scan: _loops.scan, _operators.associative_scan: _loops.associative_scan}
