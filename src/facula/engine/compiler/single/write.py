"""Writes: the base copied, or taken over, and a region of it stored."""

from __future__ import annotations

from facula.engine.compiler.affine import Affine, identity, refine
from facula.engine.compiler.kernel import Machine
from facula.engine.compiler.loops import Store, build_nest
from facula.engine.compiler.lower_loops import launch
from facula.engine.compiler.plan import Made, Work
from facula.engine.compiler.reads import Graph
from facula.engine.compiler.single.lowering import Lowering, Slots, copy_of, in_memory, value_read
from facula.engine.compiler.spaces import cut_of
from facula.engine.graph.node import Node, offset_of, size_of


def _write(node: Node, graph: Graph, formats: dict[int, str], machine: Machine) -> list[Work]:
    base, value = graph.reads[node]
    assert node.attrs is not None
    strides: tuple[int, ...] = node.attrs[0]  # type: ignore[assignment]
    shape = node.inputs[1].shape
    nums: tuple[tuple[int, int], ...] = ()
    if len(node.attrs) == 1:  # the offset is no constant
        nums = (graph.numbers_at[node], 1),
        formats[nums[0][0]] = "q"
    copy = copy_of(node, base, graph, formats, machine)
    store = None
    if size_of(shape):
        cut = cut_of(value[1], shape)
        assert cut is not None, "simplify keeps such a value"
        dims, builder, x = value_read(value, cut, graph, formats)
        region = refine(Affine(shape, strides, 0 if nums else offset_of(node), nums), dims)
        x = builder.round(builder.cast(x, node.dtype))
        nest = build_nest(dims, (False,) * len(dims), [Store(node, x, region, node.dtype)], machine)
        store = launch(nest, "write", machine)

    def make(slots: Slots, in_place: bool) -> list[Made]:
        made: list[Made] = [] if in_place else [copy.step(slots)]
        return [*made, store.step(slots)] if store else made

    reads: list[object] = [s for s in (base[0], value[0]) if in_memory(s, graph)]
    whole = base[1].dims == base[0].shape and base[1] == identity(base[0].shape)
    overwrites = base[0] if whole and in_memory(base[0], graph) else None
    return [Work(reads, [node], make, overwrites)]


LOWERING = Lowering(_write, fills=(0, 1))
