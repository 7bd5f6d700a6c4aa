"""What is to be noted on nodes that are made: annotations, and the notes of the node that is being replaced.

(`torch.fx.traceback`; nothing to do with Python's module of that name.)
"""

from __future__ import annotations

import copy
import enum
import functools
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["NodeSource", "NodeSourceAction", "annotate", "annotate_fn", "format_stack", "get_current_meta",
           "get_current_replay_node", "get_graph_provenance_json", "has_preserved_node_meta", "preserve_node_meta",
           "reset_grad_fn_seq_nr", "set_current_meta", "set_current_replay_node", "set_grad_fn_seq_nr",
           "set_stack_trace"]

_F = TypeVar("_F", bound=Callable[..., Any])


class _State:
    """What belongs to the tracing that is under way."""

    meta: dict[str, Any] = {}
    preserve = False
    replayed: Any = None


class NodeSourceAction(enum.Enum):
    """What a pass did that made a node."""

    CREATE = "create"
    REPLACE = "replace"


class NodeSource:
    """Of which node, in which pass, another one was made."""

    class NodeInfo:
        """Name, target and graph of a node that may be gone."""

        def __init__(self, name: str, target: str, graph_id: int) -> None:
            self.name, self.target, self.graph_id = name, target, graph_id

    def __init__(self, node: Any, pass_name: str = "", action: Any = None) -> None:
        self.pass_name = pass_name
        self.action: list[NodeSourceAction] = action if isinstance(action, list) else [action] if action else []
        self.node_info = NodeSource.NodeInfo(node.name, str(node.target), id(node.graph)) if node is not None else None
        self.from_node: list[NodeSource] = list(node.meta.get("from_node", [])) if node is not None else []

    @property
    def name(self) -> str:
        """The node's."""
        return self.node_info.name if self.node_info else ""

    @property
    def target(self) -> str:
        """The node's."""
        return self.node_info.target if self.node_info else ""

    @property
    def graph_id(self) -> int:
        """A number for the node's graph."""
        return self.node_info.graph_id if self.node_info else -1

    def _get_action_string(self) -> str:
        return "+".join(action.name.lower() for action in self.action)

    def print_readable(self, indent: int = 0) -> str:
        """The sources as lines, those of the source below it, further in."""
        text = f"{' ' * indent}(name={self.name}, pass_name={self.pass_name}, action={self._get_action_string()}, " \
               f"graph_id={self.graph_id})\n"
        return text + "".join(source.print_readable(indent + 4) for source in self.from_node)

    __repr__ = print_readable

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {"name": self.name, "target": self.target, "graph_id": self.graph_id, "pass_name": self.pass_name,
                "action": self._get_action_string(), "from_node": [source.to_dict() for source in self.from_node]}


def has_preserved_node_meta() -> bool:
    """Are notes kept on nodes that are made?"""
    return _State.preserve


@contextmanager
def preserve_node_meta(enable: bool = True) -> Iterator[None]:
    """Within it nodes get the notes of `get_current_meta()`."""
    before, meta = _State.preserve, _State.meta
    _State.preserve, _State.meta = enable, dict(meta)
    try:
        yield
    finally:
        _State.preserve, _State.meta = before, meta


def get_current_meta() -> dict[str, Any]:
    """The notes for nodes that are made now."""
    return _State.meta


@contextmanager
def set_current_meta(node: Any, pass_name: str = "") -> Iterator[None]:
    """Within it nodes get the notes of `node`, where notes are kept."""
    if not (_State.preserve and node.meta):
        yield
        return
    before = _State.meta
    _State.meta = {key: copy.copy(value) for key, value in node.meta.items()}
    _State.meta["from_node"] = [NodeSource(node, pass_name, NodeSourceAction.CREATE)]
    try:
        yield
    finally:
        _State.meta = before


@contextmanager
def annotate(annotation_dict: dict[str, Any]) -> Iterator[None]:
    """Within it nodes have the entries in `meta["custom"]`, where notes are kept.

    Example:
        >>> from facula.fx import traceback
        >>> with traceback.preserve_node_meta(), traceback.annotate({"stage": 1}):
        ...     traceback.get_current_meta()["custom"]
        {'stage': 1}
    """
    before = _State.meta
    _State.meta = {**before, "custom": {**before.get("custom", {}), **annotation_dict}}
    try:
        yield
    finally:
        _State.meta = before


def annotate_fn(annotation_dict: dict[str, Any]) -> Callable[[_F], _F]:
    """A decorator: the function runs within `annotate(annotation_dict)`."""
    def decorate(func: _F) -> _F:
        @functools.wraps(func)
        def annotated(*args: Any, **kwargs: Any) -> Any:
            with annotate(annotation_dict):
                return func(*args, **kwargs)
        return annotated  # type: ignore[return-value]
    return decorate


def set_stack_trace(stack: list[str]) -> None:
    """Have nodes that are made now come from that place, where notes are kept."""
    if _State.preserve and stack:
        _State.meta["stack_trace"] = "".join(stack)


def set_grad_fn_seq_nr(seq_nr: int) -> None:
    """Have nodes that are made now belong to that step of the tape."""
    if _State.preserve:
        _State.meta["grad_fn_seq_nr"] = [*_State.meta.get("grad_fn_seq_nr", []), seq_nr]
        _State.meta["in_grad_fn"] = _State.meta.get("in_grad_fn", 0) + 1


def reset_grad_fn_seq_nr() -> None:
    """Undo the last `set_grad_fn_seq_nr`."""
    if _State.preserve and _State.meta.get("in_grad_fn", 0) > 0:
        _State.meta["in_grad_fn"] -= 1
        _State.meta["grad_fn_seq_nr"] = _State.meta["grad_fn_seq_nr"][:-1]
        if not _State.meta["in_grad_fn"]:
            del _State.meta["in_grad_fn"], _State.meta["grad_fn_seq_nr"]


def format_stack() -> list[str]:
    """The place noted for nodes that are made now, else the program's present one."""
    if _State.preserve:
        return [_State.meta.get("stack_trace", "")]
    return traceback.format_list(traceback.extract_stack()[:-1])


@contextmanager
def set_current_replay_node(node: Any) -> Iterator[None]:
    """Within it `node` is the one that is being computed again."""
    before, _State.replayed = _State.replayed, node
    try:
        yield
    finally:
        _State.replayed = before


def get_current_replay_node() -> Any:
    """The node that is being computed again, or None."""
    return _State.replayed


def get_graph_provenance_json(graph: Any) -> dict[str, Any]:
    """Of what each node was made: a list of plain data by name."""
    return {node.name: [source.to_dict() for source in node.meta["from_node"]]
            for node in graph.nodes if node.meta.get("from_node")}
