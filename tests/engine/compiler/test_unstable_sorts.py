"""Unstable orders: machine code and Python make the same of the same text, and what the language lacks is refused."""

import types

import numpy as np
import pytest

from compiler_harness import leaf, memory, run
from facula import dtypes as dt
from facula.engine.compiler.emit import translated
from facula.engine.compiler.single.sort import LONGEST
from facula.engine.graph import node as g
from facula.engine.graph.node import Node
from facula.engine.graph.primitives import sort, unstable
from facula.engine.graph.primitives.sort import is_few

pytestmark = pytest.mark.compiled

TYPES = (dt.bool_, dt.uint8, dt.int8, dt.int16, dt.int32, dt.int64, dt.float16, dt.bfloat16, dt.float32, dt.float64)


def values(rng, of, shape, different):
    x = rng.integers(-different, different, shape)
    if of in (dt.bool_, dt.uint8):
        x = abs(x) % (2 if of is dt.bool_ else 256)
    if of.is_floating_point:
        x = np.where(x == 0, -0.0, x / 4)
        x = np.where(x == 1, np.nan, np.where(x == -1, 0.0, x))
        return x.astype(np.float32).astype(of.compute.numpy)
    return x.astype(of.numpy) * (1 << 8 * of.itemsize - 8 if of.is_signed else 1)  # so that the sign's byte differs


@pytest.mark.parametrize("of", TYPES, ids=str)
def test_machine_code_and_python_agree(of):
    rng = np.random.default_rng(of.index)
    for n, dim, way, count in ((17, 1, "sort", 17), (64, 0, "sort", 64), (65, 1, "sort", 65), (300, 0, "sort", 300),
                               (40, 1, "top", 11), (200, 0, "top", 2), (130, 1, "top", 130), (40, 1, "some", 20),
                               (300, 0, "some", 4), (90, 1, "nth", 1), (90, 0, "nth", 1), (1, 0, "sort", 1)):
        shape, result = ((n, 3), (count, 3)) if dim == 0 else ((2, n), (2, count))
        down, start = bool(rng.integers(2)) and way != "nth", n // 3 if way == "nth" else 0
        x = values(rng, of, shape, 60 if n == 65 else 4)
        node = Node(g.ARGSORT, (leaf(memory(x, of), of),), (dim, down, start, way), None, result, dt.int64)
        assert not sort.KIND.wrong(node)
        assert np.array_equal(run([node])[0], sort.KIND.meaning(node, [x])), (n, dim, way, down)


FEW = [(300, 1, "top", 4), (300, 0, "top", 4), (1000, 1, "some", 3), (129, 1, "top", 2), (64, 1, "top", 1),
       (710, 1, "top", 11)]  # a heap of them
SOON = [(200, 1, "top", 25), (200, 0, "top", 25), (90, 1, "top", 3), (16, 1, "top", 2), (8, 1, "top", 1)]  # tries one


@pytest.mark.parametrize("different", [2, 5, 10 ** 6])
@pytest.mark.parametrize("of", TYPES[1:], ids=str)
def test_a_heap_of_a_few(of, different):
    """Of equal elements as the text of unstable.top leaves them, whatever way was found."""
    rng = np.random.default_rng(of.index)
    for n, dim, way, count in FEW + SOON:
        assert is_few(way, n, count) == ((n, dim, way, count) in FEW)
        shape, result = ((n, 3), (count, 3)) if dim == 0 else ((2, n), (2, count))
        many = different if of.itemsize > 2 else min(different, 100)
        x, down = values(rng, of, shape, many), bool(rng.integers(2))
        node = Node(g.ARGSORT, (leaf(memory(x, of), of),), (dim, down, 0, way), None, result, dt.int64)
        got = run([node])[0]
        assert np.array_equal(got, sort.KIND.meaning(node, [x])), (n, dim, way, down)
        for k in range(2):
            keys = sort.order_keys(x[:, k] if dim == 0 else x[k])
            keys, places = (~keys if down else keys).tolist(), list(range(n))
            getattr(unstable, way)(keys, places, count, n)
            assert (got[:, k] if dim == 0 else got[k]).tolist() == places[:count], (n, dim, way, down)


def test_rows_that_are_longer_than_scratch():
    x = np.random.default_rng(5).integers(0, 10 ** 5, (2, LONGEST + 1000)).astype(np.float32)
    for way in ("top", "some"):
        node = Node(g.ARGSORT, (leaf(x, dt.float32),), (1, True, 0, way), None, (2, 40), dt.int64)
        got = run([node])[0]
        assert np.array_equal(got, sort.KIND.meaning(node, [x]))
        assert sorted(x[1, got[1]]) == sorted(x[1])[-40:]


def test_all_different_keys_of_each_width():
    """Digits sort them: 64 bits, signs, and rows of every digit's own."""
    rng = np.random.default_rng(2)
    for of in (dt.int64, dt.float64, dt.float32, dt.int32, dt.int16):
        kind = np.dtype(of.numpy).kind
        if kind == "i":
            x = rng.permutation(np.linspace(np.iinfo(of.numpy).min, np.iinfo(of.numpy).max / 2, 500).astype(of.numpy))
        else:
            x = (rng.standard_normal(500) * 10.0 ** rng.integers(-30, 30, 500)).astype(of.numpy)
        for down in (False, True):
            node = Node(g.ARGSORT, (leaf(x, of),), (0, down, 0, "sort"), None, x.shape, dt.int64)
            want = np.argsort(x)
            assert np.array_equal(run([node])[0], want[::-1] if down else want)


def bad(keys, places, n):
    for i in range(n):
        keys[i] = places[i]


def bad_too(keys, n):
    while n > 1 and n < 5:
        n = n / 2


@pytest.mark.parametrize(("function", "line"), [(bad, "for i in range"), (bad_too, "n > 1 and n < 5")])
def test_what_the_language_lacks_is_named(function, line, monkeypatch):
    import inspect

    source = inspect.getsource(function)
    module = types.ModuleType("written")
    monkeypatch.setattr(translated.inspect, "getsource", lambda m: source)
    translated.functions.cache_clear()
    with pytest.raises(translated.Untranslatable, match=line):
        translated.functions(module, ("keys", "places"))
    translated.functions.cache_clear()


def test_heaps_take_over_where_dividing_goes_on():
    """With no depth left a part is sorted by its heap: the same keys, in order."""
    keys, places = [(i * 37) % 50 for i in range(50)], list(range(50))
    unstable.sort_parts(keys, places, 0, 50, 0)
    assert keys == sorted(keys) and [(p * 37) % 50 for p in places] == keys
    keys, places = [(i * 37) % 50 for i in range(50)], list(range(50))
    unstable.heap_select(keys, places, 0, 8, 50)
    assert sorted(keys[:8]) == list(range(8))
