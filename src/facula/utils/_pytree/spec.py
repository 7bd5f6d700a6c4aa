"""`TreeSpec`: the structure of a tree, without its leaves."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Mapping
from typing import Any

from facula.errors import warn
from facula.utils._pytree.registry import SUPPORTED_NODES, _get_node_type

_DICTS = (dict, OrderedDict, defaultdict)


class TreeSpec:
    """A node's type, its context (keys, say) and its children's specs; a leaf has the type None.

    Attributes:
        type, context: what kind of node; what beside the children is needed to build it.
        num_leaves, num_nodes, num_children: leaves below, nodes and leaves including itself, children.

    Example:
        >>> from facula.utils import _pytree as pytree
        >>> spec = pytree.tree_structure([1, {"a": 2}])
        >>> spec.num_leaves, spec.num_nodes, spec.type
        (2, 4, <class 'list'>)
        >>> spec.unflatten("xy")
        ['x', {'a': 'y'}]
    """

    __slots__ = ("type", "context", "_children", "num_nodes", "num_leaves", "num_children")
    num_nodes: int
    num_leaves: int

    def __init__(self, type: Any, context: Any, children_specs: list[TreeSpec]) -> None:
        leaf = type is None
        self.type, self.context, self._children = type, context, children_specs
        self.num_children = len(children_specs)
        self.num_nodes = 1 + sum(child.num_nodes for child in children_specs)
        self.num_leaves = 1 if leaf else sum(child.num_leaves for child in children_specs)

    @property
    def children_specs(self) -> list[TreeSpec]:
        return self._children

    def children(self) -> list[TreeSpec]:
        """The specs of the children."""
        return list(self._children)

    def child(self, index: int) -> TreeSpec:
        """The spec of one child."""
        return self._children[index]

    def is_leaf(self) -> bool:
        """Does it stand for a leaf?"""
        return self.type is None

    def unflatten(self, leaves: Iterable[Any]) -> Any:
        """The tree with these leaves. ValueError if there are more or fewer than it has places."""
        if not isinstance(leaves, (list, tuple)):
            leaves = list(leaves)
        if len(leaves) != self.num_leaves:
            raise ValueError(f"treespec.unflatten(leaves): `leaves` has length {len(leaves)} but the spec refers to a "
                             f"pytree that holds {self.num_leaves} items ({self}).")
        return self._built(iter(leaves))

    def _built(self, leaves: Any) -> Any:
        if self.type is None:
            return next(leaves)
        return SUPPORTED_NODES[self.type].unflatten_fn([child._built(leaves) for child in self._children], self.context)

    def flatten_up_to(self, tree: Any) -> list[Any]:
        """What of `tree` stands where this spec has leaves. ValueError if `tree` is built otherwise above them.

        Example:
            >>> from facula.utils import _pytree as pytree
            >>> pytree.tree_structure([0, 0]).flatten_up_to([[1, 2], 3])
            [[1, 2], 3]
        """
        found: list[Any] = []
        self._up_to(tree, found)
        return found

    def _up_to(self, tree: Any, found: list[Any]) -> None:
        if self.type is None:
            found.append(tree)
            return
        kind = _get_node_type(tree)
        if self.type in _DICTS and kind in _DICTS:
            for part, child in zip(self._by_key(tree), self._children, strict=True):
                child._up_to(part, found)
            return
        if kind is not self.type:
            raise ValueError(f"Node type mismatch; expected {self.type!r}, but got {kind!r}.")
        parts, context = SUPPORTED_NODES[kind].flatten_fn(tree)
        if len(parts) != self.num_children:
            raise ValueError(f"Node arity mismatch; expected {self.num_children}, but got {len(parts)}.")
        if kind is not deque and context != self.context:  # a deque's greatest length is no part of its structure
            raise ValueError(f"Node context mismatch for custom node type {kind!r}: expected {self.context!r}, but got "
                             f"{context!r}.")
        for part, child in zip(parts, self._children, strict=True):
            child._up_to(part, found)

    def _by_key(self, tree: Any) -> list[Any]:
        """The values of a dict in the order in which this spec has the keys: dicts of all kinds fit each other."""
        keys = self.context[1] if self.type is defaultdict else self.context
        missing, extra = set(keys) - set(tree), set(tree) - set(keys)
        if missing or extra:
            said = [f"missing key(s): {missing}"] if missing else []
            said += [f"extra key(s): {extra}"] if extra else []
            raise ValueError(f"Node keys mismatch; {'; '.join(said)}.")
        return [tree[key] for key in keys]

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, TreeSpec):
            return NotImplemented
        return (self.type is other.type and self.num_leaves == other.num_leaves and self.context == other.context
                and self._children == other._children)

    def __hash__(self) -> int:
        keys = self.context[1] if self.type is defaultdict else self.context
        about = tuple(keys) if self.type in _DICTS else None
        return hash((self.type, about, tuple(self._children)))

    def __repr__(self, indent: int = 0) -> str:
        if self.type is None:
            return "*"
        name = getattr(self.type, "__name__", repr(self.type))
        text = f"TreeSpec({name}, {self.context}, ["
        if self._children:
            indent += 2
            text += self._children[0].__repr__(indent)
            if self.num_children > 1:
                text += ","
            between = ",\n" + " " * indent
            if self.num_children > 1:
                text += "\n" + " " * indent + between.join(c.__repr__(indent) for c in self._children[1:])
        return text + "])"


_LEAF = TreeSpec(None, None, [])


def treespec_leaf() -> TreeSpec:
    """The spec of a leaf."""
    return _LEAF


class LeafSpec(TreeSpec):
    """The spec of a leaf, as old programs make it; `treespec_leaf()` now."""

    __slots__ = ()

    def __init__(self) -> None:
        warn("`LeafSpec()` is deprecated, use `treespec_leaf()` instead.", FutureWarning)
        super().__init__(None, None, [])


def treespec_tuple(iterable: Iterable[TreeSpec] = (), /) -> TreeSpec:
    """The spec of a tuple of what these specs stand for."""
    return TreeSpec(tuple, None, list(iterable))


def treespec_dict(mapping: Mapping[Any, TreeSpec] | Iterable[tuple[Any, TreeSpec]] = (), /,
                  **kwargs: TreeSpec) -> TreeSpec:
    """The spec of a dict of what these specs stand for."""
    children = dict(mapping, **kwargs)
    return TreeSpec(dict, list(children), list(children.values()))
