"""Primitives that are steps of their own: products, writes, scatters, scans; and memory reuse around them."""

from __future__ import annotations

import numpy as np
import pytest

import compiler_harness
from compiler_harness import (
    const,
    evaluate,
    expand,
    fn,
    from_memory,
    g,
    leaf,
    memory,
    permute,
    plan,
    reduce,
    reshape,
    run,
    sliced,
)
from facula import dtypes as dt
from facula.engine.compiler.pipeline import HostStep
from facula.engine.graph.node import Node

pytestmark = pytest.mark.compiled


@pytest.fixture(autouse=True, params=[False, True], ids=["code", "evaluator"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans run as machine code, and as what their steps mean (engine/evaluator/)."""
    monkeypatch.setattr(compiler_harness, "by_evaluator", request.param)


RNG = np.random.default_rng(7)
NUMBERS = [d for d in dt.ALL if not d.is_complex and d is not dt.bool_]


SCATTERS = [g.SCATTER_SET, g.SCATTER_ADD, g.SCATTER_MUL, g.SCATTER_MAX, g.SCATTER_MIN]


def sample(shape: tuple[int, ...], d: dt.dtype = dt.float32) -> Node:
    if d.category == dt.FLOAT:
        return leaf(memory(RNG.uniform(-1, 1, shape).astype(np.float32), d), d)
    return leaf(RNG.integers(0, 5, shape).astype(d.numpy))


def check(outputs: list[Node], tolerance: float = 1e-5, donated: frozenset[Node] = frozenset()) -> None:
    for got, want, node in zip(run(outputs, donated), evaluate(outputs), outputs, strict=True):
        coarse = {dt.float16: 2e-3, dt.bfloat16: 2e-2}.get(node.dtype, tolerance)
        np.testing.assert_allclose(
            from_memory(got, node.dtype).astype(np.float64),
            np.asarray(want, np.float64),
            rtol=coarse,
            atol=coarse,
            err_msg=repr(node),
        )


def write(base: Node, value: Node, strides: tuple[int, ...], offset: int) -> Node:
    return Node(g.WRITE, (base, value), (strides,), (offset,), base.shape, base.dtype)


def contract(a: Node, b: Node) -> Node:
    return Node(g.CONTRACT, (a, b), None, None, (a.shape[0], a.shape[1], b.shape[2]), a.dtype)


def scan(op: g.Primitive, x: Node, dim: int, d: dt.dtype | None = None) -> Node:
    return Node(op, (x,), (dim,), None, x.shape, d or x.dtype)


@pytest.mark.parametrize("d", [dt.float32, dt.float64, dt.int64, dt.float16, dt.bfloat16], ids=repr)
@pytest.mark.parametrize("m,n,k", [(1, 1, 1), (3, 5, 7), (64, 33, 20), (130, 200, 70), (1, 100, 300)])
def test_matrix_products(d: dt.dtype, m: int, n: int, k: int) -> None:
    a, b = sample((2, m, k), d), sample((2, k, n), d)
    check([contract(a, b)], 1e-4)
    turned = permute(sample((2, n, k), d), (0, 2, 1))
    check([fn("add", contract(a, turned), sample((n,), d))], 1e-4)
    flat = expand(reshape(sample((m, k), d), (1, m, k)), (2, m, k))
    window = sliced(sample((2, k, n + 3), d), (slice(None), slice(None), slice(2, n + 2)))
    check([contract(fn("neg", flat), window)], 1e-4)


@pytest.mark.parametrize("d", NUMBERS, ids=repr)
def test_writes(d: dt.dtype) -> None:
    x, y = sample((5, 9), d), sample((3, 4), d)
    one = write(x, y, (18, 2), 1)
    check([one])
    check([write(const(0, (5, 9), d), fn("add", y, y), (9, 1), 9)])
    check([write(one, sample((9,), d), (1,), 18), fn("add", one, one)])
    check([write(one, sample((9,), d), (1,), 18)])
    check([write(x, const(1, (5, 9), d), (9, 1), 0)])


def test_a_donated_leaf_is_overwritten() -> None:
    x = sample((100,))
    spec, _, _ = plan([write(x, sample((10,)), (1,), 5)], frozenset([x]))
    assert spec.aliases == {0: 0} and len(spec.steps) == 1
    check([write(x, sample((10,)), (1,), 5)], donated=frozenset([x]))


def test_a_donated_leaf_that_is_done_with_holds_a_later_output_of_its_size() -> None:
    for size, taken in ((100, True), (101, False), (99, False)):
        first, other = sample((100,)), sample((size, 50))
        total = reduce(g.SUM, first, (0,))
        result = fn("add", reduce(g.SUM, other, (1,)), expand(fn("exp", total), (size,)))
        spec, _, _ = plan([result, total], donated=frozenset([first]))
        assert bool(spec.aliases) == taken
        check([result, total], 1e-4, frozenset([first]))


@pytest.mark.parametrize("rows", [1009, 5003, 20011])
@pytest.mark.parametrize("columns", [7, 40])
def test_every_row_of_many_tiles(rows: int, columns: int) -> None:
    """Sums whose lanes run across rows, and along them."""
    x = leaf(RNG.integers(0, 100, (rows, columns)).astype(np.float32))
    (got,) = run([reduce(g.SUM, x, (1,))])
    np.testing.assert_array_equal(got, evaluate([reduce(g.SUM, x, (1,))])[0])


@pytest.mark.parametrize("shape", [(5003, 7), (5003, 70), (7, 50_003), (1, 300_007)])
@pytest.mark.parametrize("turned", [False, True])
def test_every_element_of_many_tiles(shape: tuple[int, int], turned: bool) -> None:
    """Tiles of whole rows, of parts of rows, and of rows that are read across."""
    x = leaf(RNG.integers(0, 100, shape[::-1] if turned else shape).astype(np.float32))
    of_columns = leaf(RNG.integers(0, 100, shape[1:]).astype(np.float32))
    result = fn("add", permute(x, (1, 0)) if turned else x, expand(of_columns, shape))
    spec, _, _ = plan([result])
    assert all(step.tiles > 1 for step in spec.steps)  # type: ignore[union-attr]
    np.testing.assert_array_equal(run([result])[0], evaluate([result])[0])


def test_a_donated_leaf_becomes_an_output_of_another_shape() -> None:
    x = sample((4, 25))
    once = write(x, sample((10,)), (1,), 5)
    check([reshape(write(once, sample((10,)), (1,), 50), (5, 20))], donated=frozenset([x]))


def test_no_overwriting_of_what_the_value_reads() -> None:
    x = sample((100,))
    check([write(x, sliced(x, slice(0, 90)), (1,), 10)], donated=frozenset([x]))
    doubled = fn("add", x, x)
    check([write(doubled, sliced(doubled, slice(0, 90)), (1,), 10)])
    check([write(doubled, sample((90,)), (1,), 10), reduce(g.SUM, doubled, (0,))], 1e-4)


@pytest.mark.parametrize("op", [g.WRITE, *SCATTERS], ids=repr)
@pytest.mark.parametrize("donated", [True, False])
def test_no_overwriting_of_what_is_read_later(op: g.Primitive, donated: bool) -> None:
    """Of a donated leaf, and of what was computed: the reader has to wait for the write, since it reads that too."""
    x = sample((50, 2))
    base = x if donated else fn("tanh", x)
    if op is g.WRITE:
        changed = write(base, sample((40, 2)), (2, 1), 10)
    else:
        changed = Node(op, (base, leaf(RNG.integers(0, 50, (30,))), sample((30, 2))), None, None, (50, 2), dt.float32)
    total = reduce(g.SUM, changed, (0,))
    check([fn("mul", base, expand(total, (50, 2)))], 1e-4, frozenset([x]))
    check([changed, fn("mul", base, expand(total, (50, 2)))], 1e-4, frozenset([x]))


def test_nothing_is_overwritten_where_a_routine_may_fail() -> None:
    """A step on the host may raise (for want of memory, say); then the plan is run again, from what it was given."""
    x = sample((100,))
    ordered = Node(g.ARGSORT, (sample((100,)),), (0, False, 0), None, (100,), dt.int64)
    outputs = [fn("neg", x), ordered]
    spec, _, _ = plan(outputs[:1], frozenset([x]))
    assert spec.aliases
    spec, _, _ = plan(outputs, frozenset([x]))
    assert not spec.aliases and any(isinstance(step, HostStep) for step in spec.steps)


@pytest.mark.parametrize("d", NUMBERS, ids=repr)
@pytest.mark.parametrize("op", SCATTERS, ids=repr)
@pytest.mark.parametrize("columns", [1, 3, 40])
def test_scatters(op: g.Primitive, d: dt.dtype, columns: int) -> None:
    base, source = sample((6, columns), d), sample((10, columns), d)
    ids = leaf(RNG.integers(0, 6, (10,)))
    check([Node(op, (base, ids, source), None, None, base.shape, d)])
    zeros = const(0, (6, columns), d)
    check([Node(op, (zeros, ids, fn("add", source, source)), None, None, base.shape, d)])
    check([Node(op, (base, ids, const(2, (10, columns), d)), None, None, base.shape, d)])


@pytest.mark.parametrize("op", [g.CUMSUM, g.CUMPROD, g.CUMMAX, g.CUMMIN], ids=repr)
@pytest.mark.parametrize("d", [dt.float32, dt.float64, dt.int32, dt.uint8], ids=repr)
def test_scans(op: g.Primitive, d: dt.dtype) -> None:
    for shape, dim in (((17,), 0), ((3, 5, 4), 1), ((4, 40), 0), ((4, 40), 1), ((), 0), ((1, 1), 0)):
        x = sample(shape, d)
        if shape:
            check([scan(op, x, dim)], 1e-4)
        check([scan(op, fn("add", x, x), dim)], 1e-4) if shape else None


@pytest.mark.parametrize("columns", [1, 3, 40])
def test_gathers(columns: int) -> None:
    table, ids = sample((11, columns)), leaf(RNG.integers(0, 11, (2, 7)))
    picked = Node(g.GATHER, (table, ids), None, None, (2, 7, columns), dt.float32)
    check([fn("mul", picked, sample((columns,))), reduce(g.SUM, picked, (1,))])
    turned = permute(sample((columns, 11)), (1, 0))
    check([Node(g.GATHER, (turned, ids), None, None, (2, 7, columns), dt.float32)])
    moved = fn("add", ids, const(0, (), dt.int64))
    check([Node(g.GATHER, (fn("neg", table), moved), None, None, (2, 7, columns), dt.float32)])


@pytest.mark.parametrize("columns", [1, 3, 40])
def test_a_wrong_index_reads_the_last_row(columns: int) -> None:
    """Not foreign memory: the index that was checked need not be the one that machine code has computed."""
    table, ids = sample((11, columns)), leaf(np.array([0, 10, 11, 12, 1 << 40, -1, -(1 << 62)]))
    picked = Node(g.GATHER, (table, ids), None, None, (7, columns), dt.float32)
    (got,) = run([picked])
    values = evaluate([table])[0]
    np.testing.assert_array_equal(got, values[[0, 10, 10, 10, 10, 10, 10]])


def test_host_steps_between_kernels() -> None:
    x = sample((6, 8))
    order = Node(g.ARGSORT, (fn("neg", x),), (1, False, 0), None, (6, 8), dt.int64)
    outputs = [fn("add", order, order)]
    spec, _, _ = plan(outputs)
    assert [isinstance(s, HostStep) for s in spec.steps] == [False, True, False]
    check(outputs)


def test_softmax_is_one_kernel() -> None:
    x = sample((8, 100))
    top = reshape(reduce(g.MAX, x, (1,)), (8, 1))
    e = fn("exp", fn("sub", x, top))
    out = fn("div", e, reshape(reduce(g.SUM, e, (1,)), (8, 1)))
    assert len(plan([out])[0].steps) == 1
    check([out])
    check([out, top, e])


def test_a_value_inlined_into_one_that_is_inlined() -> None:
    x = sample((3, 4))
    first = fn("neg", x)  # (3, 4), computed by its reader
    second = fn("abs", reshape(first, (2, 6)))  # (2, 6): its reader would compute it too
    check([fn("neg", reshape(second, (3, 4)))])
    transposed = fn("abs", permute(first, (1, 0)))
    check([fn("add", x, fn("neg", permute(transposed, (1, 0))))])


def test_empty() -> None:
    x = sample((0, 4))
    check([fn("add", x, x), reduce(g.SUM, x, (0,)), reduce(g.SUM, fn("add", x, x), (0, 1))])


@pytest.mark.parametrize("d", [dt.float32, dt.float64, dt.float16, dt.bfloat16], ids=repr)
def test_round_is_to_the_nearest_even_integer(d: dt.dtype) -> None:
    values = np.array([-2.5, -1.5, -0.5, -0.4, 0.4, 0.5, 0.6, 1.5, 2.5, 2.51, 20.25] * 5, np.float32)
    x = leaf(memory(values, d), d)
    got = from_memory(run([fn("round", x)])[0], d).astype(np.float64)
    np.testing.assert_array_equal(got, np.rint(from_memory(memory(values, d), d).astype(np.float64)))
    check([fn("mul", fn("round", fn("mul", x, x)), x)])


def test_a_chain_of_inlined_values_moves_with_its_reader():
    """neg(mul(const)) is inlined twice: into a kernel of its own first, then on into the softmax's."""
    import numpy as np

    import facula
    x = facula.tensor(np.linspace(-1, 1, 30, dtype=np.float32).reshape(6, 5), requires_grad=True)
    loss = facula.nn.functional.cross_entropy(x, facula.tensor([0, 1, 2, 3, 4, 0]), reduction="sum")
    (loss * 0.7).backward()
    expected = np.exp(x.detach().numpy())
    expected /= expected.sum(1, keepdims=True)
    expected[range(6), [0, 1, 2, 3, 4, 0]] -= 1
    np.testing.assert_allclose(x.grad.numpy(), 0.7 * expected, rtol=1e-5, atol=1e-6)


def test_a_reshaped_product_that_is_a_result_and_read_by_a_step():
    import facula
    from facula.ops.view.value_views import reshape_value
    a, b = facula.arange(6.0).reshape(2, 3), facula.ones(3, 4)
    view = reshape_value(a @ b, (4, 2))
    added = facula.zeros(3, 2).index_add(0, facula.tensor([0, 2, 0, 1]), view)
    assert added.tolist() == [[15.0, 15.0], [12.0, 12.0], [3.0, 3.0]]
    assert view.tolist() == [[3.0, 3.0], [3.0, 3.0], [12.0, 12.0], [12.0, 12.0]]
