"""Lowering of matrix products: which kernels, and how a long sum is cut.

The order of every sum depends on shapes and strides alone, never on the number of threads or on the machine
(see Target.whole); what is packed, and by how much a tile covers, may follow the machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from facula.config import threshold
from facula.dtypes import dtype, float32, float64
from facula.engine.compiler.emit import gemm
from facula.engine.compiler.emit.gemm_base import Target, target
from facula.engine.compiler.instructions import Instructions
from facula.engine.compiler.kernel import Kernel, Step
from facula.engine.compiler.matmul_blocked import lower_blocked
from facula.engine.compiler.matmul_operand import Epilogue, Operand, split
from facula.engine.compiler.matmul_vector import lower_vector, vector_form
from facula.engine.compiler.program.ordered import Order
from facula.engine.compiler.symbols import called

__all__ = ["Epilogue", "Operand", "lower_contract", "supported"]

_TYPES = {float32: "float", float64: "double"}
TILE_FLOPS = threshold("product_flops")  # 20 us: worth waking a thread for
TILE_BYTES = threshold("product_bytes")
MOST_PIECES = 64
COMBINED = 1 << 14  # outputs of a tile that adds the pieces
PIECE = 512  # a sum is cut at multiples of this (and of KC: no threshold)


def supported(of: dtype) -> bool:
    """Can `lower_contract` multiply matrices of this type?"""
    return of in _TYPES


def lower_contract(of: dtype, batch: int, m: int, n: int, k: int, a: Operand, b: Operand, c: Operand,
                   table: Instructions, temp: Callable[[int], int],
                   epilogue: Epilogue | None = None, windows: bool = False,
                   rows: bool = False) -> list[Step]:
    """Steps that compute c[batch, m, n] = a[batch, m, k] @ b[batch, k, n].

    `a` and `b` may have any strides (0 too); `c` is contiguous and overlaps neither. `temp(nbytes)` gives
    the slot of a temporary, aligned to 64 bytes, that lives until the last of these steps, whose program is the Order
    of the sums. `windows`: as of operands through maps, whatever these are (node.WINDOWS). `rows`: and in
    one piece, so that their order depends on `k` alone (node.ROWS).
    """
    if batch * m * n == 0:
        return []
    t = target(_TYPES[of], table)
    (a_batch, a_row, a_column), (b_batch, b_row, _) = a.strides, b.strides
    mapped = windows or a.map is not None or b.map is not None
    one_tall = not mapped and batch > 1 and b_batch == 0 and (m == 1 or a_batch == m * a_row)
    if one_tall and (epilogue is None or epilogue.flat):
        a_row = a_batch if m == 1 else a_row
        batch, m, a_batch = 1, batch * m, 0
        a = a.with_strides(0, a_row, a_column)

    vector: tuple[str, Operand, Operand] | None = None
    if mapped:
        pass  # the blocked product alone packs by maps
    elif m == 1:  # strides of x: (batch, k, -); of w: (batch, k, j)
        vector = "column", a.with_strides(a_batch, a_column, 0), b
    elif n == 1:
        vector = "row", b.with_strides(b_batch, b_row, 0), a.with_strides(a_batch, a_column, a_row)
    if vector is not None:
        axis, x, w = vector
        outputs = m * n
        form = vector_form(t, outputs, k, w)
        if form is not None:
            def product(pieces: int, step: int, to: Operand, then: Epilogue | None) -> list[Step]:
                return lower_vector(t, form, axis, batch * pieces, outputs, k, step, x, w, to, then)

            wanted = -(-outputs * k * t.itemsize // TILE_BYTES)
            have = -(-outputs // {"narrow": t.whole.lanes, "wide": 1024, "dots": 4}[form])
            long_copy = form == "dots" and x.strides[1] != 1 and k > 1 << 17  # x is copied into scratch
            pieces = max(-(-k >> 17) if long_copy else 1, wanted // have if k >= 4 * PIECE else 1)
            if not long_copy or (batch == 1 and k <= MOST_PIECES << 17):  # or the copy would not fit
                return _in_pieces(t, batch, 1, outputs, k, pieces, c, temp, epilogue, axis, product)

    def blocked(pieces: int, step: int, to: Operand, then: Epilogue | None) -> list[Step]:
        return lower_blocked(t, batch * pieces, m, n, k, step, a, b, to, temp, then)

    pieces = called(_pieces, 0, m, n, k, t.whole.lanes * t.vectors) if batch == 1 and not rows else 1
    return _in_pieces(t, batch, m, n, k, pieces, c, temp, epilogue, "column", blocked)


def _pieces(m: int, n: int, k: int, width: int) -> int:
    """How many products a long sum is worth."""
    if k < 4 * PIECE:
        return 1
    return int(2 * m * n * k // TILE_FLOPS) // (max(1, m // 16) * -(-n // width))


def _in_pieces(t: Target, batch: int, m: int, n: int, k: int, pieces: int, c: Operand,
               temp: Callable[[int], int], epilogue: Epilogue | None, axis: str,
               product: Callable[[int, int, Operand, Epilogue | None], list[Step]]) -> list[Step]:
    """The steps of `product`, or, if few outputs have long sums, of `pieces` products and their sum."""
    step = k
    if batch == 1 and pieces > 1:
        step = called(_step, 0, k, pieces)
        pieces = -(-k // step)
    if batch > 1 or pieces <= 1:
        return product(1, 0, c, epilogue)
    slot = temp(pieces * m * n * t.itemsize)
    parts = Operand(slot, 0, (m * n, n, 1))
    steps = product(pieces, step, parts, None)
    order = steps[-1].program
    assert isinstance(order, Order)
    rows, blocks = called(_combined, 2, m, n)
    args = [0] * gemm.EXTRA
    args[gemm.A:gemm.A + 6] = parts.words()
    args[gemm.C:gemm.C + 6] = c.words()
    for place, value in ((gemm.K, pieces), (gemm.M, m), (gemm.N, n), (gemm.MC, rows)):
        args[place] = value
    kernel = _combine_kernel(t, axis, epilogue.key, epilogue) if epilogue else _combine_kernel(t, axis)
    cost = pieces * m * n * t.itemsize / 20
    steps.append(Step(kernel, args + (epilogue.args if epilogue else []), blocks, cost,
                      bytes=(pieces + 1) * m * n * t.itemsize, flops=pieces * m * n,
                      program=replace(order, piece=step)))
    return steps


def _step(k: int, pieces: int) -> int:
    """How long each piece of a sum is."""
    return split(k, -(-k // min(pieces, MOST_PIECES)), PIECE)[0]


def _combined(m: int, n: int) -> tuple[int, int]:
    """(rows, blocks) of what adds the pieces."""
    return split(m, max(1, COMBINED // n))


_kernels: dict[tuple[Target, str, str], Kernel] = {}


def _combine_kernel(t: Target, axis: str, key: str = "", epilogue: Epilogue | None = None) -> Kernel:
    found = _kernels.get((t, axis, key))
    if found is None:
        text = gemm.combine_kernel("matmul_combine", t, epilogue.emit if epilogue else None, axis)
        title = f"sum of partial products {key}".strip()
        found = _kernels[t, axis, key] = Kernel("matmul_combine", text, title)
    return found
