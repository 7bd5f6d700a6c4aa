"""What the files of this folder give, and what they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from facula.dtypes import COMPLEX
from facula.engine.compiler.affine import identity, refine
from facula.engine.compiler.kernel import Machine
from facula.engine.compiler.loops import Store, build_nest
from facula.engine.compiler.lower_loops import Launch, launch
from facula.engine.compiler.plan import Work
from facula.engine.compiler.reads import Graph
from facula.engine.compiler.spaces import without_ones
from facula.engine.compiler.values import Builder, Read, Refine, Val
from facula.engine.graph.node import CONST, Node

Slots = dict[object, int]


def real(node: Node) -> bool:
    """Is no complex number in it?"""
    return node.dtype.category != COMPLEX and all(i.dtype.category != COMPLEX for i in node.inputs)


@dataclass(frozen=True)
class Lowering:
    """How machine code computes a kind.

    work    of a node: what reads and writes values in memory
    native  for which nodes there is any; the host computes the others
    fills   which of its operands may be constants that are not in memory
    """

    work: Callable[[Node, Graph, dict[int, str], Machine], list[Work]]
    native: Callable[[Node], bool] = real
    fills: tuple[int, ...] = ()


def one_store(store: Store, title: str, machine: Machine) -> Work:
    dims = store.map.dims
    return launch(build_nest(dims, (False,) * len(dims), [store], machine), title, machine).work()


def builder_of(dims: tuple[int, ...], graph: Graph, formats: dict[int, str]) -> Builder:
    return Builder(dims, {}, set(), graph.leaves, graph.numbers_at, formats)


def value_read(
    read: Read, dims: tuple[int, ...], graph: Graph, formats: dict[int, str]
) -> tuple[tuple[int, ...], Builder, Val]:
    """What `read` gives over `dims` (without ones), or over a finer cut of them where its coordinates ask for one."""
    while True:
        builder = builder_of(dims, graph, formats)
        try:
            return dims, builder, builder.read(read[0], refine(read[1], dims))
        except Refine as finer:
            dims = without_ones(finer.dims)


def copy_of(node: Node, read: Read, graph: Graph, formats: dict[int, str], machine: Machine) -> Launch:
    """The base of a write or scatter, copied to where the result will be."""
    dims, _, value = value_read(read, without_ones(read[1].dims), graph, formats)
    nest = build_nest(
        dims, (False,) * len(dims), [Store(node, value, identity(dims), node.dtype)], machine)
    return launch(nest, f"copy for {node.op.name}", machine)


def in_memory(node: Node, graph: Graph) -> bool:
    return node in graph.leaves or node.op is not CONST
