"""Writes: the base copied, or taken over, and a region of it stored."""

from __future__ import annotations

from facula.engine.compiler.affine import Affine, identity, refine
from facula.engine.compiler.kernel import Machine
from facula.engine.compiler.loops import Store, build_nest
from facula.engine.compiler.lower_loops import launch
from facula.engine.compiler.plan import Made, Work
from facula.engine.compiler.reads import Graph
from facula.engine.compiler.single.lowering import Lowering, Slots, builder_of, copy_of, in_memory
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
    dims = value[1].dims
    copy = copy_of(node, base, graph, formats, machine)
    store = None
    if size_of(shape):
        region = _refined(Affine(shape, strides, 0 if nums else offset_of(node), nums), dims)
        builder = builder_of(dims, graph, formats)
        x = builder.round(builder.cast(builder.read(value[0], value[1]), node.dtype))
        nest = build_nest(dims, (False,) * len(dims), [Store(node, x, region, node.dtype)], machine)
        store = launch(nest, "write", machine)

    def make(slots: Slots, in_place: bool) -> list[Made]:
        made: list[Made] = [] if in_place else [copy.step(slots)]
        return [*made, store.step(slots)] if store else made

    reads: list[object] = [s for s in (base[0], value[0]) if in_memory(s, graph)]
    whole = base[1].dims == base[0].shape and base[1] == identity(base[0].shape)
    overwrites = base[0] if whole and in_memory(base[0], graph) else None
    return [Work(reads, [node], make, overwrites)]


def _refined(map: Affine, dims: tuple[int, ...]) -> Affine:
    """`map` over `dims`, which may be cut finer and keep ones."""
    ones = tuple(n for n in map.dims if n != 1) == dims or map.dims == dims
    return map if map.dims == dims else refine(map, dims) if not ones else _drop_ones(map)


def _drop_ones(map: Affine) -> Affine:
    pairs = [(n, s) for n, s in zip(map.dims, map.strides, strict=True) if n != 1]
    return Affine(tuple(n for n, _ in pairs), tuple(s for _, s in pairs), map.const, map.nums)


LOWERING = Lowering(_write, fills=True)
