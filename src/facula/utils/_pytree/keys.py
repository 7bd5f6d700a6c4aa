"""Paths to leaves: `tree_flatten_with_path` and what is done with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.utils._pytree.registry import SUPPORTED_NODES, GetAttrKey, MappingKey, SequenceKey, _get_node_type
from facula.utils._pytree.spec import TreeSpec
from facula.utils._pytree.trees import IsLeaf, PyTree, tree_structure

KeyEntry = SequenceKey | MappingKey | GetAttrKey
KeyPath = tuple[Any, ...]


def tree_leaves_with_path(tree: PyTree, is_leaf: IsLeaf = None) -> list[tuple[KeyPath, Any]]:
    """(path, leaf) for each leaf, in order.

    Raises:
        ValueError: a node of a class that was registered without `flatten_with_keys_fn`.
    """
    found: list[tuple[KeyPath, Any]] = []
    _walk(tree, (), found, is_leaf)
    return found


def _walk(tree: PyTree, path: KeyPath, found: list[tuple[KeyPath, Any]], is_leaf: IsLeaf) -> None:
    node = None if is_leaf is not None and is_leaf(tree) else SUPPORTED_NODES.get(_get_node_type(tree))
    if node is None:
        found.append((path, tree))
        return
    if node.flatten_with_keys_fn is None:
        raise ValueError(f"Did not find a flatten_with_keys_fn for type: {node.type}. Please pass a "
                         "flatten_with_keys_fn argument to register_pytree_node.")
    for key, part in node.flatten_with_keys_fn(tree)[0]:
        _walk(part, (*path, key), found, is_leaf)


def tree_flatten_with_path(tree: PyTree, is_leaf: IsLeaf = None) -> tuple[list[tuple[KeyPath, Any]], TreeSpec]:
    """(path, leaf) for each leaf, and the structure.

    Example:
        >>> from facula.utils import _pytree as pytree
        >>> found, _ = pytree.tree_flatten_with_path({"a": [1, 2]})
        >>> [(pytree.keystr(path), leaf) for path, leaf in found]
        [("['a'][0]", 1), ("['a'][1]", 2)]
    """
    return tree_leaves_with_path(tree, is_leaf), tree_structure(tree, is_leaf)


def tree_map_with_path(func: Callable[..., Any], tree: PyTree, *rests: PyTree, is_leaf: IsLeaf = None) -> PyTree:
    """`tree_map` of a function that takes the path before the leaf."""
    found, spec = tree_flatten_with_path(tree, is_leaf)
    columns = [[path for path, _ in found], [leaf for _, leaf in found], *[spec.flatten_up_to(r) for r in rests]]
    return spec.unflatten([func(*row) for row in zip(*columns, strict=True)])


def keystr(kp: KeyPath) -> str:
    """A path as Python writes it.

    Example:
        >>> from facula.utils import _pytree as pytree
        >>> pytree.keystr((pytree.MappingKey("a"), pytree.SequenceKey(0), pytree.GetAttrKey("x")))
        "['a'][0].x"
    """
    return "".join(map(str, kp))


def key_get(obj: Any, kp: KeyPath) -> Any:
    """What lies at the end of the path.

    Example:
        >>> from facula.utils import _pytree as pytree
        >>> pytree.key_get({"a": [1, 2]}, (pytree.MappingKey("a"), pytree.SequenceKey(1)))
        2
    """
    for key in kp:
        obj = key.get(obj)
    return obj
