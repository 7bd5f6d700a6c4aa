"""The compiler as a list of passes: from pending nodes to a `PlanSpec`.

simplify     look through views, drop what nobody needs          Graph
fuse         which nodes share a kernel                          list[Group]
lower        each group to loop nests, each nest to LLVM IR      list[Work]
assign       order and memory                                    PlanSpec

FACULA_VERIFY=1 has verify.py look at what simplify, fuse and assign hand on.
"""

from __future__ import annotations

from facula import config
from facula.engine import debug
from facula.engine.compiler.fuse import fuse
from facula.engine.compiler.groups import Group
from facula.engine.compiler.kernel import ANY, Machine
from facula.engine.compiler.lower_loops import Temporary, lower_loops
from facula.engine.compiler.plan import HostStep, PlanSpec, Work, assign
from facula.engine.compiler.reads import Graph
from facula.engine.compiler.report import groups_text
from facula.engine.compiler.simplify import simplify
from facula.engine.compiler.single import lower_single
from facula.engine.compiler.symbols import tracing
from facula.engine.compiler.verify import verify_graph, verify_groups
from facula.engine.compiler.verify_memory import verify_memory
from facula.engine.graph.node import Node, size_of

__all__ = ["HostStep", "PlanSpec", "compile_plan"]


def compile_plan(
    nodes: list[Node],
    leaves: list[Node],
    outputs: list[Node],
    numbers_at: dict[Node, int],
    donated: set[Node] | frozenset[Node] = frozenset(),
    machine: Machine = ANY,
) -> PlanSpec:
    """Plan the computation of `outputs`.

    nodes        pending nodes, arguments before users
    leaves       nodes whose value is in memory; they get slots 0, 1, ...
    numbers_at   position of each node's first run-time number
    donated      leaves whose memory may be overwritten
    machine      what code is written for
    """
    formats: dict[int, str] = {}
    if debug.wants(4):
        debug.nodes_given(nodes, leaves)
    graph = simplify(nodes, leaves, outputs, numbers_at)
    verify = config.VERIFY.value and not tracing
    if verify:
        verify_graph(graph, nodes)
    groups = fuse(graph)
    if verify:
        verify_groups(graph, groups)
    if debug.wants(3):
        debug.say(groups_text(groups))
    work: list[Work] = []
    in_memory = graph.kept.union(*(_memory_reads(group, graph) for group in groups))
    for group in groups:
        work += _lower(group, in_memory, graph, formats, machine)
    given: set[object] = set(donated)
    steps, memory, aliases = assign(work, list(leaves), list(outputs), given, _bytes, graph.same)
    if given and any(isinstance(step, HostStep) for step in steps):
        # a routine may raise: what is there when it is tried again must not have been overwritten
        given = set()
        steps, memory, aliases = assign(work, list(leaves), list(outputs), given, _bytes, graph.same)
    if verify:
        verify_memory(work, steps, memory, aliases, leaves, outputs, given, _bytes, graph.same)
    count = 1 + max((at for at in formats), default=-1)
    return PlanSpec(
        steps,
        len(leaves),
        len(outputs),
        memory.temporaries,
        [formats.get(k, "") for k in range(count)],
        aliases,
        graph.notes,
    )


def _bytes(value: object) -> int:
    if isinstance(value, Temporary):
        return value.nbytes
    assert isinstance(value, Node)
    return size_of(value.shape) * value.dtype.itemsize


def _lower(
    group: Group, in_memory: set[Node], graph: Graph, formats: dict[int, str], machine: Machine
) -> list[Work]:
    if group.single:
        return lower_single(next(iter(group.members)), graph, formats, machine)
    kept = [n for n in group.members if n in in_memory]
    if not kept:
        return []
    return [launch.work() for launch in lower_loops(group, graph, kept, formats, machine)]


def _memory_reads(group: Group, graph: Graph) -> list[Node]:
    """Values a group reads that it does not compute."""
    if group.single:
        return [s for s, _ in graph.reads[next(iter(group.members))]]
    own = group.members.keys() | group.inlined
    return [s for n in own for s, _ in graph.reads[n] if s not in own]
