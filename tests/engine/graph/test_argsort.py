"""ARGSORT: some ranks of a stable sort are those of all of it."""

import numpy as np
import pytest

from facula import dtypes as dt
from facula.engine.graph import node as g
from facula.engine.graph.node import Node
from facula.engine.graph.primitives import sort

EXTREMES = {"f": [0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 1e-45, -1e-45, 1.0, -1.0, 3e38, -3e38],
            "i": [0, -1, 1, 127, -128], "u": [0, 1, 255, 128]}


def order(x, dim, down, start, count):
    of = {"f4": dt.float32, "f8": dt.float64, "i8": dt.int64, "i1": dt.int8, "u1": dt.uint8}[x.dtype.str[1:]]
    source = Node(g.BUFFER, (), None, None, x.shape, of)
    shape = (*x.shape[:dim], count, *x.shape[dim + 1:])
    node = Node(g.ARGSORT, (source,), (dim, down, start), None, shape, dt.int64)
    assert not sort.KIND.wrong(node)
    return sort.KIND.meaning(node, [x])


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int8", "uint8"])
@pytest.mark.parametrize("down", [False, True])
def test_some_ranks_are_those_of_all(dtype, down):
    rng = np.random.default_rng(3)
    for turn in range(60):
        shape = [int(rng.integers(1, 4)) for _ in range(int(rng.integers(1, 4)))]
        dim = int(rng.integers(len(shape)))
        n = shape[dim] = int(rng.integers(65, 300))
        x = rng.integers(0, [3, 20, 100][turn % 3], shape).astype(dtype)  # ties
        if dtype.startswith("f") and turn % 2:
            x[rng.random(shape) < [0.02, 0.5, 0.99][turn % 3]] = np.nan
            x[rng.random(shape) < 0.05] = -np.inf
        whole = order(x, dim, down, 0, n)
        assert np.array_equal(np.sort(x, dim)[..., :] if not down else np.flip(np.sort(x, dim), dim),
                              np.take_along_axis(x, whole, dim), equal_nan=dtype.startswith("f"))
        for start, count in ((0, 1), (0, n // 5), (n // 2, 1), (n - n // 6, n // 6), (n - 1, 1), (3, 0), (1, n - 1)):
            part = order(x, dim, down, start, count)
            assert np.array_equal(part, np.take(whole, range(start, start + count), dim)), (shape, dim, start, count)


@pytest.mark.parametrize("of", [dt.float16, dt.float32, dt.float64, dt.int8, dt.int16, dt.int32, dt.int64, dt.uint8,
                                dt.bool_], ids=str)
@pytest.mark.parametrize("down", [False, True])
def test_equal_elements_keep_their_order_and_nan_is_above_all(of, down):
    rng = np.random.default_rng(5)
    values = EXTREMES.get(of.numpy.kind if isinstance(of.numpy, np.dtype) else np.dtype(of.numpy).kind, [0, 1])
    if of is dt.int64:
        values = [*values, 1 << 40, -1 << 40, 1 << 31, -1 << 31, (1 << 31) - 1, -(1 << 63), (1 << 63) - 1]
    for length in (1, 2, 30, 500):
        with np.errstate(over="ignore"):
            x = np.array(values)[rng.integers(0, len(values), (3, length))].astype(of.numpy)
        source = Node(g.BUFFER, (), None, None, x.shape, of)
        found = sort.KIND.meaning(Node(g.ARGSORT, (source,), (1, down, 0), None, x.shape, dt.int64), [x])

        def rank(i, row):
            value = row[i].item()
            above = value != value
            return ((not above, -value if not above else 0, i) if down else (above, value if not above else 0, i))

        for row, places in zip(x, found, strict=True):
            assert places.tolist() == sorted(range(length), key=lambda i, row=row: rank(i, row))


def test_ranks_that_are_not_there_are_noticed():
    x = Node(g.BUFFER, (), None, None, (4, 5), dt.float32)
    assert sort.KIND.wrong(Node(g.ARGSORT, (x,), (1, False, 3), None, (4, 3), dt.int64))
    assert sort.KIND.wrong(Node(g.ARGSORT, (x,), (1, False, 0), None, (3, 5), dt.int64))
    assert not sort.KIND.wrong(Node(g.ARGSORT, (x,), (1, False, 3), None, (4, 2), dt.int64))
