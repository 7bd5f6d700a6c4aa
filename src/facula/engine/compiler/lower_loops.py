"""Fourth pass: a group of nodes to kernels (one, or two when a long reduction is split into chunks)."""

from __future__ import annotations

import functools
import hashlib
import sys
from typing import Any

from facula import config
from facula.config import threshold
from facula.engine import debug
from facula.engine.compiler.affine import Affine, identity
from facula.engine.compiler.emit.kernel_builder import Word
from facula.engine.compiler.emit.nest import NestEmitter
from facula.engine.compiler.emit.nest_lanes import LaneEmitter
from facula.engine.compiler.groups import Group
from facula.engine.compiler.kernel import Kernel, Machine, Step
from facula.engine.compiler.loops import Nest, Store, affine_of, build_nest, postorder, values_of
from facula.engine.compiler.plan import Work
from facula.engine.compiler.printed import Description, Traced, memo
from facula.engine.compiler.program.build import Tiles, build_program
from facula.engine.compiler.program.formulas import Buffer
from facula.engine.compiler.program.statements import LoopProgram
from facula.engine.compiler.program.text import program_text
from facula.engine.compiler.program.verify import verify_program
from facula.engine.compiler.reads import Graph
from facula.engine.compiler.spaces import row_map
from facula.engine.compiler.symbols import NotPrinted, called, row_major, tracing
from facula.engine.compiler.values import Builder, Val
from facula.engine.graph.node import Node, size_of
from facula.errors import VerifyError

CHUNK = threshold("chunk_elements")  # reduced elements of a chunk
TILE_NS = threshold("tile_ns")  # work of a tile: large against handing it to a thread, small against the whole
TILE_POINTS = threshold("tile_points")  # at least
NS_PER_BYTE = 0.03
NS_PER_OPERATION = 0.3  # one vector operation of cost 1
ACROSS = 64  # columns of a tile when an operand lies across them: their lines stay in the first-level cache


class Temporary:
    """Memory between the two kernels of a split reduction."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes


class Launch:
    """A step whose words still name buffers and numbers; plan.py gives them slots."""

    def __init__(
        self,
        kernel: Kernel,
        words: list[Word],
        tiles: int,
        cost: float,
        nbytes: int,
        flops: int,
        writes: list[object],
        program: LoopProgram | None,
        keys: list[object],
    ) -> None:
        self.writes = writes
        self.program = program
        self.keys = keys
        self.kernel = kernel
        self.words = words
        self.tiles = tiles
        self.cost = cost
        self.nbytes = nbytes
        self.flops = flops
        self.replaces: dict[object, list[object]] = {}

    def buffers(self) -> list[object]:
        return [w[1] for w in self.words if isinstance(w, tuple) and w[0] == "buf"]

    def step(self, slots: dict[object, int]) -> Step:
        args = [w if isinstance(w, int) else slots[w[1]] if w[0] == "buf" else w[1] for w in self.words]
        places = tuple([slots[key] for key in self.keys])
        return Step(self.kernel, args, self.tiles, self.cost, self.nbytes, self.flops, [],  # type: ignore[arg-type]
                    self.program, places)

    def work(self) -> Work:
        return Work(
            [b for b in self.buffers() if b not in self.writes],
            self.writes,
            lambda slots, in_place: [self.step(slots)],
            replaces=self.replaces,
        )


def lower_loops(
    group: Group, graph: Graph, kept: list[Node], formats: dict[int, str], machine: Machine
) -> list[Launch]:
    """Launches that leave the values of `kept` in memory."""
    values, builder = values_of(group, graph, formats, kept)
    flags = group.reduced or (False,) * len(group.dims)
    whole, rows = identity(group.dims), row_map(group.dims, flags)
    stores = [Store(n, values[n], rows if n in group.rows else whole, n.dtype) for n in kept]
    title = " ".join(dict.fromkeys(n.op.name for n in group.members))
    if group.is_split:
        return _split(group, stores, builder, title, machine)
    made = launch(build_nest(group.dims, flags, stores, machine), title, machine)
    if not any(flags):
        made.replaces = _replaced(stores)
    return [made]


def _replaced(stores: list[Store]) -> dict[object, list[object]]:
    """Result -> values whose memory it may take over: their element at every point is read for the result's there (so
    before that is stored), and nowhere else."""
    maps: dict[object, set[Affine | None]] = {}
    for v in postorder([s.value for s in stores]):
        if v.op in ("load", "gather"):
            maps.setdefault(v.payload[0], set()).add(affine_of(v) if v.op == "load" else None)  # type: ignore[index]
    found: dict[object, list[object]] = {}
    for s in stores:
        read = dict.fromkeys(v.payload[0] for v in postorder([s.value]) if v.op == "load")  # type: ignore[index]
        found[s.node] = [node for node in read if isinstance(node, Node) and maps[node] == {s.map}
                         and node.dtype.itemsize == s.dtype.itemsize and size_of(node.shape) == size_of(s.map.dims)]
    return found


def _split(
    group: Group, stores: list[Store], builder: Builder, title: str, machine: Machine
) -> list[Launch]:
    """Each chunk of the reduced elements gives partial results; a second kernel combines them."""
    assert group.reduced is not None
    out: list[Launch] = []
    order = postorder([s.value for s in stores])
    reductions = [v for v in order if v.op == "reduce"]
    count = size_of(group.row_dims)
    rows = row_map(group.dims, group.reduced)
    markers = {v: Temporary(0) for v in reductions}
    direct = [s for s in stores if s.map != rows]
    partial = [Store(markers[v], v, rows, v.args[0].dtype) for v in reductions]
    if any(v.payload in ("argmax", "argmin") for v in reductions):
        nest = build_nest(group.dims, group.reduced, stores, machine)
        return [launch(nest, title, machine)]
    for v in reductions:
        v.dtype = v.args[0].dtype
    nest = build_nest(group.dims, group.reduced, direct + partial, machine)
    first = nest.extent(nest.runs[0])
    rest = max(1, size_of(tuple(nest.sizes[d] for d in nest.inner)) // first)
    nest.chunk = max(1, min(first, CHUNK // rest))
    chunks = -(-first // nest.chunk)
    for v in reductions:
        markers[v].nbytes = chunks * count * v.dtype.itemsize
    out.append(launch(nest, title, machine))

    dims = (chunks, *group.row_dims)
    kept = [d for d, r in enumerate(group.reduced) if not r]
    row_strides = (0, *row_major(group.row_dims))
    again = Builder(dims, {}, set(), set(), {}, builder.formats)
    moved: dict[Val, Val] = {}
    for v in order:
        map = affine_of(v)
        if v.op == "reduce":
            partials = Affine(dims, (count, *row_major(group.row_dims)))
            element = again.make("load", (), v.dtype, (markers[v], partials))
            moved[v] = again.make("reduce", (element,), v.dtype, v.payload)
        elif (
            any(a not in moved for a in v.args)
            or map is not None
            and any(s for d, s in enumerate(map.strides) if d not in kept)
        ):
            continue  # element level
        else:
            payload = v.payload
            if map is not None:
                here = Affine(dims, (0, *(map.strides[d] for d in kept)), map.const, map.nums)
                payload = here if v.op == "coord" else (payload[0], here, *payload[2:])  # type: ignore[index]
            moved[v] = again.make(v.op, tuple(moved[a] for a in v.args), v.dtype, payload)
    combine = [
        Store(s.node, moved[s.value], Affine(dims, row_strides), s.dtype) for s in stores if s not in direct
    ]
    if combine:
        flags = (True, *(False,) * len(group.row_dims))
        out.append(launch(build_nest(dims, flags, combine, machine), title + " (combine)", machine))
    return out


def launch(nest: Nest, title: str, machine: Machine) -> Launch:
    """The nest cut into tiles, as a loop program, and that as a kernel: unless one of its kind has been printed."""
    order = nest.order
    points = size_of(nest.sizes)
    nbytes = _traffic(nest, order)
    operations = sum(1 for v in order if v.op not in ("load", "lit", "num", "coord", "cast") and v.vec)
    work = sum(_own_cost(v) for v in order if v.level >= 2)
    each = called(_nanoseconds, 0, work, nest.lanes, nbytes, points)
    tiles, sizes = _tiles(nest, each)
    known = Description(nest, machine, sizes)
    found = memo.find(known)
    if found is None:
        if tracing:
            raise NotPrinted(title)
        with Traced(nest, sizes) as traced:
            kernel, words, _, _ = _printed(nest, title, machine, Tiles(*traced.tiles), known)
        new = traced.printed(kernel, words)
        memo.keep(known, new)  # it may be gone at once
        given = new.words(known.integers)
        assert given is not None, "a kernel does not serve what it was printed for"
        found = kernel, given
    kernel, given = found
    program, keys = None, list(known.buffers)
    if not tracing and (machine.programs or config.VERIFY.value or debug.wants(3)):
        made, fresh, program, keys = _printed(nest, title, machine, sizes, known)
        if made.ir != kernel.ir or tuple(fresh) != given:
            raise VerifyError(f"{title}: nests with one description give two kernels")
        if config.VERIFY.value:
            verify_program(program)
        if debug.wants(3):
            debug.say(program_text(program))
    if kernel.title != title:
        kernel = Kernel(kernel.name, kernel.ir, title)
    buffers, numbers = list(known.buffers), list(known.numbers)
    words = [w if isinstance(w, int) else ("buf", buffers[w[1]]) if w[0] == "buf" else ("num", numbers[w[1]])
             for w in given]
    return Launch(kernel, words, tiles, points * each, nbytes, operations * points,
                  list(dict.fromkeys(s.node for s in nest.stores)), program, keys)


def _printed(
    nest: Nest, title: str, machine: Machine, tiles: Tiles, known: Description
) -> tuple[Kernel, list[Any], LoopProgram, list[object]]:
    """The nest's kernel and words, which count buffers and numbers as its description does; its program, and what the
    program's buffers are."""
    program, keys = build_program(nest, title, tiles)
    emitter = (NestEmitter if machine.table.vectors else LaneEmitter)(program, machine)
    text = emitter.run()
    name = "k" + hashlib.blake2b(text.encode(), digest_size=10).hexdigest()
    words: list[object] = []
    for w in emitter.words:
        if isinstance(w, int):
            words.append(w)
        elif isinstance(w[1], Buffer):
            words.append(("buf", known.buffers[keys[w[1].number]]))
        else:
            words.append(("num", known.numbers[w[1]]))  # type: ignore[index]
    text = sys.intern(text.replace("KERNEL_NAME", name))  # printed for many sizes, it is one text
    return Kernel(name, text, title), words, program, keys


def _own_cost(v: Val) -> float:
    return 1.0 if v.op == "reduce" else v.cost - sum(a.cost for a in v.args)


def _traffic(nest: Nest, order: list[Val]) -> int:
    """Bytes moved, each operand counted once."""
    total = 0
    for v in order:
        map = affine_of(v)
        if v.op in ("load", "gather") and map is not None:
            strides = nest.strides(map)
            total += v.dtype.itemsize * size_of(
                tuple(n for n, s in zip(nest.sizes, strides, strict=True) if s)
            )
    for s in nest.stores:
        strides = nest.strides(s.map)
        total += s.dtype.itemsize * size_of(tuple(n for n, t in zip(nest.sizes, strides, strict=True) if t))
    return total


def _tiles(nest: Nest, each: float) -> tuple[int, Tiles]:
    """Number of tiles, and their extents: from shapes and the kernel, never from the number of threads."""
    reduced = size_of(tuple(nest.sizes[d] for d in nest.inner))
    outer = size_of(tuple(nest.sizes[d] for d in nest.outer))
    if nest.chunk:
        chunks = -(-nest.extent(nest.runs[0]) // nest.chunk)
        outer *= chunks
        reduced = -(-reduced // chunks)
    width = nest.sizes[-1] if nest.sizes and nest.columns else 1
    lies_across = nest.columns and bool(nest.outer) and any(_lies_across(nest, m) for m in map(affine_of, nest.order))
    count, *tiles = called(_cut, 4, each, reduced, outer, width, nest.columns, lies_across, nest.lanes)
    return count, Tiles(*tiles)


def _nanoseconds(work: float, lanes: int, nbytes: int, points: int) -> float:
    """What one point takes."""
    return max(NS_PER_OPERATION * work / lanes, NS_PER_BYTE * nbytes / max(points, 1), 0.01)


@functools.lru_cache(1024)
def _cut(each: float, reduced: int, outer: int, width: int, in_columns: bool, lies_across: bool,
         lanes: int) -> tuple[int, int, int, int]:
    """Number of tiles, then a `Tiles`."""
    points = max(TILE_POINTS, int(TILE_NS / each))
    if not in_columns:
        rows = _evenly(outer, max(1, min(outer, points // max(1, reduced))))
        return -(-outer // rows), rows, 0, 1
    columns = max(1, points // max(1, reduced))
    if lies_across:
        rows = _evenly(outer, max(1, min(outer, columns // ACROSS)))
        across = -(-width // ACROSS)
        return -(-outer // rows) * across, rows, ACROSS, across
    step = 4 * lanes
    columns = -(-columns // step) * step
    if columns >= width:
        rows = _evenly(outer, max(1, min(outer, columns // max(1, width))))
        return -(-outer // rows), rows, width, 1
    if outer == 1:
        columns = -(-_evenly(width, columns) // step) * step
    across = -(-width // columns)
    return outer * across, 1, columns, across


def _evenly(total: int, size: int) -> int:
    """A size near `size` that cuts `total` into an even number of parts (above two, a multiple of 4): of a few
    parts that threads cannot share out evenly, all but one thread would await the last."""
    parts = -(-total // size)
    if not 1 < parts < 32:
        return size
    multiple = 4 if parts > 2 else 2
    return -(-total // (-(-parts // multiple) * multiple))


def _lies_across(nest: Nest, map: Affine | None) -> bool:
    """Is it read with large steps along the vectors, and small ones from row to row?"""
    if map is None or not nest.outer:
        return False
    strides = nest.strides(map)
    return abs(strides[-1]) > 8 and 0 < abs(strides[nest.outer[-1]]) < abs(strides[-1])
