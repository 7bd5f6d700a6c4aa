"""Arguments and results as trees: `utils._pytree`, in the words of this package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.utils._pytree import _broadcast_to_and_flatten, tree_leaves, tree_map, tree_structure


def leaves(tree: Any) -> list[Any]:
    """The leaves of a tree, in order.

    >>> leaves((1, [2, {"b": 4, "a": 3}]))
    [1, 2, 4, 3]
    """
    return tree_leaves(tree)


def rebuilt(tree: Any, of: list[Any]) -> Any:
    """`tree` with other leaves, in the order of `leaves`."""
    return tree_structure(tree).unflatten(of)


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """The tree of `function(leaf)`.

    >>> mapped(lambda x: x + 1, (1, {"a": 2}))
    (2, {'a': 3})
    """
    return tree_map(function, tree)


def spread(prefix: Any, tree: Any, what: str) -> list[Any]:
    """A leaf of `prefix` for each of `tree`: a leaf stands for all below it. ValueError if they do not fit.

    >>> spread((0, None), ([1, 2], 3), "in_dims")
    [0, 0, None]
    """
    found = _broadcast_to_and_flatten(prefix, tree_structure(tree))
    if found is None:
        raise ValueError(f"{what} {prefix} is not compatible with the structure of what it is for, a "
                         f"{type(tree).__name__}")
    return found
