"""Trees taken apart, put together, and mapped: `tree_flatten`, `tree_unflatten`, `tree_map` and their kin."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from facula.utils._pytree.registry import SUPPORTED_NODES, _get_node_type
from facula.utils._pytree.spec import TreeSpec, treespec_leaf

PyTree = Any
Context = Any
DumpableContext = Any
FlattenFn = Callable[[Any], tuple[list[Any], Any]]
UnflattenFn = Callable[[Iterable[Any], Any], Any]
ToDumpableContextFn = Callable[[Any], Any]
FromDumpableContextFn = Callable[[Any], Any]
IsLeaf = Callable[[Any], bool] | None
_LEAF = treespec_leaf()


def tree_flatten(tree: PyTree, is_leaf: IsLeaf = None) -> tuple[list[Any], TreeSpec]:
    """The leaves in order, and the structure without them.

    Args:
        is_leaf: called with each node before it is taken apart; where it says True, the node is a leaf.

    Example:
        >>> from facula.utils import _pytree as pytree
        >>> pytree.tree_flatten((1, [2, 3]))[0]
        [1, 2, 3]
        >>> pytree.tree_flatten((1, [2, 3]), is_leaf=lambda x: isinstance(x, list))[0]
        [1, [2, 3]]
    """
    found: list[Any] = []
    return found, _apart(tree, found, is_leaf)


def _apart(tree: PyTree, found: list[Any], is_leaf: IsLeaf) -> TreeSpec:
    node = None
    if is_leaf is None or not is_leaf(tree):
        kind = _get_node_type(tree)
        node = SUPPORTED_NODES.get(kind)
    if node is None:
        found.append(tree)
        return _LEAF
    parts, context = node.flatten_fn(tree)
    return TreeSpec(kind, context, [_apart(part, found, is_leaf) for part in parts])


def tree_unflatten(leaves: Iterable[Any], treespec: TreeSpec) -> PyTree:
    """The tree of this structure with these leaves.

    Raises:
        TypeError: no TreeSpec.
        ValueError: more or fewer leaves than it has places.
    """
    if not isinstance(treespec, TreeSpec):
        raise TypeError("Expected `treespec` to be an instance of PyTreeSpec but got item of type "
                        f"{type(treespec)}.")
    return treespec.unflatten(leaves)


def tree_iter(tree: PyTree, is_leaf: IsLeaf = None) -> Iterator[Any]:
    """The leaves, one after the other."""
    node = None if is_leaf is not None and is_leaf(tree) else SUPPORTED_NODES.get(_get_node_type(tree))
    if node is None:
        yield tree
    else:
        for part in node.flatten_fn(tree)[0]:
            yield from tree_iter(part, is_leaf)


def tree_leaves(tree: PyTree, is_leaf: IsLeaf = None) -> list[Any]:
    """The leaves in order."""
    return list(tree_iter(tree, is_leaf))


def arg_tree_leaves(*args: PyTree, **kwargs: PyTree) -> list[Any]:
    """The leaves of all arguments of a call."""
    return [leaf for tree in (*args, *kwargs.values()) for leaf in tree_iter(tree)]


def tree_structure(tree: PyTree, is_leaf: IsLeaf = None) -> TreeSpec:
    """The structure without the leaves."""
    return tree_flatten(tree, is_leaf)[1]


def tree_map(func: Callable[..., Any], tree: PyTree, *rests: PyTree, is_leaf: IsLeaf = None) -> PyTree:
    """The tree of `func(leaf, ...)`; further trees, which begin with this one's structure, give further arguments.

    Raises:
        ValueError: a further tree is built otherwise.

    Example:
        >>> from facula.utils import _pytree as pytree
        >>> pytree.tree_map(lambda a, b: a + b, {"x": 1, "y": (2,)}, {"x": 10, "y": (20,)})
        {'x': 11, 'y': (22,)}
    """
    leaves, spec = tree_flatten(tree, is_leaf)
    columns = [leaves, *[spec.flatten_up_to(rest) for rest in rests]]
    return spec.unflatten([func(*row) for row in zip(*columns, strict=True)])


def tree_map_(func: Callable[..., Any], tree: PyTree, *rests: PyTree, is_leaf: IsLeaf = None) -> PyTree:
    """`func` called with each leaf for what it does; the tree itself is returned."""
    leaves, spec = tree_flatten(tree, is_leaf)
    for row in zip(leaves, *[spec.flatten_up_to(rest) for rest in rests], strict=True):
        func(*row)
    return tree


def _chooser(chosen: Any) -> Callable[[Any], bool]:
    """Types, or a predicate, as a predicate."""
    if isinstance(chosen, (type, tuple, types.UnionType)):
        return lambda leaf: isinstance(leaf, chosen)
    if callable(chosen):
        return lambda leaf: bool(chosen(leaf))
    raise TypeError(f"Argument must be a type, a tuple of types, or a callable, got {type(chosen).__name__}")


def map_only(type_or_types_or_pred: Any, /) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """A decorator: the function is applied to leaves of these types (or that fit the predicate), others stay."""
    fits = _chooser(type_or_types_or_pred)

    def wrapper(func: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def only(leaf: Any) -> Any:
            return func(leaf) if fits(leaf) else leaf
        return only
    return wrapper


def tree_map_only(type_or_types_or_pred: Any, /, func: Callable[[Any], Any], tree: PyTree,
                  is_leaf: IsLeaf = None) -> PyTree:
    """`tree_map` of the leaves of these types (or that fit the predicate); others stay.

    Example:
        >>> from facula.utils import _pytree as pytree
        >>> pytree.tree_map_only(int, lambda x: -x, [1, "a", (2.0, 3)])
        [-1, 'a', (2.0, -3)]
    """
    return tree_map(map_only(type_or_types_or_pred)(func), tree, is_leaf=is_leaf)


def tree_map_only_(type_or_types_or_pred: Any, /, func: Callable[[Any], Any], tree: PyTree,
                   is_leaf: IsLeaf = None) -> PyTree:
    """`tree_map_` of the leaves of these types (or that fit the predicate)."""
    return tree_map_(map_only(type_or_types_or_pred)(func), tree, is_leaf=is_leaf)


def tree_all(pred: Callable[[Any], bool], tree: PyTree, is_leaf: IsLeaf = None) -> bool:
    """Is `pred` true of all leaves?"""
    return all(map(pred, tree_iter(tree, is_leaf)))


def tree_any(pred: Callable[[Any], bool], tree: PyTree, is_leaf: IsLeaf = None) -> bool:
    """Is `pred` true of any leaf?"""
    return any(map(pred, tree_iter(tree, is_leaf)))


def tree_all_only(type_or_types: Any, /, pred: Callable[[Any], bool], tree: PyTree, is_leaf: IsLeaf = None) -> bool:
    """Is `pred` true of all leaves of these types?"""
    return all(pred(leaf) for leaf in tree_iter(tree, is_leaf) if isinstance(leaf, type_or_types))


def tree_any_only(type_or_types: Any, /, pred: Callable[[Any], bool], tree: PyTree, is_leaf: IsLeaf = None) -> bool:
    """Is `pred` true of any leaf of these types?"""
    return any(pred(leaf) for leaf in tree_iter(tree, is_leaf) if isinstance(leaf, type_or_types))


def _broadcast_to_and_flatten(tree: PyTree, treespec: TreeSpec, is_leaf: IsLeaf = None) -> list[Any] | None:
    """A leaf of `tree` for each leaf of `treespec`: one of `tree` stands for all below its place. None: no fit.

    Example:
        >>> from facula.utils import _pytree as pytree
        >>> pytree._broadcast_to_and_flatten([0, None], pytree.tree_structure([[1, 2], 3]))
        [0, 0, None]
    """
    node = None
    if is_leaf is None or not is_leaf(tree):
        kind = _get_node_type(tree)
        node = SUPPORTED_NODES.get(kind)
    if node is None:
        return [tree] * treespec.num_leaves
    if treespec.is_leaf() or kind is not treespec.type:
        return None
    parts, context = node.flatten_fn(tree)
    if len(parts) != treespec.num_children or context != treespec.context:
        return None
    found: list[Any] = []
    for part, child in zip(parts, treespec.children(), strict=True):
        below = _broadcast_to_and_flatten(part, child, is_leaf)
        if below is None:
            return None
        found += below
    return found
