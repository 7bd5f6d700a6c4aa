"""Tables of instructions: whatever a target lacks, and whether it has vectors at all, its programs have the
same bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import compiler_harness as h
import test_compiler_random as programs
from facula import dtypes as dt
from facula.engine.compiler.instructions import COMMON, Instructions, Masks
from facula.engine.compiler.kernel import Machine
from facula.engine.graph import node as g
from facula.engine.graph.expr import cast, operand
from facula.engine.graph.node import Node
from facula.engine.targets import processors

pytestmark = pytest.mark.compiled
TOY = Instructions("toy", vector_bytes=16, registers=8, vectors=False, masks=Masks.NONE, gathers=False,
                   scatters=False, halves=False, rounds=False)
TABLES = [
    COMMON,
    replace(COMMON, name="without masks", masks=Masks.NONE),
    replace(COMMON, name="with free masks", masks=Masks.FREE),
    replace(COMMON, name="without gathers and scatters", gathers=False, scatters=False),
    replace(COMMON, name="with nothing from anywhere or under a mask", masks=Masks.NONE, gathers=False, scatters=False),
    replace(COMMON, name="without float16", halves=False),
    replace(COMMON, name="without rounding", rounds=False),
    replace(COMMON, name="with few registers", vector_bytes=16, registers=8),
    replace(processors.AVX, name="16 bytes"),
    processors.NEON,
    replace(processors.SSE, fma=True),
    TOY,
]


def under(table, outputs, monkeypatch):
    monkeypatch.setattr(h, "target_machine", Machine(table) if table else None)
    return [x.tobytes() for x in h.run(outputs)]


def leaf(rng, *shape, d=dt.float32):
    return programs.sample(rng, shape, d)


def pointwise(rng):
    for d in (dt.float32, dt.float64, dt.float16, dt.bfloat16, dt.int32, dt.uint8, dt.bool_):
        x, y = leaf(rng, 3, 37, d=d), leaf(rng, 3, 37, d=d)
        yield h.fn("maximum", h.fn("mul", x, y), h.permute(leaf(rng, 37, 3, d=d), (1, 0)))
    x = leaf(rng, 131)
    for name in ("exp", "sin", "tanh", "erf", "floor", "ceil", "trunc", "round", "sqrt", "expm1", "lgamma"):
        yield h.fn(name, x)
    yield h.fn("pow", h.fn("abs", x), leaf(rng, 131))
    yield h.fn("exp", leaf(rng, 131, d=dt.float64))


def sums(rng):
    for shape, dims in (((3, 100), (1,)), ((100, 37), (0,)), ((5, 300, 40), (0, 2)), ((40, 10), (1,)),
                        ((70_000,), (0,)), ((2, 70_000), (1,)), ((7, 20, 30), (0, 1, 2))):
        x = leaf(rng, *shape)
        row = leaf(rng, shape[-1])
        product = h.fn("mul", x, h.expand(row, shape))
        yield h.reduce(g.SUM, product, dims)
        back = tuple(1 if k in dims else n for k, n in enumerate(shape))
        largest = h.reduce(g.MAX, x, dims)
        yield h.fn("exp", h.fn("sub", x, h.expand(h.reshape(largest, back), shape)))
        yield h.reduce(g.ARGMIN, x, dims)
        yield h.reduce(g.PROD, product, dims)
        yield h.reduce(g.ANY, h.fn("gt", x, x, dtype=dt.bool_), dims)
    yield h.reduce(g.SUM, leaf(rng, 9, 33, d=dt.float16), (1,))


def from_anywhere(rng):
    index = h.leaf(rng.integers(0, 50, 30))
    yield Node(g.GATHER, (leaf(rng, 50, 7), index), None, None, (30, 7), dt.float32)
    for op in (g.SCATTER_ADD, g.SCATTER_SET):
        yield Node(op, (leaf(rng, 50, 7), index, leaf(rng, 30, 7)), None, None, (50, 7), dt.float32)
    yield Node(g.WRITE, (leaf(rng, 20, 40), leaf(rng, 20, 13)), ((40, 3), 1), None, (20, 40), dt.float32)
    yield Node(g.CUMSUM, (leaf(rng, 9, 40),), (1,), None, (9, 40), dt.float32)


def orders(rng):
    for n, count, way in ((300, 4, "top"), (300, 3, "some"), (45, 3, "top")):
        for d in (dt.float32, dt.float16, dt.float64):
            yield Node(g.ARGSORT, (leaf(rng, 3, n, d=d),), (1, True, 0, way), None, (3, count), dt.int64)


def products(rng):
    for m, n, k in ((1, 50, 70), (50, 1, 70), (33, 65, 17), (130, 140, 150), (5, 3, 20_000)):
        for d in (dt.float32, dt.float64):
            a, b = leaf(rng, m, k, d=d), leaf(rng, k, n, d=d)
            turned = h.permute(leaf(rng, n, k, d=d), (1, 0))
            yield Node(g.CONTRACT, (a, b), None, None, (m, n), d)
            yield Node(g.CONTRACT, (a, turned), None, None, (m, n), d)


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
@pytest.mark.parametrize("kind", [pointwise, sums, from_anywhere, orders, products], ids=lambda f: f.__name__)
def test_programs_have_the_same_bits(kind, table, monkeypatch):
    outputs = list(kind(np.random.default_rng(7)))
    assert under(table, outputs, monkeypatch) == under(None, outputs, monkeypatch)


def test_in_place_lane_by_lane(monkeypatch):
    """A value that is read where another is stored: all are read first."""
    x, y = h.leaf(np.arange(40, dtype=np.float32)), h.leaf(np.arange(40, dtype=np.float32) + 7)
    outputs = [h.fn("sub", x, y), h.fn("add", x, y)]
    monkeypatch.setattr(h, "target_machine", Machine(TOY))
    found = h.run(outputs, frozenset((x, y)))
    np.testing.assert_array_equal(found[0], np.full(40, -7.0))
    np.testing.assert_array_equal(found[1], 2 * np.arange(40) + 7.0)


def test_float16_by_integers(monkeypatch):
    """All of them as float32; and float32 of all exponents, ties among them, as float16: NumPy's bits, but for NaN."""
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    monkeypatch.setattr(h, "target_machine", Machine(replace(COMMON, halves=False)))
    wide = h.run([h.apply(cast(operand(0), dt.float32), h.leaf(halves), dtype=dt.float32)])[0]
    np.testing.assert_array_equal(wide, halves.astype(np.float32))
    np.testing.assert_array_equal(np.signbit(wide), np.signbit(halves))
    bits = np.random.default_rng(0).integers(0, 1 << 32, 200_000, dtype=np.uint32)
    ties = (halves.astype(np.float32).view(np.uint32)[:0x7C00, None] + np.array([0, 0xFFF, 0x1000, 0x1001], np.uint32))
    values = np.concatenate([bits.view(np.float32), ties.reshape(-1).view(np.float32),
                             np.float32([65519.996, 65520, -65520, 2**-25, 2**-25 * 1.0000001, 0.0, -0.0])])
    with np.errstate(over="ignore", invalid="ignore"):
        wanted = values.astype(np.float16)
    found = h.run([h.apply(cast(operand(0), dt.float16), h.leaf(values), dtype=dt.float16)])[0]
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(wanted))


@pytest.mark.parametrize("name, function", [("floor", np.floor), ("ceil", np.ceil), ("trunc", np.trunc),
                                            ("round", np.rint)])
@pytest.mark.parametrize("of", [np.float32, np.float64])
def test_rounding_by_additions(name, function, of, monkeypatch):
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.standard_normal(5000) * 10.0 ** rng.integers(-3, 18, 5000), np.arange(-5, 5, 0.5),
                             [0.0, -0.0, np.inf, -np.inf, np.nan, 2.0**23 - 0.5, 2.0**52 - 0.5, 0.49999999999999994]])
    values = values.astype(of)
    monkeypatch.setattr(h, "target_machine", Machine(replace(COMMON, rounds=False)))
    found = h.run([h.fn(name, h.leaf(values))])[0]
    np.testing.assert_array_equal(found, function(values))
    np.testing.assert_array_equal(np.signbit(found), np.signbit(function(values)))


def test_a_table_without_fused_multiply_add(monkeypatch):
    """Products round twice then; everything else has the same bits."""
    rng = np.random.default_rng(3)
    outputs = [*pointwise(rng), *sums(rng)]
    table = replace(COMMON, fma=False)
    assert under(table, outputs, monkeypatch) == under(None, outputs, monkeypatch)
    a, b = rng.standard_normal((20, 30)), rng.standard_normal((30, 40))
    monkeypatch.setattr(h, "target_machine", Machine(table))
    wanted = np.zeros((20, 40))
    for k in range(30):
        wanted = wanted + a[:, k:k + 1] * b[k]
    found = h.run([Node(g.CONTRACT, (h.leaf(a), h.leaf(b)), None, None, (20, 40), dt.float64)])[0]
    np.testing.assert_array_equal(found, wanted)


def test_what_a_machine_is_told():
    from facula.engine.runtime.cpu.target import Target

    def told(triple, features, width):
        return processors.instructions(Target(triple, "", features, width, ""))

    assert told("x86_64-linux", "+avx512f,+fma", 64) is processors.AVX512
    assert told("x86_64-linux", "+avx2,+fma,+f16c", 32) == processors.AVX2
    assert told("x86_64-linux", "-avx", 16) == processors.SSE
    old = told("x86_64-linux", "+avx,+fma,-f16c,+sse4.1", 16)
    assert (old.fma, old.halves, old.rounds, old.registers) == (True, False, True, 16)
    assert told("aarch64-linux", "+neon", 16) == processors.NEON
