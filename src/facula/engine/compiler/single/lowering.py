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
from facula.engine.compiler.values import Builder, Read, Val
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
    fills   does it take constants as numbers, not as memory?
    """

    work: Callable[[Node, Graph, dict[int, str], Machine], list[Work]]
    native: Callable[[Node], bool] = real
    fills: bool = False


def one_store(store: Store, title: str, machine: Machine) -> Work:
    dims = store.map.dims
    return launch(build_nest(dims, (False,) * len(dims), [store], machine), title, machine).work()


def builder_of(dims: tuple[int, ...], graph: Graph, formats: dict[int, str]) -> Builder:
    return Builder(dims, {}, set(), graph.leaves, graph.numbers_at, formats)


def value_read(read: Read, dims: tuple[int, ...], graph: Graph, formats: dict[int, str]) -> Val:
    return builder_of(dims, graph, formats).read(read[0], refine(read[1], dims))


def copy_of(node: Node, read: Read, graph: Graph, formats: dict[int, str], machine: Machine) -> Launch:
    """The base of a write or scatter, copied to where the result will be."""
    dims = read[1].dims
    value = value_read(read, dims, graph, formats)
    nest = build_nest(
        dims, (False,) * len(dims), [Store(node, value, identity(dims), node.dtype)], machine)
    return launch(nest, f"copy for {node.op.name}", machine)


def in_memory(node: Node, graph: Graph) -> bool:
    return node in graph.leaves or node.op is not CONST
