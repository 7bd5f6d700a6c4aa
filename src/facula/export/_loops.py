"""Loops in a captured program: `while_loop`, `map`, `scan`, `associative_scan`, each a node with graphs of functions.

What a function is given for a row is a tensor of no node: described as the first row is.
"""

from __future__ import annotations

from typing import Any

from facula._higher_order_ops import _operators
from facula.export._subgraphs import Subgraph, agree_in_size, either, results, together
from facula.export._traced import Traced, program_line, traced
from facula.ops.aten_names import aten

_Given = tuple[Any, ...] | list[Any]


def while_loop(listener: Any, describe: bool, cond_fn: Any, body_fn: Any, carried_inputs: _Given,
               additional_inputs: _Given) -> Any:
    """`torch.ops.higher_order.while_loop`."""
    parent = listener.capture
    carried, more = list(parent._lifted(tuple(carried_inputs))), list(parent._lifted(tuple(additional_inputs)))
    if not all(isinstance(x, Traced) for x in carried):
        if describe:
            return None
        raise NotImplementedError("torch.export of a while_loop that carries numbers is not in Facula yet: carry "
                                  f"tensors of one element{program_line()}")
    # Each of them a tensor of its own, though it may be carried twice.
    carried = [parent.call(aten.clone.default, (x,), {}) if any(x is y for y in carried[:k]) else x
               for k, x in enumerate(carried)]
    asked = Subgraph(listener, "torch.while_loop", cond_fn, [*carried, *more])
    body = Subgraph(listener, "torch.while_loop", body_fn, [*carried, *more])
    answer = asked.leaves[0] if len(asked.leaves) == 1 else None
    if isinstance(answer, bool):
        if answer:
            raise asked.wrong("torch.while_loop: infinite loop detected", "Infinite loop detected because while_loop's "
                              "cond_fn always returns the same value True")
        return None if describe else tuple([x.clone() for x in carried])
    if not isinstance(answer, Traced) or answer.in_cases[0].numel() != 1:
        raise asked.wrong("torch.while_loop: cond_fn", "Expected cond_fn to return a tensor of one element or a bool, "
                          f"got {asked.leaves}")
    _alike("Expected body_fn_output and carried_inputs", body, body.leaves, carried)
    if describe:
        return None
    outside = together([asked, body])
    extra = _others(outside, carried)
    nodes = [asked.written("while_loop_cond_graph", [*carried, *extra]),
             body.written("while_loop_body_graph", [*carried, *extra])]
    node = parent.create(_operators.while_loop, (*nodes, tuple(parent.argument(carried)),
                                                 tuple([parent.argument(value) for value in extra])), {})
    per_case = [tuple([either(leaf, x, k) for leaf, x in zip(body.leaves, carried, strict=True)])
                for k in range(len(parent.cases))]
    return results(body, node, per_case, [*carried, *extra])


def _alike(text: str, graph: Subgraph, given: list[Any], wanted: list[Any]) -> None:
    """Raise unless what a function hands on is what it takes."""
    if len(given) != len(wanted):
        raise graph.wrong(text, f"{text} to have same number of outputs but got {len(given)} and {len(wanted)}")
    for at, (leaf, like) in enumerate(zip(given, wanted, strict=True)):
        if not isinstance(leaf, Traced):
            raise graph.wrong(text, f"{text} to be tensors, but pair[{at}] is {leaf!r}")
        if leaf.dtype is not like.dtype:
            raise graph.wrong(text, f"{text} to have same metadata but found: pair[{at}] differ in 'dtype: "
                              f"{leaf.dtype} vs {like.dtype}'")
        one, other = leaf.in_cases[0].shape, like.in_cases[0].shape
        agree_in_size(graph, leaf, like, graph.wrong(text, f"{text} to have same metadata but found: pair[{at}] differ "
                                                     f"in 'shape: {one} vs {other}'"))


def _others(outside: list[Any], given: list[Any]) -> list[Any]:
    """What a function has from around it beside its operands."""
    return [value for value in outside if not any(value is x for x in given)]


def _row(parent: Any, x: Traced) -> Traced:
    """The description of a row of a tensor."""
    row = traced(parent, tuple([inner.select(0, 0) for inner in x.in_cases]), x.fx, x.place)
    parent.everything.append(row)
    return row


def _stacked(leaf: Any, like: Traced, k: int) -> Any:
    """A result for every row of `like`, in a case."""
    inner = leaf.in_cases[k]
    return inner.unsqueeze(0).repeat(like.in_cases[k].shape[0], *[1] * inner.dim())


def _tensors_only(graph: Subgraph, leaves: list[Any]) -> None:
    for leaf in leaves:
        if not isinstance(leaf, Traced):
            raise graph.wrong("HOP body output unsupported", f"what is stacked must be tensors, got {leaf!r}")


def map_impl(listener: Any, describe: bool, f: Any, xs: _Given, pos_args: _Given) -> Any:
    """`torch.ops.higher_order.map_impl`."""
    parent = listener.capture
    columns, more = list(parent._lifted(list(xs))), list(parent._lifted(list(pos_args)))
    rows = [_row(parent, x) for x in columns]
    body = Subgraph(listener, "torch.ops.higher_order.map_impl", f, [*rows, *more])
    _tensors_only(body, body.leaves)
    if describe:
        return None
    extra = _others(together([body]), rows)
    graph = body.written("body_graph", [*rows, *extra])
    node = parent.create(_operators.map_impl, (graph, parent.argument(columns),
                                               [parent.argument(value) for value in extra]), {})
    return results(body, node, [tuple([_stacked(leaf, columns[0], k) for leaf in body.leaves])
                                for k in range(len(parent.cases))], [*columns, *extra])


def scan(listener: Any, describe: bool, combine_fn: Any, init: _Given, xs: _Given,
         additional_inputs: _Given = ()) -> Any:
    """`torch.ops.higher_order.scan`."""
    parent = listener.capture
    start, columns = list(parent._lifted(list(init))), list(parent._lifted(list(xs)))
    start = [parent.call(aten.clone.default, (x,), {}) if any(x is y for y in start[:k]) else x
             for k, x in enumerate(start)]
    rows, more = [_row(parent, x) for x in columns], list(parent._lifted(tuple(additional_inputs)))
    body = Subgraph(listener, "torch.ops.higher_order.scan", combine_fn, [*start, *rows, *more])
    _alike("Expected init and carry", body, body.leaves[:len(start)], start)
    _tensors_only(body, body.leaves)
    if describe:
        return None
    extra = _others(together([body]), [*start, *rows])
    graph = body.written("scan_combine_graph", [*start, *rows, *extra])
    node = parent.create(_operators.scan, (graph, parent.argument(start), parent.argument(columns),
                                           tuple([parent.argument(value) for value in extra])), {})
    per_case = [(*[either(leaf, x, k) for leaf, x in zip(body.leaves, start, strict=False)],
                 *[_stacked(leaf, columns[0], k) for leaf in body.leaves[len(start):]])
                for k in range(len(parent.cases))]
    return results(body, node, per_case, [*start, *columns, *extra])


def associative_scan(listener: Any, describe: bool, combine_fn: Any, xs: _Given,
                     additional_inputs: _Given = ()) -> Any:
    """`torch.ops.higher_order.associative_scan`."""
    parent = listener.capture
    columns, more = list(parent._lifted(list(xs))), list(parent._lifted(tuple(additional_inputs)))
    rows = [_row(parent, x) for x in (*columns, *columns)]
    body = Subgraph(listener, "torch.ops.higher_order.associative_scan", combine_fn, [*rows, *more], may_alias=True)
    _alike("Expected xs and what combine_fn gives", body, body.leaves, rows[:len(columns)])
    if describe:
        return None
    extra = _others(together([body]), rows)
    graph = body.written("associative_scan_combine_graph", [*rows, *extra])
    node = parent.create(_operators.associative_scan, (
        graph, parent.argument(columns), tuple([parent.argument(value) for value in extra])), {})
    return results(body, node, [tuple([_stacked(leaf, columns[0], k) for leaf in body.leaves])
                                for k in range(len(parent.cases))], [*columns, *extra])
