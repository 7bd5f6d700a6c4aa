"""Which types are nodes of a tree, and how each is taken apart and put together."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from facula.size import Size
from facula.undisturbed import reentrant_lock


class SequenceKey(NamedTuple):
    """A step to a child by its position: `[2]`."""

    idx: int

    def __str__(self) -> str:
        return f"[{self.idx!r}]"

    def get(self, sequence: Any) -> Any:
        return sequence[self.idx]


class MappingKey(NamedTuple):
    """A step to a child by its key: `['a']`."""

    key: Any

    def __str__(self) -> str:
        return f"[{self.key!r}]"

    def get(self, mapping: Any) -> Any:
        return mapping[self.key]


class GetAttrKey(NamedTuple):
    """A step to a child by its attribute: `.x`."""

    name: str

    def __str__(self) -> str:
        return f".{self.name}"

    def get(self, obj: Any) -> Any:
        return getattr(obj, self.name)


Keys = Callable[[Any], tuple[list[tuple[Any, Any]], Any]]


class NodeDef(NamedTuple):
    """How a type of nodes is taken apart: `flatten_fn(node)` gives (children, context), `unflatten_fn(children,
    context)` a node, `flatten_with_keys_fn(node)` ((key, child) pairs, context)."""

    type: Any
    flatten_fn: Callable[[Any], tuple[list[Any], Any]]
    unflatten_fn: Callable[[Iterable[Any], Any], Any]
    flatten_with_keys_fn: Keys | None


class Dumped(NamedTuple):
    """How a type of nodes is written down: its name, and its context as JSON (None: as it is)."""

    name: str | None
    write: Callable[[Any], Any] | None
    read: Callable[[Any], Any] | None


SUPPORTED_NODES: dict[Any, NodeDef] = {}
DUMPED: dict[Any, Dumped] = {}
BY_NAME: dict[str, Any] = {}
_changing = reentrant_lock()


def register_pytree_node(
    cls: type, flatten_fn: Callable[[Any], tuple[list[Any], Any]], unflatten_fn: Callable[[Iterable[Any], Any], Any], *,
    serialized_type_name: str | None = None, to_dumpable_context: Callable[[Any], Any] | None = None,
    from_dumpable_context: Callable[[Any], Any] | None = None, flatten_with_keys_fn: Keys | None = None,
) -> None:
    """Make `cls`, this exact class, a node of trees.

    Args:
        flatten_fn: from an instance to (list of children, context).
        unflatten_fn: from children and context to an instance.
        serialized_type_name: what `treespec_dumps` writes for the class; without one it refuses.
        to_dumpable_context, from_dumpable_context: the context as something that JSON takes, and back.
        flatten_with_keys_fn: from an instance to (list of (key, child), context), for paths.

    Raises:
        ValueError: the class is a node already, or only one of the two functions of contexts is given.

    Example:
        >>> from facula.utils import _pytree as pytree
        >>> class Pair:
        ...     def __init__(self, a, b): self.a, self.b = a, b
        >>> pytree.register_pytree_node(Pair, lambda p: ([p.a, p.b], None), lambda ab, _: Pair(*ab))
        >>> pytree.tree_leaves([Pair(1, 2), 3])
        [1, 2, 3]
    """
    with _changing:
        if cls in SUPPORTED_NODES:
            raise ValueError(f"{cls} is already registered as pytree node.")
        if (to_dumpable_context is None) != (from_dumpable_context is None):
            raise ValueError(f"Both to_dumpable_context and from_dumpable_context for {cls} must be None or "
                             "registered.")
        SUPPORTED_NODES[cls] = NodeDef(cls, flatten_fn, unflatten_fn, flatten_with_keys_fn)
        DUMPED[cls] = Dumped(serialized_type_name, to_dumpable_context, from_dumpable_context)
        if serialized_type_name is not None:
            BY_NAME[serialized_type_name] = cls


_private_register_pytree_node = register_pytree_node


def _register_pytree_node(
    cls: type, flatten_fn: Callable[[Any], tuple[list[Any], Any]], unflatten_fn: Callable[[Iterable[Any], Any], Any],
    to_str_fn: Any = None, maybe_from_str_fn: Any = None, **named: Any,
) -> None:
    """`register_pytree_node` as old programs spell it; the functions of strings have had no effect for long."""
    register_pytree_node(cls, flatten_fn, unflatten_fn, **named)


def _deregister_pytree_node(cls: type) -> None:
    """Forget a class that was registered."""
    with _changing:
        del SUPPORTED_NODES[cls]
        name = DUMPED.pop(cls).name
        if name is not None:
            BY_NAME.pop(name, None)


def _register_namedtuple(cls: type, *, serialized_type_name: str) -> None:
    """Give a named tuple the name under which `treespec_dumps` writes it."""
    with _changing:
        DUMPED[cls] = Dumped(serialized_type_name, None, None)
        BY_NAME[serialized_type_name] = cls


# ---- kinds of tuples ------------------------------------------------------------------------------------------------


def is_namedtuple_class(cls: Any) -> bool:
    """Is it a class that `collections.namedtuple` (or `typing.NamedTuple`) has made, or a subclass of one?"""
    fields = getattr(cls, "_fields", None) if isinstance(cls, type) and issubclass(cls, tuple) else None
    return (type(fields) is tuple and all(type(name) is str for name in fields)
            and callable(getattr(cls, "_make", None)) and callable(getattr(cls, "_asdict", None)))


def is_namedtuple_instance(obj: Any) -> bool:
    """Is it an instance of a named tuple?"""
    return is_namedtuple_class(type(obj))


_is_namedtuple_instance = is_namedtuple_instance


def is_namedtuple(obj: Any) -> bool:
    """Is it a named tuple, or a class of them?"""
    return is_namedtuple_class(obj if isinstance(obj, type) else type(obj))


def is_structseq_class(cls: Any) -> bool:
    """Is it a tuple with fields of the kind that C code makes, such as `time.struct_time`?"""
    counts = ("n_fields", "n_sequence_fields", "n_unnamed_fields")
    return (isinstance(cls, type) and issubclass(cls, tuple)
            and all(isinstance(cls.__dict__.get(name), int) for name in counts))


def is_structseq_instance(obj: Any) -> bool:
    """Is it an instance of such a class?"""
    return is_structseq_class(type(obj))


def is_structseq(obj: Any) -> bool:
    """Is it such a tuple, or a class of them?"""
    return is_structseq_class(obj if isinstance(obj, type) else type(obj))


def _get_node_type(tree: Any) -> Any:
    """Under what the registry knows a node's type: all named tuples are one, unless registered themselves."""
    kind = type(tree)
    if kind in SUPPORTED_NODES:
        return kind
    return namedtuple if is_namedtuple_class(kind) else kind  # type: ignore[no-any-return]


def tree_is_leaf(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> bool:
    """Is it a leaf: of a type that is no node, or one that `is_leaf` says is none?

    Example:
        >>> from facula.utils import _pytree as pytree
        >>> pytree.tree_is_leaf(1), pytree.tree_is_leaf([1]), pytree.tree_is_leaf(None)
        (True, False, True)
    """
    if is_leaf is not None and is_leaf(tree):
        return True
    return _get_node_type(tree) not in SUPPORTED_NODES


# ---- the containers of Python ---------------------------------------------------------------------------------------


def _positions(node: Sequence[Any]) -> list[tuple[Any, Any]]:
    return [(SequenceKey(i), child) for i, child in enumerate(node)]


def _mapped(node: Any) -> list[tuple[Any, Any]]:
    return [(MappingKey(key), child) for key, child in node.items()]


def _factory_written(context: Any) -> Any:
    factory, keys = context
    return {"default_factory_module": factory.__module__, "default_factory_name": factory.__qualname__,
            "dict_context": keys}


def _factory_read(written: Any) -> Any:
    """A defaultdict's context. Only factories of `builtins` are looked up: a name from a file is never imported."""
    module, name = written["default_factory_module"], written["default_factory_name"]
    import builtins
    if module != "builtins" or not isinstance(getattr(builtins, name, None), type):
        raise NotImplementedError(f"treespec_loads: a defaultdict of {module}.{name} is not in Facula yet: only those "
                                  "of builtin types (list, int, dict, ...) are")
    return [getattr(builtins, name), written["dict_context"]]


def _register_builtin_types() -> None:
    register_pytree_node(tuple, lambda t: (list(t), None), lambda c, _: tuple(c), serialized_type_name="builtins.tuple",
                         flatten_with_keys_fn=lambda t: (_positions(t), None))
    register_pytree_node(list, lambda t: (t, None), lambda c, _: list(c), serialized_type_name="builtins.list",
                         flatten_with_keys_fn=lambda t: (_positions(t), None))
    register_pytree_node(dict, lambda d: (list(d.values()), list(d)),
                         lambda c, keys: dict(zip(keys, c, strict=True)), serialized_type_name="builtins.dict",
                         flatten_with_keys_fn=lambda d: (_mapped(d), list(d)))
    register_pytree_node(namedtuple, lambda t: (list(t), type(t)),  # type: ignore[arg-type]
                         lambda c, cls: cls(*c), serialized_type_name="collections.namedtuple",
                         to_dumpable_context=lambda cls: DUMPED[cls].name,
                         from_dumpable_context=BY_NAME.__getitem__, flatten_with_keys_fn=lambda t: (
                             [(GetAttrKey(n), v) for n, v in zip(t._fields, t, strict=True)], type(t)))
    register_pytree_node(OrderedDict, lambda d: (list(d.values()), list(d)),
                         lambda c, keys: OrderedDict(zip(keys, c, strict=True)),
                         serialized_type_name="collections.OrderedDict",
                         flatten_with_keys_fn=lambda d: (_mapped(d), list(d)))
    register_pytree_node(defaultdict, lambda d: (list(d.values()), [d.default_factory, list(d)]),
                         lambda c, context: defaultdict(context[0], zip(context[1], c, strict=True)),
                         serialized_type_name="collections.defaultdict", to_dumpable_context=_factory_written,
                         from_dumpable_context=_factory_read,
                         flatten_with_keys_fn=lambda d: (_mapped(d), [d.default_factory, list(d)]))
    register_pytree_node(deque, lambda d: (list(d), d.maxlen), lambda c, most: deque(c, maxlen=most),
                         serialized_type_name="collections.deque",
                         flatten_with_keys_fn=lambda d: (_positions(list(d)), d.maxlen))


_register_builtin_types()
BUILTIN_TYPES = frozenset(SUPPORTED_NODES)
register_pytree_node(Size, lambda s: (list(s), None), lambda c, _: Size(c), serialized_type_name="torch.Size",
                     flatten_with_keys_fn=lambda s: (_positions(s), None))
