"""`scan`: a loop over rows that carries something along."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula._dynamo.exc import UncapturedHigherOrderOpError
from facula._higher_order_ops import _agreement
from facula._higher_order_ops._operators import scan as scan_op
from facula._tensor.handle import Tensor
from facula.utils import _pytree as pytree

__all__ = ["scan", "scan_op"]


def scan(combine_fn: Callable[..., Any], init: Any, xs: Any, *, dim: int = 0, reverse: bool = False) -> Any:
    """`carry, y = combine_fn(carry, row)` for each row (along `dim`) of the tensors in the tree `xs`, from `init` on.

    Args:
        init: a tree of tensors; the function gives one alike.
        reverse: begin with the last row. Results stand where their rows do.

    Returns:
        (the last carry, the y stacked along dimension 0).

    Raises:
        RuntimeError: no function, other leaves than tensors, no rows.
        UncapturedHigherOrderOpError (a RuntimeError): a carry unlike `init`, or results that are what was given.

    Example:
        >>> import facula
        >>> from facula._higher_order_ops import scan
        >>> scan(lambda total, x: (total + x, total * x), facula.tensor(0.0), facula.tensor([1.0, 2.0, 3.0]))
        (tensor(6.), tensor([0., 2., 9.]))
    """
    if not callable(combine_fn):
        raise RuntimeError(f"Combine_fn must be a callable, but got {combine_fn}")
    start, init_spec = pytree.tree_flatten(init)
    leaves, spec = pytree.tree_flatten(xs)
    for leaf, name in (*[(leaf, "init") for leaf in start], *[(leaf, "xs") for leaf in leaves]):
        if not isinstance(leaf, Tensor):
            raise RuntimeError(f"All {name} leaves must be a Tensor but got {leaf}")
    if not start:
        raise RuntimeError("scan() operator requires init leaves.")
    if not leaves:
        return pytree.tree_unflatten([x.clone() for x in start], init_spec), xs
    rows = leaves if dim == 0 else [leaf.movedim(dim, 0) for leaf in leaves]
    if any(not row.shape or row.shape[0] == 0 for row in rows):
        raise RuntimeError("All xs leaves must at least have 'dim' number of dimensions and scan dimension > 0")
    if any(row.shape[0] != rows[0].shape[0] for row in rows):
        raise RuntimeError("scan: all tensors of xs need one length along dim, got "
                           f"{[row.shape[0] for row in rows]}")
    if reverse:
        rows = [row.flip(0) for row in rows]
    trees: list[Any] = []

    def step(*flat: Any) -> Any:
        found = combine_fn(pytree.tree_unflatten(flat[:len(start)], init_spec),
                           pytree.tree_unflatten(flat[len(start):], spec))
        if not isinstance(found, (tuple, list)) or len(found) != 2:
            raise UncapturedHigherOrderOpError(f"scan: combine_fn must give a pair (carry, y), got {found}")
        carry, carry_spec = pytree.tree_flatten(found[0])
        if carry_spec != init_spec:
            raise UncapturedHigherOrderOpError(
                f"Expected init and carry to have the same tree structure, got {init_spec} and {carry_spec}")
        results, result_spec = pytree.tree_flatten(found[1])
        trees.append(result_spec)
        return (*carry, *results)
    _agreement.agree(scan_op, (combine_fn,), (*start, *rows), (step, start, rows, ()))
    found = scan_op(step, start, rows, ())
    results = found[len(start):]
    return (pytree.tree_unflatten(found[:len(start)], init_spec),
            pytree.tree_unflatten([y.flip(0) for y in results] if reverse else results, trees[0]))
