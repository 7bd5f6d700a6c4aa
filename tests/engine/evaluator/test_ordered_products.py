"""The order of a product's sum is the program's: the evaluator follows it to the machine code's bits, and it is the
same for every machine."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import compiler_harness as h
from facula import dtypes as dt
from facula.engine.compiler.instructions import COMMON
from facula.engine.compiler.kernel import Machine
from facula.engine.compiler.program.ordered import Order, Product
from facula.engine.evaluator import products
from facula.engine.graph import node as g
from facula.engine.graph.node import Node
from facula.engine.targets import processors

pytestmark = pytest.mark.compiled
# rows, columns, length: the forms of a vector times a matrix, one block and several, sums in pieces
SHAPES = [(1, 40, 333), (1, 9, 333), (1, 1, 1000), (40, 1, 333), (1, 1, 70_003), (1, 5, 130_001), (3, 5, 7),
          (17, 33, 65), (5, 6, 1030), (20, 4, 50_001), (130, 97, 263), (1, 20, 3)]
LAYOUTS = ("NN", "NT", "TN", "TT")


def contraction(m, n, k, layout, of, batch=0):
    rng = np.random.default_rng(m + n + k)

    def matrix(rows, columns, turned):
        lead = (batch,) if batch else ()
        if not turned:
            return h.leaf(rng.standard_normal((*lead, rows, columns)).astype(of))
        x = h.leaf(rng.standard_normal((*lead, columns, rows)).astype(of))
        return h.permute(x, (*range(len(lead)), len(lead) + 1, len(lead)))

    a, b = matrix(m, k, layout[0] == "T"), matrix(k, n, layout[1] == "T")
    lead = (batch,) if batch else ()
    return Node(g.CONTRACT, (a, b), None, None, (*lead, m, n), a.dtype)


def programs(output, table, monkeypatch):
    monkeypatch.setattr(h, "target_machine", Machine(table))
    return [step.program for step in h.plan([output])[0].steps if isinstance(step.program, Product)]


@pytest.mark.parametrize("of", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_products_have_the_bits_of_the_machine_code(shape, layout, of, monkeypatch):
    output = contraction(*shape, layout, of)
    code = h.run([output])[0]
    monkeypatch.setattr(h, "by_evaluator", True)
    assert h.run([output])[0].tobytes() == code.tobytes()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_batches(layout, monkeypatch):
    output = contraction(5, 7, 600, layout, np.float32, batch=3)
    code = h.run([output])[0]
    monkeypatch.setattr(h, "by_evaluator", True)
    assert h.run([output])[0].tobytes() == code.tobytes()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_the_order_is_the_same_for_every_machine(shape, layout, monkeypatch):
    output = contraction(*shape, layout, np.float32)
    tables = [COMMON, processors.AVX512, processors.AVX2, processors.AVX, processors.NEON,
              replace(COMMON, vector_bytes=16, registers=8)]
    found = [programs(output, table, monkeypatch) for table in tables]
    assert len(found[0]) == 1 and all(one == found[0] for one in found)


@pytest.mark.parametrize("table", [replace(COMMON, fma=False), processors.SSE], ids=lambda t: t.name)
@pytest.mark.parametrize("shape", SHAPES[:9], ids=lambda s: "x".join(map(str, s)))
def test_products_that_round_twice(shape, table, monkeypatch):
    monkeypatch.setattr(h, "target_machine", Machine(table))
    output = contraction(*shape, "NT", np.float32)
    code = h.run([output])[0]
    monkeypatch.setattr(h, "by_evaluator", True)
    assert h.run([output])[0].tobytes() == code.tobytes()


def test_an_order_is_followed():
    """Of numbers whose sum tells in which order they were added."""
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(70) * 10.0 ** rng.integers(-4, 5, 70)).astype(np.float32)
    ones = np.ones_like(x)

    def by(order):
        return products.ordered_product(x.reshape(1, 1, -1), ones.reshape(1, -1, 1), order, True)[0, 0, 0]

    in_turn = np.float32(0)
    for value in x:
        in_turn += value
    assert by(Order()) == in_turn
    blocks = [np.cumsum(x[k:k + 32])[-1] for k in (0, 32, 64)]
    assert by(Order(blocks=(32,))) == (blocks[0] + blocks[1]) + blocks[2]
    lanes = np.zeros(8, np.float32)
    for k in range(0, 64, 8):
        lanes += x[k:k + 8]
    lanes += np.append(x[64:], np.float32([0, 0]))
    lanes = lanes[:4] + lanes[4:]
    lanes = lanes[:2] + lanes[2:]
    assert by(Order(lanes=(8,), padded=True)) == lanes[0] + lanes[1]
    assert len({by(Order()), by(Order(blocks=(32,))), by(Order(lanes=(8, 1))), by(Order(piece=10))}) > 2


@pytest.mark.parametrize("of, multiply_add", [(np.float32, products._fused32), (np.float64, products._fused64)])
def test_one_rounding(of, multiply_add):
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((2, 3000)).astype(of)
    z = (-(x * y) * (1 + rng.integers(-3, 4, 3000) * np.finfo(of).eps)).astype(of)  # what is left is what rounding took
    z[::3] = rng.standard_normal(1000).astype(of) * 10.0 ** rng.integers(-9, 9, 1000)
    found = multiply_add(x, y, z)
    for a, b, c, r in zip(x.tolist(), y.tolist(), z.tolist(), found.tolist(), strict=True):
        exact = Fraction(a) * Fraction(b) + Fraction(c)
        near = [r, float(np.nextafter(of(r), of(-np.inf))), float(np.nextafter(of(r), of(np.inf)))]
        assert abs(Fraction(r) - exact) == min(abs(Fraction(v) - exact) for v in near)
    assert dt.from_numpy_dtype(found.dtype).numpy == of
