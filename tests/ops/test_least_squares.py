"""Second derivatives of lstsq's residuals: the gap that their gradient is made of depends on both operands."""

import numpy as np
import pytest

import facula


def slopes(a, b, driver, graph=False):
    a, b = facula.tensor(a, requires_grad=True), facula.tensor(b, requires_grad=True)
    out = facula.linalg.lstsq(a, b, driver=driver)
    loss = (out.residuals * facula.tensor([1.0, -2.0], dtype=facula.float64)).sum() + out.solution.square().sum()
    return a, b, facula.autograd.grad(loss, (a, b), create_graph=graph)


@pytest.mark.parametrize("driver", ["gels", "gelsd", "gelss"])
def test_second_derivatives_are_differences_of_the_first(driver):
    rng = np.random.default_rng(3)
    given = [rng.standard_normal((5, 3)), rng.standard_normal((5, 2))]
    along = [rng.standard_normal(x.shape) for x in given]
    a, b, first = slopes(*given, driver, graph=True)
    assert all(g.requires_grad for g in first)
    second = facula.autograd.grad(first, (a, b), [facula.tensor(v) for v in along])
    ends = [slopes(*(x + s * 1e-5 * v for x, v in zip(given, along, strict=True)), driver)[2] for s in (1, -1)]
    for got, up, down in zip(second, *ends, strict=True):  # the matrix of second derivatives is symmetric
        np.testing.assert_allclose(got.numpy(), (up - down).numpy() / 2e-5, rtol=1e-5, atol=1e-6)
