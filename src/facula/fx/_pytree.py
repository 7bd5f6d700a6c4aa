"""Taking arguments apart by a tree that was seen when a graph was traced: what generated code calls."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

from facula.utils._pytree import TreeSpec, is_namedtuple_class

FlattenFuncSpec = Callable[[Any, TreeSpec], list[Any]]
FlattenFuncExactMatchSpec = Callable[[Any, TreeSpec], bool]
SUPPORTED_NODES: dict[type, FlattenFuncSpec] = {}
SUPPORTED_NODES_EXACT_MATCH: dict[type, FlattenFuncExactMatchSpec | None] = {}

__all__ = ["register_pytree_flatten_spec", "tree_flatten_spec"]


def register_pytree_flatten_spec(cls: type, flatten_fn_spec: FlattenFuncSpec,
                                 flatten_fn_exact_match_spec: FlattenFuncExactMatchSpec | None = None) -> None:
    """Say how the children of a `cls` are found by a spec: `flatten_fn_spec(tree, spec)` gives them in its order."""
    SUPPORTED_NODES[cls] = flatten_fn_spec
    SUPPORTED_NODES_EXACT_MATCH[cls] = flatten_fn_exact_match_spec


def _deregister_pytree_flatten_spec(cls: type) -> None:
    del SUPPORTED_NODES[cls]
    del SUPPORTED_NODES_EXACT_MATCH[cls]


def tree_flatten_spec(pytree: Any, spec: TreeSpec) -> list[Any]:
    """The leaves of `pytree` at the places where `spec` has leaves.

    Raises:
        RuntimeError: a type that nobody has registered.

    Example:
        >>> from facula.fx import _pytree as fx_pytree
        >>> from facula.utils import _pytree as pytree
        >>> spec = pytree.tree_structure({"a": 0, "b": (0, 0)})
        >>> fx_pytree.tree_flatten_spec({"b": (2, [3]), "a": 1}, spec)
        [1, 2, [3]]
    """
    if spec.is_leaf():
        return [pytree]
    if spec.type not in SUPPORTED_NODES:
        raise RuntimeError(f"{type(pytree)} does not have a flatten_fn_spec associated with it. Please register one "
                           "with torch.fx._pytree.register_pytree_flatten_spec.  If you have serialized your model, "
                           "make sure that any custom pytrees have been registered before loading it.")
    found: list[Any] = []
    for child, child_spec in zip(SUPPORTED_NODES[spec.type](pytree, spec), spec.children(), strict=False):
        found += tree_flatten_spec(child, child_spec)
    return found


def _dict_flatten_spec(d: dict[Any, Any], spec: TreeSpec) -> list[Any]:
    return [d[key] for key in spec.context]


def _list_flatten_spec(d: list[Any], spec: TreeSpec) -> list[Any]:
    return [d[k] for k in range(len(spec.children()))]


def _tuple_flatten_spec(d: tuple[Any, ...], spec: TreeSpec) -> list[Any]:
    return [d[k] for k in range(len(spec.children()))]


def _namedtuple_flatten_spec(d: Any, spec: TreeSpec) -> list[Any]:
    return [d[k] for k in range(len(spec.children()))]


def _dict_flatten_spec_exact_match(d: dict[Any, Any], spec: TreeSpec) -> bool:
    return set(d) == set(spec.context)


def _list_flatten_spec_exact_match(d: list[Any], spec: TreeSpec) -> bool:
    return len(d) == len(spec.children())


def _tuple_flatten_spec_exact_match(d: tuple[Any, ...], spec: TreeSpec) -> bool:
    return len(d) == len(spec.children())


def _namedtuple_flatten_spec_exact_match(d: Any, spec: TreeSpec) -> bool:
    return is_namedtuple_class(type(d)) and len(d) == len(spec.children())


register_pytree_flatten_spec(dict, _dict_flatten_spec, _dict_flatten_spec_exact_match)
register_pytree_flatten_spec(list, _list_flatten_spec, _list_flatten_spec_exact_match)
register_pytree_flatten_spec(tuple, _tuple_flatten_spec, _tuple_flatten_spec_exact_match)
register_pytree_flatten_spec(namedtuple, _namedtuple_flatten_spec, _namedtuple_flatten_spec_exact_match)  # type: ignore[arg-type]
