"""Random graphs through the compiler, against NumPy: expressions, layouts, dtypes, odd sizes."""

from __future__ import annotations

import random

import numpy as np
import pytest

import compiler_harness
from compiler_harness import (
    Array,
    apply,
    const,
    evaluate,
    expand,
    fn,
    from_memory,
    g,
    index,
    leaf,
    memory,
    permute,
    reduce,
    reshape,
    run,
    sliced,
)
from facula import dtypes as dt
from facula.engine.graph.expr import cast, make, operand
from facula.engine.graph.node import Node

pytestmark = pytest.mark.compiled


@pytest.fixture(autouse=True, params=[False, True], ids=["code", "evaluator"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans run as machine code, and as what their steps mean (engine/evaluator/)."""
    monkeypatch.setattr(compiler_harness, "by_evaluator", request.param)



SIZES = (1, 1, 2, 3, 5, 7, 15, 16, 17, 31, 33, 64, 65, 130)


def sample(rng: np.random.Generator, shape: tuple[int, ...], d: dt.dtype) -> Node:
    if d is dt.bool_:
        return leaf(rng.integers(0, 2, shape).astype(bool))
    if d.category == dt.FLOAT:
        return leaf(memory(rng.uniform(-2, 2, (1, *shape)).astype(np.float32), d).reshape(shape), d)
    return leaf(rng.integers(0 if not d.is_signed else -9, 10, shape).astype(d.numpy))


def check(outputs: list[Node], rtol: float = 2e-5, atol: float = 2e-5) -> None:
    for got, want, node in zip(run(outputs), evaluate(outputs), outputs, strict=True):
        a = from_memory(got, node.dtype)
        if node.dtype.category == dt.FLOAT:
            coarse = {dt.float16: 2e-3, dt.bfloat16: 2e-2}.get(node.dtype, 0.0)
            np.testing.assert_allclose(
                a.astype(np.float64),
                np.asarray(want, np.float64),
                rtol=rtol + coarse,
                atol=atol + coarse,
                err_msg=repr(node),
            )
        else:
            np.testing.assert_array_equal(a, want, err_msg=repr(node))


class Program:
    """Grows a pool of float nodes by random operations."""

    def __init__(self, seed: int, d: dt.dtype) -> None:
        self.random = random.Random(seed)
        self.rng = np.random.default_rng(seed)
        self.d = d
        rank = self.random.randint(0, 4)
        sizes = SIZES if rank < 3 else SIZES[:8]
        self.shape = tuple(self.random.choice(sizes) for _ in range(rank))
        self.pool = [sample(self.rng, self.shape, d) for _ in range(2)]

    def pick(self) -> Node:
        return self.random.choice(self.pool[-5:])

    def like(self, shape: tuple[int, ...]) -> Node:
        """An operand that broadcasts to `shape`."""
        same = [n for n in self.pool if n.shape == shape]
        kind = self.random.randrange(5)
        if same and kind < 3:
            return self.random.choice(same)
        if kind == 3:
            return sample(self.rng, shape, self.d)
        cut = tuple(1 if self.random.random() < 0.5 else n for n in shape)
        small = sample(self.rng, cut, self.d)
        if self.random.random() < 0.3:
            small = fn("neg", small)
        return small if self.random.random() < 0.5 else expand(small, shape)

    def step(self) -> None:
        x = self.pick()
        kind = self.random.randrange(10)
        if kind < 3:
            self.pool.append(
                fn(self.random.choice(("add", "sub", "mul", "maximum", "minimum")), x, self.like(x.shape))
            )
        elif kind == 3:
            self.pool.append(fn(self.random.choice(("tanh", "sin", "neg", "abs", "cos")), x))
        elif kind == 4 and x.shape:
            self.view(x)
        elif kind == 5 and x.shape:
            dims = tuple(d for d in range(len(x.shape)) if self.random.random() < 0.6)
            if dims:
                op = self.random.choice((g.SUM, g.MAX, g.MIN, g.SUM))
                r = reduce(op, x, dims)
                if self.random.random() < 0.7:
                    kept = tuple(1 if d in dims else n for d, n in enumerate(x.shape))
                    scaled = fn("tanh", reshape(r, kept))
                    self.pool.append(fn(self.random.choice(("sub", "mul")), x, scaled))
                else:
                    self.pool.append(r)
        elif kind == 6 and x.shape:
            picked = index(x.shape, self.random.randrange(len(x.shape)))
            expr = make(
                "where", make("lt", operand(1), make("lit", value=3)), operand(0), make("neg", operand(0))
            )
            self.pool.append(apply(expr, x, picked))
        elif kind == 7:
            self.pool.append(fn("add", x, const(0.5, x.shape, self.d)))
        elif kind == 8:
            self.pool.append(apply(make("mul", operand(0), make("scalar", value=0)), x, scalars=(0.75,)))
        elif kind == 9 and len(x.shape) == 2 and x.shape[0]:
            rows = self.random.choice((1, 4, 19))
            ids = leaf(self.rng.integers(0, x.shape[0], (rows,)))
            self.pool.append(Node(g.GATHER, (x, ids), None, None, (rows, x.shape[1]), x.dtype))

    def view(self, x: Node) -> None:
        kind = self.random.randrange(5)
        rank = len(x.shape)
        if kind == 0:
            self.pool.append(permute(x, tuple(self.random.sample(range(rank), rank))))
        elif kind == 1:
            d = self.random.randrange(rank)
            at = (
                slice(None, None, -1)
                if self.random.random() < 0.4
                else slice(self.random.randint(0, x.shape[d] - 1), None, self.random.randint(1, 2))
            )
            self.pool.append(sliced(x, (slice(None),) * d + (at,)))
        elif kind == 2:
            self.pool.append(reshape(x, (g.size_of(x.shape),)))
        elif kind == 3:
            n = g.size_of(x.shape)
            divisor = self.random.choice([k for k in range(1, 12) if n % k == 0])
            self.pool.append(reshape(x, (divisor, n // divisor)))
        else:
            self.pool.append(expand(x, (self.random.randint(1, 3), *x.shape)))


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("d", [dt.float32, dt.float64], ids=repr)
def test_random_programs(seed: int, d: dt.dtype) -> None:
    program = Program(seed, d)
    for _ in range(program.random.randint(1, 9)):
        program.step()
    pending = [n for n in program.pool if n.buffer is None]
    if not pending:
        return
    outputs = list(dict.fromkeys([pending[-1], *program.random.sample(pending, min(2, len(pending)))]))
    check(outputs, 1e-4, 1e-4 * max(1.0, g.size_of(program.shape) ** 0.5))


@pytest.mark.parametrize("width", [16, 32])
@pytest.mark.parametrize("seed", range(60, 80))
def test_narrower_vectors(seed: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler_harness, "vector_bytes", width)
    test_random_programs(seed, dt.float32)
    test_every_dtype(dt.ALL[seed % 8], seed)


@pytest.mark.parametrize("d", [d for d in dt.ALL if not d.is_complex], ids=repr)
@pytest.mark.parametrize("n", [1, 7, 64, 100])
def test_every_dtype(d: dt.dtype, n: int) -> None:
    rng = np.random.default_rng(n)
    x, y = sample(rng, (3, n), d), sample(rng, (3, n), d)
    outputs = [
        fn("maximum", x, y),
        fn("lt", x, y, dtype=dt.bool_),
        reduce(g.MAX, x, (1,)),
        reduce(g.MIN, x, (0,)),
        reduce(g.ARGMAX, x, (1,)),
        reduce(g.ARGMIN, x, (0, 1)),
        reduce(g.ANY, x, (0,)),
        reduce(g.ALL, x, (1,)),
        reduce(g.SUM, x, (1,)),
        reduce(g.PROD, sliced(x, (slice(None), slice(0, 4))), (0,)),
    ]
    if d is not dt.bool_:
        outputs.append(fn("mul", fn("add", x, y), y))
    for output in outputs:
        check([output])
    check(outputs)


@pytest.mark.parametrize("source", [d for d in dt.ALL if not d.is_complex], ids=repr)
@pytest.mark.parametrize("to", [d for d in dt.ALL if not d.is_complex], ids=repr)
def test_casts(source: dt.dtype, to: dt.dtype) -> None:
    x = sample(np.random.default_rng(1), (37,), source)
    if source.category == dt.FLOAT and to is dt.uint8:
        x = fn("abs", x)
    check([apply(cast(operand(0), to), x, dtype=to)])


def test_out_of_range_casts_are_defined() -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1e10, -1e10, 3e30, 1.5, -1.5], np.float32)
    got: Array = run([apply(cast(operand(0), dt.int32), leaf(x), dtype=dt.int32)])[0]
    low = np.iinfo(np.int32).min
    np.testing.assert_array_equal(got, [low, low, low, low, low, low, 1, -1])
    wide = run([apply(cast(operand(0), dt.int64), leaf(x), dtype=dt.int64)])[0]
    low = np.iinfo(np.int64).min
    np.testing.assert_array_equal(wide, [low, low, low, 10**10, -(10**10), low, 1, -1])


@pytest.mark.parametrize("d", [dt.int8, dt.int32, dt.int64, dt.uint8], ids=repr)
@pytest.mark.parametrize("name", ["floordiv", "remainder", "truncdiv", "fmod"])
def test_integer_division_does_not_trap(d: dt.dtype, name: str) -> None:
    info = np.iinfo(d.numpy)
    a = np.array([7, -7, 7, -7, info.min, info.max, 5, 0, 6, info.min], np.int64).astype(d.numpy)
    b = np.array([2, 2, -2, -2, -1, 1, 0, 3, 4, 1], np.int64).astype(d.numpy)
    got = run([fn(name, leaf(a), leaf(b))])[0]
    for x, y, z in zip(a.tolist(), b.tolist(), got.tolist(), strict=True):
        if y == 0:
            assert z == 0
            continue
        floor = x // y
        cut = int(abs(x) // abs(y)) * (1 if (x < 0) == (y < 0) else -1)
        exact = {"floordiv": floor, "remainder": x - floor * y, "truncdiv": cut, "fmod": x - cut * y}[name]
        assert (z - exact) % (1 << 8 * d.itemsize) == 0, (x, y)


def test_nan_wins() -> None:
    x = np.arange(40, dtype=np.float32).reshape(2, 20)
    x[1, 13] = x[1, 17] = np.nan
    n = leaf(x)
    got = run(
        [reduce(g.MAX, n, (1,)), reduce(g.MIN, n, (1,)), reduce(g.ARGMAX, n, (1,)), reduce(g.ARGMIN, n, (1,))]
    )
    assert got[0][0] == 19 and np.isnan(got[0][1]) and np.isnan(got[1][1])
    assert got[2].tolist() == [19, 13] and got[3].tolist() == [0, 13]


@pytest.mark.parametrize(
    "shape,dims", [((200000,), (0,)), ((2, 131072), (1,)), ((70000, 3), (0,)), ((3, 66000, 2), (1,))]
)
def test_long_sums_are_split_and_accurate(shape: tuple[int, ...], dims: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).random(shape, dtype=np.float32)
    n = leaf(x)
    mean = apply(make("mul", operand(0), make("scalar", value=0)), reduce(g.SUM, n, dims), scalars=(0.5,))
    outputs = [mean, reduce(g.MAX, n, dims), reduce(g.ARGMAX, n, dims)]
    got = run(outputs)
    np.testing.assert_allclose(got[0], x.sum(axis=dims, dtype=np.float64) * 0.5, rtol=3e-7)
    np.testing.assert_array_equal(got[1], x.max(axis=dims))
    np.testing.assert_array_equal(got[2], x.argmax(axis=dims[0]))
    backwards = run(outputs, tile_order=-1)
    for a, b in zip(got, backwards, strict=True):
        assert a.tobytes() == b.tobytes()


def test_a_sum_does_not_depend_on_what_it_is_fused_with() -> None:
    rng = np.random.default_rng(3)
    for shape in ((5, 777), (3, 40), (2, 40000)):
        x = leaf(rng.standard_normal(shape).astype(np.float32))
        for dims in ((1,), (0,), (0, 1)):
            alone = reduce(g.SUM, x, dims)
            wide = apply(cast(operand(0), dt.float64), x, dtype=dt.float64)
            top = reduce(g.MAX, fn("exp", fn("sin", x)), dims)
            mixed = [reduce(g.SUM, x, dims), reduce(g.SUM, wide, dims), top]
            powers = [fn("pow", fn("exp", fn("mul", x, const(k, (), dt.float32))), x) for k in range(9)]
            many = [reduce(g.SUM, p, dims) for p in powers]
            want = run([alone])[0].tobytes()
            assert run(mixed)[0].tobytes() == want
            assert run([reduce(g.SUM, x, dims), *many])[0].tobytes() == want
            assert run([reduce(g.SUM, wide, dims)])[0].tobytes() == run(mixed)[1].tobytes()
