"""Matrix products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from facula.dtypes import FLOAT, dtype
from facula.engine.compiler import matmul
from facula.engine.compiler.affine import identity
from facula.engine.compiler.kernel import Machine, Step
from facula.engine.compiler.loops import Store
from facula.engine.compiler.lower_loops import Temporary
from facula.engine.compiler.operands import matrix_of
from facula.engine.compiler.plan import Made, Work
from facula.engine.compiler.program.ordered import Matrix, Nothing, Order, Product
from facula.engine.compiler.reads import Graph
from facula.engine.compiler.single.lowering import Lowering, Slots, builder_of, one_store, real
from facula.engine.graph.node import ROWS, Node, size_of

Source = tuple[object, matmul.Operand]  # a value, and where in it a matrix is; the slot comes later


def _contract(node: Node, graph: Graph, formats: dict[int, str], machine: Machine) -> list[Work]:
    """The product; 16-bit floats are widened before and rounded after it."""
    sources: list[Source] = []
    if not size_of(node.inputs[0].shape):  # sums over nothing
        builder, over = builder_of(node.shape, graph, formats), identity(node.shape)
        zero = builder.make("lit", (), node.dtype, 0.0 if node.dtype.category == FLOAT else 0)
        return [one_store(Store(node, zero, over, node.dtype), "zeros", machine)]
    if node.dtype.compute is node.dtype:
        for place, ((source, map), i) in enumerate(zip(graph.reads[node], node.inputs, strict=True)):
            padding = graph.padding.get((node, place))
            fill_at = graph.numbers_at[padding.fill] if padding else -1
            sources.append((source, matrix_of(map, i.shape, size_of(source.shape), padding, fill_at)))
        return [_product(node, node, node.dtype, sources, formats, machine)]
    works: list[Work] = []
    wide = node.dtype.compute
    for (source, map), i in zip(graph.reads[node], node.inputs, strict=True):
        read = map
        if size_of(source.shape) <= size_of(i.shape) and not map.nums:  # all of the memory, to be read by the map
            read = identity(source.shape)
        copy = Temporary(size_of(read.dims) * wide.itemsize)
        builder = builder_of(read.dims, graph, formats)
        value = builder.cast(builder.read(source, read), wide)
        works.append(one_store(Store(copy, value, identity(read.dims), wide), "widen", machine))
        sources.append((copy, matrix_of(identity(i.shape) if read is map else map, i.shape, size_of(read.dims))))
    exact = Temporary(size_of(node.shape) * wide.itemsize)
    works.append(_product(node, exact, wide, sources, formats, machine))
    builder = builder_of(node.shape, graph, formats)
    product = builder.make("load", (), wide, (exact, identity(node.shape)))
    works.append(
        one_store(
            Store(node, builder.cast(product, node.dtype), identity(node.shape), node.dtype),
            "round",
            machine,
        )
    )
    return works


def _product(
    node: Node,
    target: object,
    of: dtype,
    sources: list[Source],
    formats: dict[int, str],
    machine: Machine,
) -> Work:
    left, right = (i.shape for i in node.inputs)
    batch = left[0] if len(left) == 3 else 1
    (m, k), n = left[-2:], right[-1]
    (a, _), (b, _) = sources
    for _, matrix in sources:
        if matrix.offset_at is not None:
            formats[matrix.offset_at] = "q"
        if matrix.map is not None and matrix.map.fill_at >= 0:
            formats[matrix.map.fill_at] = "d"

    def steps(slots: Slots, temp: Callable[[int], int]) -> list[Step]:
        c = matmul.Operand(slots[target], 0, (m * n, n, 1))
        x, y = (replace(matrix, slot=slots[source]) for source, matrix in sources)
        return matmul.lower_contract(of, batch, m, n, k, x, y, c, machine.table, temp, windows=node.attrs is not None,
                                     rows=node.attrs == ROWS)

    def meaning(x: matmul.Operand, shape: tuple[int, ...]) -> Matrix:
        if x.map is not None:
            return Matrix(x.offset, x.offset_at, x.map.axes, x.map.bounds, x.map.fill_at)
        return Matrix(x.offset, x.offset_at, tuple([((n, s),) for n, s in zip(shape, x.strides, strict=True)]))

    needs: list[int] = []  # a first try, to learn which temporaries it takes

    def ask(nbytes: int) -> int:
        needs.append(nbytes)
        return 0

    steps({target: 0, a: 0, b: 0}, ask)
    extra = [Temporary(nbytes) for nbytes in needs]

    def make(slots: Slots, in_place: bool) -> list[Made]:
        taken = iter(extra)
        made = steps(slots, lambda nbytes: slots[next(taken)])
        for part in made[:-1]:
            part.program = Nothing()
        if made:  # the last one stands for all
            (_, x), (_, y) = sources
            order = made[-1].program
            assert isinstance(order, Order)
            made[-1].program = Product(of, batch, m, n, k, meaning(x, (batch, m, k)), meaning(y, (batch, k, n)), order,
                                       machine.table.fma)
            made[-1].slots = slots[a], slots[b], slots[target]
        return [*made]

    return Work([a, b], [target, *extra], make)


def _native(node: Node) -> bool:
    return real(node) and matmul.supported(node.dtype.compute) and all(i.dtype is node.dtype for i in node.inputs)


LOWERING = Lowering(_contract, _native)
