"""A kernel that was printed for some sizes serves others: how many are printed does not grow with the sizes met.

FACULA_VERIFY has every launch print its kernel anew and compare (lower_loops.launch), so what these tests compile is
what would have been printed for these sizes, words and all.
"""

import random

import numpy as np
import pytest

from compiler_harness import const, expand, fn, g, index, leaf, permute, plan, reduce, reshape, sliced
from facula import config
from facula import dtypes as dt
from facula.engine.compiler import printed
from facula.engine.graph.node import Node

pytestmark = [pytest.mark.compiled, pytest.mark.skipif(bool(config.THRESHOLD.value), reason="counts by the defaults")]
REDUCTIONS = [g.SUM, g.PROD, g.MAX, g.MIN, g.ARGMAX]
TYPES = [dt.float32, dt.float64, dt.bfloat16, dt.int32, dt.uint8]


@pytest.fixture(autouse=True)
def none_printed(monkeypatch):
    monkeypatch.setattr(printed.memo, "known", {})
    monkeypatch.setattr(printed.memo, "nbytes", 0)
    monkeypatch.setattr(printed.memo, "printings", 0)
    monkeypatch.setattr(config.VERIFY, "value", True)


def sample(shape, d):
    return leaf(np.ones(shape, d.numpy), d)


def program(rng, sizes):
    """A reduction (of a view, by coordinates, of gathered rows, in two phases): the same for the same draws."""
    d = rng.choice(TYPES)
    x = sample(sizes, d)
    if rng.random() < 0.5:
        x = permute(x, tuple(rng.sample(range(len(sizes)), len(sizes))))
    if rng.random() < 0.3:
        x = sliced(x, tuple([slice(rng.randint(0, 1), None, rng.choice([1, 2])) for _ in x.shape]))
    if rng.random() < 0.5:
        x = fn("add", x, expand(sample(x.shape[-1:], d), x.shape))
    if rng.random() < 0.3:
        at = index(x.shape, rng.randrange(len(x.shape)))
        x = fn("where", fn("lt", at, const(3, x.shape, dt.int64), dtype=dt.bool_), x, fn("neg", x), dtype=d)
    if rng.random() < 0.3:
        table, rows = rng.choice([x, sample((7, *x.shape[1:]), d)]), leaf(np.zeros(x.shape[:1], np.int64))
        if len(x.shape) == 2:
            x = fn("mul", x, Node(g.GATHER, (table, rows), None, None, x.shape, d))
    dims = tuple(sorted(rng.sample(range(len(sizes)), rng.randint(1, len(sizes)))))
    of = rng.choice(REDUCTIONS)
    dims = dims[:1] if of is g.ARGMAX else dims
    first = reduce(of, x, dims)
    if of is g.ARGMAX or first.dtype is not d or rng.random() < 0.4:
        return [first]
    back = reshape(first, tuple([1 if k in dims else n for k, n in enumerate(x.shape)]))
    back = expand(back, x.shape)
    second = fn("mul", fn("sub", x, back), x)
    return [second] if rng.random() < 0.3 else [reduce(g.SUM, second, dims), first]


@pytest.mark.parametrize("seed", range(100))
def test_reductions_of_random_sizes(seed):
    rng = random.Random(seed)
    rank = rng.randint(1, 4)
    for _ in range(12):
        sizes = tuple([rng.choice([rng.randint(2, 9), rng.randint(2, 90), rng.randint(2, 3 ** (9 - 2 * rank) * 9)])
                       for _ in range(rank)])
        plan(program(random.Random(seed), sizes))
    assert 1 <= printed.memo.printings <= 12  # of 24 and more launches


# Sums in two phases have one kernel for parts, and two to put them together: up to 16 of them, and more.
@pytest.mark.parametrize("shape, dims, most", [
    (lambda n: (n, 64), (0,), 1), (lambda n: (n, 64), (1,), 1), (lambda n: (64, n), (1,), 1), (lambda n: (n,), (0,), 1),
    (lambda n: (4, n, 8), (0, 2), 1), (lambda n: (n, 3, 5, 7), (0, 2, 3), 1), (lambda n: (n, n), (0, 1), 3),
    (lambda n: (1009 * n,), (0,), 3), (lambda n: (n, 500, 3), (0, 1), 2)])
def test_few_kernels_for_many_sizes(shape, dims, most):
    sizes = random.Random(0).sample(range(17, 1000), 60)
    for n in sizes:
        plan([reduce(g.SUM, sample(shape(n), dt.float32), dims)])
    assert printed.memo.printings == most
    for n in random.Random(1).sample(range(17, 1000), 60):
        plan([reduce(g.SUM, sample(shape(n), dt.float32), dims)])
    assert printed.memo.printings == most
