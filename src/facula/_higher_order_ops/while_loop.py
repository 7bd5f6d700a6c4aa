"""`torch.while_loop`: a function that is called for as long as another one says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula._dynamo.exc import UncapturedHigherOrderOpError
from facula._higher_order_ops import _agreement
from facula._higher_order_ops._operators import while_loop as while_loop_op
from facula._tensor.handle import Tensor
from facula.utils import _pytree as pytree

__all__ = ["while_loop", "while_loop_op"]


def while_loop(cond_fn: Callable[..., Any], body_fn: Callable[..., Any], carried_inputs: Any) -> Any:
    """`carried = body_fn(*carried)` for as long as `cond_fn(*carried)` holds; returns what is carried in the end.

    The body gives tensors of the shapes and dtypes that it takes, new ones, and writes into none of its arguments.

    Args:
        cond_fn: gives a tensor of one element, or a bool.
        carried_inputs: a tuple or list of trees of tensors and ints.

    Raises:
        RuntimeError: no functions, no tuple.
        UncapturedHigherOrderOpError (a RuntimeError): a body that gives something else than it takes.

    Example:
        >>> import facula
        >>> facula.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x * 2), (facula.tensor(0), facula.ones(1)))
        (tensor(3), tensor([8.]))
    """
    if not callable(cond_fn) or not callable(body_fn):
        raise RuntimeError("Expect cond_fn and body_fn to be callable.")
    if not isinstance(carried_inputs, (tuple, list)):
        raise RuntimeError(f"Expect carried_inputs to be a tuple of possibly nested tensors, got {carried_inputs!r}")
    leaves, spec = pytree.tree_flatten(tuple(carried_inputs))
    if not all(isinstance(leaf, (Tensor, int)) for leaf in leaves):
        kinds = ", ".join(type(leaf).__name__ for leaf in leaves)
        raise AssertionError(f"while_loop: carried_inputs can only be tensors and ints, but got ({kinds})")
    trees: list[Any] = []

    def unflatten(flat: Any) -> Any:
        return pytree.tree_unflatten(flat, spec)

    def asked(*flat: Any) -> Any:
        return cond_fn(*unflatten(flat))
    body = _agreement.flat_function(body_fn, unflatten, trees, pytree.tree_flatten)

    def counted(*flat: Any) -> Any:
        found = body(*flat)
        if len(found) != len(flat):
            raise UncapturedHigherOrderOpError(
                "Expected body_fn_output and carried_inputs to have same number of outputs but got "
                f"{len(found)} and {len(flat)}\n  Higher Order Operator: torch.while_loop")
        return found
    _agreement.agree(while_loop_op, (cond_fn, body_fn), tuple(leaves), (asked, counted, tuple(leaves), ()))
    found = while_loop_op(asked, counted, tuple(leaves), ())
    return pytree.tree_unflatten(found, trees[0] if trees else spec)
