"""Lists and dictionaries that do not change: what the arguments of a Node are kept in.

Example:
    >>> from facula.fx.immutable_collections import immutable_list
    >>> immutable_list([1, 2]).append(3)
    Traceback (most recent call last):
    TypeError: 'immutable_list' object does not support mutation. If you are attempting to modify the kwargs or args \
of a torch.fx.Node object,
    instead create a new copy of it and assign the copy to the node:
    <BLANKLINE>
        new_args = ...  # copy and mutate args
        node.args = new_args
"""

from __future__ import annotations

from typing import Any, NoReturn

from facula.utils._pytree import SUPPORTED_NODES, register_pytree_node

__all__ = ["immutable_dict", "immutable_list"]


def _no_mutation(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
    raise TypeError(f"'{type(self).__name__}' object does not support mutation. If you are attempting to modify the "
                    "kwargs or args of a torch.fx.Node object,\ninstead create a new copy of it and assign the copy "
                    "to the node:\n\n    new_args = ...  # copy and mutate args\n    node.args = new_args")


class immutable_list(list):  # type: ignore[type-arg]
    """A list that raises TypeError where it would be changed; it can be a key."""

    __delitem__ = __iadd__ = __imul__ = __setitem__ = _no_mutation  # type: ignore[assignment]
    append = clear = extend = insert = pop = remove = reverse = sort = _no_mutation  # type: ignore[assignment]

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self))

    def __reduce__(self) -> Any:
        return immutable_list, (tuple(self),)


class immutable_dict(dict):  # type: ignore[type-arg]
    """A dictionary that raises TypeError where it would be changed; it can be a key."""

    __delitem__ = __ior__ = __setitem__ = _no_mutation  # type: ignore[assignment]
    clear = pop = popitem = setdefault = update = _no_mutation  # type: ignore[assignment]

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> Any:
        return immutable_dict, (tuple(self.items()),)


def _as_nodes_of_trees() -> None:
    for kind, like in ((immutable_list, list), (immutable_dict, dict)):
        node = SUPPORTED_NODES[like]

        def rebuilt(leaves: Any, context: Any, kind: Any = kind, node: Any = node) -> Any:
            return kind(node.unflatten_fn(list(leaves), context))
        register_pytree_node(kind, node.flatten_fn, rebuilt, serialized_type_name=f"torch.fx.{kind.__name__}",
                             flatten_with_keys_fn=node.flatten_with_keys_fn)


_as_nodes_of_trees()
