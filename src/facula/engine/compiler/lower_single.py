"""Nodes that are steps of their own: matrix products, writes, scatters, scans; the rest goes to the host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from facula.dtypes import FLOAT, dtype
from facula.engine.compiler import matmul
from facula.engine.compiler.affine import Affine, identity, refine
from facula.engine.compiler.emit.sequential import scan_kernel, scatter_kernel
from facula.engine.compiler.kernel import Machine, Step
from facula.engine.compiler.loops import Store, build_nest
from facula.engine.compiler.lower_loops import Launch, Temporary, launch
from facula.engine.compiler.operands import matrix_of
from facula.engine.compiler.plan import HostOperand, HostStep, Made, Work
from facula.engine.compiler.program.ordered import Matrix, Nothing, Product, Scan, Scatter
from facula.engine.compiler.simplify import Graph, cut_of, is_native
from facula.engine.compiler.spaces import without_ones
from facula.engine.compiler.values import Builder, Read, Refine, Val
from facula.engine.graph.node import CONST, CONTRACT, WRITE, Node, offset_of, size_of

Slots = dict[object, int]
Source = tuple[object, matmul.Operand]  # a value, and where in it a matrix is; the slot comes later


def lower_single(node: Node, graph: Graph, formats: dict[int, str], machine: Machine) -> list[Work]:
    """Work that computes `node`; reads and writes values in memory."""
    if not is_native(node):
        return [host(node, graph)]
    if node.op is CONTRACT:
        return _contract(node, graph, formats, machine)
    if node.op is WRITE:
        return [_write(node, graph, formats, machine)]
    if node.op.kind == "scatter":
        return [_scatter(node, graph, formats, machine)]
    return [_scan(node)]


def host(node: Node, graph: Graph, reason: str = "") -> Work:
    """NumPy computes it."""
    at = graph.numbers_at.get(node, -1)
    count = len(node.scalars) if node.scalars is not None else 0
    calls = [n for n in graph.order if n.op.name == "call"]
    is_call = node.op.name == "call"
    sources = [s for s, _ in graph.reads[node]] if node in graph.reads else list(node.inputs)

    def make(slots: Slots, in_place: bool) -> list[Made]:
        inputs = [
            HostOperand(-1, i.shape, i.dtype, call=calls.index(i))
            if i in calls
            else HostOperand(slots[i], i.shape, i.dtype)
            for i in node.inputs
        ]
        return [
            HostStep(
                node.op,
                node.attrs,
                tuple(inputs),
                node.shape,
                node.dtype,
                -1 if is_call else slots[node],
                at,
                count,
                calls.index(node) if is_call else -1,
                reason,
            )
        ]

    return Work([s for s in sources if s not in calls], [] if is_call else [node], make)


def _contract(node: Node, graph: Graph, formats: dict[int, str], machine: Machine) -> list[Work]:
    """The product; 16-bit floats are widened before and rounded after it."""
    sources: list[Source] = []
    if not size_of(node.inputs[0].shape):  # sums over nothing
        builder, over = _builder(node.shape, graph, formats), identity(node.shape)
        zero = builder.make("lit", (), node.dtype, 0.0 if node.dtype.category == FLOAT else 0)
        return [_one(Store(node, zero, over, node.dtype), "zeros", machine)]
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
        builder = _builder(read.dims, graph, formats)
        value = builder.cast(builder.read(source, read), wide)
        works.append(_one(Store(copy, value, identity(read.dims), wide), "widen", machine))
        sources.append((copy, matrix_of(identity(i.shape) if read is map else map, i.shape, size_of(read.dims))))
    exact = Temporary(size_of(node.shape) * wide.itemsize)
    works.append(_product(node, exact, wide, sources, formats, machine))
    builder = _builder(node.shape, graph, formats)
    product = builder.make("load", (), wide, (exact, identity(node.shape)))
    works.append(
        _one(
            Store(node, builder.cast(product, node.dtype), identity(node.shape), node.dtype),
            "round",
            machine,
        )
    )
    return works


def _one(store: Store, title: str, machine: Machine) -> Work:
    dims = store.map.dims
    return launch(build_nest(dims, (False,) * len(dims), [store], machine), title, machine).work()


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
        return matmul.lower_contract(of, batch, m, n, k, x, y, c, machine.vector_bytes, temp)

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
            made[-1].program = Product(of, batch, m, n, k, meaning(x, (batch, m, k)), meaning(y, (batch, k, n)))
            made[-1].slots = slots[a], slots[b], slots[target]
        return [*made]

    return Work([a, b], [target, *extra], make)


def _builder(dims: tuple[int, ...], graph: Graph, formats: dict[int, str]) -> Builder:
    return Builder(dims, {}, set(), graph.leaves, graph.numbers_at, formats)


def _read(
    read: Read, dims: tuple[int, ...], graph: Graph, formats: dict[int, str]
) -> tuple[tuple[int, ...], Builder, Val]:
    """What `read` gives over `dims` (without ones), or over a finer cut of them where its coordinates ask for one."""
    while True:
        builder = _builder(dims, graph, formats)
        try:
            return dims, builder, builder.read(read[0], refine(read[1], dims))
        except Refine as finer:
            dims = without_ones(finer.dims)


def _copy(node: Node, read: Read, graph: Graph, formats: dict[int, str], machine: Machine) -> Launch:
    """The base of a write or scatter, copied to where the result will be."""
    dims, _, value = _read(read, without_ones(read[1].dims), graph, formats)
    nest = build_nest(
        dims, (False,) * len(dims), [Store(node, value, identity(dims), node.dtype)], machine)
    return launch(nest, f"copy for {node.op.name}", machine)


def _write(node: Node, graph: Graph, formats: dict[int, str], machine: Machine) -> Work:
    base, value = graph.reads[node]
    assert node.attrs is not None
    strides: tuple[int, ...] = node.attrs[0]  # type: ignore[assignment]
    shape = node.inputs[1].shape
    nums: tuple[tuple[int, int], ...] = ()
    if len(node.attrs) == 1:  # the offset is no constant
        nums = (graph.numbers_at[node], 1),
        formats[nums[0][0]] = "q"
    copy = _copy(node, base, graph, formats, machine)
    store = None
    if size_of(shape):
        cut = cut_of(value[1], shape)
        assert cut is not None, "simplify keeps such a value"
        dims, builder, x = _read(value, cut, graph, formats)
        region = refine(Affine(shape, strides, 0 if nums else offset_of(node), nums), dims)
        x = builder.round(builder.cast(x, node.dtype))
        nest = build_nest(dims, (False,) * len(dims), [Store(node, x, region, node.dtype)], machine)
        store = launch(nest, "write", machine)

    def make(slots: Slots, in_place: bool) -> list[Made]:
        made: list[Made] = [] if in_place else [copy.step(slots)]
        return [*made, store.step(slots)] if store else made

    reads: list[object] = [s for s in (base[0], value[0]) if _in_memory(s, graph)]
    whole = base[1].dims == base[0].shape and base[1] == identity(base[0].shape)
    overwrites = base[0] if whole and _in_memory(base[0], graph) else None
    return Work(reads, [node], make, overwrites)


def _in_memory(node: Node, graph: Graph) -> bool:
    return node in graph.leaves or node.op is not CONST


def _scatter(node: Node, graph: Graph, formats: dict[int, str], machine: Machine) -> Work:
    base, (index, _), (source, _) = graph.reads[node]
    rows, columns = node.shape
    copy = _copy(node, base, graph, formats, machine)
    count = size_of(index.shape)
    op = node.op.name.removeprefix("scatter_")
    kernel = scatter_kernel(op, node.dtype, columns == 1, machine.vector_bytes)
    block = max(256, columns if count * columns < 65536 else -(-columns // 16))
    tiles = -(-columns // block)

    def make(slots: Slots, in_place: bool) -> list[Made]:
        made: list[Made] = [] if in_place else [copy.step(slots)]
        if count and columns:
            args = [slots[node], slots[index], slots[source], count, rows, columns, block]
            made.append(
                Step(
                    kernel,
                    args,
                    tiles,
                    count * columns * 0.5 + count * 2.0,
                    count * columns * node.dtype.itemsize * 2,
                    program=Scatter(op, node.dtype, count, rows, columns),
                    slots=(slots[node], slots[index], slots[source]),
                )
            )
        return made

    reads: list[object] = [index, source]
    if _in_memory(base[0], graph):
        reads.insert(0, base[0])
    return Work(reads, [node], make, base[0] if _in_memory(base[0], graph) else None)


def _scan(node: Node) -> Work:
    assert node.attrs is not None
    dim: int = node.attrs[0]  # type: ignore[assignment]
    shape = node.shape
    if not shape:
        shape, dim = (1,), 0
    outer, n, inner = size_of(shape[:dim]), shape[dim], size_of(shape[dim + 1 :])
    kernel = scan_kernel(node.op.name, node.inputs[0].dtype, node.dtype)
    source = node.inputs[0]
    program = Scan(node.op.name, source.dtype, node.dtype, outer, n, inner)
    total = outer * inner
    rows = max(1, min(total, 16384 // max(1, n)))

    def make(slots: Slots, in_place: bool) -> list[Made]:
        args = [slots[source], slots[node], total, n, inner, rows]
        return [Step(kernel, args, -(-total // rows), total * n * 1.5, total * n * 2 * node.dtype.itemsize,
                     program=program, slots=(slots[source], slots[node]))]

    return Work([source], [node], make)
