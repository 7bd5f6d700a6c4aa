"""Every primitive with every sort of operand in every place: it lowers, and agrees with NumPy.

Operands are memory, constants, coordinates, computed values, views of each of these, regions just written, results of
reductions; shapes have no dimension, size 1 and size 0. What the compiler leaves to the host is declared here.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

import compiler_harness
from compiler_harness import (
    apply,
    const,
    expand,
    fn,
    from_memory,
    g,
    index,
    leaf,
    permute,
    plan,
    reduce,
    reshape,
    run,
    sliced,
    view,
)
from facula import dtypes as dt
from facula.engine.compiler.pipeline import HostStep
from facula.engine.graph.expr import cast, make, operand
from facula.engine.graph.node import Node, size_of

pytestmark = pytest.mark.compiled

SOURCES = ("leaf", "const", "index", "computed", "permuted", "expanded", "sliced", "flipped", "reshaped", "twice",
           "const view", "index view", "computed view", "written", "written const", "reduced", "gathered", "scattered",
           "scanned", "product")
SHAPES: tuple[tuple[int, ...], ...] = ((), (1,), (5,), (0,), (3, 4), (1, 4), (3, 1), (0, 4), (3, 0), (1, 1), (17, 3),
                                       (2, 3, 4), (2, 1, 4), (1, 3, 1), (2, 0, 3), (2, 4, 2, 3))


class Maker:
    """Nodes of a wanted shape and type, made in a wanted way. Elements are whole numbers below 4, so sums are exact."""

    def __init__(self, seed: object) -> None:
        self.random = random.Random(str(seed))
        self.pool: list[Node] = []

    def leaf(self, shape: tuple[int, ...], d: dt.dtype, below: int = 4) -> Node:
        values = [self.random.randrange(below) for _ in range(size_of(shape))]
        return leaf(np.array(values, d.numpy).reshape(shape), d)

    def node(self, source: str, shape: tuple[int, ...], d: dt.dtype, below: int = 4) -> Node:
        """Elements in [0, below)."""
        rank, choose = len(shape), self.random.choice
        if source == "const":
            return const(self.random.randrange(below), shape, d)
        if source in ("index", "index view"):
            if not rank or max(shape) > below:
                return self.node("const", shape, d, below)
            found = index(shape, self.random.randrange(rank))
            if source == "index view":
                found = sliced(found, (slice(None, None, -1),))
            return found if d is dt.int64 else apply(cast(operand(0), d), found, dtype=d)
        if source == "computed":
            return fn("minimum", self.leaf(shape, d, below), self.node("leaf", shape, d, below))
        if source == "permuted":
            order = self.random.sample(range(rank), rank)
            return permute(self.leaf(tuple(shape[order.index(k)] for k in range(rank)), d, below), tuple(order))
        if source == "expanded":
            return expand(self.leaf(tuple(choose((1, n)) for n in shape), d, below), shape)
        if source == "const view":
            return expand(const(self.random.randrange(below), tuple(choose((1, n)) for n in shape), d), shape)
        if source == "sliced":
            big = tuple(2 * n + 1 for n in shape)
            return sliced(self.leaf(big, d, below), tuple(slice(1, None, 2) for _ in shape))
        if source == "flipped":
            return sliced(self.leaf(shape, d, below), tuple(slice(None, None, choose((1, -1))) for _ in shape))
        if source == "reshaped":
            return reshape(self.node("permuted", tuple(reversed(shape)), d, below), shape)
        if source == "twice":
            return self._twice(shape, d, below)
        if source == "computed view":
            back = tuple(reversed(shape))
            return permute(self.node("computed", back, d, below), tuple(reversed(range(rank))))
        if source in ("written", "written const"):
            base = self.node("leaf" if source == "written" else "const", shape, d, below)
            part = tuple(self.random.randint(min(n, 1), n) for n in shape)
            return write(base, self.node(choose(SOURCES[:8]), part, d, below))
        if source == "reduced":
            over = self.random.randrange(rank + 1)
            longer = (*shape[:over], self.random.randint(1, 3), *shape[over:])
            return reduce(g.MAX, self.node(choose(SOURCES[:6]), longer, d, below), (over,))
        if source in ("gathered", "scattered") and rank == 2:
            rows = shape[0] if source == "scattered" else 3
            table = self.node("leaf", (rows, shape[1]), d, below)
            if not rows:
                return table
            ids = self.node(choose(("leaf", "const", "index")), (shape[0],), dt.int64, rows)
            if source == "gathered":
                return Node(g.GATHER, (table, ids), None, None, shape, d)
            return Node(g.SCATTER_SET, (table, ids, self.node("const", shape, d, below)), None, None, shape, d)
        if source == "scanned" and rank:
            return Node(g.CUMMAX, (self.node("leaf", shape, d, below),), (self.random.randrange(rank),), None, shape, d)
        if source == "product" and rank == 2 and d is dt.float32:
            zeros = Node(g.CONTRACT, (self.node("leaf", (shape[0], 2), d, 1), self.node("leaf", (2, shape[1]), d)),
                         None, None, shape, d)
            return fn("maximum", zeros, self.node("leaf", shape, d, below))
        return self.leaf(shape, d, below)

    def _twice(self, shape: tuple[int, ...], d: dt.dtype, below: int) -> Node:
        """A view that no one map expresses: split, permuted, merged."""
        n = size_of(shape)
        cut = self.random.choice([k for k in range(1, 9) if n % k == 0] or [1])
        flat = permute(reshape(self.leaf(shape, d, below), (cut, n // cut)), (1, 0))
        again = self.random.choice([k for k in range(1, 9) if n % k == 0] or [1])
        return reshape(permute(reshape(flat, (again, n // again)), (1, 0)), shape)


def write(base: Node, value: Node, fixed: bool = False) -> Node:
    strides = g.contiguous_strides(base.shape)
    room = [n - m for n, m in zip(base.shape, value.shape, strict=True)]
    offset = sum(s * (r // 2) for s, r in zip(strides, room, strict=True)) if size_of(value.shape) else 0
    attrs: tuple[object, ...] = (strides, offset) if fixed else (strides,)
    return Node(g.WRITE, (base, value), attrs, None if fixed else (offset,), base.shape, base.dtype)


def check(outputs: list[Node]) -> None:
    spec, _, _ = plan(outputs)
    for step in spec.steps:
        assert not isinstance(step, HostStep) or declared(step), f"{step.op.name} runs on the host"
    for got, want, node in zip(run(outputs), compiler_harness.evaluate(outputs), outputs, strict=True):
        np.testing.assert_array_equal(from_memory(got, node.dtype), want, err_msg=repr(node))


def declared(step: HostStep) -> bool:
    """What NumPy computes on purpose: sorts, routines, and the neutral element of a reduction over nothing."""
    stable = step.op.kind == "sort" and len(step.attrs or ()) == 3
    return stable or step.op.kind == "call" or step.op.kind == "reduce" and not size_of(step.inputs[0].shape)


def users(m: Maker, x: Node, d: dt.dtype) -> list[Node]:
    """Each primitive with `x` in each of its places."""
    shape, rank, n = x.shape, len(x.shape), size_of(x.shape)
    other = m.node(m.random.choice(SOURCES), shape, d)
    found = [fn("add", x, other), fn("sub", other, x), fn("maximum", x, const(1, (), d)),
             apply(make("where", make("lt", operand(0), operand(1)), operand(0), operand(1)), x, other),
             reshape(x, (n,)), permute(x, tuple(reversed(range(rank)))), expand(x, (2, *shape))]
    for op in (g.SUM, g.PROD, g.MAX, g.MIN, g.ARGMAX, g.ARGMIN, g.ANY, g.ALL):
        dims = tuple(k for k in range(rank) if m.random.random() < 0.5)
        if (dims or not rank) and all(shape[k] for k in dims):
            found.append(reduce(op, x, dims))
    if rank:
        dim = m.random.randrange(rank)
        found += [Node(op, (x,), (dim,), None, shape, d) for op in (g.CUMSUM, g.CUMMAX, g.CUMMIN)]
        found += [Node(g.ARGSORT, (x,), attrs, None, shape, dt.int64)
                  for attrs in ((dim, False, 0), (dim, False, 0, "sort"))]
    found += [write(x, m.node(m.random.choice(SOURCES), tuple(-(-k // 2) for k in shape), d)),
              write(x, m.node(m.random.choice(SOURCES), shape, d), fixed=True),
              write(m.node(m.random.choice(SOURCES), tuple(k + 1 for k in shape), d), x),
              write(const(2, tuple(k + 2 for k in shape), d), x, fixed=True),
              write(m.node("leaf", tuple(k + 1 for k in shape), d), x, fixed=True)]
    if rank in (2, 3) and d is dt.float32:
        batch = shape[:-2]
        found += [Node(g.CONTRACT, (x, y), None, None, (*batch, shape[-2], 3), d)
                  for y in [m.node(m.random.choice(SOURCES), (*batch, shape[-1], 3), d)]]
        found += [Node(g.CONTRACT, (y, x), None, None, (*batch, 2, shape[-1]), d)
                  for y in [m.node(m.random.choice(SOURCES), (*batch, 2, shape[-2]), d)]]
    if rank == 2:
        found += rows_of(m, x, d)
    if d is dt.int64 and n:
        found += places(m, x)
    return found


SCATTERS = (g.SCATTER_SET, g.SCATTER_ADD, g.SCATTER_MUL, g.SCATTER_MAX, g.SCATTER_MIN)


def rows_of(m: Maker, x: Node, d: dt.dtype) -> list[Node]:
    """`x` as what is gathered, what is scattered into, and what is scattered."""
    rows, columns = x.shape
    found = []
    if rows:
        ids = m.node(m.random.choice(SOURCES), (2, 3), dt.int64, rows)
        found.append(Node(g.GATHER, (x, ids), None, None, (2, 3, columns), d))
        for op in SCATTERS:
            count = 1 if op is g.SCATTER_SET else 3  # which of several is set last is nobody's business
            ids = m.node(m.random.choice(SOURCES), (count,), dt.int64, rows)
            value = m.node(m.random.choice(SOURCES), (count, columns), d)
            found.append(Node(op, (x, ids, value), None, None, x.shape, d))
    for op in SCATTERS[1:]:
        base = m.node(m.random.choice(SOURCES), (4, columns), d)
        found.append(Node(op, (base, m.node(m.random.choice(SOURCES), (rows,), dt.int64, 4), x), None, None,
                          (4, columns), d))
    return found


def places(m: Maker, x: Node) -> list[Node]:
    """`x` as an index."""
    table = m.node(m.random.choice(SOURCES), (4, 3), dt.float32)
    value = m.node(m.random.choice(SOURCES), (*x.shape, 3), dt.float32)
    return [Node(g.GATHER, (table, x), None, None, (*x.shape, 3), dt.float32),
            *[Node(op, (table, x, value), None, None, (4, 3), dt.float32) for op in SCATTERS[1:]]]


@pytest.mark.parametrize("source", SOURCES)
def test_one_user(source: str) -> None:
    for k, shape in enumerate(SHAPES):
        for d in (dt.float32, dt.int64)[:1 + (k % 3 == 0)]:
            m = Maker((source, shape, d.name))
            for user in users(m, m.node(source, shape, d), d):
                check([user])


@pytest.mark.parametrize("evaluated", [False, True], ids=["code", "evaluator"])
@pytest.mark.parametrize("source", SOURCES)
def test_a_chain_of_users_and_all_of_it_kept(source: str, evaluated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made of what is made: any of it may be wanted as well."""
    monkeypatch.setattr(compiler_harness, "by_evaluator", evaluated)
    for shape in SHAPES[evaluated:14:1 + evaluated]:
        m = Maker(("chain", source, shape))
        x = m.node(source, shape, dt.float32)
        made = [x]
        for _ in range(5):
            made.append(m.random.choice([u for u in users(m, made[-1], dt.float32) if u.dtype is dt.float32]))
        pending = [n for n in made if n.buffer is None]
        if pending:
            check(pending[-1:])
            check(m.random.sample(pending, m.random.randint(1, len(pending))))


@pytest.mark.parametrize("d", [dt.bfloat16, dt.float16, dt.float64, dt.int32, dt.uint8, dt.bool_], ids=repr)
def test_other_types(d: dt.dtype) -> None:
    for source in ("const", "const view", "sliced", "written const"):
        for shape in ((), (1,), (3, 4), (0, 4)):
            m = Maker((source, shape, d.name))
            x = m.node("leaf", shape, d) if d.name in ("bfloat16", "float16") and source != "const" else \
                m.node(source, shape, d)
            for user in users(m, x, d):
                if d is dt.bool_ and (user.op.name in ("sub", "sum", "prod") or "scatter" in user.op.name):
                    continue
                check([user])


def test_a_region_that_wraps_around() -> None:
    """The region's cut and the value's have a common refinement that is neither of them."""
    value = permute(leaf(np.arange(24, dtype=np.float32).reshape(4, 6)), (1, 0))
    base = leaf(np.zeros((2, 2, 12), np.float32))
    check([write(base, reshape(value, (2, 1, 12)))])
    check([Node(g.WRITE, (leaf(np.zeros(40, np.float32)), view(value, (3, 8), (8, 1))), ((10, 1),), (2,), (40,),
                dt.float32)])
