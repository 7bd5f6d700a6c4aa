"""The kernels of a blocked matrix product: packing B for everybody, and the product of one tile.

    tile = (batch, block of rows, block of panels)
    for each block of k:
        pack A's block into scratch                       (if `pack_a`)
        for each panel of up to 3 vectors of columns:
            pack B's panel into scratch                   (if `b` is "local")
            panel kernel: C (+)= A block @ B panel
            epilogue on the panel, while it is in cache   (after the last block of k)

The order of the sum at one element is fixed by k alone: blocks of k in order, each from zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from facula.engine.compiler.emit import gemm_map, gemm_map_a, gemm_map_b, gemm_pack
from facula.engine.compiler.emit.gemm_base import (
    SIGNATURE,
    Target,
    accumulate,
    add,
    argument,
    at,
    define,
    lane_mask,
    larger,
    loop,
    masked_load,
    masked_store,
    mul,
    operand_pointer,
    smaller,
    sub,
    when,
)
from facula.engine.compiler.emit.gemm_map import MapLayout
from facula.engine.compiler.emit.gemm_micro import panel_kernel
from facula.engine.compiler.emit.module import Code, Module

# Positions in args. An operand is: slot, constant offset, index of a run-time offset (or -1), strides.
A, B, C = 0, 6, 12
K, K_TOTAL, K_STEP = 18, 19, 20  # see depth
M, N, KC, K_BLOCKS, MC, M_BLOCKS, PANELS_PER_BLOCK, N_BLOCKS, PANELS, SMALL, BIGGER = range(21, 32)
A_MAP, B_MAP = 32, 33  # where in args a mapped operand's map is (matmul_operand.Map)
EXTRA = 34  # args of the epilogue start here
LOCAL_B = 2 << 20  # bytes into scratch: below is the packed block of A


@dataclass(frozen=True)
class Element:
    """What an epilogue is told of the vector it gets: names of i64 values and of the mask."""

    batch: str
    row: str  # of the first lane
    column: str
    axis: str  # the lanes run along "column", or along "row" (then n == 1)
    mask: str  # the lanes that exist
    target: Target


# Emits code that turns one vector of the product into what is stored in its place. %args, %bufs and
# %nums are in scope; the epilogue's own arguments start at args[base]. It must use masked accesses.
EmitEpilogue = Callable[[Code, str, Element, int], str]


@dataclass(frozen=True)
class Layout:
    """What the text of a product's kernel depends on."""

    target: Target
    a: str | MapLayout  # "row", "col" or "any": see gemm_pack
    b: str | MapLayout
    pack_a: bool
    b_mode: str  # "direct": as it lies; "shared": packed by an earlier step; "local": packed by the tile
    counts: tuple[int, ...]  # rows of the micro-kernels
    vectors: tuple[int, ...]  # widths of panels


def depth(code: Code, batch: str, at_k: int) -> str:
    """The length of the sum of one batch entry. A long sum may be cut into pieces, done as if they were a
    batch (K_STEP = K, and the last one shorter: K_TOTAL is the whole); otherwise K_STEP is 0."""
    k, k_total, k_step = (argument(code, at_k + i) for i in range(3))
    return smaller(code, k, sub(code, k_total, mul(code, batch, k_step)))


def _panel(code: Code, t: Target, p: str) -> tuple[str, str, str]:
    """Panel p: its vectors, its first column, and how many columns exist. The first BIGGER panels have
    one vector more than SMALL."""
    small, bigger = argument(code, SMALL), argument(code, BIGGER)
    is_big = code.op(f"icmp slt i64 {p}, {bigger}")
    vectors = add(code, small, code.op(f"zext i1 {is_big} to i64"))
    first = mul(code, add(code, mul(code, p, small), smaller(code, p, bigger)), str(t.lanes))
    columns = smaller(code, mul(code, vectors, str(t.lanes)), sub(code, argument(code, N), first))
    return vectors, first, columns


def product_kernel(name: str, layout: Layout, epilogue: EmitEpilogue | None = None) -> str:
    """The text of a module whose function `name` multiplies tiles."""
    t = layout.target
    module = Module(t.table)
    panels = {v: panel_kernel(module, t, v, layout.pack_a, list(layout.counts)) for v in layout.vectors}
    if isinstance(layout.a, MapLayout):
        gemm_map_a.pack_a(module, t, layout.a, list(layout.counts))
    elif layout.pack_a:
        gemm_pack.pack_a(module, t, layout.a, list(layout.counts))
    if isinstance(layout.b, MapLayout):
        gemm_map_b.pack_b(module, t, layout.b)
    elif layout.b_mode == "local":
        gemm_pack.pack_b(module, t, layout.b)
    if epilogue is not None:
        finish_kernel(module, t, epilogue, EXTRA, "column")
    code = Code(module)
    a, b, c = (operand_pointer(code, t.type, k) for k in (A, B, C))
    a_rs, a_cs = argument(code, A + 4), argument(code, A + 5)
    b_rs, b_cs = argument(code, B + 4), argument(code, B + 5)
    m, n, mc, kc_full = (argument(code, x) for x in (M, N, MC, KC))
    n_blocks, m_blocks, k_blocks = (argument(code, x) for x in (N_BLOCKS, M_BLOCKS, K_BLOCKS))
    per_block, all_panels = argument(code, PANELS_PER_BLOCK), argument(code, PANELS)
    a_map = gemm_map.Operand(code, t, layout.a, A_MAP, 0) if isinstance(layout.a, MapLayout) else None
    b_map = gemm_map.Operand(code, t, layout.b, B_MAP, 3) if isinstance(layout.b, MapLayout) else None
    cut = code.op(f"icmp ne i64 {argument(code, K_STEP)}, 0")  # then a batch entry is a piece of the sum
    with loop(code, "%lo", "%hi") as tile:
        rest = code.op(f"sdiv i64 {tile}, {n_blocks}")
        p0 = mul(code, code.op(f"srem i64 {tile}, {n_blocks}"), per_block)
        p1 = smaller(code, add(code, p0, per_block), all_panels)
        batch = code.op(f"sdiv i64 {rest}, {m_blocks}")
        row0 = mul(code, code.op(f"srem i64 {rest}, {m_blocks}"), mc)
        rows = smaller(code, mc, sub(code, m, row0))
        k = depth(code, batch, K)
        a_batch = at(code, t.type, a, mul(code, batch, argument(code, A + 3)))
        a_tile = at(code, t.type, a_batch, mul(code, row0, a_rs))
        b_batch = at(code, t.type, b, mul(code, batch, argument(code, B + 3)))
        c_line = add(code, mul(code, batch, argument(code, C + 3)), mul(code, row0, n))
        k_first = mul(code, batch, argument(code, K_STEP))
        own_batch = code.op(f"select i1 {cut}, i64 0, i64 {batch}")
        if a_map is not None:
            a_map.batch(own_batch)
            a_map.lines(gemm_map.ROW, row0, rows)
        if b_map is not None:
            b_map.batch(own_batch)
        with loop(code, "0", k_blocks) as kb:
            k0 = mul(code, kb, kc_full)
            kc = larger(code, "0", smaller(code, kc_full, sub(code, k, k0)))  # a short piece has fewer blocks
            a_block = at(code, t.type, a_tile, mul(code, k0, a_cs))
            if b_map is not None:
                b_map.depth(gemm_map.ROW, add(code, k_first, k0), kc)
            if a_map is not None:
                a_map.depth(gemm_map.COLUMN, add(code, k_first, k0), kc)
                code.do(f"call void @pack_a_map(ptr {a}, ptr {a_map.across}, ptr {a_map.along}, i64 {rows}, "
                        f"i64 {kc}, ptr {a_map.map}, {t.type} {a_map.fill}, ptr %scratch)")
                a_block = "%scratch"
            elif layout.pack_a:
                code.do(f"call void @pack_a(ptr {a_block}, i64 {a_rs}, i64 {a_cs}, i64 {rows}, i64 {kc}, "
                        "ptr %scratch)")
                a_block = "%scratch"
            with loop(code, p0, p1) as p:
                vectors, column0, columns = _panel(code, t, p)
                padded = mul(code, vectors, str(t.lanes))
                width = sub(code, columns, sub(code, padded, str(t.lanes)))
                if layout.b_mode == "shared":
                    start = add(code, mul(code, k0, b_rs), mul(code, column0, kc))  # b_rs: padded n
                    ldb = padded
                elif layout.b_mode == "direct":
                    start, ldb = add(code, mul(code, k0, b_rs), column0), b_rs
                else:
                    start, ldb = add(code, mul(code, k0, b_rs), mul(code, column0, b_cs)), padded
                b_panel = at(code, t.type, b_batch, start)
                room = at(code, "i8", "%scratch", str(LOCAL_B))
                if b_map is not None:
                    b_map.lines(gemm_map.COLUMN, column0, columns)
                    code.do(f"call void @pack_b_map(ptr {b}, ptr {b_map.along}, ptr {b_map.across}, i64 {kc}, "
                            f"i64 {columns}, i64 {padded}, ptr {b_map.map}, {t.type} {b_map.fill}, ptr {room})")
                    b_panel = room
                elif layout.b_mode == "local":
                    code.do(f"call void @pack_b(ptr {b_panel}, i64 {b_rs}, i64 {b_cs}, i64 {kc}, "
                            f"i64 {columns}, i64 {padded}, ptr {room})")
                    b_panel = room
                place = at(code, t.type, c, add(code, c_line, column0))
                more = code.op(f"icmp sgt i64 {kb}, 0")
                passed = (f"(ptr {a_block}, i64 {a_rs}, i64 {a_cs}, ptr {b_panel}, i64 {ldb}, i64 {kc}, "
                          f"ptr {place}, i64 {n}, i64 {width}, i1 {more}, i64 {rows})")
                for v, kernel in panels.items():
                    with when(code, code.op(f"icmp eq i64 {vectors}, {v}")):
                        code.do(f"call void @{kernel}{passed}")
                if epilogue is not None:
                    final = code.op(f"icmp eq i64 {kb}, {sub(code, k_blocks, '1')}")
                    with when(code, final):
                        code.do(f"call void @finish(ptr %args, ptr %bufs, ptr %nums, ptr {place}, i64 {n}, "
                                f"i64 {batch}, i64 {row0}, i64 {rows}, i64 {column0}, i64 {columns})")
    define(code, name, SIGNATURE, public=True)
    return module.text()


def finish_kernel(module: Module, t: Target, epilogue: EmitEpilogue, base: int, axis: str) -> None:
    """Define @finish: the epilogue over rows x columns of C. A loop of its own, so that a fused formula
    is compiled once and not once per accumulator. With axis "row" the two exchange their names."""
    code = Code(module)
    with loop(code, "0", "%rows") as i, loop(code, "0", "%columns", str(t.lanes)) as j:
        place = at(code, t.type, "%c", add(code, mul(code, i, "%ldc"), j))
        mask = lane_mask(code, t, sub(code, "%columns", j))
        across, along = add(code, "%row0", i), add(code, "%column0", j)
        row, column = (across, along) if axis == "column" else (along, across)
        element = Element("%batch", row, column, axis, mask, t)
        value = epilogue(code, masked_load(code, t, place, mask), element, base)
        masked_store(code, t, value, place, mask)
    define(code, "finish", "ptr %args, ptr %bufs, ptr %nums, ptr %c, i64 %ldc, i64 %batch, i64 %row0, "
                           "i64 %rows, i64 %column0, i64 %columns")


def combine_kernel(name: str, t: Target, epilogue: EmitEpilogue | None, axis: str) -> str:
    """The text of a module whose function `name` adds the pieces of a sum that was cut.

    A tile is a block of rows. args are as the product's, but A is the pieces (batch stride: the size of
    one), K their number, and n is the
    row length (for axis "row", m and n are exchanged).
    """
    module = Module(t.table)
    if epilogue is not None:
        finish_kernel(module, t, epilogue, EXTRA, axis)
    code = Code(module)
    pieces, c = operand_pointer(code, t.type, A), operand_pointer(code, t.type, C)
    size, number, m, n, mc = (argument(code, x) for x in (A + 3, K, M, N, MC))
    with loop(code, "%lo", "%hi") as tile:
        row0 = mul(code, tile, mc)
        rows = smaller(code, mc, sub(code, m, row0))
        start = mul(code, row0, n)
        stop = add(code, start, mul(code, rows, n))
        with loop(code, start, stop, str(t.lanes)) as i:
            mask = lane_mask(code, t, sub(code, stop, i))

            def piece(s: str, sums: list[str], i: str = i, mask: str = mask) -> list[str]:
                value = masked_load(code, t, at(code, t.type, pieces, add(code, mul(code, s, size), i)), mask)
                return [code.op(f"fadd {t.vector} {sums[0]}, {value}")]

            sums = accumulate(code, "0", number, 1, t.vector, ["zeroinitializer"], piece)
            masked_store(code, t, sums[0], at(code, t.type, c, i), mask)
        if epilogue is not None:
            place = at(code, t.type, c, start)
            code.do(f"call void @finish(ptr %args, ptr %bufs, ptr %nums, ptr {place}, i64 {n}, i64 0, "
                    f" i64 {row0}, i64 {rows}, i64 0, i64 {n})")
    define(code, name, SIGNATURE, public=True)
    return module.text()


def pack_kernel(name: str, t: Target, layout: str) -> str:
    """The text of a module whose function `name` packs B: a tile is (batch, block of k, panel). args are
    those of the product; C is where to, its row stride the padded number of columns."""
    module = Module(t.table)
    gemm_pack.pack_b(module, t, layout)
    code = Code(module)
    b, to = operand_pointer(code, t.type, B), operand_pointer(code, t.type, C)
    b_rs, b_cs = argument(code, B + 4), argument(code, B + 5)
    k, kc_full, k_blocks, panels = (argument(code, x) for x in (K_TOTAL, KC, K_BLOCKS, PANELS))
    padded_n = argument(code, C + 3)
    with loop(code, "%lo", "%hi") as tile:
        rest = code.op(f"sdiv i64 {tile}, {panels}")
        vectors, column0, columns = _panel(code, t, code.op(f"srem i64 {tile}, {panels}"))
        batch = code.op(f"sdiv i64 {rest}, {k_blocks}")
        k0 = mul(code, code.op(f"srem i64 {rest}, {k_blocks}"), kc_full)
        kc = smaller(code, kc_full, sub(code, k, k0))
        source = add(code, mul(code, batch, argument(code, B + 3)),
                     add(code, mul(code, k0, b_rs), mul(code, column0, b_cs)))
        lines = add(code, mul(code, batch, k), k0)
        place = add(code, mul(code, lines, padded_n), mul(code, column0, kc))
        code.do(f"call void @pack_b(ptr {at(code, t.type, b, source)}, i64 {b_rs}, i64 {b_cs}, i64 {kc}, "
                f"i64 {columns}, i64 {mul(code, vectors, str(t.lanes))}, ptr {at(code, t.type, to, place)})")
    define(code, name, SIGNATURE, public=True)
    return module.text()
