"""`map`: a function for each row of tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula._higher_order_ops import _agreement
from facula._higher_order_ops._operators import map_impl
from facula._tensor.handle import Tensor
from facula.utils import _pytree as pytree

__all__ = ["map", "map_impl"]


def map(f: Callable[..., Any], xs: Any, *args: Any) -> Any:
    """`f(row, *args)` for each row (of the first dimension) of the tensors in the tree `xs`, results stacked.

    Raises:
        RuntimeError: other leaves than tensors, of different first dimensions or without rows.
        UncapturedHigherOrderOpError (a RuntimeError): a function that hands back or writes what it is given.

    Example:
        >>> import facula
        >>> from facula._higher_order_ops import map
        >>> map(lambda x, y: x + y, facula.tensor([[1.0], [2.0]]), facula.ones(1))
        tensor([[2.],
                [3.]])
    """
    leaves, spec = pytree.tree_flatten(xs)
    if not callable(f):
        raise RuntimeError(f"map: f must be a callable, but got {f}")
    if not leaves or not all(isinstance(leaf, Tensor) for leaf in leaves):
        raise RuntimeError(f"Mapped xs can only consist of tensors. Got xs {leaves}.")
    shapes = [leaf.shape for leaf in leaves]
    if any(not shape for shape in shapes):
        raise IndexError("map: a tensor without dimensions has no rows")
    if any(shape[0] != shapes[0][0] for shape in shapes):
        raise RuntimeError(f"Leading dimensions of mapped xs must be consistent. Got shapes {shapes}.")
    if shapes[0][0] == 0:
        raise RuntimeError("Leading dimensions of mapped xs cannot be 0.")
    more, more_spec = pytree.tree_flatten(args)
    trees: list[Any] = []
    row = _agreement.flat_function(
        lambda first, rest: f(first, *rest), lambda flat: (
            pytree.tree_unflatten(flat[:len(leaves)], spec), pytree.tree_unflatten(flat[len(leaves):], more_spec)),
        trees, pytree.tree_flatten)
    _agreement.agree(map_impl, (f,), (*leaves, *more), (row, leaves, more))
    found = map_impl(row, leaves, more)
    return pytree.tree_unflatten(found, trees[0])
