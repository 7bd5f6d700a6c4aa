"""Gradients where a function has a kink, or where a branch that is not taken has no finite slope."""

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
