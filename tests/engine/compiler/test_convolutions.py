"""Convolutions are contractions over maps: right against the interpreter and PyTorch, without windows in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import compiler_harness as h
import facula as F
from facula import config
from facula.engine import pieces, plan_file, plan_run
from facula.engine.compiler.operands import product_operands
from facula.engine.compiler.pipeline import HostStep, compile_plan
from facula.engine.compiler.reads import Graph
from facula.engine.graph import node as g
from facula.engine.graph.node import Node
from facula.engine.runtime import buffer
from fresh import nothing_seen

compiled = pytest.mark.compiled
lazy = pytest.mark.skipif(config.EAGER.value, reason="nothing is fused in eager mode")
ROOT = Path(__file__).resolve().parent.parent.parent.parent

# input, weight, arguments; "t" is transposed
CASES = {
    "padded": ((2, 4, 9, 8), (6, 4, 3, 3), {"padding": 1}),
    "larger images": ((2, 4, 17, 18), (6, 4, 3, 3), {"padding": 1}),
    "bare": ((2, 5, 12, 13), (17, 5, 3, 2), {}),
    "dilated": ((2, 4, 17, 18), (6, 4, 3, 3), {"padding": (2, 0), "dilation": (2, 1)}),
    "grouped, strided": ((2, 4, 17, 18), (6, 2, 3, 3), {"padding": (2, 1), "groups": 2, "stride": 2}),
    "depthwise": ((2, 4, 17, 18), (8, 1, 3, 2), {"padding": (2, 1), "groups": 4, "stride": (1, 2)}),
    "more padding than window": ((1, 4, 17), (6, 4, 3), {"padding": 4}),
    "no batch": ((4, 17), (6, 4, 3), {"padding": 4, "stride": 3}),
    "same": ((3, 4, 17), (6, 4, 4), {"padding": "same", "dilation": 2}),
    "three dimensions": ((2, 2, 7, 6, 9), (4, 2, 3, 2, 3), {"padding": 1}),
    "grouped in three": ((2, 2, 7, 6, 9), (4, 1, 3, 2, 3),
                         {"padding": 2, "groups": 2, "stride": 2, "dilation": (1, 2, 1)}),
    "stride beyond the window": ((2, 3, 20, 11), (4, 3, 2, 1), {"stride": (5, 3), "padding": (1, 0)}),
    "many channels": ((3, 40, 7, 7), (70, 40, 3, 3), {"padding": 1}),
    "tiles": ((3, 20, 14, 14), (33, 20, 3, 3), {"padding": 1}),
    "long sums": ((4, 3, 42, 40), (17, 3, 3, 3), {"padding": 1}),
    "one by one": ((3, 20, 14, 14), (33, 20, 1, 1), {}),
    "one place": ((4, 6, 5, 5), (17, 6, 5, 5), {}),
    "stem": ((1, 3, 40, 42), (20, 3, 7, 7), {"stride": 2, "padding": 3}),
    "t padded": ((2, 4, 9, 8), (4, 6, 3, 3), {"padding": 1}),
    "t strided, grouped": ((2, 4, 9, 8), (4, 3, 3, 3), {"padding": 1, "stride": 2, "output_padding": 1, "groups": 2}),
    "t cropped": ((2, 4, 9, 8), (4, 3, 1, 3), {"padding": (3, 2), "stride": 2, "groups": 2}),
    "t dilated": ((2, 4, 9), (4, 3, 3), {"padding": 2, "dilation": 2, "stride": 3}),
    "stride of many": ((2, 3, 20, 22), (4, 3, 4, 5), {"stride": (3, 4), "padding": 2}),
    "dilated by the stride": ((2, 3, 20, 22), (4, 3, 3, 3), {"stride": 2, "dilation": (2, 3), "padding": 2}),
    "t all cropped but one": ((1, 2, 3), (2, 2, 3), {"padding": 2}),
}


def numbers(seed, shape, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def everything(lib, case, dtype=np.float32):
    """The result, both gradients, and the gradients of a function of these in all three."""
    x_shape, w_shape, arguments = CASES[case]
    name = f"conv{'_transpose' if case.startswith('t ') else ''}{len(w_shape) - 2}d"
    x, w = (lib.tensor(numbers(k, shape, dtype), requires_grad=True) for k, shape in enumerate((x_shape, w_shape)))
    y = getattr(lib.nn.functional, name)(x, w, **arguments)
    up = lib.tensor(numbers(2, tuple(y.shape), dtype), requires_grad=True)
    dx, dw = lib.autograd.grad(y, (x, w), up, create_graph=True)
    second = lib.autograd.grad((dx * dx).sum() + (dw * dw * dw).sum(), (x, w, up))
    return [t.detach().numpy() for t in (y, dx, dw, *second)]


def close(found, wanted, digits):
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        assert np.abs(a - b).max(initial=0) <= digits * max(np.abs(b).max(initial=0), 1e-3)


@pytest.mark.parametrize("dtype, digits", [(np.float32, 1e-4), (np.float64, 1e-12)])
@pytest.mark.parametrize("case", CASES)
def test_against_torch(case, dtype, digits, torch):
    close(everything(F, case, dtype), everything(torch, case, dtype), digits)


@pytest.fixture
def saved(monkeypatch, tmp_path):
    monkeypatch.setattr(config.SAVE_PLANS, "value", str(tmp_path))
    monkeypatch.setattr(pieces, "SMALL", 1 << 30)  # new graphs are compiled as a whole, however many there were
    nothing_seen(monkeypatch)
    return tmp_path


@compiled
@pytest.mark.parametrize("case", CASES)
def test_against_the_interpreter_on_all_widths(case, saved):
    everything(F, case)
    files = [plan_file.load(path) for path in sorted(saved.glob("plan-*.json"))]
    assert files
    for file in files:
        wanted = plan_run.interpreted(file, plan_run.inputs_for(file))
        found = [plan_run.run(file, vector_bytes)[1] for vector_bytes in (64, 32, 16)]
        close(found[0], wanted, 1e-4)
        for other in found[1:]:
            assert [x.tobytes() for x in other] == [x.tobytes() for x in found[0]]


@compiled
@pytest.mark.parametrize("dtype, digits", [(F.float16, 4e-3), (F.bfloat16, 3e-2)])
def test_sixteen_bits(dtype, digits):
    x, w = (F.tensor(numbers(k, s)) for k, s in enumerate(((2, 5, 9, 8), (6, 5, 3, 3))))
    a, b = x.to(dtype), w.to(dtype)
    found = F.nn.functional.conv2d(a, b, padding=1).float().numpy()
    wanted = F.nn.functional.conv2d(a.float(), b.float(), padding=1).numpy()
    close([found], [wanted], digits)


def test_integers_and_complex_numbers():
    x = F.arange(2 * 3 * 5 * 4).reshape(2, 3, 5, 4)
    w = F.arange(4 * 3 * 2 * 2).reshape(4, 3, 2, 2)
    found = F.nn.functional.conv2d(x, w, padding=1)
    assert found.dtype is F.int64
    wanted = F.nn.functional.conv2d(x.double(), w.double(), padding=1)
    assert found.double().equal(wanted)
    z = F.nn.functional.conv2d(x * (1 + 2j), w * 1j, padding=1)
    assert z.real.double().equal(-2 * wanted) and z.imag.double().equal(wanted)


# ---- nothing but contractions -----------------------------------------------------------------------------

def plan_of(case_or_shapes, saved, transposed=False):
    """What `facula explain` shows of a convolution with both gradients."""
    x_shape, w_shape, arguments = case_or_shapes
    x, w = (F.tensor(numbers(k, s), requires_grad=True) for k, s in enumerate((x_shape, w_shape)))
    name = f"conv{'_transpose' if transposed else ''}{len(w_shape) - 2}d"
    y = getattr(F.nn.functional, name)(x, w, **arguments)
    y.backward(F.tensor(numbers(2, tuple(y.shape))))
    x.grad.numpy()  # everything that is pending, in one plan
    [path] = saved.glob("plan-*.json")
    file = plan_file.load(path)
    return compile_plan(file.nodes, file.leaves, file.outputs, file.numbers_at)


def others(spec):
    """Titles of the steps that are no part of a product."""
    return [s.op.name if isinstance(s, HostStep) else s.kernel.title for s in spec.steps
            if isinstance(s, HostStep) or not s.kernel.title.startswith(("matrix product", "sum of partial products"))]


@compiled
@lazy
@pytest.mark.parametrize("shapes", [
    ((2, 16, 20, 20), (16, 16, 3, 3), {"padding": 1}),
    ((1, 16, 10, 10), (16, 16, 3, 3), {"padding": 1}),
    ((2, 16, 20, 20), (32, 16, 3, 3), {"padding": (2, 0), "dilation": (2, 3)}),
    ((2, 16, 20, 20), (32, 4, 3, 3), {"padding": 1, "groups": 4}),
    ((2, 16, 20, 20), (32, 1, 3, 3), {"padding": 1, "groups": 16}),
    ((2, 16, 200), (24, 16, 5), {"padding": 2}),
    ((2, 4, 8, 9, 10), (8, 4, 3, 3, 3), {"padding": 1}),
])
@pytest.mark.parametrize("transposed", [False, True])
def test_contractions_only(shapes, transposed, saved):
    x, w, arguments = shapes
    if transposed:
        w = (x[1], w[0] // arguments.get("groups", 1), *w[2:])
    spec = plan_of((x, w, arguments), saved, transposed)
    assert others(spec) == []


@compiled
@lazy
@pytest.mark.parametrize("transposed", [False, True])
def test_a_kernel_for_each_channel_is_one_pass(transposed, saved):
    """Over the images in zeros (ops/conv/depthwise.py); so is the gradient in them, and in the kernels that of all
    taps."""
    spec = plan_of(((2, 16, 20, 20), (16, 1, 3, 3), {"padding": 1, "groups": 16}), saved, transposed)
    zeros = ["copy for write", "write"] * 3
    assert sorted(others(spec)) == sorted([*zeros, "convolution", "convolution", "product sum", "one of sum view"])


@compiled
@lazy
@pytest.mark.parametrize("batch, size", [(2, 28), (8, 56)])
def test_a_convolution_with_its_gradients_needs_little_memory(batch, size):
    def operands():
        made = [F.tensor(numbers(k, s)) * 1 for k, s in enumerate((
            (batch, 64, size, size), (64, 64, 3, 3), (batch, 64, size, size)))]
        for t in made:
            t.sum().item()
        return [t.detach() for t in made]

    x, w, up = operands()
    x.requires_grad_()
    w.requires_grad_()
    buffer.reset_most_held()
    before = buffer.held()
    given = sum(t.nbytes for t in (x, w, up))
    assert before >= given
    y = F.nn.functional.conv2d(x, w, padding=1)
    y.backward(up)
    (x.grad.numpy(), w.grad.numpy())
    theirs = given + sum(t.nbytes for t in (y, x.grad, w.grad))
    assert buffer.most_held() - before + given < 2 * theirs


def test_bytes_held():
    start = buffer.held()
    buffer.reset_most_held()
    a = buffer.allocate(1 << 20)
    assert buffer.held() == buffer.most_held() == start + (1 << 20)
    del a
    assert buffer.held() == start and buffer.most_held() == start + (1 << 20)
    buffer.reset_most_held()
    assert buffer.most_held() == start


@compiled
def test_same_bits_for_any_number_of_threads():
    code = ("import sys; sys.path[:0] = ['tests/support', 'tests/engine/compiler']\n"
            "import hashlib, facula, test_convolutions as t\n"
            "facula.set_num_threads(int(sys.argv[1]))\n"
            "for case in ('larger images', 'tiles', 'many channels', 'depthwise', 'stem', 't strided, grouped'):\n"
            "    print(case, hashlib.md5(b''.join(a.tobytes() for a in t.everything(facula, case))).hexdigest())\n")
    said = {subprocess.run([sys.executable, "-c", code, n], cwd=ROOT, capture_output=True, text=True, check=True,
                           env={**os.environ, "FACULA_THRESHOLDS": "smallest"}).stdout for n in ("1", "2", "5")}
    assert len(said) == 1 and len(said.pop().splitlines()) == 6


# ---- what the compiler makes of operands ------------------------------------------------------------------

def check(outputs):
    close(h.run(outputs), h.evaluate(outputs), 1e-5)


def graph_with(*leaves):
    return Graph(set(leaves), [], {})


def fixed(op, inputs, shape, strides, offset):
    return Node(op, inputs, (strides, offset), None, shape, inputs[-1].dtype)


def padded(x, sizes, before, fill=0.0):
    """`x` in a constant, `before` in each dimension."""
    plain = g.contiguous_strides(sizes)
    at = sum(a * b for a, b in zip(plain, before, strict=True))
    return fixed(g.WRITE, (h.const(fill, sizes), x), sizes, plain, at)


def contract(a, b):
    return Node(g.CONTRACT, (a, b), None, None, (*a.shape[:-1], b.shape[-1]), a.dtype)


@compiled
@pytest.mark.parametrize("vector_bytes", [64, 32, 16])
@pytest.mark.parametrize("fill", [0.0, 2.5])
def test_products_through_padding(vector_bytes, fill, monkeypatch):
    """Windows on either side, whatever surrounds the value."""
    monkeypatch.setattr(h, "vector_bytes", vector_bytes)
    x = h.leaf(numbers(0, (3, 10, 11)))
    wide = padded(x, (3, 14, 13), (0, 3, 1), fill)
    s = g.contiguous_strides(wide.shape)
    windows = h.reshape(fixed(g.VIEW, (wide,), (3, 3, 2, 12, 12), (*s, s[1], s[2]), 0), (18, 144))
    along = h.reshape(fixed(g.VIEW, (wide,), (12, 12, 3, 3, 2), (s[1], s[2], *s), 0), (144, 18))
    apart = h.reshape(fixed(g.VIEW, (wide,), (3, 3, 2, 6, 6), (*s, 2 * s[1], 2 * s[2]), 0), (18, 36))
    left, right, third = (h.leaf(numbers(k, n)) for k, n in enumerate(((17, 18), (144, 19), (17, 144))))
    check([contract(left, windows), contract(windows, right), contract(third, along), contract(left, apart)])
    check([contract(along, windows)])


@compiled
@pytest.mark.parametrize("seed", range(30))
def test_random_maps(seed):
    """Products of windows of windows, in batches: any strides, boxes and sizes."""
    random = np.random.default_rng(seed)

    def operand(batch, rows, columns):
        rank = int(random.integers(1, 4))
        x = h.leaf(numbers(seed, tuple(map(int, random.integers(2, 7, rank)))))
        before, after = random.integers(0, 3, (2, rank)).tolist()
        sizes = tuple(map(sum, zip(x.shape, before, after, strict=True)))
        wide = padded(x, sizes, before) if random.random() < 0.7 else x
        plain = g.contiguous_strides(wide.shape)
        shape, strides, left = [], [], list(wide.shape)
        for n in (*batch, *rows, *columns):
            d = int(random.integers(rank))
            step = int(random.integers(0, 3))
            while step and (n - 1) * step >= left[d]:
                step -= 1
            left[d] -= (n - 1) * step
            shape.append(n)
            strides.append(step * plain[d])
        sizes = [int(np.prod(part)) for part in (batch, rows, columns)]
        return h.reshape(fixed(g.VIEW, (wide,), tuple(shape), tuple(strides), 0), tuple(sizes))

    batch, m, k, n = (tuple(int(i) for i in random.integers(1, 7, random.integers(1, 4))) for _ in range(4))
    check([contract(operand(batch, m, k), operand(batch, k, n))])


@compiled
def test_a_region_that_wraps_is_no_box():
    x = h.leaf(numbers(0, (4, 6)))
    wrapping = fixed(g.WRITE, (h.const(0.0, (20, 8)), x), (20, 8), (8, 1), 5)
    windows = h.reshape(fixed(g.VIEW, (wrapping,), (3, 6, 18, 2), (8, 1, 8, 1), 0), (18, 36))
    product = contract(h.leaf(numbers(1, (20, 18))), windows)
    node, _, padding = product_operands(product, graph_with(x, product.inputs[0]))[1]
    assert node is wrapping and padding is None
    check([product])


def test_which_operands_are_mapped():
    x = h.leaf(numbers(0, (8, 8, 8)))
    small = h.permute(h.reshape(x, (8, 64)), (1, 0))  # plain strides: no map is needed
    merged = h.reshape(h.permute(h.reshape(x, (4, 32, 4)), (1, 0, 2)), (32, 16))
    const = h.const(1.0, (32, 64))
    for source, columns, wanted in ((small, 32, x), (small, 2, x), (merged, 32, x), (merged, 2, merged),
                                    (const, 32, const)):
        product = contract(source, h.leaf(numbers(1, (source.shape[1], columns))))
        [(found, _, padding), _] = product_operands(product, graph_with(x, product.inputs[1]))
        assert found is wanted and padding is None
        check([product])
    # where the other operand has to be mapped this one costs nothing
    windows = h.reshape(fixed(g.VIEW, (h.leaf(numbers(2, (11,))),), (4, 4, 2), (1, 2, 1), 0), (16, 2))
    product = contract(merged, windows)
    assert product_operands(product, graph_with(x, windows.inputs[0].inputs[0]))[0][0] is x
    check([product])
