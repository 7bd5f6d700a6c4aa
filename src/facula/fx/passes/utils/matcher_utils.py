"""`SubgraphMatcher`: where in a graph a pattern is, itself a graph."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from facula._tensor.handle import Tensor
from facula.fx._compatibility import compatibility
from facula.fx._names import same_call
from facula.fx.graph import Graph
from facula.fx.node import Node
from facula.fx.operator_schemas import normalize_function

__all__ = ["InternalMatch", "SubgraphMatcher"]


@compatibility(is_backward_compatible=False)
@dataclass
class InternalMatch:
    """Where a pattern is: its last nodes (`anchors`), and the nodes that stand for each of its nodes, for its
    placeholders in their order, and for what it returns."""

    anchors: list[Node]
    nodes_map: dict[Node, Any] = field(default_factory=dict)
    placeholder_nodes: list[Any] = field(default_factory=list)
    returning_nodes: list[Node] = field(default_factory=list)
    name_node_map: dict[str, Node] = field(default_factory=dict)

    def __copy__(self) -> InternalMatch:
        return InternalMatch(self.anchors, self.nodes_map.copy(), self.placeholder_nodes.copy(),
                             self.returning_nodes.copy())


@compatibility(is_backward_compatible=False)
class SubgraphMatcher:
    """Finds a pattern in graphs.

    Args:
        match_output: the pattern's output is to be a graph's output.
        match_placeholder: its placeholders are to be placeholders.
        remove_overlapping_matches: each node is in one match at most.
        ignore_literals: numbers and other constants may be others.

    Raises:
        ValueError: an empty pattern, or one with nodes that lead nowhere.

    Example:
        >>> import facula
        >>> from facula.fx.passes.utils.matcher_utils import SubgraphMatcher
        >>> pattern = facula.fx.symbolic_trace(lambda x: facula.relu(x) + 1).graph
        >>> graph = facula.fx.symbolic_trace(lambda a: facula.neg(facula.relu(a) + 1)).graph
        >>> SubgraphMatcher(pattern).match(graph)[0].returning_nodes
        [add]
    """

    def __init__(self, pattern: Graph, match_output: bool = False, match_placeholder: bool = False,
                 remove_overlapping_matches: bool = True, ignore_literals: bool = False) -> None:
        self.pattern = pattern
        self.match_output = match_output
        self.match_placeholder = match_placeholder
        self.remove_overlapping_matches = remove_overlapping_matches
        self.ignore_literals = ignore_literals
        if len(pattern.nodes) == 0:
            raise ValueError("SubgraphMatcher cannot be initialized with an empty pattern")
        for node in pattern.nodes:
            if node.op != "output" and node.op != "placeholder" and not node.is_impure() and not node.users:
                raise AssertionError("SubgraphMatcher cannot be initialized with an pattern with dead code")
        self.pattern_placeholder_nodes = [node for node in pattern.nodes if node.op == "placeholder"]
        output = pattern.output_node()
        self.pattern_returning_nodes: list[Node] = output.all_input_nodes
        self.pattern_anchors: list[Node] = [output] if match_output else [
            node for node in output.all_input_nodes if len(node.users) == 1]

    # -- single nodes ---------------------------------------------------------------------------
    def _match_attributes(self, pn: Node, gn: Node) -> bool:
        """Do two get_attr nodes read tensors, or the same thing otherwise?"""
        there, here = _attribute_of(pn), _attribute_of(gn)
        if there is None or here is None:
            return bool(pn.target == gn.target)
        if isinstance(there, Tensor):
            return isinstance(here, Tensor)
        return type(there) is type(here) and (there is here or bool(there == here))

    def _nodes_are_equal(self, pn: Node, gn: Node, node_name_match: str = "") -> bool:
        """May `gn` stand for `pn`, whatever their arguments are?"""
        if not self.match_placeholder and pn.op == "placeholder":
            return True
        if node_name_match and node_name_match in gn.name:
            return True
        if pn.op != gn.op:
            return False
        if pn.op in ("placeholder", "output"):
            return True
        if pn.op == "get_attr":
            return self._match_attributes(pn, gn)
        return bool(pn.target == gn.target) or pn.op == "call_function" and same_call(pn.target, gn.target)

    def _is_contained(self, nodes_map: dict[Node, Any]) -> bool:
        """Does nobody else use what is inside of the match?"""
        inside = {gn: pn for pn, gn in nodes_map.items() if pn.op != "placeholder" and isinstance(gn, Node)}
        for gn, pn in inside.items():
            if pn.op == "output" or pn in self.pattern_returning_nodes:
                continue
            if any(user not in inside for user in gn.users):
                return False
        return True

    # -- trees of nodes -------------------------------------------------------------------------
    def _match_literals(self, pn: Any, gn: Any, match: InternalMatch) -> bool:
        """Compare where not both are nodes."""
        if isinstance(pn, Node):
            if pn.op != "placeholder":
                return False
            if pn in match.nodes_map:
                return bool(match.nodes_map[pn] == gn)
            match.nodes_map[pn] = gn
            return True
        if isinstance(gn, Node):
            return False
        return type(gn) is type(pn) and (self.ignore_literals or bool(pn == gn))

    def _match_nodes(self, pn: Node, gn: Node, match: InternalMatch, node_name_match: str = "") -> bool:
        """Does `gn` with all it depends on stand for `pn`? Then `match` has it."""
        if pn in match.nodes_map:
            return bool(match.nodes_map[pn] == gn)
        if gn in match.nodes_map.values():
            return False
        if not self._nodes_are_equal(pn, gn, node_name_match):
            return False
        saved = copy.copy(match)
        match.nodes_map[pn] = gn
        if pn.op == "placeholder" or self._arguments_match(pn, gn, match, node_name_match):
            return True
        match.nodes_map = saved.nodes_map
        return False

    def _arguments_match(self, pn: Node, gn: Node, match: InternalMatch, node_name_match: str) -> bool:
        pairs = _paired(pn, gn)
        return pairs is not None and all(self._values_match(a, b, match, node_name_match) for a, b in pairs)

    def _values_match(self, a: Any, b: Any, match: InternalMatch, node_name_match: str) -> bool:
        if isinstance(a, Node) and isinstance(b, Node):
            return self._match_nodes(a, b, match, node_name_match)
        if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
            return len(a) == len(b) and all(self._values_match(x, y, match, node_name_match)
                                            for x, y in zip(a, b, strict=True))
        if isinstance(a, dict) and isinstance(b, dict):
            return a.keys() == b.keys() and all(self._values_match(a[key], b[key], match, node_name_match)
                                                for key in a)
        if isinstance(a, slice) and isinstance(b, slice):
            return all(self._values_match(x, y, match, node_name_match) for x, y in (
                (a.start, b.start), (a.stop, b.stop), (a.step, b.step)))
        return self._match_literals(a, b, match)

    # -- the whole ------------------------------------------------------------------------------
    def match(self, graph: Graph, node_name_match: str = "") -> list[InternalMatch]:
        """All places where the pattern is. KeyError for a pattern with a placeholder that it does not use."""
        candidates = [[node for node in graph.nodes if self._nodes_are_equal(anchor, node)]
                      for anchor in self.pattern_anchors]
        found = [match for match in self._matches(candidates, node_name_match) if self._is_valid(match)]
        if self.remove_overlapping_matches:
            found = self._remove_overlapping_matches(found)
        for match in found:
            match.placeholder_nodes = [match.nodes_map[pn] for pn in self.pattern_placeholder_nodes]
            match.returning_nodes = [match.nodes_map[pn] for pn in self.pattern_returning_nodes]
        return found

    def _matches(self, candidates: list[list[Node]], node_name_match: str) -> Iterator[InternalMatch]:
        """Each choice of nodes for the anchors of which all fit."""
        def further(k: int, match: InternalMatch) -> Iterator[InternalMatch]:
            if k == len(candidates):
                yield match
                return
            for node in candidates[k]:
                tried = copy.copy(match)
                if self._match_nodes(self.pattern_anchors[k], node, tried, node_name_match):
                    yield from further(k + 1, tried)
        yield from further(0, InternalMatch(anchors=self.pattern_anchors))

    def _is_valid(self, match: InternalMatch) -> bool:
        return self._is_contained(match.nodes_map)

    def _remove_overlapping_matches(self, matches: list[InternalMatch]) -> list[InternalMatch]:
        kept: list[InternalMatch] = []
        taken: set[Node] = set()
        for match in matches:
            nodes = {gn for pn, gn in match.nodes_map.items()
                     if pn.op not in ("placeholder", "output") and isinstance(gn, Node)}
            if not nodes & taken:
                kept.append(match)
                taken |= nodes
        return kept


def _attribute_of(node: Node) -> Any:
    found = node.graph.owning_module
    if found is None:
        return None
    for part in node.target.split("."):
        found = getattr(found, part, None)
    return found


def _paired(pn: Node, gn: Node) -> list[tuple[Any, Any]] | None:
    """The arguments of two calls side by side; None if they are not alike."""
    if len(pn.args) == len(gn.args) and pn.kwargs.keys() == gn.kwargs.keys():
        return [*zip(pn.args, gn.args, strict=True), *((pn.kwargs[key], gn.kwargs[key]) for key in pn.kwargs)]
    if pn.op != "call_function":
        return None
    there = normalize_function(pn.target, pn.args, dict(pn.kwargs), normalize_to_only_use_kwargs=True)
    here = normalize_function(gn.target, gn.args, dict(gn.kwargs), normalize_to_only_use_kwargs=True)
    if there is None or here is None or there.kwargs.keys() != here.kwargs.keys():
        return None
    return [(there.kwargs[key], here.kwargs[key]) for key in there.kwargs]


