"""Matrix product kernels against NumPy in float64, straight from `lower_contract` to machine code."""

from __future__ import annotations

import ctypes
import platform
import random

import numpy as np
import pytest

from facula.dtypes import float32, float64, int64
from facula.engine.compiler.emit import gemm_vector
from facula.engine.compiler.emit.gemm_base import at, masked_load, splat
from facula.engine.compiler.instructions import COMMON
from facula.engine.compiler.kernel import SCRATCH_BYTES
from facula.engine.compiler.matmul import Epilogue, Operand, lower_contract, supported

pytestmark = pytest.mark.compiled

KERNEL = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
TYPES = {np.float32: float32, np.float64: float64}
GUARD = 64  # elements around C that must not be touched
EDGES = [1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 47, 48, 49, 63, 64, 65,
         96, 97, 100, 128, 130, 200]


def strides_of(x):
    batch, row, column = (s // x.itemsize for s in x.strides)
    return (0 if len(x) == 1 else batch, row, column)


def run(a, b, *, vector_bytes=None, chop=None, epilogue=None, extra=(), offset=0, numbers=()):
    """a @ b (three dimensions each). `chop`: tiles per call. `offset`: C's first element; with `numbers`, A
    and B start nums[0] elements before the memory they are given."""
    from facula.engine.runtime.cpu import jit, target
    from facula.engine.targets.processors import instructions

    batch, (m, k), n = max(len(a), len(b)), a.shape[1:], b.shape[2]
    c = np.full(batch * m * n + 2 * GUARD, np.nan, a.dtype)
    memory = [a, b, c, *extra]
    addresses = [x.ctypes.data for x in memory]
    shift = numbers[0] if numbers else 0
    addresses[0] -= shift * a.itemsize
    addresses[1] -= shift * a.itemsize

    def temp(nbytes):
        memory.append(np.full(nbytes + 64, 0xFF, np.uint8))  # NaNs, to betray who reads what nobody wrote
        addresses.append((memory[-1].ctypes.data + 63) & -64)
        return len(memory) - 1

    where = 0 if numbers else None
    steps = lower_contract(
        TYPES[a.dtype.type], batch, m, n, k, Operand(0, 0, strides_of(a), where),
        Operand(1, 0, strides_of(b), where), Operand(2, GUARD + offset, (m * n, n, 1)),
        instructions(target.narrowed(target.host(), vector_bytes or 64)), temp, epilogue)
    scratch = np.full(SCRATCH_BYTES + 64, 0xFF, np.uint8)
    table = (ctypes.c_int64 * len(addresses))(*addresses)
    nums = (ctypes.c_int64 * (len(numbers) or 1))(*numbers)
    for step in steps:
        kernel, args = KERNEL(jit.get(step.kernel)), (ctypes.c_int64 * len(step.args))(*step.args)
        size = chop or step.tiles
        ranges = [(lo, min(step.tiles, lo + size)) for lo in range(0, step.tiles, size)]
        random.Random(0).shuffle(ranges)  # threads finish in any order
        for lo, hi in ranges:
            kernel(args, table, nums, lo, hi, (scratch.ctypes.data + 63) & -64)
    start, stop = GUARD + offset, GUARD + offset + batch * m * n
    assert np.isnan(c[:start]).all() and np.isnan(c[stop:]).all(), "wrote past C"
    return c[start:stop].reshape(batch, m, n), steps


def check(a, b, **options):
    got, steps = run(a, b, **options)
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    want = wide_a @ wide_b
    # The bound for a sum of k products in any order; NumPy's float64 rounds too, hence twice.
    bound = 2 * (a.shape[2] + 2) * np.finfo(a.dtype).eps * (np.abs(wide_a) @ np.abs(wide_b))
    assert (np.abs(got - want) <= bound).all(), f"{a.shape} @ {b.shape}, strides {a.strides} {b.strides}"
    return got, steps


def matrix(rng, batch, rows, columns, kind, of):
    """A (batch, rows, columns) array: contiguous, transposed, padded rows, or strided both ways."""
    if kind == "N":
        return rng.standard_normal((batch, rows, columns)).astype(of)
    if kind == "T":
        return rng.standard_normal((batch, columns, rows)).astype(of).transpose(0, 2, 1)
    if kind == "padded":
        return rng.standard_normal((batch, rows, columns + 5)).astype(of)[:, :, 2:columns + 2]
    wide = rng.standard_normal((batch, 2 * rows + 1, 3 * columns + 1)).astype(of)
    return wide[:, 1::2, ::3][:, :rows, :columns]


def test_random_shapes():
    rng, pick = np.random.default_rng(0), random.Random(0)
    for trial in range(160):
        m, n, k = (pick.choice(EDGES) for _ in range(3))
        batch = pick.choice([1, 1, 1, 3])
        of = pick.choice([np.float32, np.float64])
        a = matrix(rng, batch, m, k, pick.choice(["N", "T", "padded", "strided"]), of)
        b = matrix(rng, pick.choice([1, batch]), k, n, pick.choice(["N", "T", "padded", "strided"]), of)
        got, _ = check(a, b, offset=trial % 3)
        again, _ = run(a, b, chop=1, offset=trial % 3)
        np.testing.assert_array_equal(got, again)


@pytest.mark.parametrize("seed", range(3))
def test_every_width_gives_the_same_bits(seed):
    """Any machine runs the text for any width: LLVM splits what is too wide."""
    rng, pick = np.random.default_rng(seed), random.Random(seed)
    for of in (np.float32, np.float64):
        for _ in range(8):
            m, n, k = (pick.choice(EDGES) for _ in range(3))
            a, b = matrix(rng, 2, m, k, pick.choice("NT"), of), matrix(rng, 2, k, n, pick.choice("NT"), of)
            whole, _ = check(a, b, vector_bytes=64)
            for vector_bytes in (32, 16):
                np.testing.assert_array_equal(whole, check(a, b, vector_bytes=vector_bytes)[0])


@pytest.mark.parametrize("kinds", ["NN", "NT", "TN", "TT"])
@pytest.mark.parametrize("shape", [(300, 310, 1100), (150, 1000, 70), (8, 500, 1030), (3, 1200, 600),
                                   (40, 2, 900), (1, 3000, 2500)])
def test_blocks(shape, kinds):
    """Several blocks along every dimension; the split into calls changes nothing."""
    m, n, k = shape
    rng = np.random.default_rng(2)
    a, b = matrix(rng, 1, m, k, kinds[0], np.float32), matrix(rng, 1, k, n, kinds[1], np.float32)
    whole, _ = check(a, b)
    for chop in (1, 3):
        np.testing.assert_array_equal(whole, run(a, b, chop=chop)[0])


@pytest.mark.parametrize("kinds", ["NN", "NT", "TN", "TT"])
@pytest.mark.parametrize("shape", [(10, 10, 50000), (20, 40, 50000), (1, 1, 900001), (1, 30, 150001), (30, 1, 150001)])
def test_long_sums_are_cut(shape, kinds):
    m, n, k = shape
    rng = np.random.default_rng(3)
    a, b = matrix(rng, 1, m, k, kinds[0], np.float32), matrix(rng, 1, k, n, kinds[1], np.float32)
    whole, steps = check(a, b)
    assert steps[-1].kernel.name == "matmul_combine"
    np.testing.assert_array_equal(whole, run(a, b, chop=1)[0])
    for vector_bytes in (32, 16):
        np.testing.assert_array_equal(whole, run(a, b, vector_bytes=vector_bytes)[0])


@pytest.mark.parametrize("shape", [(1, 1, 2000), (1, 700, 33), (700, 1, 33), (1, 5, 77), (5, 1, 77),
                                   (2000, 1, 3), (3, 1, 2000), (1, 1, 1), (1, 4100, 9)])
@pytest.mark.parametrize("of", [np.float32, np.float64])
def test_vectors(shape, of):
    m, n, k = shape
    rng = np.random.default_rng(4)
    for kind_a in ("N", "T", "strided"):
        for kind_b in ("N", "T", "strided"):
            for batch in (1, 2):
                check(matrix(rng, batch, m, k, kind_a, of), matrix(rng, batch, k, n, kind_b, of))
    for kind_a, kind_b in ("NT", "TN", "NN"):
        a, b = matrix(rng, 1, m, k, kind_a, of), matrix(rng, 1, k, n, kind_b, of)
        whole, narrower, narrow = (check(a, b, vector_bytes=width)[0] for width in (64, 32, 16))
        np.testing.assert_array_equal(whole, narrower)
        np.testing.assert_array_equal(whole, narrow)


def test_nothing_to_add_gives_zeros():
    for m, n in ((3, 5), (1, 20), (20, 1), (1, 1), (200, 200)):
        got, _ = run(np.ones((2, m, 0), np.float32), np.ones((2, 0, n), np.float32))
        np.testing.assert_array_equal(got, np.zeros((2, m, n), np.float32))


@pytest.mark.parametrize("k", [(1 << 17) + 1, 1 << 23, 1 << 27])
def test_a_strided_vector_is_copied_only_if_it_fits_scratch(k):
    """Lowering alone: such operands are gigabytes."""
    steps = lower_contract(float64, 1, 1, 4, k, Operand(0, 0, (0, 0, 3)), Operand(1, 0, (0, 1, k)),
                           Operand(2, 0, (4, 4, 1)), COMMON, lambda nbytes: 3)
    for step in steps:
        if step.kernel.name == "matmul_vector":
            assert step.args[gemm_vector.K] * 8 <= SCRATCH_BYTES


def test_nothing_to_compute():
    for batch, m, n in ((0, 2, 3), (2, 0, 3), (2, 3, 0)):
        assert lower_contract(float32, batch, m, n, 4, Operand(0, 0, (0, 4, 1)), Operand(1, 0, (0, 3, 1)),
                              Operand(2, 0, (0, 3, 1)), COMMON, lambda nbytes: 3) == []


def test_broadcast_batches():
    rng = np.random.default_rng(5)
    for m in (1, 6):
        a = matrix(rng, 4, m, 20, "N", np.float32)
        check(a, matrix(rng, 1, 20, 30, "N", np.float32))
        check(a[:1], matrix(rng, 4, 20, 30, "T", np.float32))
    shared = np.broadcast_to(matrix(rng, 1, 40, 300, "N", np.float32), (3, 40, 300))
    check(shared, matrix(rng, 3, 300, 50, "N", np.float32))
    check(matrix(rng, 3, 300, 40, "N", np.float32), shared)  # used by several blocks: packed once


def test_negative_and_zero_strides():
    rng = np.random.default_rng(6)
    a = matrix(rng, 2, 30, 40, "N", np.float32)
    b = matrix(rng, 2, 40, 50, "N", np.float32)
    check(a[:, ::-1], b[:, :, ::-1])
    check(np.broadcast_to(a[:, :1], a.shape), np.broadcast_to(b[:, :, :1], b.shape))


def test_run_time_offsets():
    rng = np.random.default_rng(7)
    for m in (1, 20):
        check(matrix(rng, 2, m, 40, "N", np.float32), matrix(rng, 2, 40, 50, "N", np.float32), numbers=(11,))


def test_infinities_and_nans_stay_in_their_row_and_column():
    """Lanes past the edge hold anything, but never reach a result."""
    a, b = np.ones((1, 11, 19), np.float32), np.ones((1, 19, 21), np.float32)
    a[0, 3, 18], b[0, 5, 20] = np.nan, np.inf
    got, _ = run(a, b)
    want = a @ b
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    np.testing.assert_array_equal(np.isinf(got), np.isinf(want))


def test_kernels_are_generic_in_sizes():
    a, b = np.ones((1, 64, 64), np.float32), np.ones((1, 64, 96), np.float32)
    _, first = run(a, b)
    _, second = run(np.ones((1, 56, 30), np.float32), np.ones((1, 30, 48), np.float32))
    assert first[-1].kernel is second[-1].kernel


def bias_and_relu(code, vector, element, base):
    """max(c + bias[column], 0)."""
    t = element.target
    slot = code.op(f"load i64, ptr {at(code, 'i64', '%args', str(base))}")
    bias = code.op(f"load ptr, ptr {at(code, 'ptr', '%bufs', slot)}")
    if element.axis == "column":
        added = masked_load(code, t, at(code, t.type, bias, element.column), element.mask)
    else:
        added = splat(code, t, code.op(f"load {t.type}, ptr {at(code, t.type, bias, element.column)}"))
    total = code.op(f"fadd {t.vector} {vector}, {added}")
    module, name = code.module, f"llvm.maxnum.{t.suffix}"
    module.declare(name, f"declare {t.vector} @{name}({t.vector}, {t.vector})")
    return code.op(f"call {t.vector} @{name}({t.vector} {total}, {t.vector} zeroinitializer)")


@pytest.mark.parametrize("shape", [(64, 100, 30), (1, 100, 30), (100, 1, 30), (300, 300, 600), (5, 5, 60000),
                                   (1, 30, 150001), (30, 1, 150001)])
@pytest.mark.parametrize("vector_bytes", [16, 64])
def test_epilogue(shape, vector_bytes):
    m, n, k = shape
    rng = np.random.default_rng(8)
    a, b = matrix(rng, 1, m, k, "N", np.float32), matrix(rng, 1, k, n, "N", np.float32)
    bias = rng.standard_normal(n).astype(np.float32)
    plain, _ = check(a, b, vector_bytes=vector_bytes)
    for chop in (None, 1):
        got, _ = run(a, b, vector_bytes=vector_bytes, chop=chop, extra=[bias],
                     epilogue=Epilogue("bias relu", bias_and_relu, [3]))
        np.testing.assert_array_equal(got, np.maximum(plain + bias, 0))


def test_epilogue_rows_and_batches():
    """The batch and row an epilogue is told of; `flat` lets a batch over one B be a tall matrix."""
    def replace_by_index(code, vector, element, base):
        t = element.target
        rows = code.op(f"add i64 {code.op(f'mul i64 {element.batch}, 1000')}, {element.row}")
        return splat(code, t, code.op(f"sitofp i64 {rows} to {t.type}"))

    a, b = np.ones((3, 5, 7), np.float32), np.ones((1, 7, 20), np.float32)
    for flat, batch_weight in ((False, 1000), (True, 5)):
        got, _ = run(a, b, epilogue=Epilogue("index", replace_by_index, [], flat))
        want = batch_weight * np.arange(3)[:, None, None] + np.arange(5)[None, :, None]
        np.testing.assert_array_equal(got, np.broadcast_to(want, got.shape))


def test_the_micro_kernel_spills_nothing():
    """24 sums, three vectors of B and a broadcast must stay in registers."""
    from facula.engine.runtime.cpu import jit, target

    if target.host().vector_bytes != 64:
        pytest.skip("counts zmm registers")
    _, steps = run(np.ones((1, 64, 64), np.float32), np.ones((1, 64, 96), np.float32))
    text = jit.assembly(steps[-1].kernel.ir)
    assert text.count("vfmadd") == 24
    moves = [line for line in text.splitlines()
             if "zmm" in line and "(%rsp)" in line and "broadcast" not in line]
    assert not moves, "on the stack: " + "; ".join(moves)


@pytest.mark.skipif(platform.machine() != "aarch64", reason="NEON is aarch64's")
def test_neon_multiplies_and_adds():
    from facula.engine.runtime.cpu import jit

    _, steps = run(np.ones((1, 64, 64), np.float32), np.ones((1, 64, 96), np.float32))
    text = jit.assembly(steps[-1].kernel.ir)
    fused = [line for line in text.splitlines() if "fmla" in line and ".4s" in line]
    assert len(fused) >= 24 and "fmadd" not in text


def test_other_types_are_left_to_the_caller():
    assert supported(float32) and supported(float64) and not supported(int64)
