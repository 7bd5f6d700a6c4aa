"""Which nodes a backend can do: what splitters and partitioners ask."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import Any

from facula.fx._compatibility import compatibility
from facula.fx.node import Node
from facula.fx.passes.tools_common import CALLABLE_NODE_OPS, get_node_target
from facula.nn import Module

__all__ = ["OpSupports", "OperatorSupport", "OperatorSupportBase", "any_chain", "chain", "create_op_support"]

TargetTypeName = str
SupportedArgumentDTypes = Any
SupportDict = Mapping[TargetTypeName, SupportedArgumentDTypes]
IsNodeSupported = Callable[[Mapping[str, Module], Node], bool]


@compatibility(is_backward_compatible=False)
class OperatorSupportBase(abc.ABC):
    """Says of a node whether it can be done."""

    @abc.abstractmethod
    def is_node_supported(self, submodules: Mapping[str, Module], node: Node) -> bool:
        """Can it?"""


@compatibility(is_backward_compatible=False)
class OperatorSupport(OperatorSupportBase):
    """By a dict: names of targets (`get_node_target`) to None, or to the dtypes of arguments by position and by name
    (of which nodes know by `meta["tensor_meta"]`)."""

    _support_dict: SupportDict

    def __init__(self, support_dict: SupportDict | None = None) -> None:
        self._support_dict = support_dict or {}

    def is_node_supported(self, submodules: Mapping[str, Module], node: Node) -> bool:
        """Is its target in the dict, with these dtypes?"""
        if node.op not in CALLABLE_NODE_OPS:
            return True
        target = get_node_target(submodules, node)
        if target not in self._support_dict:
            return False
        allowed = self._support_dict[target]
        if allowed is None:
            return True
        by_position, by_name = allowed
        for k, dtypes in enumerate(by_position):
            if len(node.args) <= k:
                break
            if isinstance(node.args[k], Node) and _get_arg_dtype(node.args[k]) not in dtypes:
                return False
        for name, dtypes in by_name.items():
            if isinstance(node.kwargs.get(name), Node) and _get_arg_dtype(node.kwargs[name]) not in dtypes:
                return False
        return True


@compatibility(is_backward_compatible=False)
def create_op_support(is_node_supported: IsNodeSupported) -> OperatorSupportBase:
    """A function as an object."""
    class FunctionalOperatorSupport(OperatorSupportBase):
        def is_node_supported(self, submodules: Mapping[str, Module], node: Node) -> bool:
            return is_node_supported(submodules, node)
    return FunctionalOperatorSupport()


@compatibility(is_backward_compatible=False)
def chain(*op_support: OperatorSupportBase) -> OperatorSupportBase:
    """What all of them say can be done."""
    return create_op_support(lambda submodules, node: all(
        one.is_node_supported(submodules, node) for one in op_support))


@compatibility(is_backward_compatible=False)
def any_chain(*op_support: OperatorSupportBase) -> OperatorSupportBase:
    """What any of them says can be done."""
    return create_op_support(lambda submodules, node: any(
        one.is_node_supported(submodules, node) for one in op_support))


@compatibility(is_backward_compatible=False)
class OpSupports:
    """What cannot be done."""

    @classmethod
    def decline_if_input_dtype(cls, dtype: Any) -> OperatorSupportBase:
        """A node with an argument of that dtype."""
        return create_op_support(lambda submodules, node: all(
            _get_arg_dtype(used) != dtype for used in node.all_input_nodes))

    @classmethod
    def decline_if_node_in_names(cls, disallow_set: set[str]) -> OperatorSupportBase:
        """A node of one of these names."""
        return create_op_support(lambda submodules, node: node.name not in disallow_set)


def _get_arg_dtype(arg: Node) -> Any:
    if not isinstance(arg, Node):
        raise AssertionError(f"expected a Node, got {type(arg)}")
    meta: Any = arg.meta.get("tensor_meta")
    return meta.dtype if hasattr(meta, "dtype") else arg.meta["type"]


