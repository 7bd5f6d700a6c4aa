"""Arguments and results as trees: tuples, lists and dicts of leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def leaves(tree: Any) -> list[Any]:
    """What is no tuple, list or dict, in order; dicts by the order of their keys.

    >>> leaves((1, [2, {"b": 4, "a": 3}]))
    [1, 2, 4, 3]
    """
    if isinstance(tree, (tuple, list)):
        return [leaf for part in tree for leaf in leaves(part)]
    if isinstance(tree, dict):
        return [leaf for part in tree.values() for leaf in leaves(part)]
    return [tree]


def rebuilt(tree: Any, of: list[Any]) -> Any:
    """`tree` with other leaves, in the order of `leaves`."""
    return _built(tree, iter(of))


def _built(part: Any, left: Iterator[Any]) -> Any:
    if isinstance(part, tuple) and hasattr(part, "_fields"):
        return type(part)(*[_built(p, left) for p in part])
    if isinstance(part, (tuple, list)):
        made = [_built(p, left) for p in part]
        return made if type(part) is list else tuple(made) if type(part) is tuple else type(part)(made)
    if isinstance(part, dict):
        return type(part)((k, _built(p, left)) for k, p in part.items())
    return next(left)


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """The tree of `function(leaf)`.

    >>> mapped(lambda x: x + 1, (1, {"a": 2}))
    (2, {'a': 3})
    """
    return rebuilt(tree, [function(leaf) for leaf in leaves(tree)])


def spread(prefix: Any, tree: Any, what: str) -> list[Any]:
    """A leaf of `prefix` for each of `tree`: a leaf stands for all below it. ValueError if they do not fit.

    >>> spread((0, None), ([1, 2], 3), "in_dims")
    [0, 0, None]
    """
    if isinstance(prefix, (tuple, list)) and isinstance(tree, (tuple, list)) and len(prefix) == len(tree):
        return [x for p, t in zip(prefix, tree, strict=True) for x in spread(p, t, what)]
    if isinstance(prefix, dict) and isinstance(tree, dict) and prefix.keys() == tree.keys():
        return [x for k in tree for x in spread(prefix[k], tree[k], what)]
    if isinstance(prefix, (tuple, list, dict)):
        raise ValueError(f"{what} {prefix} is not compatible with the structure of what it is for, a "
                         f"{type(tree).__name__}")
    return [prefix] * len(leaves(tree))
