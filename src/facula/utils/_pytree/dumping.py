"""A TreeSpec as JSON and back, in PyTorch's form (protocol 1)."""

from __future__ import annotations

import enum
import json
from typing import Any

from facula.utils._pytree.registry import BY_NAME, DUMPED, SUPPORTED_NODES, is_namedtuple_class
from facula.utils._pytree.spec import TreeSpec, treespec_leaf

PROTOCOL = 1


def treespec_dumps(treespec: TreeSpec, protocol: int | None = None) -> str:
    """The structure as JSON.

    Raises:
        TypeError: no TreeSpec.
        ValueError: an unknown protocol (there is 1).
        NotImplementedError: a node of a class that was registered without `serialized_type_name`.

    Example:
        >>> from facula.utils import _pytree as pytree
        >>> spec = pytree.tree_structure([1, {"a": 2}])
        >>> pytree.treespec_loads(pytree.treespec_dumps(spec)) == spec
        True
    """
    if not isinstance(treespec, TreeSpec):
        raise TypeError(f"treespec_dumps(treespec, protocol): Expected `treespec` to be instance of PyTreeSpec but got "
                        f"item of type {type(treespec)}.")
    protocol = PROTOCOL if protocol is None else protocol
    if protocol != PROTOCOL:
        raise ValueError(f"Unknown protocol {protocol}. Available protocols: [{PROTOCOL}]")
    return json.dumps([protocol, _written(treespec)])


def _written(spec: TreeSpec) -> dict[str, Any]:
    if spec.is_leaf():
        return {"type": None, "context": None, "children_spec": []}
    known = DUMPED[spec.type]
    if known.name is None:
        raise NotImplementedError(f"No registered serialization name for {spec.type} found. Please update your "
                                  "_register_pytree_node call with a `serialized_type_name` kwarg.")
    if is_namedtuple_class(spec.context) and DUMPED.get(spec.context, known) is known:
        raise NotImplementedError(
            f"Can't serialize TreeSpec of namedtuple class {spec.context} because we didn't register a "
            "serializated_type_name. Please register using `_register_namedtuple`.")
    if known.write is not None:
        context = known.write(spec.context)
    else:
        try:
            context = json.dumps(spec.context, default=_enum_written)
        except TypeError as error:
            raise TypeError("Unable to serialize context. Please make the context json dump-able, or register a custom "
                            "serializer using _register_pytree_node.") from error
    return {"type": known.name, "context": context, "children_spec": [_written(child) for child in spec.children()]}


def _enum_written(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        kind = type(value)
        return {"__enum__": True, "fqn": f"{kind.__module__}.{kind.__qualname__}", "name": value.name}
    raise TypeError(f"{type(value).__name__} is not JSON serializable")


def treespec_loads(serialized: str) -> TreeSpec:
    """The structure that `treespec_dumps` wrote. Its classes have to be registered; nothing is imported by name.

    Raises:
        ValueError: an unknown protocol; a class that is not registered.
    """
    protocol, written = json.loads(serialized)
    if protocol != PROTOCOL:
        raise ValueError(f"Unknown protocol {protocol}. Available protocols: [{PROTOCOL}]")
    return _read(written)


def _read(written: dict[str, Any]) -> TreeSpec:
    name, context = written["type"], written["context"]
    if name is None:
        return treespec_leaf()
    if name == "collections.namedtuple":
        kind = next(k for k in SUPPORTED_NODES if DUMPED[k].name == name)
    elif name in BY_NAME:
        kind = BY_NAME[name]
    else:
        raise ValueError(f"Deserializing {name}: it was not registered (register_pytree_node with "
                         f"serialized_type_name={name!r})")
    reader = DUMPED[kind].read
    try:
        found = json.loads(context, object_hook=_no_enum) if reader is None else reader(context)
    except KeyError as error:
        raise ValueError(f"Can't deserialize TreeSpec of namedtuple class {error} because we couldn't find a "
                         "serialized name. Please register using `_register_namedtuple`.") from None
    return TreeSpec(kind, found, [_read(child) for child in written["children_spec"]])


def _no_enum(found: dict[str, Any]) -> Any:
    if "__enum__" in found:
        raise NotImplementedError(f"treespec_loads of a member of {found.get('fqn')} is not in Facula yet: nothing is "
                                  "imported by a name out of a file")
    return found


pytree_to_str = treespec_dumps
str_to_pytree = treespec_loads


def treespec_pprint(treespec: TreeSpec) -> str:
    """The structure as Python writes the tree, with a `*` for each leaf.

    Example:
        >>> from facula.utils import _pytree as pytree
        >>> pytree.treespec_pprint(pytree.tree_structure([1, {"a": 2}]))
        "[*, {'a': *}]"
    """
    return repr(treespec.unflatten([_Asterisk()] * treespec.num_leaves))


class _Asterisk:
    def __repr__(self) -> str:
        return "*"
