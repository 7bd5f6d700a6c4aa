"""How many kernels programs come to, and why what must not be fused is not. A compiler that stops fusing gives right
results slowly; one that fuses too much, wrong ones."""

import numpy as np
import pytest

import compiler_harness as h
import facula as F
from facula import dtypes as dt
from facula.engine import realize
from facula.engine.compiler import legality
from facula.engine.compiler.fuse import fuse
from facula.engine.compiler.simplify import simplify
from facula.engine.graph import node as g
from facula.engine.graph.expr import make
from facula.engine.graph.node import Formula, Node

X, Y = make("in", value=0), make("in", value=1)
ADD, MUL, DIV = (Formula(fn, make(fn, X, Y)) for fn in ("add", "mul", "div"))
EXP = Formula("exp", make("exp", X))


def leaf(*shape, dtype=dt.float32):
    return realize.leaf(np.ones(shape, dtype.numpy), shape, dtype)


def formula(op, *inputs):
    return Node(op, inputs, None, None, np.broadcast_shapes(*(i.shape for i in inputs)), dt.float32)


def total(x, *dims):
    return h.reduce(g.SUM, x, dims)


def groups_of(*outputs):
    """(sets of names, a set a group; notes)"""
    order, leaves, numbers_at, _ = h.graph_of(list(outputs))
    graph = simplify(order, leaves, list(outputs), numbers_at)
    return [sorted(n.op.name for n in group.members) for group in fuse(graph)], graph.notes


def keepdim(x, dims):
    return h.view(x, dims, tuple(g.contiguous_strides(x.shape)) + (0,) * (len(dims) - len(x.shape)))


def softmax(x):
    top = h.reduce(g.MAX, x, (1,))
    e = formula(EXP, formula(ADD, x, keepdim(top, (*top.shape, 1))))
    return formula(DIV, e, keepdim(total(e, 1), (*top.shape, 1)))


def test_a_chain_is_one_kernel():
    x = leaf(5, 7)
    for _ in range(20):
        x = formula(ADD, x, formula(EXP, x))
    names, _ = groups_of(x)
    assert names == [["add"] * 20 + ["exp"] * 20]


def test_softmax_is_one_kernel():
    names, notes = groups_of(softmax(leaf(6, 8)))
    assert names == [["add", "div", "exp", "max", "sum"]]
    assert not notes


def test_two_results_of_one_space_share_a_kernel():
    x = leaf(6, 8)
    e = formula(EXP, x)
    names, _ = groups_of(formula(ADD, e, x), formula(MUL, e, x))
    assert names == [["add", "exp", "mul"]]


def test_two_sums_over_the_same_are_siblings():
    x = leaf(6, 8)
    names, _ = groups_of(total(x, 1), h.reduce(g.MAX, x, (1,)))
    assert names == [["max", "sum"]]


def test_a_cheap_value_is_computed_by_its_only_reader_elsewhere():
    x = leaf(6, 8)
    moved = h.view(formula(ADD, x, x), (8, 6), (1, 8))
    names, _ = groups_of(formula(MUL, moved, leaf(8, 6)))
    assert names == [["mul"]]


def test_an_elementwise_end_of_a_sum_joins_its_rows():
    s = total(leaf(6, 8), 1)
    names, _ = groups_of(formula(ADD, s, formula(EXP, s)))
    assert names == [["add", "exp", "sum"]]


def refused(reason, kernels, *outputs):
    names, notes = groups_of(*outputs)
    assert any(reason in note for note in notes), notes
    assert len(names) == kernels, names


def test_sums_over_other_dimensions():
    e = formula(EXP, leaf(6, 8))
    refused("it reduces other dimensions", 2, total(e, 0), total(e, 1))


def test_a_value_read_at_other_positions():
    e = formula(EXP, leaf(6, 6))
    refused("at other positions", 2, e, formula(ADD, e, h.view(e, (6, 6), (1, 6))))


def test_a_sum_read_at_other_rows():
    s = total(leaf(6, 6), 1)
    refused("at other rows", 2, formula(ADD, leaf(6, 6), h.view(s, (6, 6), (0, 1))), s)


def test_a_sum_of_a_sum():
    s = total(formula(EXP, leaf(6, 8)), 1)
    refused("it reduces another space", 2, total(s, 0))


def test_another_number_of_elements():
    refused("elements, the kernel has", 2,
            formula(ADD, formula(EXP, leaf(6)), leaf(8, 6)))


def test_a_long_sum_is_not_known_to_its_own_elements():
    x = leaf(1, 1 << 17)
    s = total(x, 1)
    refused("runs in chunks", 2, formula(ADD, formula(EXP, x), keepdim(s, (1, 1))), s)


@pytest.mark.parametrize("shape, dim", [((1 << 17,), 0), ((2, 1 << 17), 1), ((1 << 17, 3), 0)])
def test_a_long_sum_is_read_when_it_is_complete(shape, dim):
    values = np.random.default_rng(0).random(shape, dtype=np.float32)
    doubled = F.from_numpy(values.copy()) * 2
    share = (doubled / doubled.sum(dim, keepdim=True)).numpy()
    np.testing.assert_allclose(share, values / values.sum(dim, keepdims=True, dtype=np.float64), 1e-5)
    exact = np.exp(values.astype(np.float64))
    np.testing.assert_allclose(F.from_numpy(values).softmax(dim).numpy(), exact / exact.sum(dim, keepdims=True), 1e-5)


def test_long_sums_that_meet_afterwards_share_a_kernel():
    x = leaf(1 << 17)
    names, notes = groups_of(formula(DIV, total(x, 0), total(formula(EXP, x), 0)))
    assert names == [["div", "exp", "sum", "sum"]] and not notes
    values = np.random.default_rng(0).random(1 << 17, dtype=np.float32)
    y = F.from_numpy(values)
    exact = values.astype(np.float64)
    np.testing.assert_allclose((y.sum() / y.exp().sum()).item(), exact.sum() / np.exp(exact).sum(), 1e-6)


def test_sums_of_what_is_computed_from_the_same_memory_share_a_kernel():
    x, y, z = leaf(6, 8), leaf(6, 8), leaf(6, 8)
    names, notes = groups_of(total(formula(MUL, x, y), 1), total(formula(MUL, z, y), 1))
    assert names == [["mul", "mul", "sum", "sum"]] and not notes
    names, _ = groups_of(total(formula(MUL, x, y), 1), total(formula(MUL, z, z), 1))
    assert len(names) == 2
    names, notes = groups_of(total(formula(MUL, x, y), 1), total(formula(MUL, z, y), 0))
    assert len(names) == 2 and any("other dimensions" in note for note in notes)


def test_a_table_that_is_gathered_from():
    e = formula(EXP, leaf(6, 8))
    rows = Node(g.GATHER, (e, leaf(6, dtype=dt.int64)), None, None, (6, 8), dt.float32)
    names, _ = groups_of(formula(ADD, rows, rows))
    assert len(names) == 2 and names[0] == ["exp"]


def test_what_a_step_of_its_own_lies_between():
    e = formula(EXP, leaf(6, 6))
    product = Node(g.CONTRACT, (e, e), None, None, (6, 6), dt.float32)
    names, notes = groups_of(formula(ADD, e, product))
    assert len(names) == 3
    assert any("depends on the kernel" in note for note in notes)


def test_kernels_with_another_between_them():
    e = formula(EXP, leaf(6, 6))
    product = Node(g.CONTRACT, (e, e), None, None, (6, 6), dt.float32)
    refused("a kernel between them", 3, formula(MUL, formula(EXP, product), e))


def test_a_kernel_that_is_large_enough(monkeypatch):
    monkeypatch.setattr(legality, "MAX_MEMBERS", 4)
    x = leaf(5, 7)
    for _ in range(8):
        x = formula(EXP, x)
    refused("large enough", 2, x)
