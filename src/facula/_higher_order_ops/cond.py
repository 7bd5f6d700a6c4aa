"""`torch.cond`: one of two functions, as a tensor says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula._dynamo.exc import UncapturedHigherOrderOpError
from facula._higher_order_ops import _agreement
from facula._higher_order_ops._operators import cond as cond_op
from facula._higher_order_ops._operators import heard
from facula._tensor.handle import Tensor
from facula.autograd.graph import mode
from facula.errors import warn
from facula.symbolic_numbers import SymBool
from facula.utils import _pytree as pytree

__all__ = ["cond", "cond_op"]


def cond(pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], operands: Any = ()) -> Any:
    """`true_fn(*operands)` or `false_fn(*operands)`, as `pred` (a bool, or a tensor of one element) says.

    `torch.export` keeps both branches. So that it can, they have to give alike results (trees, dtypes, numbers of
    dimensions) that are tensors or ints, none of them what the branch was given, and may not write into that. Under
    `vmap` an answer may be another for each: then both branches run.

    Args:
        operands: a tuple or list of trees of tensors. What the functions find elsewhere they may use as well.

    Raises:
        RuntimeError: `pred` is a tensor of several elements, or something else; operands that are no tensors.
        UncapturedHigherOrderOpError (a RuntimeError): branches that do not agree.

    Example:
        >>> import facula
        >>> x = facula.ones(2)
        >>> facula.cond(x.sum() > 5, lambda x: x + 1, lambda x: -x, (x,))
        tensor([-1., -1.])
    """
    if not isinstance(pred, (Tensor, SymBool, bool, int, float)):
        raise RuntimeError(f"Expected pred to be bool or tensor, but got {pred}.")
    if isinstance(pred, Tensor) and pred.numel() != 1:
        raise RuntimeError(f"Expected pred to be bool or single-element tensor, but got {pred}.")
    if not callable(true_fn) or not callable(false_fn):
        raise RuntimeError("Expect both branches to be callable.")
    if not isinstance(operands, (tuple, list)) or not all(
            isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(operands)):
        raise RuntimeError("Expect operands to be a tuple of possibly nested dict/list/tuple that only consists of "
                           f"tensor leaves, but got {operands}.")
    if isinstance(pred, (bool, int, float)):
        if heard():
            warn("Pred is a Python constant. When used with torch.cond, it specializes on one of the branches. If you "
                 "want torch.cond to preserve two branches, please make the predicate a boolean tensor or a SymBool.")
        return (true_fn if pred else false_fn)(*operands)
    leaves, spec = pytree.tree_flatten(tuple(operands))
    trees: list[Any] = []
    branches = [_agreement.flat_function(function, lambda flat: pytree.tree_unflatten(flat, spec), trees,
                                         pytree.tree_flatten) for function in (true_fn, false_fn)]

    def agreed(*flat: Any) -> tuple[Any, ...]:
        found: tuple[Any, ...] = branches[1](*flat)
        if len(trees) == 2 and trees[0] != trees[1]:
            raise UncapturedHigherOrderOpError(
                "torch.cond: differing branch outputs\n  Explanation: Expected branches to return the same pytree "
                f"structure.\n  Developer debug context: true_spec: {trees[0]}, false_spec: {trees[1]}")
        return found
    graded = _agreement.agree(cond_op, (true_fn, false_fn), tuple(leaves), (pred, branches[0], agreed, tuple(leaves)))
    trees.clear()
    found = cond_op(pred, branches[0], agreed, tuple(leaves))
    if mode.grad:  # as of the other branch: so that backward() may be called whichever ran
        for leaf, wanted in zip(found, graded, strict=False):
            if wanted and not leaf.requires_grad:
                leaf.requires_grad_()
    return pytree.tree_unflatten(found, trees[0])
