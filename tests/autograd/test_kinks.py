"""Gradients where a function has a kink, or where a branch that is not taken has no finite slope."""

import numpy as np
import pytest

import facula as F
from facula.engine.graph.expr import function, operand, where
from facula.engine.graph.node import Formula
from facula.ops.elementwise.pointwise import apply


def slopes(fn, *points):
    xs = [F.tensor(p, requires_grad=True) for p in points]
    fn(*xs).sum().backward()
    return [x.grad.tolist() for x in xs]


@pytest.mark.parametrize("fn, points, wanted", [
    (F.abs, [[-2.0, 0.0, -0.0, 3.0]], [[-1, 0, 0, 1]]),
    (F.relu, [[-1.0, 0.0, 2.0]], [[0, 0, 1]]),
    (F.sign, [[-1.0, 0.0, 2.0]], [[0, 0, 0]]),
    (F.maximum, [[1.0, 2.0, 3.0], [1.0, 3.0, 2.0]], [[0.5, 0, 1], [0.5, 1, 0]]),
    (F.minimum, [[1.0, 2.0, 3.0], [1.0, 3.0, 2.0]], [[0.5, 1, 0], [0.5, 0, 1]]),
    (lambda x: x.clamp(-1, 1), [[-2.0, -1.0, 0.0, 1.0, 2.0]], [[0, 1, 1, 1, 0]]),
    (lambda x: x.amax(), [[4.0, 1.0, 4.0, 4.0, 4.0]], [[0.25, 0, 0.25, 0.25, 0.25]]),
    (lambda x: x.amin(0), [[2.0, 1.0, 1.0]], [[0, 0.5, 0.5]]),
    (lambda x: x.max(), [[2.0, 1.0, 2.0]], [[0.5, 0, 0.5]]),
    (lambda x: x.max(0).values, [[2.0, 1.0, 2.0]], [[1, 0, 0]]),
    (F.pow, [[0.0, 0.0, 2.0], [0.0, 2.0, 0.0]], [[0, 0, 0], [0, 0, 0.6931471824645996]]),
    (lambda x: x.norm(), [[0.0, 0.0]], [[0, 0]]),
    (F.atan2, [[0.0, 0.0], [0.0, 2.0]], [[0, 0.5], [0, 0]]),
])
def test_slopes(fn, points, wanted):
    assert slopes(fn, *points) == wanted


def test_a_branch_that_is_not_taken_does_not_poison():
    root = Formula("root", where(operand(0) > 0.0, function("sqrt")(operand(0)), 0.0))
    assert slopes(lambda x: apply(root, (x,), None, F.float32), [-1.0, 0.0, 4.0]) == [[0, 0, 0.25]]
    x = operand(0)
    inverse = Formula("inverse", where(function("eq")(x, 0.0), 1.0, function("div")(1.0, x)))
    assert slopes(lambda x: apply(inverse, (x,), None, F.float32), [0.0, 2.0]) == [[0, -0.25]]


def test_an_infinite_gradient_comes_through_the_branch_taken_only():
    both = Formula("both", where(operand(0) > 0.0, operand(0) * 2.0, operand(0) * 3.0))
    x = F.tensor([-1.0, 1.0], requires_grad=True)
    apply(both, (x,), None, F.float32).backward(F.tensor([float("inf"), -float("inf")]))
    assert x.grad.tolist() == [float("inf"), -float("inf")]
    a, b = F.tensor([1.0, 2.0], requires_grad=True), F.tensor([2.0, 1.0], requires_grad=True)
    F.maximum(a, b).backward(F.tensor([float("inf"), float("inf")]))
    assert a.grad.tolist() == [0, float("inf")] and b.grad.tolist() == [float("inf"), 0]


POINTS = [float("nan"), 1.0, 0.0, -0.0, float("inf"), -float("inf"), 2.0]
PAIRS = [[a, b] for a in POINTS for b in POINTS]
OF_TWO = {
    "maximum": lambda m, a, b: m.maximum(a, b), "minimum": lambda m, a, b: m.minimum(a, b),
    "fmax": lambda m, a, b: m.fmax(a, b), "fmin": lambda m, a, b: m.fmin(a, b),
    "max": lambda m, a, b: m.max(a, b), "xlogy": lambda m, a, b: m.xlogy(a, b),
    "xlog1py": lambda m, a, b: m.special.xlog1py(a, b), "number xlogy": lambda m, a, b: m.xlogy(0.0, b) + a,
    "xlogy number": lambda m, a, b: m.xlogy(a, 0.0) + b, "clamp from": lambda m, a, b: a.clamp(min=b),
    "clamp to": lambda m, a, b: a.clamp(max=b), "clamp both": lambda m, a, b: a.clamp(b, b + 1),
    "clamp crossed": lambda m, a, b: a.clamp(b, b - 1), "clamp_min": lambda m, a, b: a.clamp_min(b),
}
OF_ONE = {
    "clamp": lambda m, x: x.clamp(0, 1), "clamp from": lambda m, x: x.clamp(min=0),
    "clamp to": lambda m, x: x.clamp(max=1),
    "amax": lambda m, x: x.amax(), "amin": lambda m, x: x.amin(0), "aminmax": lambda m, x: sum(x.aminmax()),
    "max": lambda m, x: x.max(), "entr": lambda m, x: m.special.entr(x), "logit": lambda m, x: m.logit(x),
    "xlogx": lambda m, x: m.xlogy(x, x), "hardtanh": lambda m, x: m.nn.functional.hardtanh(x),
}


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OF_TWO)
def test_slopes_at_nan_zero_and_infinity(oracle, name, dtype):
    def run(m):
        a, b = (m.tensor([p[k] for p in PAIRS], dtype=getattr(m, dtype), requires_grad=True) for k in (0, 1))
        OF_TWO[name](m, a, b).sum().backward()
        return [a.grad, b.grad]

    mine, theirs = oracle.both(run)
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a[1], b[1], rtol=1e-6)


@pytest.mark.oracle
@pytest.mark.parametrize("name", OF_ONE)
def test_slopes_of_one_at_nan_zero_and_infinity(oracle, name):
    def run(m):
        found = []
        for values in (POINTS, [1.0, 0.5, 0.0, -1.0, 3.0, 3.0], [[1.0, 1.0], [0.0, -2.0]]):
            x = m.tensor(values, requires_grad=True)
            OF_ONE[name](m, x).sum().backward()
            found.append(x.grad)
        return found

    mine, theirs = oracle.both(run)
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a[1], b[1], rtol=1e-6)


@pytest.mark.parametrize("name", ["xlogy", "xlog1py", "clamp both", "clamp from", "maximum"])
def test_own_slopes_in_forward_mode_and_twice(name):
    def fn(a, b):
        return OF_TWO[name](F, a, b)

    a, b = (F.tensor(v, dtype=F.float64, requires_grad=True) for v in ([0.5, 2.0, 3.0], [1.5, 1.25, 4.0]))
    assert F.autograd.gradcheck(fn, (a, b), check_forward_ad=True) and F.autograd.gradgradcheck(fn, (a, b))


X = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5]
BENT = {  # function, points, its slopes there, and the slopes of these
    "smooth_l1": (lambda x: F.nn.functional.smooth_l1_loss(x, F.zeros_like(x), reduction="sum"), X,
                  [0, 0, 1, -1, 0.5, -0.5], [1, 1, 0, 0, 1, 1]),
    "smooth_l1, narrow": (lambda x: F.nn.functional.smooth_l1_loss(x, F.zeros_like(x), reduction="sum", beta=0.5), X,
                          [0, 0, 1, -1, 1, -1], [2, 2, 0, 0, 0, 0]),
    "huber": (lambda x: F.nn.functional.huber_loss(x, F.zeros_like(x), reduction="sum", delta=0.5), X,
              [0, 0, 0.5, -0.5, 0.5, -0.5], [1, 1, 0, 0, 0, 0]),
    "elu": (F.nn.functional.elu, X, [1, 1, 1, 0.36787944, 1, 0.60653066], [0, 0, 0, 0.36787944, 0, 0.60653066]),
    "celu": (lambda x: F.celu(x, 2.0), X, [1, 1, 1, 0.60653066, 1, 0.77880078], [0, 0, 0, 0.30326533, 0, 0.38940039]),
    "selu": (F.selu, [0.0, 2.0], [1.75809934, 1.05070098], [0, 0]),
    "binary cross entropy": (
        lambda x: F.nn.functional.binary_cross_entropy(x, F.tensor([0.0, 1.0, 1.0, 0.5]).to(x.dtype), reduction="sum"),
        [0.0, 1.0, 0.25, 0.5], [0, 0, -4, 0], [0, 0, 16, 4]),
    "power of 1": (lambda x: x ** 1, X, [1] * 6, [0] * 6),
    "power of 1.": (lambda x: x ** 1.0, X, [1] * 6, [0] * 6),
    "square": (lambda x: x ** 2, [0.0, 3.0], [0, 6], [2, 2]),
}


@pytest.mark.parametrize("name", BENT)
def test_second_slopes(name):
    fn, points, slope, second = BENT[name]
    x = F.tensor(points, dtype=F.float64, requires_grad=True)
    g, = F.autograd.grad(fn(x).sum(), x, create_graph=True)
    assert g.requires_grad
    np.testing.assert_allclose(g.detach().numpy(), slope, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(F.autograd.grad(g.sum(), x)[0].numpy(), second, rtol=1e-7, atol=1e-12)
