"""Trees of Python containers (`torch.utils._pytree`): taken apart into leaves and put together again.

Tuples, lists, dicts, named tuples, `OrderedDict`, `defaultdict`, `deque`, `Size` and the named results of operations
are nodes, by their exact type; so is every class that `register_pytree_node` was told of. Whatever else is a leaf.

    registry.py    which types are nodes, and how each is taken apart
    keys.py        how a leaf is reached: `['a'][0].x`
    spec.py        `TreeSpec`: a tree without its leaves
    trees.py       flatten, unflatten, map and their kin
    dumping.py     a TreeSpec as JSON
    dataclass_nodes.py   dataclasses as nodes, classes as constants

Example:
    >>> from facula.utils import _pytree as pytree
    >>> leaves, spec = pytree.tree_flatten({"a": 1, "b": [2, (3, None)]})
    >>> leaves
    [1, 2, 3, None]
    >>> pytree.tree_unflatten([leaf and 10 * leaf for leaf in leaves], spec)
    {'a': 10, 'b': [20, (30, None)]}
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque

from facula.utils._pytree.dataclass_nodes import ConstantNode, is_constant_class, register_constant, register_dataclass
from facula.utils._pytree.dumping import (
    pytree_to_str,
    str_to_pytree,
    treespec_dumps,
    treespec_loads,
    treespec_pprint,
)
from facula.utils._pytree.keys import (
    KeyEntry,
    key_get,
    keystr,
    tree_flatten_with_path,
    tree_leaves_with_path,
    tree_map_with_path,
)
from facula.utils._pytree.registry import (
    BUILTIN_TYPES,
    SUPPORTED_NODES,
    GetAttrKey,
    MappingKey,
    NodeDef,
    SequenceKey,
    _deregister_pytree_node,
    _get_node_type,
    _is_namedtuple_instance,
    _private_register_pytree_node,
    _register_namedtuple,
    _register_pytree_node,
    is_namedtuple,
    is_namedtuple_class,
    is_namedtuple_instance,
    is_structseq,
    is_structseq_class,
    is_structseq_instance,
    register_pytree_node,
    tree_is_leaf,
)
from facula.utils._pytree.registry import tree_is_leaf as _is_leaf
from facula.utils._pytree.spec import (
    LeafSpec,
    TreeSpec,
    treespec_dict,
    treespec_leaf,
    treespec_tuple,
)
from facula.utils._pytree.spec import TreeSpec as PyTreeSpec
from facula.utils._pytree.trees import (
    Context,
    DumpableContext,
    FlattenFn,
    FromDumpableContextFn,
    PyTree,
    ToDumpableContextFn,
    UnflattenFn,
    _broadcast_to_and_flatten,
    arg_tree_leaves,
    map_only,
    tree_all,
    tree_all_only,
    tree_any,
    tree_any_only,
    tree_flatten,
    tree_iter,
    tree_leaves,
    tree_map,
    tree_map_,
    tree_map_only,
    tree_map_only_,
    tree_structure,
    tree_unflatten,
)

__all__ = [
    "BUILTIN_TYPES", "ConstantNode", "Context", "DumpableContext", "FlattenFn", "FromDumpableContextFn", "GetAttrKey",
    "KeyEntry", "LeafSpec", "MappingKey", "NodeDef", "PyTree", "PyTreeSpec", "SUPPORTED_NODES", "SequenceKey",
    "ToDumpableContextFn", "TreeSpec", "UnflattenFn", "_broadcast_to_and_flatten", "_deregister_pytree_node",
    "_get_node_type", "_is_leaf", "_is_namedtuple_instance", "_private_register_pytree_node", "_register_namedtuple",
    "_register_pytree_node", "arg_tree_leaves", "is_constant_class", "is_namedtuple", "is_namedtuple_class",
    "is_namedtuple_instance", "is_structseq", "is_structseq_class", "is_structseq_instance", "key_get", "keystr",
    "map_only", "pytree_to_str", "register_constant", "register_dataclass", "register_pytree_node", "str_to_pytree",
    "tree_all", "tree_all_only", "tree_any", "tree_any_only", "tree_flatten", "tree_flatten_with_path",
    "tree_is_leaf", "tree_iter", "tree_leaves", "tree_leaves_with_path", "tree_map", "tree_map_", "tree_map_only",
    "tree_map_only_", "tree_map_with_path", "tree_structure", "tree_unflatten", "treespec_dict", "treespec_dumps",
    "treespec_leaf", "treespec_loads", "treespec_pprint", "treespec_tuple",
]


def _by_name() -> dict[str, object]:
    """How the containers of Python are nodes, under torch's private names for it, which libraries build upon."""
    found: dict[str, object] = {}
    for kind, name in ((dict, "dict"), (list, "list"), (tuple, "tuple"), (OrderedDict, "ordereddict"),
                       (defaultdict, "defaultdict"), (deque, "deque")):
        node = SUPPORTED_NODES[kind]
        found |= {f"_{name}_flatten": node.flatten_fn, f"_{name}_unflatten": node.unflatten_fn,
                  f"_{name}_flatten_with_keys": node.flatten_with_keys_fn}
    return found


globals().update(_by_name())
