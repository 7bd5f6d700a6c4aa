"""Loop programs evaluated by NumPy have the bits of the machine code, where the formulas are exact.

test_compiler_random.py and test_compiler_steps.py compare both with an oracle.
"""

from __future__ import annotations

import numpy as np
import pytest

import compiler_harness as h
import test_compiler_random as programs
from facula import dtypes as dt
from facula.engine.graph import node as g
from facula.engine.graph.node import Node

pytestmark = pytest.mark.compiled

def same_bits(outputs, monkeypatch):
    code = h.run(outputs)
    monkeypatch.setattr(h, "by_evaluator", True)
    for a, b in zip(h.run(outputs), code, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(np.signbit(a) if a.dtype.kind == "f" else 0,
                                      np.signbit(b) if a.dtype.kind == "f" else 0)


SHAPES = [((7,), (0,)), ((3, 5), (1,)), ((3, 5), (0,)), ((130, 70), (1,)), ((130, 70), (0,)), ((2, 3, 1000), (0, 2)),
          ((5, 300, 40), (1,)), ((20000,), (0,)), ((3, 70000), (1,)), ((300000,), (0,)), ((600, 33), (0, 1)),
          ((1100, 3, 100), (0, 2))]


@pytest.mark.parametrize("d", [dt.float32, dt.float64, dt.bfloat16, dt.float16, dt.int32, dt.uint8], ids=repr)
@pytest.mark.parametrize(("shape", "dims"), SHAPES)
def test_sums_have_the_bits_of_the_machine_code(shape, dims, d, monkeypatch):
    rng = np.random.default_rng(0)
    x, y = programs.sample(rng, shape, d), programs.sample(rng, shape, d)
    product = h.fn("mul", x, y)
    total = h.reduce(g.SUM, product, dims)
    back = tuple(1 if k in dims else n for k, n in enumerate(shape))
    centred = h.fn("sub", product, h.expand(h.reshape(total, back), shape)) if d.category == dt.FLOAT else product
    same_bits([total, centred, h.reduce(g.MAX, product, dims)], monkeypatch)


@pytest.mark.parametrize("op", [g.SUM, g.PROD, g.MAX, g.MIN, g.ARGMAX, g.ARGMIN, g.ANY, g.ALL], ids=repr)
@pytest.mark.parametrize(("shape", "dims"), SHAPES)
def test_reductions_have_the_bits_of_the_machine_code(shape, dims, op, monkeypatch):
    rng = np.random.default_rng(1)
    x = rng.standard_normal(shape).astype(np.float32)
    x[rng.random(shape) < 0.001] = np.nan
    x[rng.random(shape) < 0.1] = -0.0
    same_bits([h.reduce(op, h.leaf(x), dims)], monkeypatch)


def broadcast(x, rng):
    row = h.leaf(rng.standard_normal(x.shape[-1]).astype(np.float32))
    return h.fn("mul", x, h.expand(row, x.shape))


VIEWS = {
    "times a row": broadcast,
    "mirrored": lambda x, rng: h.fn("add", x, h.sliced(x, (..., slice(None, None, -1)))),
    "turned round": lambda x, rng: h.permute(x, tuple(range(len(x.shape)))[::-1]),
    "a slice, times a row": lambda x, rng: broadcast(h.sliced(x, (..., slice(0, x.shape[-1] - 1))), rng),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("shape", [(3, 5), (4, 3, 7), (40, 100), (300, 7), (7, 200, 100), (2, 70000), (70000, 3),
                                   (3, 2, 50, 40)])
def test_sums_over_views_have_the_bits_of_the_machine_code(view, shape, monkeypatch):
    """Of runs of dimensions that do not lie as one: staged, by lines, in chunks."""
    rng = np.random.default_rng(2)
    x = VIEWS[view](h.leaf(rng.standard_normal(shape).astype(np.float32)), rng)
    dims = tuple(range(len(x.shape)))
    results = [h.reduce(g.SUM, x, dims), h.reduce(g.MIN, x, dims[:-1]), h.reduce(g.PROD, x, dims[1:]),
               h.reduce(g.SUM, x, dims[1:]), h.reduce(g.ARGMAX, x, dims[1:]), h.reduce(g.SUM, x, dims[:-1])]
    same_bits(results, monkeypatch)


@pytest.mark.parametrize("shape", [(40, 10), (3, 30), (2, 3, 4), (16, 1, 16)])
def test_short_rows_that_only_write_their_elements(shape, monkeypatch):
    x = h.leaf(np.random.default_rng(3).standard_normal(shape).astype(np.float32))
    dims = tuple(range(1, len(shape)))
    largest = h.expand(h.reshape(h.reduce(g.MAX, x, dims), (shape[0], *(1 for _ in dims))), shape)
    same_bits([h.fn("sub", x, largest)], monkeypatch)


@pytest.mark.parametrize("d", [d for d in dt.ALL if not d.is_complex], ids=repr)
@pytest.mark.parametrize("n", [1, 7, 64, 100])
def test_every_dtype(d, n, monkeypatch):
    rng = np.random.default_rng(n)
    x, y = programs.sample(rng, (3, n), d), programs.sample(rng, (3, n), d)
    same_bits([h.fn("maximum", x, y), h.fn("add", h.permute(x, (1, 0)), h.permute(y, (1, 0))),
               h.fn("lt", x, y, dtype=dt.bool_), h.reduce(g.ARGMAX, x, (1,)), h.reduce(g.MIN, x, (0,)),
               h.reduce(g.ALL, x, (0, 1))], monkeypatch)


def test_random_numbers_are_exact(monkeypatch):
    counter = h.index((1000,), 0)
    same_bits([h.fn("random_bits", counter, h.const(12345, (1000,), dt.int64), dtype=dt.int64)], monkeypatch)


@pytest.mark.parametrize("op", [g.SCATTER_SET, g.SCATTER_ADD, g.SCATTER_MAX], ids=repr)
@pytest.mark.parametrize("d", [dt.float32, dt.bfloat16, dt.int32], ids=repr)
def test_scatters_and_scans_have_the_bits_of_the_machine_code(op, d, monkeypatch):
    rng = np.random.default_rng(2)
    base, source = programs.sample(rng, (6, 5), d), programs.sample(rng, (40, 5), d)
    rows = rng.integers(0, 6, 40)
    rows[[3, 17]] = -1, 6  # no rows: they write nothing
    same_bits([Node(op, (base, h.leaf(rows), source), None, None, base.shape, d),
               Node(g.CUMSUM, (source,), (0,), None, source.shape, d)], monkeypatch)
