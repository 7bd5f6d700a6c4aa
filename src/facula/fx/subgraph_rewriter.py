"""`replace_pattern`: exchange each place where a pattern is for another graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from facula.fx._compatibility import compatibility
from facula.fx._submodules import _has_attr
from facula.fx._symbolic_trace import symbolic_trace
from facula.fx.graph import Graph
from facula.fx.graph_module import GraphModule
from facula.fx.node import Node, nodes_by_place
from facula.fx.passes.utils.matcher_utils import InternalMatch, SubgraphMatcher
from facula.nn import Module

__all__ = ["Match", "ReplacedPatterns", "replace_pattern", "replace_pattern_with_filters"]

Filter = Callable[[InternalMatch, Graph, Graph], bool]


@compatibility(is_backward_compatible=True)
class Match(NamedTuple):
    """Where a pattern was: its own last node, and the node that stood for each of its nodes."""

    anchor: Node
    nodes_map: dict[Node, Node]


@compatibility(is_backward_compatible=False)
@dataclass
class ReplacedPatterns:
    """Where a pattern was (see Match), and the nodes that stand there now."""

    anchor: Node
    nodes_map: dict[Node, Node]
    replacements: list[Node]


@compatibility(is_backward_compatible=True)
def replace_pattern(gm: GraphModule, pattern: Callable[..., Any] | GraphModule,
                    replacement: Callable[..., Any] | GraphModule) -> list[Match]:
    """Exchange each place in `gm` where `pattern` is for `replacement`, in place. Both are functions, which are traced,
    or GraphModules, with the same arguments and as many results. Places that overlap with an earlier one stay.

    Example:
        >>> import facula
        >>> module = facula.fx.symbolic_trace(lambda x, w: facula.relu(facula.matmul(x, w)) + 1)
        >>> found = facula.fx.replace_pattern(module, lambda a, b: facula.relu(facula.matmul(a, b)),
        ...                                   lambda a, b: facula.matmul(a, b).clamp(min=0))
        >>> print(len(found), module.code.strip())
        1 def forward(self, x, w):
            matmul_1 = torch.matmul(x, w);  x = w = None
            clamp = matmul_1.clamp(min = 0);  matmul_1 = None
            add = clamp + 1;  clamp = None
            return add
    """
    return [Match(found.anchor, found.nodes_map) for found in _replace_pattern(gm, pattern, replacement)]


@compatibility(is_backward_compatible=False)
def replace_pattern_with_filters(
        gm: GraphModule, pattern: Any, replacement: Any = None, match_filters: list[Filter] | None = None,
        ignore_literals: bool = False,
        replacement_callback: Callable[[InternalMatch, Graph, Graph], Graph] | None = None,
        node_name_match: str = "") -> list[ReplacedPatterns]:
    """`replace_pattern` where each of `match_filters(match, graph, pattern_graph)` agrees.

    Args:
        ignore_literals: numbers and other constants in the pattern may be others.
        replacement_callback: gives the replacement's graph for a match, in place of `replacement`.
    """
    return _replace_pattern(gm, pattern, replacement, match_filters, ignore_literals, replacement_callback,
                            node_name_match)


def _graph_of(given: Any) -> Graph:
    if isinstance(given, GraphModule):
        return given.graph
    return given if isinstance(given, Graph) else symbolic_trace(given).graph


def _replace_pattern(gm: GraphModule, pattern: Any, replacement: Any = None, match_filters: list[Filter] | None = None,
                     ignore_literals: bool = False, replacement_callback: Any = None,
                     node_name_match: str = "") -> list[ReplacedPatterns]:
    graph = gm.graph
    pattern_graph = _graph_of(pattern)
    matcher = SubgraphMatcher(pattern_graph, match_output=False, match_placeholder=False,
                              remove_overlapping_matches=True, ignore_literals=ignore_literals)
    matches = [match for match in matcher.match(graph, node_name_match)
               if all(agrees(match, graph, pattern_graph) for agrees in match_filters or ())]
    common: Any = None
    if isinstance(replacement, (GraphModule, Graph)) or callable(replacement):
        common = _graph_of(replacement)
    elif replacement_callback is None:
        raise AssertionError("Must provide either a replacement GraphModule or a replacement callback")
    changed: dict[Node, Any] = {}
    found = [_replaced(graph, pattern_graph, match, changed,
                       replacement_callback(match, graph, pattern_graph) if replacement_callback else common)
             for match in matches]
    gm.recompile()
    if isinstance(replacement, Module):
        _replace_attributes(gm, replacement)
    return found


def _replaced(graph: Graph, pattern: Graph, match: InternalMatch, changed: dict[Node, Any],
              replacement: Graph) -> ReplacedPatterns:
    """Put a copy of `replacement` in the place of a match. `changed`: what former copies have replaced."""
    placeholders = replacement.find_nodes(op="placeholder")
    if len(match.placeholder_nodes) != len(placeholders):
        raise AssertionError(f"Expected {len(match.placeholder_nodes)} placeholders, got {len(placeholders)}")
    val_map: dict[Node, Any] = {}
    for placeholder, gn in zip(placeholders, match.placeholder_nodes, strict=True):
        val_map[placeholder] = changed.get(gn, gn) if isinstance(gn, Node) else gn
        if isinstance(gn, Node) and gn in changed:
            at = match.placeholder_nodes.index(gn)
            match.placeholder_nodes[at] = changed[gn]
            match.nodes_map = {pn: changed.get(n, n) if isinstance(n, Node) and pn.op == "placeholder" else n
                               for pn, n in match.nodes_map.items()}
    # A pattern may return one of its placeholders, which may stand for a number: nobody is to be told of that.
    returned = [node for node in match.returning_nodes if isinstance(node, Node)]
    users = {user for node in returned for user in node.users}
    if users:
        first = nodes_by_place(users)[0]
    else:
        first = returned[0].next if returned else graph.output_node()
        for node in returned:
            first = max(first, node.next)
    inputs = [node for node in val_map.values() if isinstance(node, Node)]
    if inputs:
        last_input = nodes_by_place(inputs)[-1]
        if first < last_input.next:
            first = last_input.next
    with graph.inserting_before(first):
        copied = graph.graph_copy(replacement, val_map)
    if isinstance(copied, Node):
        copied = (copied,)
    copied = tuple(copied.values()) if isinstance(copied, dict) else copied
    made = [node for node in val_map.values() if isinstance(node, Node) and node not in match.placeholder_nodes]
    if len(match.returning_nodes) != len(copied):
        raise AssertionError(f"Expected {len(match.returning_nodes)} results, got {len(copied)}")
    for gn, new in zip(match.returning_nodes, copied, strict=True):
        if not isinstance(gn, Node) or gn is new:
            continue
        gn.replace_all_uses_with(new)
        changed[gn] = new
    for node in reversed(pattern.nodes):
        if node.op not in ("placeholder", "output"):
            graph.erase_node(match.nodes_map[node])
    return ReplacedPatterns(match.anchors[0], match.nodes_map, made)


def _replace_attributes(gm: GraphModule, replacement: Module) -> None:
    """Have the submodules and attributes of the replacement where the graph mentions them now."""
    gm.delete_all_unused_submodules()
    if isinstance(replacement, GraphModule):
        replacement.graph.lint()
    for node in gm.graph.nodes:
        if node.op not in ("call_module", "get_attr") or _has_attr(gm, node.target):
            continue
        if not _has_attr(replacement, node.target):
            raise RuntimeError(f'Attempted to create a "{node.op}" node during subgraph rewriting with target '
                               f"{node.target}, but the referenced attribute does not exist in the replacement "
                               "GraphModule")
        found: Any = replacement
        for part in node.target.split("."):
            found = getattr(found, part)
        if isinstance(found, Module):
            gm.add_submodule(node.target, found)
        else:
            owner: Any = gm
            *path, name = node.target.split(".")
            for part in path:
                if not hasattr(owner, part):
                    owner.add_module(part, Module())
                owner = getattr(owner, part)
            setattr(owner, name, found)
    gm.graph.lint()


