"""Lowering of the blocked product: blocks, what is packed by whom, and which micro-kernels are needed."""

from __future__ import annotations

import functools
from collections.abc import Callable

from facula.config import threshold
from facula.engine.compiler.emit import gemm
from facula.engine.compiler.emit.gemm_base import Target
from facula.engine.compiler.emit.gemm_map import MapLayout
from facula.engine.compiler.kernel import Kernel, Step
from facula.engine.compiler.matmul_operand import Epilogue, Map, Operand, gflops, split
from facula.engine.compiler.program.ordered import Order
from facula.engine.compiler.symbols import called

# One panel of B (512 x 48 float32, 96 KB) and one block of A (128 x 512, 256 KB) stay in a 1 MB L2 cache.
KC, MC, PANELS_PER_BLOCK = 512, 128, 16
MC_MAPPED = 256  # every tile packs a mapped B for itself: the more rows use it the better
TILE_FLOPS, MOST_TILES = threshold("product_flops"), 64
SHORTEST_RUN = 6  # neighbours adjacent in memory, from which runs are quicker than a gather
SMALL_B = 1 << 18  # bytes: below it B lies in cache anyway, and is not packed


def _layout(rows: int, columns: int, row_stride: int, column_stride: int) -> str:
    """Which neighbours are adjacent. The stride of a dimension of size 1 is never used."""
    if column_stride == 1 or columns == 1:
        return "row"
    if row_stride == 1 or rows == 1:
        return "col"
    return "any"


def lower_blocked(t: Target, batch: int, m: int, n: int, k: int, step: int, a: Operand, b: Operand,
                  c: Operand, temp: Callable[[int], int], epilogue: Epilogue | None) -> list[Step]:
    """c[batch, m, n] = a[batch, m, k] @ b[batch, k, n].

    With `step` (a multiple of KC), the batch is made of pieces of one sum of length k, `step` long each.
    """
    length = step or k
    kc, k_blocks = (KC, -(-step // KC)) if step else called(split, 2, k, KC)
    b_layout = _layout(k, n, *b.strides[1:])
    cut = called(_cut, 8, t, batch, m, n, k, length, b_layout, a.map is not None, b.map is not None)
    panels, small, bigger, mc, m_blocks, per_block, n_blocks, pack_a = cut
    shared = b.map is None and called(_is_shared, 0, t, m, n, k, m_blocks, b_layout)
    steps = []
    shape = [length, k, step, m, n, kc, k_blocks, mc, m_blocks, per_block, n_blocks, panels, small, bigger]
    if step:
        a = a.with_strides(step * a.strides[2], *a.strides[1:])
    if shared:
        padded = -(-n // t.lanes) * t.lanes
        copies = 1 if b.strides[0] == 0 or step else batch
        nbytes = copies * k * padded * t.itemsize
        slot = temp(nbytes)
        to = [slot, 0, -1, padded, 0, 0]
        blocks = -(-k // kc)
        pack_shape = [k, k, 0, m, n, kc, blocks, *shape[7:]]
        steps.append(Step(_pack_kernel(t, b_layout), [0] * 6 + b.words() + to + pack_shape,
                          copies * blocks * panels, nbytes / 8, bytes=2 * nbytes))
        b = Operand(slot, 0, (step * padded if step else k * padded if copies > 1 else 0, padded, 1))
    elif step:
        b = b.with_strides(step * b.strides[1], *b.strides[1:])
    a_layout = _layout(m, k, *a.strides[1:])
    kernel = called(_product_kernel, 0, t, _map_layout(a.map, t.masked, 1, 2) or a_layout, pack_a,
                    _map_layout(b.map, True, 2, 1) or b_layout, bool(shared), m, n, k, small, bigger,
                    epilogue)
    args = a.words() + b.words() + c.with_strides(m * n, n, 1).words() + shape + [0, 0]
    if epilogue is not None:
        args += epilogue.args
    for place, operand in ((gemm.A_MAP, a), (gemm.B_MAP, b)):
        if operand.map is not None:
            args[place] = len(args)
            args += operand.map.words(len(args))
    flops = 2 * batch * m * n * length
    order = Order(blocks=(kc,))
    steps.append(Step(
        kernel, args, batch * m_blocks * n_blocks,
        flops / gflops(t.itemsize, t.lanes * t.itemsize) + 20 * batch,
        bytes=t.itemsize * (batch * m * n + _read(a, batch * m * length) + _read(b, batch * length * n)), flops=flops,
        program=order))
    return steps


def _read(operand: Operand, elements: int) -> int:
    """How many elements lie in the memory that is read; a map reads some of them several times."""
    return elements if operand.map is None else operand.map.memory


def _map_layout(map: Map | None, packed: bool, across: int, along: int) -> MapLayout | None:
    """How a mapped operand is read; `packed`: in vectors that run across (the axis of rows of A, of columns of B)."""
    if map is None:
        return None
    for way, axis in (("columns", map.axes[across]), ("depth", map.axes[along])):
        if packed and axis and axis[0][0] >= SHORTEST_RUN and axis[0][1] == 1 and set(axis[0][2:]) <= {0, 1}:
            return MapLayout(len(map.bounds), way, tuple(step == 1 for step in axis[0][2:]))
    return MapLayout(len(map.bounds))


@functools.lru_cache(1024)
def _cut(t: Target, batch: int, m: int, n: int, k: int, length: int, b_layout: str, a_mapped: bool, b_mapped: bool,
         ) -> tuple[int, int, int, int, int, int, int, bool]:
    """How many panels there are, how many vectors each has, and how many have one more; (rows, row blocks, panels,
    panel blocks) of a tile; is A packed?"""
    vectors = -(-n // t.lanes)
    panels = -(-vectors // t.vectors)
    flops = 2.0 * batch * m * n * length
    pack_a = a_mapped or m >= MC and n >= MC and k >= t.lanes  # few or short rows are as fast in place
    if b_mapped:
        mc, m_blocks = split(m, MC_MAPPED, t.rows)
        per_block, n_blocks = _panels(panels, m_blocks, _tiles_wanted(flops, batch))
    elif b_layout != "row" and m <= MC and vectors > 1 and batch == 1 and flops > TILE_FLOPS:
        # B has to be packed, for few rows: by columns then, an even number of panels, each packed by who uses it
        panels += panels % 2
        # every tile packs A: no more of them than are worth it
        per_block, n_blocks = _panels_alone(panels, flops, batch) if pack_a else split(panels, 1)
        mc, m_blocks = split(m, m, t.rows)[0], 1
    else:
        mc, m_blocks, per_block, n_blocks = _tiles(t, batch, m, panels, flops)
    return panels, *divmod(vectors, panels), mc, m_blocks, per_block, n_blocks, pack_a


def _tiles(t: Target, batch: int, m: int, panels: int, flops: float) -> tuple[int, int, int, int]:
    """(rows, row blocks, panels, panel blocks) of a tile: small enough for every core to get some, if
    the product is worth it; first by rows, which B's packing is shared by, then by columns."""
    wanted = _tiles_wanted(flops, batch)
    per_block, n_blocks = split(panels, PANELS_PER_BLOCK)
    mc, m_blocks = split(m, max(2 * t.rows, min(MC, -(-m * n_blocks // wanted))), t.rows)
    if m_blocks * n_blocks < wanted:
        per_block, n_blocks = split(panels, max(1, panels * m_blocks // wanted))
    return mc, m_blocks, per_block, n_blocks


def _panels(panels: int, m_blocks: int, wanted: int) -> tuple[int, int]:
    """(panels, panel blocks) of a tile, of so many that the product is worth."""
    return split(panels, max(1, min(PANELS_PER_BLOCK, panels * m_blocks // wanted)))


def _panels_alone(panels: int, flops: float, batch: int) -> tuple[int, int]:
    """The same where all rows are one block."""
    return split(panels, max(1, panels // _tiles_wanted(flops, batch)))


def _tiles_wanted(flops: float, batch: int) -> int:
    """How many tiles a batch entry's product is worth."""
    return max(1, min(MOST_TILES, int(flops / TILE_FLOPS)) // batch)


def _is_direct(t: Target, m: int, n: int, k: int, layout: str) -> bool:
    """B is read as it lies if that is adjacent and either small or used by few rows."""
    if k == 0:
        return True  # nothing is read
    fits_vectors = t.masked or n % t.lanes == 0
    return layout == "row" and fits_vectors and (m <= 64 or k * n * t.itemsize <= SMALL_B)


def _is_shared(t: Target, m: int, n: int, k: int, m_blocks: int, layout: str) -> bool:
    """Otherwise it is packed once for all; by the tile if only that tile uses it."""
    return m_blocks != 1 and not _is_direct(t, m, n, k, layout)


_kernels: dict[tuple[gemm.Layout, str], Kernel] = {}


def _product_kernel(t: Target, a: str | MapLayout, pack_a: bool, b: str | MapLayout, shared: bool, m: int, n: int,
                    k: int, small: int, bigger: int, epilogue: Epilogue | None) -> Kernel:
    """For `m` rows, and panels of `small` vectors, some of one more if there are `bigger` ones. A that is not packed
    may lie in any way, and so may B."""
    mode = "local" if isinstance(b, MapLayout) else "shared" if shared else \
        "direct" if _is_direct(t, m, n, k, b) else "local"
    if not pack_a:
        a = "any"
    if mode != "local":
        b = "any"
    # Of what is left over no more is said than that something is: the next batch has another rest, and the same kernel.
    counts = tuple([r for r in t.row_counts if r <= m]) if m % t.rows else (t.rows,)
    layout = gemm.Layout(t, a, b, pack_a, mode, counts, (small + 1, small) if bigger else (small,))
    key = epilogue.key if epilogue else ""
    found = _kernels.get((layout, key))
    if found is None:
        first = "mapped" if isinstance(layout.a, MapLayout) else "packed" if layout.pack_a else "direct"
        second = "mapped" if isinstance(layout.b, MapLayout) else layout.b_mode
        title = f"matrix product ({first} A, {second} B) {key}"
        text = gemm.product_kernel("matmul", layout, epilogue.emit if epilogue else None)
        found = _kernels[layout, key] = Kernel("matmul", text, title.strip())
    return found


@functools.cache
def _pack_kernel(t: Target, layout: str) -> Kernel:
    return Kernel("matmul_pack", gemm.pack_kernel("matmul_pack", t, layout), f"pack {layout} matrix")
