"""What control flow comes to: `torch.ops.higher_order.cond` and its like. Their functions take and give flat lists.

Who listens (`ops/listening.py`) is told of these calls: so a capture keeps them with both functions. While nobody does
they run as Python does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import facula
from facula._tensor.handle import Tensor
from facula._tensor.reading import read
from facula.autograd.graph import mode
from facula.engine.graph.node import BATCHED
from facula.engine.session import session
from facula.ops import custom_namespaces, listening

__all__ = ["HigherOrderOperator", "heard", "operator"]


class HigherOrderOperator:
    """An operation some of whose arguments are functions: `torch.ops.higher_order.NAME`.

    Example:
        >>> import facula
        >>> cond = facula.ops.higher_order.cond
        >>> cond, cond(facula.tensor(True), lambda x: (x + 1,), lambda x: (x - 1,), (facula.ones(1),))
        (cond, (tensor([2.]),))
    """

    namespace = "higher_order"

    def __init__(self, name: str, run: Callable[..., Any]) -> None:
        self._name = self.__name__ = self.__qualname__ = name
        self.run = run
        self.__module__ = "torch.ops.higher_order"  # as generated code writes it
        self.__doc__ = run.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if heard():
            return listening.dispatch(self, f"torch.ops.higher_order.{self._name}", [], args, kwargs)
        return self.run(*args, **kwargs)

    def name(self) -> str:
        """Its name."""
        return self._name

    def __repr__(self) -> str:
        return self._name

    def __deepcopy__(self, memo: Any) -> HigherOrderOperator:
        return self

    def __reduce__(self) -> Any:
        return _found, (self._name,)


def heard() -> bool:
    """Does a mode of this thread want to know of calls?"""
    return bool(listening.state.modes) and not listening.state.all_off


def operator(run: Callable[..., Any]) -> HigherOrderOperator:
    """Have a function be `torch.ops.higher_order.NAME`, by its own name."""
    made = HigherOrderOperator(run.__name__, run)
    custom_namespaces.namespace("higher_order")._operations[run.__name__] = made
    return made


def _found(name: str) -> Any:
    return getattr(custom_namespaces.namespace("higher_order"), name)


def truth(value: Any) -> bool:
    """A predicate's answer. RuntimeError if it has none."""
    if isinstance(value, Tensor) and value.numel() != 1 or not isinstance(value, (Tensor, bool, int, float)):
        raise RuntimeError(f"Expected pred to be bool or single-element tensor, but got {value}.")
    return bool(value)


@operator
def cond(pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], operands: Any = ()) -> Any:
    """`true_fn(*operands)` or `false_fn(*operands)`, as `pred` says."""
    if session.traced is not None and isinstance(pred, Tensor) and read(pred).op is BATCHED:
        return _both(pred, true_fn(*operands), false_fn(*operands))
    found = (true_fn if truth(pred) else false_fn)(*operands)
    if mode.grad and any(isinstance(x, Tensor) and x.requires_grad for x in operands) and isinstance(found, tuple):
        for leaf in found:  # so that backward() may be called whichever ran
            if isinstance(leaf, Tensor) and not leaf.requires_grad and leaf.is_floating_point():
                leaf.requires_grad_()
    return found


def _both(pred: Tensor, one: Any, other: Any) -> tuple[Any, ...]:
    """Under `vmap`, where an answer stands for many: each takes its own from both branches."""
    return tuple([facula.where(pred, a, b) for a, b in zip(one, other, strict=True)])


@operator
def while_loop(cond_fn: Callable[..., Any], body_fn: Callable[..., Any], carried_inputs: Any,
               additional_inputs: Any) -> Any:
    """`carried = body_fn(*carried, *additional)` while `cond_fn(*carried, *additional)`."""
    carried, additional = tuple(carried_inputs), tuple(additional_inputs)
    first = True
    while truth(cond_fn(*carried, *additional)):
        found = body_fn(*carried, *additional)
        carried = tuple(found) if isinstance(found, (tuple, list)) else (found,)
        first = False
    # Results are never the operands themselves, however often the loop has run.
    return tuple([x.clone() if isinstance(x, Tensor) else x for x in carried]) if first else carried


@operator
def map_impl(f: Callable[..., Any], xs: Any, pos_args: Any) -> Any:
    """`f(*row, *pos_args)` for each row of `xs`, results stacked."""
    rows = [f(*[x[k] for x in xs], *pos_args) for k in range(xs[0].shape[0])]
    return _stacked(rows)


@operator
def scan(combine_fn: Callable[..., Any], init: Any, xs: Any, additional_inputs: Any = ()) -> Any:
    """`carry, y = combine_fn(*carry, *row, *additional)` for each row of `xs`: the last carry, the y stacked."""
    carry, rows = tuple(init), []
    count = xs[0].shape[0] if xs else 0
    for k in range(count):
        found = list(combine_fn(*carry, *[x[k] for x in xs], *additional_inputs))
        carry = tuple(found[:len(carry)])
        rows.append(found[len(carry):])
    return (*(carry if count else [x.clone() for x in carry]), *_stacked(rows))


def _stacked(rows: list[Any]) -> tuple[Any, ...]:
    return tuple([facula.stack(list(column)) for column in zip(*rows, strict=True)])


@operator
def associative_scan(combine_fn: Callable[..., Any], xs: Any, additional_inputs: Any = ()) -> Any:
    """All beginnings of `xs` combined, by pairs: of rows 0 and 1, 2 and 3, then of what these gave."""
    rows = [[x[k] for x in xs] for k in range(xs[0].shape[0])]
    return _stacked(_combined(lambda a, b: list(combine_fn(*a, *b, *additional_inputs)), rows))


def _combined(combine: Callable[[Any, Any], Any], rows: list[Any]) -> list[Any]:
    """The order in which numbers are combined is the same whatever they are: it is told by their count alone."""
    if len(rows) < 2:
        return rows
    pairs = [combine(a, b) for a, b in zip(rows[0:-1:2], rows[1::2], strict=True)]
    odd = _combined(combine, pairs)
    even = [rows[0], *[combine(a, b) for a, b in zip(odd, rows[2::2], strict=False)]]
    return [row for pair in zip(even, odd, strict=False) for row in pair] + even[len(odd):]
