"""Lowering of vector times matrix: which form of kernel, how many outputs a tile has."""

from __future__ import annotations

from facula.engine.compiler.emit.gemm_base import Target
from facula.engine.compiler.emit.gemm_vector import VectorLayout, vector_kernel, vector_order
from facula.engine.compiler.kernel import Kernel, Step
from facula.engine.compiler.matmul_operand import Epilogue, Operand, split
from facula.engine.compiler.symbols import called

BYTES_PER_NS = 20.0  # of one core, from memory; only for Step.cost
TILE_BYTES = 1 << 18


def vector_form(t: Target, outputs: int, k: int, w: Operand) -> str | None:
    """The kernel for `outputs` sums over k, or None where the blocked product serves better. The
    strides of `w` are (batch, k, output)."""
    _, along_k, along_output = w.strides
    lanes = t.whole.lanes
    if along_k == 1 and k >= lanes:
        return "dots"
    if outputs <= lanes and (along_output == 1 or outputs == 1):
        return "narrow"
    if along_output == 1 and outputs > lanes:
        return "wide"
    return None


def lower_vector(t: Target, form: str, axis: str, batch: int, outputs: int, k: int, step: int, x: Operand,
                 w: Operand, y: Operand, epilogue: Epilogue | None) -> list[Step]:
    """y[batch, outputs] = x[batch, k] @ w[batch, k, outputs].

    With `step`, the batch is made of pieces of one sum of length k, `step` long each.
    """
    if step:
        x = x.with_strides(step * x.strides[1], x.strides[1], 0)
        w = w.with_strides(step * w.strides[1], w.strides[1], w.strides[2])
    length = step or k
    if form == "narrow":
        per_tile, blocks = outputs, 1
    else:
        least, multiple = (4, 4) if form == "dots" else (1024, 4 * t.lanes)
        per_tile, blocks = called(_tiles, 2, outputs, length * t.itemsize, least, multiple)
    layout = VectorLayout(t, form, x.strides[1] == 1 or form != "dots", form == "dots" and outputs == 1, axis)
    y = y.with_strides(outputs, 0, 1)
    shape = [outputs, length, k, step, per_tile, blocks]
    args = x.words() + w.words() + y.words() + shape + (epilogue.args if epilogue else [])
    nbytes = batch * length * outputs * t.itemsize
    return [Step(_kernel(layout, epilogue), args, batch * blocks, nbytes / BYTES_PER_NS + 20 * batch,
                 bytes=nbytes, flops=2 * batch * length * outputs, program=vector_order(layout))]


def _tiles(outputs: int, nbytes: int, least: int, multiple: int) -> tuple[int, int]:
    """(outputs, blocks) of a tile, where each output reads `nbytes`."""
    return split(outputs, max(least, TILE_BYTES // max(1, nbytes)), multiple)


_kernels: dict[tuple[VectorLayout, str], Kernel] = {}


def _kernel(layout: VectorLayout, epilogue: Epilogue | None) -> Kernel:
    key = epilogue.key if epilogue else ""
    found = _kernels.get((layout, key))
    if found is None:
        title = f"{'vector x matrix' if layout.axis == 'column' else 'matrix x vector'} ({layout.form}) {key}"
        text = vector_kernel("matmul_vector", layout, epilogue.emit if epilogue else None)
        found = _kernels[layout, key] = Kernel("matmul_vector", text, title.strip())
    return found
