"""Lowering of matrix products: which kernels, which blocks, what is packed.

Every decision here depends on shapes, strides and the target alone, never on the number of threads.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

from facula.dtypes import dtype, float32, float64
from facula.engine.compiler.emit import gemm
from facula.engine.compiler.emit.gemm_base import Target, target
from facula.engine.compiler.kernel import Kernel, Step

FLOPS_PER_NS = 80.0  # of one core in float32 with 512-bit vectors; only for Step.cost
_TYPES = {float32: "float", float64: "double"}


@dataclass(frozen=True)
class Operand:
    """A matrix (or a batch of them) in the plan's buffer table; offset and strides count elements.

    The start is `offset`, plus the run-time number nums[offset_at] if that is given.
    """

    slot: int
    offset: int
    strides: tuple[int, int, int]  # batch, row, column
    offset_at: int | None = None

    def words(self) -> list[int]:
        return [self.slot, self.offset, -1 if self.offset_at is None else self.offset_at, *self.strides]


@dataclass(frozen=True)
class Epilogue:
    """Pointwise work on the product before it is stored. `key` names the text that `emit` produces;
    `args` are appended to the step's."""

    key: str
    emit: gemm.EmitEpilogue
    args: list[int] = field(default_factory=list)


def supported(of: dtype) -> bool:
    """Can `lower_contract` multiply matrices of this type?"""
    return of in _TYPES


def lower_contract(of: dtype, batch: int, m: int, n: int, k: int, a: Operand, b: Operand, c: Operand,
                   vector_bytes: int, temp: Callable[[int], int],
                   epilogue: Epilogue | None = None) -> list[Step]:
    """Steps that compute c[batch, m, n] = a[batch, m, k] @ b[batch, k, n].

    `c` must be contiguous and overlap neither a nor b. `temp(nbytes)` gives the slot of a temporary
    that lives until the last of these steps.
    """
    if batch * m * n == 0:
        return []
    t = target(_TYPES[of], vector_bytes)
    return _blocked(t, batch, m, n, k, a, b, c, temp, epilogue)


def _layout(rows: int, columns: int, row_stride: int, column_stride: int) -> str:
    """Which neighbours are adjacent. A stride over a single element is never used."""
    if column_stride == 1 or columns == 1:
        return "row"
    if row_stride == 1 or rows == 1:
        return "col"
    return "any"


def _split(total: int, most: int, multiple: int = 1) -> tuple[int, int]:
    """Equal parts of at most `most`, rounded up to `multiple`: (size, count)."""
    count = max(1, -(-total // most))
    size = max(multiple, -(-total // (count * multiple)) * multiple)
    return size, max(1, -(-total // size))


def _blocked(t: Target, batch: int, m: int, n: int, k: int, a: Operand, b: Operand, c: Operand,
             temp: Callable[[int], int], epilogue: Epilogue | None) -> list[Step]:
    kc, k_blocks = _split(k, 512)
    mc, m_blocks = _split(m, 128, t.rows)
    vectors = -(-n // t.lanes)
    panels = -(-vectors // t.vectors)
    small, bigger = divmod(vectors, panels)
    per_block, n_blocks = _split(panels, 16)
    a_layout = _layout(m, k, *a.strides[1:])
    b_layout = {"row": "row", "col": "col", "any": "any"}[_layout(k, n, *b.strides[1:])]
    fits_vectors = t.masked or n % t.lanes == 0
    if b_layout == "row" and fits_vectors and (m <= 64 or k * n * t.itemsize <= 1 << 18):
        mode = "direct"
    elif m_blocks == 1:
        mode = "local"
    else:
        mode = "shared"
    pack_a = m >= 128 and n >= 128
    counts = tuple(r for r in t.row_counts if m & r or (r == t.rows and m >= r))
    widths = tuple(v for v in (small, small + 1) if v == small or bigger)
    steps = []
    flops = 2 * batch * m * n * k
    shape = [m, n, k, kc, k_blocks, mc, m_blocks, per_block, n_blocks, panels, small, bigger]
    if mode == "shared":
        padded = vectors * t.lanes
        copies = 1 if b.strides[0] == 0 else batch
        nbytes = copies * k * padded * t.itemsize
        slot = temp(nbytes)
        steps.append(Step(
            _pack_kernel(t, b_layout), [0] * 6 + b.words() + [slot, 0, -1, padded, 0, 0] + shape,
            copies * k_blocks * panels, nbytes / 8, bytes=2 * nbytes))
        b = Operand(slot, 0, (k * padded if copies > 1 else 0, padded, 1))
    layout = gemm.Layout(t, a_layout if pack_a else "any", b_layout if mode == "local" else "any", pack_a, mode,
                         counts, widths)
    words = c.words()
    words[3] = m * n
    args = a.words() + b.words() + words + shape + (epilogue.args if epilogue else [])
    steps.append(Step(
        _product_kernel(layout, epilogue.key if epilogue else "", epilogue), args, batch * m_blocks * n_blocks,
        flops / FLOPS_PER_NS, bytes=batch * (m * k + k * n + m * n) * t.itemsize, flops=flops))
    return steps


_kernels: dict[tuple[object, ...], Kernel] = {}


def _product_kernel(layout: gemm.Layout, key: str, epilogue: Epilogue | None) -> Kernel:
    found = _kernels.get((layout, key))
    if found is None:
        title = f"matrix product {layout.target.type} {'packed' if layout.pack_a else 'unpacked'} A, {layout.b_mode} B"
        text = gemm.product_kernel("matmul", layout, epilogue.emit if epilogue else None)
        found = _kernels[layout, key] = Kernel("matmul", text, title)
    return found


@functools.cache
def _pack_kernel(t: Target, layout: str) -> Kernel:
    return Kernel("matmul_pack", gemm.pack_kernel("matmul_pack", t, layout), f"pack {layout} matrix")
