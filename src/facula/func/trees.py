"""Arguments and results as trees: `utils._pytree`, in the words of this package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula._tensor.handle import Tensor
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


def spread(prefix: Any, tree: Any, call: str, what: str = "in_dims", whose: str = "inputs") -> list[Any]:
    """A leaf of `prefix` for each of `tree`: a leaf stands for all below it. ValueError if they do not fit.

    >>> spread((0, None), ([1, 2], 3), "vmap(f)")
    [0, 0, None]
    """
    found = _broadcast_to_and_flatten(prefix, tree_structure(tree))
    if found is None:
        raise ValueError(f"{call}: {what} is not compatible with the structure of `{whose}`. {what} has structure "
                         f"{tree_structure(prefix)} but {whose} has structure {tree_structure(tree)}.")
    return found


def numbered(argnums: Any, given: int) -> tuple[int, ...]:
    """The positions that `argnums` names, of `given` arguments; RuntimeError where it names none, or one twice.

    >>> numbered(0, 2), numbered((1, -2), 2)
    ((0,), (1, -2))
    """
    if not isinstance(argnums, (int, tuple)):
        raise RuntimeError(f"argnum must be int or Tuple[int, ...], got: {type(argnums)}")
    numbers = argnums if isinstance(argnums, tuple) else (argnums,)
    if not numbers:
        raise RuntimeError("argnums must be non-empty")
    for n in numbers:
        if not isinstance(n, int):
            raise RuntimeError(f"argnum must be int or Tuple[int, ...], got: {argnums}")
        if not -given <= n < given:
            raise RuntimeError(f"Got argnum={n}, but only {given} positional inputs")
    if len({n % given for n in numbers}) < len(numbers):
        raise RuntimeError(f"argnums elements must be unique, got {argnums}")
    return numbers


def with_aux(what: str, result: Any) -> tuple[Any, Any]:
    """The pair that a function with `has_aux` has to return."""
    if not isinstance(result, tuple) or len(result) != 2:
        raise RuntimeError(f"{what}: output of function f should be a tuple: (output, aux) if has_aux is True")
    return result


def only_tensors(what: str, found: list[Any]) -> None:
    """RuntimeError if one of the leaves of a result is no tensor."""
    for x in found:
        if not isinstance(x, Tensor):
            raise RuntimeError(f"{what} to return only tensors, got unsupported type {type(x)}")
